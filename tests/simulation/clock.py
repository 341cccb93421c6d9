"""Time that moves from event to event."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Any


class Clock:
    """What happens next, in order of time; at equal times in the order in which it was planned."""

    def __init__(self) -> None:
        self.now = 0.0
        self.happened = 0
        self._plan: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._planned = 0
        self._stopped = False

    def at(self, time: float, action: Callable[..., None], *args: Any) -> None:
        """Have something happen at a time that has not passed."""
        self._planned += 1
        heapq.heappush(self._plan, (time, self._planned, action, args))

    def after(self, delay_s: float, action: Callable[..., None], *args: Any) -> None:
        """Have something happen after a while."""
        self.at(self.now + delay_s, action, *args)

    def stop(self) -> None:
        """`run` returns after what happens now."""
        self._stopped = True

    def run(self, until: float = math.inf) -> None:
        """Let everything happen that is planned up to a time, which it is then; without one, until nothing is left."""
        self._stopped = False
        plan = self._plan
        while plan and plan[0][0] <= until and not self._stopped:
            self.now, _, action, args = heapq.heappop(plan)
            self.happened += 1
            action(*args)
        if until != math.inf and not self._stopped:
            self.now = max(self.now, until)

    @property
    def next_at(self) -> float:
        """When the next thing happens; infinity if nothing will."""
        return self._plan[0][0] if self._plan else math.inf
