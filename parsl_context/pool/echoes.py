"""Printed lines of this node's processes on their way to the script, in batches.

Reading stops for a while when there is more than can be passed on: then the socket fills up, and those who print drop
lines, which costs them less than to send them.
"""

from __future__ import annotations

import platform
import socket
import time

from parsl_context.pool.link import InterchangeLink
from parsl_context.retain import echoing
from parsl_context.wire import messages as m
from parsl_context.wire.allowance import Allowance
from parsl_context.wire.codec import Frames
from parsl_context.wire.eventloop import EventLoop, Timer

_BATCH_S = 0.03  # lines are gathered for so long: nobody reads faster. [s]
_BATCH_PACKETS = 128
_BYTES_PER_S = 1e6
_MOST_BYTES = 256_000.0


class Echoes:
    """Reads packets of lines and sends them on, unopened.

    Parameters
    ----------
    is_expected
        Whether results wait for lines that were printed before.
    """

    def __init__(self, loop: EventLoop, sock: socket.socket, link: InterchangeLink, *, is_expected: bool) -> None:
        self._loop = loop
        self._socket = sock
        self._link = link
        self.is_expected = is_expected
        self._allowance = Allowance(_BYTES_PER_S, _MOST_BYTES)
        self._packets: Frames = []
        self._lines = 0
        self._dropped = 0
        self._timer: Timer | None = None
        self._is_watched = False

    def watch(self) -> None:
        """Begin to read."""
        self._is_watched = True
        self._loop.watch(self._socket, self._readable)

    def flush(self) -> None:
        """Send what was printed by now, if there is not too much of it."""
        self._read()
        self._send()

    def _readable(self) -> None:
        self.is_expected = True
        self._read()
        if self._timer is None:
            self._timer = self._loop.call_later(_BATCH_S, self._gathered)

    def _gathered(self) -> None:
        self._timer = None
        self._send()
        if not self._is_watched and self._allowance.has_some(time.monotonic()):
            self.watch()
        elif not self._is_watched:
            self._timer = self._loop.call_later(_BATCH_S, self._gathered)

    def _read(self) -> None:
        now = time.monotonic()
        while self._is_watched:
            if len(self._packets) >= _BATCH_PACKETS or not self._allowance.has_some(now):
                self._is_watched = False
                self._loop.unwatch(self._socket)
                if self._timer is None:
                    self._timer = self._loop.call_later(_BATCH_S, self._gathered)
                return
            try:
                data = self._socket.recv(echoing.PACKET_BYTES)
            except BlockingIOError:
                return
            try:
                lines, dropped = echoing.counts(data)
            except ValueError:
                if not data:  # nobody holds the other end
                    self._is_watched = False
                    self._loop.unwatch(self._socket)
                    return
                continue
            self._allowance.take(len(data), now)
            self._packets.append(data)
            self._lines += lines
            self._dropped += dropped

    def _send(self) -> None:
        if self._packets:
            said = m.Said(manager=self._link.manager, host=platform.node(), lines=self._lines, dropped=self._dropped)
            packets, self._packets, self._lines, self._dropped = self._packets, [], 0, 0
            self._link.send(said, packets)
