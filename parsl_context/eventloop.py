"""One event loop for the processes that move messages: file descriptors, ZeroMQ sockets, timers.

Used by the interchange and the manager, one thread each. It sleeps until something happens; nothing here polls on a
fixed period. A ZeroMQ socket announces events edge-triggered on its descriptor and any send may swallow the edge, so
each turn asks the sockets themselves before it sleeps (ZeroMQ manual, zmq_getsockopt, ZMQ_FD).
"""

from __future__ import annotations

import heapq
import itertools
import logging
import selectors
import time
from collections.abc import Callable
from typing import Any

import zmq

from parsl_context.codec import Frames

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


class EventLoop:
    """Runs handlers until `stop` is called. Not thread-safe."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._zmq: dict[zmq.Socket[bytes], Callable[[Frames], None]] = {}
        self._polled: list[tuple[zmq.Socket[bytes], int]] = []  # those sockets, as zmq_poll wants them
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._stopped = False
        self._in_turn = False
        self._at_end: list[Callable[[], None]] = []  # called at the end of this turn
        self.flush: list[Callable[[], None]] = []  # called once at the end of each turn

    def watch(self, fileobj: Any, on_readable: Callable[[], None]) -> None:
        """Call `on_readable` whenever `fileobj` can be read."""
        self._selector.register(fileobj, selectors.EVENT_READ, (on_readable, None))

    def watch_writable(self, fileobj: Any, on_writable: Callable[[], None] | None) -> None:
        """Call `on_writable` while `fileobj`, watched already, can be written; None ends that."""
        on_readable = self._selector.get_key(fileobj).data[0]
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if on_writable else 0)
        self._selector.modify(fileobj, events, (on_readable, on_writable))

    def unwatch(self, fileobj: Any) -> None:
        """Forget a watched object, before it is closed."""
        self._selector.unregister(fileobj)

    def watch_zmq(self, socket: zmq.Socket[bytes], on_message: Callable[[Frames], None]) -> None:
        """Call `on_message` with the parts of each message that arrives."""
        self._zmq[socket] = on_message
        self._polled.append((socket, zmq.POLLIN))
        self._selector.register(_descriptor(socket), selectors.EVENT_READ, (None, None))

    def unwatch_zmq(self, socket: zmq.Socket[bytes]) -> None:
        """Forget a watched socket, before it is closed."""
        if self._zmq.pop(socket, None) is not None:
            self._polled.remove((socket, zmq.POLLIN))
            self._selector.unregister(_descriptor(socket))

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
        self._selector.close()

    def _turn(self) -> None:
        has_messages = self._sockets_with_messages()
        patience_s = 0.0 if has_messages else self._patience_s()
        for ready, mask in self._selector.select(patience_s):
            for event in (selectors.EVENT_WRITE, selectors.EVENT_READ):
                # An earlier handler of this turn may have forgotten the object, or another may have its descriptor.
                key = self._selector.get_map().get(ready.fd)
                if mask & event and key is not None and key.fileobj is ready.fileobj:
                    handler = key.data[0 if event == selectors.EVENT_READ else 1]
                    if handler is not None:
                        self.guard(handler)
        for socket in has_messages:
            if socket in self._zmq:
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
        found: list[tuple[Any, int]] = zmq.zmq_poll(self._polled, 0) if self._polled else []
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
