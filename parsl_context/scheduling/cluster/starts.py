"""Environments that managers start: those events that are about them, on the books.

`state` hands them over; what follows for calls is for `placement` to say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from typing_extensions import assert_never

from parsl_context.scheduling.cluster.books import ClusterBooks
from parsl_context.scheduling.cluster.events import (
    Action,
    EnvironmentBegan,
    EnvironmentGone,
    EnvironmentReady,
    OrdinaryRefused,
)
from parsl_context.scheduling.cluster.managers import Manager, Phase
from parsl_context.scheduling.cluster.placement import ClusterPlacement
from parsl_context.wire.messages import ManagerId, TaskId

StartEvent: TypeAlias = EnvironmentBegan | EnvironmentReady | EnvironmentGone | OrdinaryRefused


class Starts:
    """Keeps the books of environments.

    Parameters
    ----------
    take_back
        Has calls of a manager wait again that could not run there.
    """

    def __init__(
        self,
        books: ClusterBooks,
        placement: ClusterPlacement,
        take_back: Callable[[ManagerId, Sequence[TaskId], float], list[Action]],
    ) -> None:
        self._books = books
        self._placement = placement
        self._take_back = take_back

    def handle(self, event: StartEvent, now: float) -> list[Action]:
        """Take an event into account. Gives what to do about it, in order."""
        environments, manager = self._books.environments, self._books.managers[event.manager]
        match event:
            case EnvironmentBegan():
                environments.began(manager, event.environment, now)
                return []
            case EnvironmentReady():
                environments.ready(manager, event.environment, event.start_s)
                self._count_ordinary(manager, now)
                return self._placement.serve(manager, now) + self._consider_all(now)
            case EnvironmentGone():
                environments.gone(manager, event.environment)
                return []
            case OrdinaryRefused():
                return self._refuse_ordinary(manager, event, now)
            case _:
                assert_never(event)

    def _refuse_ordinary(self, manager: Manager, event: OrdinaryRefused, now: float) -> list[Action]:
        """Calls without contexts go elsewhere for a while, or fail if none of the managers takes them."""
        if manager.phase is Phase.OPEN:
            pause_s = self._books.environments.refuse(manager.id, event.reason)
            self._books.at(now + pause_s, lambda now: self._end_pause(manager, now))
        self._count_ordinary(manager, now)
        manager.resume(max(1, manager.free))
        return self._take_back(manager.id, event.tasks, now) + self._consider_all(now)

    def _end_pause(self, manager: Manager, now: float) -> list[Action]:
        if self._books.managers.get(manager.id) is not manager:
            return []
        self._books.environments.end_pause(manager.id)
        self._count_ordinary(manager, now)
        return self._placement.serve(manager, now)

    def _count_ordinary(self, manager: Manager, now: float) -> None:
        if manager.idle_since is None and not manager.held:
            manager.idle_since = now
        for line in self._books.lines.values():
            if not line.lane.contexts:
                self._placement.count(line, manager)

    def _consider_all(self, now: float) -> list[Action]:
        """Where builds pay, or whether calls can run at all, is another question now."""
        lines = [line for line in self._books.lines.values() if line.waiting]
        return [action for line in lines for action in self._placement.consider(line, now)]
