"""Which calls of a map travel as one task; how many, `chunk_sizes.py` says."""

from __future__ import annotations

import itertools
import queue
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from parsl_context.apps.chunk_sizes import ChunkSizes
from parsl_context.apps.delivery import Give, Sent
from parsl_context.apps.futures import withdraw

PATIENCE_S = 0.005  # some round trips within a host; nothing beside calls that take longer. [s]

_Group = TypeVar("_Group")


def in_order(
    items: Iterator[tuple[Any, ...]],
    submit: Callable[[list[tuple[Any, ...]]], Future[Any]],
    sizes: ChunkSizes,
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
    sizes
        How many items are in one.
    max_pending
        Chunks that may wait or run at a time.
    give
        What to do with what a call raised.
    """
    pending: deque[Sent] = deque()
    room = _Room(sizes, max_pending)
    count = 0
    is_over = False
    try:
        while True:
            while not is_over and room.has_place(pending):
                if not (chunk := list(itertools.islice(items, sizes.size))):
                    is_over = True
                    break
                pending.append(sent := Sent(chunk, count))
                sent.future = submit(chunk)
                room.watch(sent.future)
                count += len(chunk)
            if not pending:
                return
            if is_over or pending[0].has_ended or not room.waits(pending):
                yield from pending[0].results(give)
                pending.popleft()
    finally:
        _let_go(pending)


class _Room:
    """Whether more tasks of a map are sent.

    The script has all of them on their way before the first is back, if it goes on: what calls take is known too late
    then. So it stops for a moment when workers have enough to do, and sends larger tasks if one ends meanwhile.
    """

    def __init__(self, sizes: ChunkSizes, max_pending: int) -> None:
        self._sizes = sizes
        self._max_pending = max_pending
        self._has_ended = threading.Event()  # a task, since we looked
        self._is_patient = True  # no task took longer than what is waited, since one has ended

    def watch(self, future: Future[Any]) -> None:
        """A task was sent."""
        future.add_done_callback(self._ended)

    def _ended(self, _: Future[Any]) -> None:
        self._is_patient = True
        self._has_ended.set()

    def has_place(self, pending: Collection[Sent]) -> bool:
        """Whether one more is to be sent now."""
        return len(pending) < self._max_pending and not (self._is_patient and self._are_enough(pending))

    def waits(self, pending: Collection[Sent]) -> bool:
        """Wait a moment for a task to end, if more are to be sent afterwards. Whether it did."""
        if len(pending) >= self._max_pending or self.has_place(pending):
            return False
        self._is_patient = self._has_ended.wait(PATIENCE_S)
        self._has_ended.clear()
        if not self._is_patient:
            self._sizes.are_late()
        return True

    def _are_enough(self, pending: Collection[Sent]) -> bool:
        enough = self._sizes.enough
        return len(pending) >= enough and sum(not sent.has_ended for sent in pending) >= enough


class Groups(Generic[_Group]):
    """Items on their way, where those of one group travel together.

    Parameters
    ----------
    items
        Groups, told apart by identity, and what is to be sent.
    submit
        Sends a chunk of one group; its future has as many results.
    sizes
        How many items are in one.
    max_pending
        Chunks that may wait or run at a time; so many times the size of one is read ahead.
    """

    def __init__(
        self,
        items: Iterator[tuple[_Group, Any]],
        submit: Callable[[_Group, list[Any]], Future[Any]],
        sizes: ChunkSizes,
        max_pending: int,
    ) -> None:
        self._items = enumerate(items)
        self._submit = submit
        self._sizes = sizes
        self._max_pending = max_pending
        self._filling: dict[int, tuple[_Group, Sent]] = {}
        self._pending: dict[int, Sent] = {}  # sent, and not all of its results were taken
        self._ended: queue.SimpleQueue[Sent] = queue.SimpleQueue()
        self._room = _Room(sizes, max_pending)
        self._is_over = False

    def in_order(self, give: Give) -> Iterator[Any]:
        """Results in the order of the items."""
        order: deque[tuple[Sent, int]] = deque()
        try:
            while True:
                order.extend(self._read_ahead(len(order)))
                if not order:
                    return
                if not (self._is_over or order[0][0].has_ended) and self._room.waits(self._pending.values()):
                    continue
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
                if not self._is_over and self._ended.empty() and self._room.waits(self._pending.values()):
                    continue
                chunk = self._ended.get()
                yield from chunk.results(give)
                del self._pending[id(chunk)]
        finally:
            _let_go(self._pending.values())

    def _read_ahead(self, waiting: int) -> list[tuple[Sent, int]]:
        """Read and send as many items as may be, if so many wait. Gives for each its chunk, and its place there."""
        found: list[tuple[Sent, int]] = []
        most = self._max_pending * self._sizes.size
        while not self._is_over and self._room.has_place(self._pending.values()) and waiting + len(found) < most:
            try:
                number, (group, item) = next(self._items)
            except StopIteration:
                self._is_over = True
                break
            _, chunk = self._filling.setdefault(id(group), (group, Sent()))
            found.append((chunk, len(chunk.items)))
            chunk.items.append(item)
            chunk.numbers.append(number)
            if len(chunk.items) >= self._sizes.size:
                self._send(group, chunk)
        for group, chunk in list(self._filling.values()):
            self._send(group, chunk)
        return found

    def _send(self, group: _Group, chunk: Sent) -> None:
        del self._filling[id(group)]
        self._pending[id(chunk)] = chunk
        chunk.future = self._submit(group, chunk.items)
        self._room.watch(chunk.future)
        chunk.future.add_done_callback(lambda _: self._ended.put(chunk))


def _let_go(pending: Iterable[Sent]) -> None:
    """Nobody takes these results: their calls need not run."""
    withdraw([sent.future for sent in pending if sent.future is not None])
