"""Calls whose large arguments are on their way to this node. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from parsl_context.wire.messages import TaskId


@dataclass
class Arrivals:
    """Which calls wait for which segments. A call, or the first of a batch, may wait for several.

    Attributes
    ----------
    waiting : dict
        Of each call that waits, what has not come.
    """

    waiting: dict[TaskId, set[str]] = field(default_factory=dict)
    _by_name: dict[str, list[TaskId]] = field(default_factory=dict)

    def add(self, task: TaskId, names: Collection[str]) -> list[str]:
        """A call waits for these. Gives those that nobody has asked for yet."""
        new = [name for name in names if name not in self._by_name]
        self.waiting[task] = set(names)
        for name in names:
            self._by_name.setdefault(name, []).append(task)
        return new

    def came(self, name: str) -> list[TaskId]:
        """A segment is here. Gives the calls that wait for nothing more."""
        ready = []
        for task in self._by_name.pop(name, ()):
            if (left := self.waiting.get(task)) is not None:
                left.discard(name)
                if not left:
                    del self.waiting[task]
                    ready.append(task)
        return ready

    def failed(self, name: str) -> list[TaskId]:
        """A segment does not come. Gives the calls that waited for it."""
        found = [task for task in self._by_name.pop(name, ()) if task in self.waiting]
        self.take_back(found)
        return found

    def take_back(self, tasks: Iterable[TaskId]) -> list[TaskId]:
        """Nobody wants these here. Gives those that waited."""
        return [task for task in tasks if self.waiting.pop(task, None) is not None]

    def wanted(self, name: str) -> bool:
        """Whether a call waits for a segment."""
        return any(name in self.waiting.get(task, ()) for task in self._by_name.get(name, ()))
