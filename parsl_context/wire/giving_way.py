"""Letting those run first whom a message has just woken.

The kernel likes to wake a reader on the core of the writer, where it waits until the writer sleeps, even if other cores
are idle. A writer that goes on with what is less urgent had better yield. Where other programs want the core that takes
long, so it is not done again for a while.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable

# Whoever is woken, and whom these wake, have done what is urgent by then; programs that compute keep a core longer. [s]
_LONG_S = 0.001
_PAUSES_S = (0.01, 1.0)  # after one that took long, and the longest after several


class GivingWay:
    """Yields the core, for as long as that is short."""

    def __init__(self, give: Callable[[], None] = os.sched_yield, clock: Callable[[], float] = time.monotonic) -> None:
        self._give = give
        self._clock = clock
        self._paused_until = -math.inf
        self._pause_s = _PAUSES_S[0]

    def __call__(self) -> None:
        """Let others run first, unless that took long lately."""
        begin = self._clock()
        if begin < self._paused_until:
            return
        self._give()
        end = self._clock()
        if end - begin <= _LONG_S:
            self._pause_s = _PAUSES_S[0]
        else:
            self._paused_until = end + self._pause_s
            self._pause_s = min(2 * self._pause_s, _PAUSES_S[1])
