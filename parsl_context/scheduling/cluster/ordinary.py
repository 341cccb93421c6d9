"""Where calls without contexts cannot run: on managers whose environment for them cannot be used, as these say.

Such a manager is sent none for a while, longer each time, and others are. If there is no other, calls fail at once.
"""

from __future__ import annotations

from parsl_context.wire.messages import ManagerId

_FIRST_PAUSE_S = 1.0  # before the second attempt; doubles with each one
_LONGEST_PAUSE_S = 60.0


class Refusals:
    """Managers that refuse ordinary calls."""

    def __init__(self) -> None:
        self._reasons: dict[ManagerId, str] = {}  # of open ones that refuse them now
        self._counts: dict[ManagerId, int] = {}  # in a row

    def __contains__(self, manager: ManagerId) -> bool:
        return manager in self._reasons

    def __len__(self) -> int:
        return len(self._reasons)

    @property
    def reason(self) -> str:
        """Why one of them does, for people."""
        return next(iter(self._reasons.values()))

    def add(self, manager: ManagerId, reason: str) -> float:
        """A manager refuses them. Gives for how long it is sent none. [s]"""
        self._reasons[manager] = reason
        count = self._counts[manager] = self._counts.get(manager, 0) + 1
        return min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** (count - 1))

    def end_pause(self, manager: ManagerId) -> None:
        """It may be sent some again."""
        self._reasons.pop(manager, None)

    def forget(self, manager: ManagerId) -> None:
        """It takes no calls any more, or has run some."""
        self._reasons.pop(manager, None)
        self._counts.pop(manager, None)
