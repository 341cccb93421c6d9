"""Which calls of a map travel as one task, and how many, found from the run time of those that ended."""

from __future__ import annotations

import itertools
import queue
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from parsl_context.apps.delivery import Give, Sent
from parsl_context.apps.futures import withdraw

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


def in_order(
    items: Iterator[tuple[Any, ...]],
    submit: Callable[[list[tuple[Any, ...]]], Future[Any]],
    sizer: ChunkSizer,
    max_pending: int,
    give: Give,
) -> Iterator[Any]:
    """Results of items in their order.

    Parameters
    ----------
    items
        What is to be sent.
    submit
        Sends a chunk; its future has as many results.
    sizer
        How many items are in one.
    max_pending
        Chunks that may wait or run at a time.
    give
        What to do with what a call raised.
    """
    pending: deque[Sent] = deque()
    count = 0
    try:
        while True:
            while len(pending) < max_pending and (chunk := list(itertools.islice(items, sizer.size))):
                pending.append(sent := Sent(chunk, count))
                sent.future = submit(chunk)
                count += len(chunk)
            if not pending:
                return
            yield from pending[0].results(give)
            pending.popleft()
    finally:
        _let_go(pending)


class Groups(Generic[_Group]):
    """Items on their way, where those of one group travel together.

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

    def __init__(
        self,
        items: Iterator[tuple[_Group, Any]],
        submit: Callable[[_Group, list[Any]], Future[Any]],
        sizer: ChunkSizer,
        max_pending: int,
    ) -> None:
        self._items = enumerate(items)
        self._submit = submit
        self._sizer = sizer
        self._max_pending = max_pending
        self._filling: dict[int, tuple[_Group, Sent]] = {}
        self._pending: dict[int, Sent] = {}  # sent, and not all of its results were taken
        self._ended: queue.SimpleQueue[Sent] = queue.SimpleQueue()

    def in_order(self, give: Give) -> Iterator[Any]:
        """Results in the order of the items."""
        order: deque[tuple[Sent, int]] = deque()
        try:
            while True:
                order.extend(self._read_ahead(len(order)))
                if not order:
                    return
                chunk, index = order.popleft()
                yield chunk.result(index, give)
                if index == len(chunk.items) - 1:
                    del self._pending[id(chunk)]
        finally:
            _let_go(self._pending.values())

    def as_they_end(self, give: Give) -> Iterator[Any]:
        """Results as soon as they are there."""
        try:
            while True:
                self._read_ahead(0)
                if not self._pending:
                    return
                chunk = self._ended.get()
                yield from chunk.results(give)
                del self._pending[id(chunk)]
        finally:
            _let_go(self._pending.values())

    def _read_ahead(self, waiting: int) -> list[tuple[Sent, int]]:
        """Read and send as many items as may be, if so many wait. Gives for each its chunk, and its place there."""
        found: list[tuple[Sent, int]] = []
        while len(self._pending) < self._max_pending and waiting + len(found) < self._max_pending * self._sizer.size:
            try:
                number, (group, item) = next(self._items)
            except StopIteration:
                break
            _, chunk = self._filling.setdefault(id(group), (group, Sent()))
            found.append((chunk, len(chunk.items)))
            chunk.items.append(item)
            chunk.numbers.append(number)
            if len(chunk.items) >= self._sizer.size:
                self._send(group, chunk)
        for group, chunk in list(self._filling.values()):
            self._send(group, chunk)
        return found

    def _send(self, group: _Group, chunk: Sent) -> None:
        del self._filling[id(group)]
        self._pending[id(chunk)] = chunk
        chunk.future = self._submit(group, chunk.items)
        chunk.future.add_done_callback(lambda _: self._ended.put(chunk))


def _let_go(pending: Iterable[Sent]) -> None:
    """Nobody takes these results: their calls need not run."""
    withdraw([sent.future for sent in pending if sent.future is not None])
