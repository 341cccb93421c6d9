"""One event loop for the processes that move messages: file descriptors, ZeroMQ sockets, timers.

Used by the interchange and the manager, one thread each. It sleeps until something happens; nothing here polls on a
fixed period. A ZeroMQ socket announces events edge-triggered on its descriptor and any use of it may swallow the edge:
the sockets themselves are asked before the loop sleeps, if one was used or announced something since they were asked
last (ZeroMQ manual, zmq_getsockopt, ZMQ_FD).
"""

from __future__ import annotations

import heapq
import itertools
import logging
import select
import time
from collections.abc import Callable
from typing import Any

import zmq

from parsl_context.wire.codec import Frames

logger = logging.getLogger(f"parsl.{__name__}")

# Messages taken from one socket before the others get their turn.
_MESSAGES_PER_TURN = 256


class Timer:
    """A call at a later time. `cancel` may be called at any time, also from within the call."""

    __slots__ = ("at", "call", "cancelled")

    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at = at
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class _Watched:
    """An object that is watched, and what to call."""

    __slots__ = ("fd", "is_watched", "on_readable", "on_writable")

    def __init__(self, fd: int, on_readable: Callable[[], None]) -> None:
        self.fd = fd
        self.on_readable = on_readable
        self.on_writable: Callable[[], None] | None = None
        self.is_watched = True


class EventLoop:
    """Runs handlers until `stop` is called. Not thread-safe."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[Any, _Watched] = {}
        self._by_fd: dict[int, _Watched] = {}
        self._zmq: dict[zmq.Socket[bytes], Callable[[Frames], None]] = {}
        self._polled: list[tuple[zmq.Socket[bytes], int]] = []  # those sockets, as zmq_poll wants them
        self._zmq_used = True  # since those were asked last
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._stopped = False
        self._in_turn = False
        self._at_end: list[Callable[[], None]] = []  # called at the end of this turn
        self.flush: list[Callable[[], None]] = []  # called once at the end of each turn

    def watch(self, fileobj: Any, on_readable: Callable[[], None]) -> None:
        """Call `on_readable` whenever `fileobj` can be read."""
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        self._watched[fileobj] = self._by_fd[fd] = _Watched(fd, on_readable)
        self._epoll.register(fd, select.EPOLLIN)

    def watch_writable(self, fileobj: Any, on_writable: Callable[[], None] | None) -> None:
        """Call `on_writable` while `fileobj`, watched already, can be written; None ends that."""
        watched = self._watched[fileobj]
        watched.on_writable = on_writable
        self._epoll.modify(watched.fd, select.EPOLLIN | (select.EPOLLOUT if on_writable else 0))

    def unwatch(self, fileobj: Any) -> None:
        """Forget a watched object, before it is closed."""
        watched = self._watched.pop(fileobj)
        watched.is_watched = False
        del self._by_fd[watched.fd]
        self._epoll.unregister(watched.fd)

    def watch_zmq(self, socket: zmq.Socket[bytes], on_message: Callable[[Frames], None]) -> None:
        """Call `on_message` with the parts of each message that arrives."""
        self._zmq[socket] = on_message
        self._polled.append((socket, zmq.POLLIN))
        self.watch(_descriptor(socket), self.used_zmq)
        self.used_zmq()

    def unwatch_zmq(self, socket: zmq.Socket[bytes]) -> None:
        """Forget a watched socket, before it is closed."""
        if self._zmq.pop(socket, None) is not None:
            self._polled.remove((socket, zmq.POLLIN))
            self.unwatch(_descriptor(socket))

    def used_zmq(self) -> None:
        """To be called when a watched ZeroMQ socket was used: what it had announced may be forgotten."""
        self._zmq_used = True

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Timer:
        """Call once, `delay_s` seconds from now."""
        timer = Timer(time.monotonic() + delay_s, call)
        heapq.heappush(self._timers, (timer.at, next(self._order), timer))
        return timer

    def at_turn_end(self, call: Callable[[], None]) -> bool:
        """Call once at the end of the turn that is going on. False if none is: nothing will be called."""
        if self._in_turn:
            self._at_end.append(call)
        return self._in_turn

    def stop(self) -> None:
        """Return from `run` at the end of this turn."""
        self._stopped = True

    def run(self) -> None:
        """Run until `stop`. A handler that raises is logged; the loop goes on."""
        self._end_turn()
        while not self._stopped:
            self._in_turn = True
            self._turn()
            self._end_turn()

    def close(self) -> None:
        """Release the descriptors of the loop itself."""
        self._epoll.close()

    def _turn(self) -> None:
        has_messages = self._sockets_with_messages()
        found = self._epoll.poll(0.0 if has_messages else self._patience_s())
        # An earlier handler of this turn may forget an object, and have another take its descriptor.
        for watched, events in [(self._by_fd[fd], events) for fd, events in found]:
            if events & select.EPOLLOUT and watched.is_watched and watched.on_writable is not None:
                self.guard(watched.on_writable)
            if events & ~select.EPOLLOUT and watched.is_watched:
                self.guard(watched.on_readable)
        for socket in has_messages:
            if socket in self._zmq:
                self.used_zmq()
                self._drain(socket, self._zmq[socket])
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            if not timer.cancelled:
                self.guard(timer.call)

    def _end_turn(self) -> None:
        for flush in self.flush:
            self.guard(flush)
        self._in_turn = False
        calls, self._at_end = self._at_end, []
        for call in calls:
            self.guard(call)

    def _patience_s(self) -> float | None:
        if self._stopped:
            return 0.0
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        if not self._timers:
            return None
        return max(0.0, self._timers[0][0] - time.monotonic())

    def _sockets_with_messages(self) -> list[zmq.Socket[bytes]]:
        if not self._zmq_used:
            return []
        found: list[tuple[Any, int]] = zmq.zmq_poll(self._polled, 0) if self._polled else []
        self._zmq_used = False
        return [socket for socket, _ in found]

    def _drain(self, socket: zmq.Socket[bytes], on_message: Callable[[Frames], None]) -> None:
        for _ in range(_MESSAGES_PER_TURN):
            if socket.closed or socket not in self._zmq:
                return
            try:
                parts: Frames = [*socket.recv_multipart(zmq.NOBLOCK)]
            except zmq.Again:
                return
            self.guard(on_message, parts)

    @staticmethod
    def guard(call: Callable[..., None], *args: Any) -> None:
        """Call a handler; what it raises is logged and concerns nobody else."""
        try:
            call(*args)
        except Exception:
            logger.exception("A handler of the event loop failed; the loop goes on")


def _descriptor(socket: zmq.Socket[bytes]) -> int:
    return int(socket.getsockopt(zmq.FD))
