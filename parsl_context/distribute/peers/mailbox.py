"""Calls from other threads into the thread of an event loop."""

from __future__ import annotations

import contextlib
import socket
from collections import deque
from collections.abc import Callable

from parsl_context.wire.eventloop import EventLoop


class Mailbox:
    """Has calls made in the thread that runs a loop, in order. `put` may be used from any thread."""

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop
        self._calls: deque[Callable[[], None]] = deque()
        self._reader, self._writer = socket.socketpair()
        for end in (self._reader, self._writer):
            end.setblocking(False)
        loop.watch(self._reader, self._empty)

    def put(self, call: Callable[[], None]) -> None:
        """Have a call made soon."""
        self._calls.append(call)
        with contextlib.suppress(BlockingIOError, OSError):  # it is awake anyway; or closed
            self._writer.send(b"\0")

    def _empty(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._reader.recv(4096)
        for _ in range(len(self._calls)):
            self._loop.guard(self._calls.popleft())

    def close(self) -> None:
        """What was put and not called will not be."""
        self._loop.unwatch(self._reader)
        self._reader.close()
        self._writer.close()
