"""Where contexts are, and what their builds come to: those events that are about contexts, on the books.

`state` hands them over; what follows for calls and managers is for `placement` and `builds` to say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from typing_extensions import assert_never

from parsl_context.scheduling.cluster.books import ClusterBooks
from parsl_context.scheduling.cluster.builds import Builds
from parsl_context.scheduling.cluster.events import (
    Action,
    BlobForgotten,
    BuildBegan,
    BuildBroke,
    BuildEnded,
    BuildRefused,
    BuildSettled,
    ContextDeclared,
    ContextGone,
    ContextHeld,
    ContextNoted,
    ContextWanted,
    EvictionWanted,
    FailBuild,
    ReleaseBuild,
    SendBuild,
    SendEviction,
    TemplateGone,
    TemplateHeld,
)
from parsl_context.scheduling.cluster.managers import ClusterLine, Manager, Phase
from parsl_context.scheduling.cluster.placement import ClusterPlacement
from parsl_context.scheduling.cluster.registry import Record
from parsl_context.wire.messages import Digest, ManagerId, TaskId, WorkerId

ContextEvent: TypeAlias = (
    BuildBegan
    | ContextHeld
    | ContextNoted
    | BuildEnded
    | BuildBroke
    | BuildSettled
    | TemplateHeld
    | TemplateGone
    | BuildRefused
    | ContextGone
    | ContextDeclared
    | ContextWanted
    | EvictionWanted
    | BlobForgotten
)


class Contexts:
    """Keeps the books of contexts.

    Parameters
    ----------
    take_back
        Has calls of a manager wait again whose context could not be built there.
    """

    def __init__(
        self,
        books: ClusterBooks,
        builds: Builds,
        placement: ClusterPlacement,
        take_back: Callable[[ManagerId, Sequence[TaskId], float], list[Action]],
    ) -> None:
        self._books = books
        self._builds = builds
        self._placement = placement
        self._take_back = take_back

    def handle(self, event: ContextEvent, now: float) -> list[Action]:
        """Take an event into account. Gives what to do about it, in order."""
        match event:
            case BuildBegan():
                self._books.managers[event.manager].building.setdefault(event.context, []).append(now)
                return []
            case ContextHeld():
                return self._hold(event, now)
            case ContextNoted():
                return self._note(event, now)
            case BuildEnded():
                return self._end_build(event, now)
            case BuildBroke():
                return self._break_build(event, now)
            case BuildSettled():
                return self._settle(event, now)
            case TemplateHeld():
                return self._hold_template(event, now)
            case TemplateGone():
                return self._drop_template(event, now)
            case BuildRefused():
                return self._refuse(event, now)
            case ContextGone():
                return self._drop_instance(event, now)
            case ContextDeclared():
                return self._declare(event)
            case ContextWanted():
                self._books.records[event.context].wanted = True
                open_managers = [m for m in self._books.managers.values() if m.phase is Phase.OPEN]
                return [SendBuild(context=event.context, manager=manager.id) for manager in open_managers]
            case EvictionWanted():
                return self._evict(event.context)
            case BlobForgotten():
                self._forget(event.digest)
                return []
            case _:
                assert_never(event)

    def _declare(self, event: ContextDeclared) -> list[Action]:
        record = self._books.records.get(event.context)
        if record is None:
            self._books.records[event.context] = Record(event.options)
        else:
            record.declare(event.options)
        self._builds.resize()
        return []

    def _hold(self, event: ContextHeld, now: float) -> list[Action]:
        manager = self._books.managers[event.manager]
        if not self.enter_held(manager, event.worker, event.context):
            return []
        if manager.ordered:
            return []  # the worker may be busy until its order is settled
        manager.resume(max(1, manager.free))  # it was built ahead of calls: they may have come back because of that
        return self._placement.serve(manager, now)

    def enter_held(self, manager: Manager, worker: WorkerId, context: Digest) -> bool:
        """Enter that a worker holds a context. False if that was known."""
        if (record := self._books.records.get(context)) is not None:
            record.prove(manager.id)
        held = manager.hold(worker, context)
        if held is None:
            return False
        for line in self._books.lines_of.get(context, ()):
            if not line.is_anywhere and held.issuperset(line.lane.contexts):
                line.pair(manager).warm += 1
                self._placement.count(line, manager)
        return True

    def _drop_instance(self, event: ContextGone, now: float) -> list[Action]:
        manager = self._books.managers[event.manager]
        held = manager.workers.get(event.worker, set())
        record = self._books.records.get(event.context)
        if record is not None and event.was_evicted and not record.is_shared(event.manager):
            record.on(event.manager).evictions += 1  # what workers share is given up with its template, once
        if event.context not in held:
            return []
        actions: list[Action] = []
        for line in self._books.lines_of.get(event.context, ()):
            if not line.is_anywhere and held.issuperset(line.lane.contexts):
                line.pair(manager).warm -= 1
                self._placement.count(line, manager)
                if line.waiting:
                    actions += self._placement.consider(line, now)
        manager.drop(event.worker, event.context)
        return actions

    def _hold_template(self, event: TemplateHeld, now: float) -> list[Action]:
        manager = self._books.managers[event.manager]
        if not self.enter_template(manager, event.contexts) or manager.ordered:
            return []
        return self._placement.serve(manager, now)

    def enter_template(self, manager: Manager, contexts: tuple[Digest, ...]) -> bool:
        """Enter that workers can be forked with some contexts. False if that was known."""
        if contexts in manager.templates:
            return False
        manager.templates[contexts] = None
        manager.taken = None
        self._builds.follow_template(contexts, manager)
        for line in self._lines_within(contexts):
            line.pair(manager).templates += 1
            self._placement.count(line, manager)
        return True

    def _drop_template(self, event: TemplateGone, now: float) -> list[Action]:
        manager = self._books.managers[event.manager]
        if event.contexts not in manager.templates:
            return []
        del manager.templates[event.contexts]
        manager.taken = None
        for context in event.contexts if event.was_evicted else ():
            record = self._books.records.get(context)
            if record is not None and not any(context in other for other in manager.templates):
                record.on(event.manager).evictions += 1
        actions: list[Action] = []
        for line in self._lines_within(event.contexts):
            line.pair(manager).templates -= 1
            self._placement.count(line, manager)
            if line.waiting:
                actions += self._placement.consider(line, now)
        return actions

    def _lines_within(self, contexts: tuple[Digest, ...]) -> list[ClusterLine]:
        """Lines whose calls need some of these contexts, and no others."""
        lines = dict.fromkeys(line for context in contexts for line in self._books.lines_of.get(context, ()))
        return [line for line in lines if not line.is_anywhere and set(contexts).issuperset(line.lane.contexts)]

    def _note(self, event: ContextNoted, now: float) -> list[Action]:
        record = self._books.records.get(event.context)
        if record is None:
            return []
        record.on(event.manager).note = event.note
        actions: list[Action] = []
        if not event.is_shared:
            record.unshared.add(event.manager)
            self._builds.resize()
            for line in self._books.lines_of.get(event.context, ()):
                manager = self._books.managers[event.manager]
                if not line.is_anywhere:
                    self._builds.unshare(line, manager)
                    self._placement.count(line, manager)
                    actions += self._placement.consider(line, now)
        return actions

    def _settle(self, event: BuildSettled, now: float) -> list[Action]:
        """An order has ended. What it built serves one of the calls it was built for, before anything else."""
        manager = self._books.managers[event.manager]
        line = self._builds.end(event.order)
        manager.resume(max(1, manager.free))
        actions: list[Action] = []
        if line is not None:
            has_worker = not manager.slotless[line] or manager.free > 0
            self._builds.settle(line, manager)
            if has_worker:
                actions += self._placement.send_first(line, manager, now)
        actions.append(ReleaseBuild(order=event.order, manager=manager.id))
        actions += self._placement.serve(manager, now, line)
        return actions if line is None or not line.waiting else actions + self._placement.consider(line, now)

    def _end_build(self, event: BuildEnded, now: float) -> list[Action]:
        manager = self._books.managers[event.manager]
        _stop_building(manager, event.context)
        if (record := self._books.records.get(event.context)) is not None:
            record.succeed(event.manager, event.load_s, event.size_bytes, now)
            self._builds.resize()
        return []

    def _break_build(self, event: BuildBroke, now: float) -> list[Action]:
        manager = self._books.managers[event.manager]
        _stop_building(manager, event.context)
        record = self._books.records.get(event.context)
        if record is not None:
            record.fail(event.manager, now, event.kinds)
            self._books.at(record.pause_until, lambda now: self._end_pause(event.context, now))
        manager.resume(max(1, manager.free))
        actions = self._take_back(event.manager, event.tasks, now)
        if record is not None and record.given_up:
            for line in list(self._books.lines_of.get(event.context, ())):
                actions += self.fail_line(line, event.context)
        return actions

    def _end_pause(self, context: Digest, now: float) -> list[Action]:
        record = self._books.records.get(context)
        if record is None or now < record.pause_until:
            return []
        record.end_pause()
        actions: list[Action] = []
        for line in self._books.lines_of.get(context, ()):
            actions += self._placement.place_all(line, now)
        return actions

    def _refuse(self, event: BuildRefused, now: float) -> list[Action]:
        lines = [line for line in self._books.lines.values() if line.lane.contexts == event.contexts]
        actions: list[Action] = []
        for line in lines:
            if not line.is_anywhere:
                line.refused[event.manager] = event.reason
                actions += self._placement.consider(line, now)
        return actions

    def _evict(self, context: Digest) -> list[Action]:
        if (record := self._books.records.get(context)) is not None:
            record.wanted = False
        return [
            SendEviction(context=context, manager=manager.id)
            for manager in self._books.managers.values()
            if manager.holds(context) or context in manager.building
        ]

    def _forget(self, digest: Digest) -> None:
        self._books.run.pop(digest, None)
        if self._books.records.pop(digest, None) is not None:
            self._builds.resize()
        for line in self._books.lines_of.pop(digest, []):
            self._books.lines.pop(line.lane, None)
            line.take_all()
            self._builds.reckon(line)
            code = line.lane.runs
            if code is not None and line in self._books.lines_of.get(code, ()):
                self._books.lines_of[code].remove(line)
            for other in line.lane.contexts:
                if other != digest and line in self._books.lines_of.get(other, ()):
                    self._books.lines_of[other].remove(line)
                    for pair in line.pairs.values():
                        self._books.records[other].keep(pair.holder.id, pair.calls, pair.used_at)
            for manager in list(line.pairs):
                line.part(manager)

    def fail_line(self, line: ClusterLine, context: Digest) -> list[Action]:
        """A context was given up: the calls that wait for it cannot run."""
        tasks = self._placement.drop_waiting(line)
        attempts = self._books.records[context].failures
        return [FailBuild(tasks=tasks, context=context, attempts=attempts)] if tasks else []


def _stop_building(manager: Manager, context: Digest) -> None:
    begun = manager.building.pop(context, [])[1:]  # which one it was is not said: take the first
    if begun:
        manager.building[context] = begun
