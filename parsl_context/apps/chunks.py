"""Which calls of a map travel as one task, and how many, found from the run time of those that ended."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

_Group = TypeVar("_Group")


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


class _Chunk:
    """Items of one group."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.future: Future[Any] | None = None
        self.taken = 0  # results that were given out


def in_groups(
    items: Iterator[tuple[_Group, Any]],
    submit: Callable[[_Group, list[Any]], Future[Any]],
    sizer: ChunkSizer,
    max_pending: int,
) -> Iterator[Any]:
    """Results of items in their order, where those of one group travel together.

    Parameters
    ----------
    items
        Groups, told apart by identity, and what is to be sent.
    submit
        Sends a chunk of one group; its future has as many results.
    sizer
        How many items are in one.
    max_pending
        Chunks that may wait or run at a time; so many times the size of one is read ahead.
    """
    filling: dict[int, tuple[_Group, _Chunk]] = {}
    order: deque[tuple[_Chunk, int]] = deque()
    pending = 0

    def send(group: _Group, chunk: _Chunk) -> None:
        nonlocal pending
        del filling[id(group)]
        chunk.future = submit(group, chunk.items)
        pending += 1

    is_over = False
    while True:
        while not is_over and pending < max_pending and len(order) < max_pending * sizer.size:
            try:
                group, item = next(items)
            except StopIteration:
                is_over = True
                break
            _, chunk = filling.setdefault(id(group), (group, _Chunk()))
            order.append((chunk, len(chunk.items)))
            chunk.items.append(item)
            if len(chunk.items) >= sizer.size:
                send(group, chunk)
        for group, chunk in list(filling.values()):
            send(group, chunk)
        if not order:
            return
        chunk, index = order.popleft()
        assert chunk.future is not None
        yield chunk.future.result()[index]
        chunk.taken += 1
        pending -= chunk.taken == len(chunk.items)
