"""How many calls of a map travel as one task, found from the run time of those that ended."""

from __future__ import annotations

import time
from concurrent.futures import Future
from typing import Any


class ChunkSizer:
    """How many calls one task of a map should hold: enough that its own cost does not count."""

    TARGET_S = 0.05  # run time of a task. [s]
    LIMIT = 4096

    def __init__(self, fixed: int | None) -> None:
        self._fixed = fixed
        self._size = 1
        self._last_end = 0.0

    @property
    def size(self) -> int:
        return self._fixed or self._size

    def observe(self, future: Future[Any], calls: int) -> None:
        start = time.monotonic()

        def ended(_: Future[Any]) -> None:
            # Tasks overlap: what counts is the time since the one before ended, if that is later than our start.
            now = time.monotonic()
            per_call_s = max(1e-7, now - max(start, self._last_end)) / calls
            self._last_end = now
            wanted = int(self.TARGET_S / per_call_s)
            self._size = max(1, min(self.LIMIT, wanted, 2 * self._size))

        if self._fixed is None:
            future.add_done_callback(ended)
