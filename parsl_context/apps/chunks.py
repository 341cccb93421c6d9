"""Which calls of a map travel as one task, and how many, found from the run time of those that ended."""

from __future__ import annotations

import itertools
import queue
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

from parsl_context.apps.delivery import Sent
from parsl_context.apps.futures import withdraw

Give = Callable[[Any], Any]
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
                pending.append(sent := Sent(chunk, range(count, count + len(chunk))))
                sent.future = submit(chunk)
                count += len(chunk)
            if not pending:
                return
            yield from pending[0].results(give)
            pending.popleft()
    finally:
        _let_go(pending)


def in_groups(
    items: Iterator[tuple[_Group, Any]],
    submit: Callable[[_Group, list[Any]], Future[Any]],
    sizer: ChunkSizer,
    max_pending: int,
    give: Give,
) -> Iterator[Any]:
    """Results of items in their order, where those of one group travel together.

    Parameters
    ----------
    items
        Groups, told apart by identity, and what is to be sent.
    submit
        Sends a chunk of one group; its future has as many results.
    max_pending
        Chunks that may wait or run at a time; so many times the size of one is read ahead.
    """
    filling: dict[int, tuple[_Group, Sent]] = {}
    order: deque[tuple[Sent, int]] = deque()
    pending: dict[int, Sent] = {}
    count = 0

    def send(group: _Group, chunk: Sent) -> None:
        del filling[id(group)]
        pending[id(chunk)] = chunk
        chunk.future = submit(group, chunk.items)

    is_over = False
    try:
        while True:
            while not is_over and len(pending) < max_pending and len(order) < max_pending * sizer.size:
                try:
                    group, item = next(items)
                except StopIteration:
                    is_over = True
                    break
                _, chunk = filling.setdefault(id(group), (group, Sent([], [])))
                order.append((chunk, len(chunk.items)))
                chunk.items.append(item)
                chunk.numbers.append(count)  # type: ignore[attr-defined]
                count += 1
                if len(chunk.items) >= sizer.size:
                    send(group, chunk)
            for group, chunk in list(filling.values()):
                send(group, chunk)
            if not order:
                return
            chunk, index = order.popleft()
            yield chunk.result(index, give)
            chunk.taken += 1
            if chunk.taken == len(chunk.items):
                del pending[id(chunk)]
    finally:
        _let_go(pending.values())


def as_they_end(
    items: Iterator[tuple[_Group, Any]],
    submit: Callable[[_Group, list[Any]], Future[Any]],
    sizer: ChunkSizer,
    max_pending: int,
    give: Give,
) -> Iterator[Any]:
    """As `in_groups`, but results come as soon as they are there."""
    filling: dict[int, tuple[_Group, Sent]] = {}
    ended: queue.SimpleQueue[Sent] = queue.SimpleQueue()
    pending: dict[int, Sent] = {}
    count = 0

    def send(group: _Group, chunk: Sent) -> None:
        del filling[id(group)]
        pending[id(chunk)] = chunk
        chunk.future = submit(group, chunk.items)
        chunk.future.add_done_callback(lambda _: ended.put(chunk))

    is_over = False
    try:
        while True:
            waiting = 0
            while not is_over and len(pending) < max_pending and waiting < max_pending * sizer.size:
                try:
                    group, item = next(items)
                except StopIteration:
                    is_over = True
                    break
                _, chunk = filling.setdefault(id(group), (group, Sent([], [])))
                chunk.items.append(item)
                chunk.numbers.append(count)  # type: ignore[attr-defined]
                count += 1
                waiting += 1
                if len(chunk.items) >= sizer.size:
                    send(group, chunk)
            for group, chunk in list(filling.values()):
                send(group, chunk)
            if not pending:
                return
            chunk = ended.get()
            yield from chunk.results(give)
            del pending[id(chunk)]
    finally:
        _let_go(pending.values())


def _let_go(pending: Iterable[Sent]) -> None:
    """Nobody takes these results: their calls need not run."""
    withdraw([sent.future for sent in pending if sent.future is not None])
