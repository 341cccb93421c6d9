"""How long large values stay that calls have in common: in the script, and on a node with other memory. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from parsl_context.wire.messages import TaskId

KEPT_S = 10.0  # after the last call that named it: a loop that waits for each call finds it there. [s]
KEPT_SHARE = 0.125  # of the memory, for what no call names at present


@dataclass
class _Value:
    size: int
    recurs: bool
    users: set[TaskId] = field(default_factory=set)
    idle_since: float = 0.0


class Kept:
    """Which segments are to stay: those that calls name, and for a while those that several calls have named.

    A value that one call alone has named goes with that call: most values are never seen again. The cost of an event
    does not grow with the number of values.

    Parameters
    ----------
    most_bytes
        Of those that no call names.
    """

    def __init__(self, most_bytes: float) -> None:
        self._most_bytes = most_bytes
        self._values: dict[str, _Value] = {}
        self._idle: dict[str, None] = {}  # those that no call names, longest first
        self._idle_bytes = 0

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def use(self, name: str, size: int, task: TaskId, *, recurs: bool = False) -> bool:
        """A call names a segment. Gives whether others have done so.

        Parameters
        ----------
        recurs
            They have, as is known from elsewhere.
        """
        value = self._values.setdefault(name, _Value(size, recurs))
        value.recurs = value.recurs or recurs or bool(value.users - {task})
        value.users.add(task)
        self._wake(name, value)
        return value.recurs

    def release(self, names: Iterable[str], task: TaskId, now: float) -> list[str]:
        """A call has ended that named these; nothing happens if that was said before. Gives those that are to go."""
        gone = []
        for name in names:
            value = self._values.get(name)
            if value is None or task not in value.users:
                continue
            value.users.discard(task)
            if value.users:
                continue
            if value.recurs and value.size <= self._most_bytes:
                value.idle_since = now
                self._idle[name] = None
                self._idle_bytes += value.size
            else:
                del self._values[name]
                gone.append(name)
        while self._idle_bytes > self._most_bytes:
            gone.append(self._end_oldest())
        return gone

    def lose(self, names: Iterable[str]) -> list[str]:
        """No more calls will name these. Gives those that are to go now; the others go with their calls."""
        gone = []
        for name in names:
            if (value := self._values.get(name)) is not None:
                value.recurs = False
                if not value.users:
                    self._wake(name, self._values.pop(name))
                    gone.append(name)
        return gone

    def expire(self, now: float) -> list[str]:
        """Gives those that no call has named for too long, which go."""
        gone = []
        while self._idle and self._values[next(iter(self._idle))].idle_since + KEPT_S <= now:
            gone.append(self._end_oldest())
        return gone

    def give_up(self) -> list[str]:
        """Room is short. Gives those that no call names, which go."""
        return [self._end_oldest() for _ in list(self._idle)]

    def forget(self) -> list[str]:
        """No call is left. Gives all, which go."""
        gone = list(self._values)
        self._values, self._idle, self._idle_bytes = {}, {}, 0
        return gone

    def next_deadline(self) -> float | None:
        """When the first of those that no call names is to go."""
        return self._values[next(iter(self._idle))].idle_since + KEPT_S if self._idle else None

    def _wake(self, name: str, value: _Value) -> None:
        if name in self._idle:
            del self._idle[name]
            self._idle_bytes -= value.size

    def _end_oldest(self) -> str:
        name = next(iter(self._idle))
        self._wake(name, self._values.pop(name))
        return name
