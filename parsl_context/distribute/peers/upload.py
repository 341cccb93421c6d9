"""The serving end of a connection: a node that has a key asks for chunks of one file, one after the other."""

from __future__ import annotations

import logging
import secrets
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from parsl_context.distribute.peers.chunks import ChunkedFile
from parsl_context.distribute.peers.faults import ended_by_faults
from parsl_context.distribute.peers.framing import (
    GREETING_BYTES,
    RANDOM_BYTES,
    Greeting,
    Kind,
    Opener,
    Sealer,
    directions,
)
from parsl_context.distribute.peers.pace import Pace
from parsl_context.errors import MessageError
from parsl_context.wire.eventloop import EventLoop, Timer
from parsl_context.wire.ids import Digest
from parsl_context.wire.tickets import key_of

logger = logging.getLogger(f"parsl.{__name__}")

GREETING_S = 5.0  # time that a connection has to say whose it is
IDLE_S = 30.0  # after which one that asks for nothing is closed
STUCK_S = 5.0  # after which one is closed that takes nothing of what it asked for
_MOST_WANTED = 64  # chunks that one may ask for ahead


class Server(Protocol):
    """What an upload needs of the one that accepted it."""

    secret: bytes

    def file(self, blob: Digest) -> ChunkedFile | None:
        """The file that is served under this name."""

    def lost(self, blob: Digest) -> None:
        """A file is not there any more."""

    def take_turn(self, upload: Upload) -> bool:
        """Whether it may send a chunk now; otherwise it is called when it may."""

    def end_turn(self, upload: Upload) -> None:
        """It has sent a chunk, or will not."""

    def ended(self, upload: Upload, reason: str, *, was_known: bool) -> None:
        """It is closed."""


class Upload:
    """One connection that was accepted."""

    def __init__(
        self,
        loop: EventLoop,
        sock: socket.socket,
        server: Server,
        clock: Callable[[], float],
        address: str,
        most: float | None,
    ) -> None:
        self._pace = Pace(sock, most)
        self.address = address
        self._loop = loop
        self._socket = sock
        self._server = server
        self._clock = clock
        self._greeting = bytearray()
        self._blob: Digest | None = None
        self._opener: Opener | None = None
        self._sealer: Sealer | None = None
        self._wanted: deque[int] = deque()
        self._out: deque[memoryview] = deque()
        self._has_turn = False
        self._is_known = False  # it has proved that it has the key
        self._last_at = clock()
        self.is_closed = False
        loop.watch(sock, self._readable)
        self._timer: Timer = loop.call_later(GREETING_S, self._check)

    def send_next(self) -> None:
        """Send a chunk: it is this connection's turn."""
        self._has_turn = True
        chunk = self._wanted.popleft()
        assert self._sealer is not None
        assert self._blob is not None
        file = self._server.file(self._blob)
        data = None
        if file is not None and file.has(chunk):
            try:
                data = file.read(chunk)
            except FileNotFoundError:
                self._server.lost(self._blob)
            except OSError as error:
                logger.warning("Chunk %d of file %s cannot be read: %s", chunk, self._blob, error)
        frame = self._sealer.seal(Kind.LACK, chunk) if data is None else self._sealer.seal(Kind.CHUNK, chunk, data)
        self._out.extend(map(memoryview, frame))
        self._writable()

    def close(self, reason: str) -> None:
        """End the connection."""
        if self.is_closed:
            return
        self.is_closed = True
        self._timer.cancel()
        self._loop.unwatch(self._socket)
        self._socket.close()
        self._out.clear()
        self._end_turn()
        self._server.ended(self, reason, was_known=self._is_known)

    # --- in

    def _readable(self) -> None:
        with ended_by_faults(self.close):
            while not self.is_closed and self._read():
                pass

    def _read(self) -> bool:
        """Read once. False at the end."""
        if self._opener is None:
            data = self._socket.recv(GREETING_BYTES - len(self._greeting))
            self._greeting += data
            if len(self._greeting) == GREETING_BYTES:
                self._answer(Greeting.unpack(bytes(self._greeting)))
        else:
            count, frame = self._opener.read(self._socket)
            data = b"\0" * bool(count)
            if frame is not None:
                self._want(frame.kind, frame.chunk)
        if not data:
            self.close("it was closed by the other side")
        return bool(data)

    def _answer(self, greeting: Greeting) -> None:
        self._blob = greeting.blob
        random = secrets.token_bytes(RANDOM_BYTES)
        key = key_of(self._server.secret, greeting.ticket, greeting.blob)
        receiving, sending = directions(key, greeting.random, random)
        self._opener, self._sealer = Opener(receiving, 0), Sealer(sending)
        self._out.append(memoryview(random))
        self._writable()

    def _want(self, kind: Kind, chunk: int) -> None:
        if kind is not Kind.WANT or len(self._wanted) >= _MOST_WANTED:
            raise MessageError("It says something else than what it wants, or wants too much.")
        self._is_known = True
        self._last_at = self._clock()
        self._wanted.append(chunk)
        self._go_on()

    def _go_on(self) -> None:
        if self._wanted and not self._has_turn and not self._out and self._server.take_turn(self):
            self.send_next()

    # --- out

    def _writable(self) -> None:
        try:
            while self._out:
                sent = self._socket.send(self._out[0])
                self._last_at = self._clock()
                self._pace.adjust(self._last_at)
                if sent < len(self._out[0]):
                    self._out[0] = self._out[0][sent:]
                else:
                    self._out.popleft()
        except BlockingIOError:
            self._loop.watch_writable(self._socket, self._writable)
            return
        except OSError as error:
            self.close(str(error))
            return
        self._loop.watch_writable(self._socket, None)
        self._end_turn()
        self._go_on()

    def _end_turn(self) -> None:
        if self._has_turn:
            self._has_turn = False
            self._server.end_turn(self)

    def _check(self) -> None:
        """Close a connection that is of no use."""
        idle_s = self._clock() - self._last_at
        if self._out and idle_s >= STUCK_S:
            self.close("it does not take what it asked for")
        elif not self._is_known or idle_s >= IDLE_S:
            self.close("it asked for nothing")
        else:
            self._timer = self._loop.call_later(STUCK_S, self._check)


def now() -> float:
    """Clock of uploads and downloads. [s]"""
    return time.monotonic()
