"""The asking end of a connection: gets chunks of one file from one node, and believes nothing of what it sends."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable

from parsl_context.distribute.peers.chunks import ChunkedFile, digest_of
from parsl_context.distribute.peers.framing import RANDOM_BYTES, Frame, Greeting, Kind, Opener, Sealer, directions
from parsl_context.distribute.peers.tuning import tune
from parsl_context.errors import MessageError
from parsl_context.scheduling.transfers.events import Fault
from parsl_context.wire.eventloop import EventLoop, Timer
from parsl_context.wire.ids import Digest
from parsl_context.wire.transfers import Ticket

CONNECT_S = 2.0  # for each address
STALL_S = 2.0  # without a byte of what was asked for
IDLE_S = 15.0  # after which a connection of which nothing is wanted is closed


class Download:
    """One connection to a source. It is made with the first chunk, and closed when nothing is wanted for a while.

    Parameters
    ----------
    way
        Where the source is, at addresses that are tried in order, and what opens it.
    on_chunk
        Called with the number of a chunk that came, was what it should be and is written, and its digest.
    on_fault
        Called with a chunk that did not come, why, and in other words. After the last one it is closed.
    on_end
        Called when it is closed.
    """

    def __init__(
        self,
        loop: EventLoop,
        blob: Digest,
        file: ChunkedFile,
        way: Ticket,
        *,
        on_chunk: Callable[[int, bytes], None],
        on_fault: Callable[[int, Fault, str], None],
        on_end: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._blob = blob
        self._file = file
        self._way = way
        self._on_chunk = on_chunk
        self._on_fault = on_fault
        self._on_end = on_end
        self._wanted: dict[int, bytes | None] = {}  # digests of chunks that were asked for, where they are known
        self._random = secrets.token_bytes(RANDOM_BYTES)
        self._answer = bytearray()
        self._socket: socket.socket | None = None
        self._opener: Opener | None = None
        self._sealer: Sealer | None = None
        self._out = bytearray()
        self._heard = False  # since the last check
        self._is_connected = False
        self._tried = 0
        self._timer: Timer | None = None
        self.is_closed = False

    def want(self, chunk: int, digest: bytes | None) -> None:
        """Ask for a chunk.

        Parameters
        ----------
        digest
            That it must have; None if that is not known yet.
        """
        was_idle = not self._wanted
        self._wanted[chunk] = digest
        if self._sealer is not None:
            self._send(b"".join(self._sealer.seal(Kind.WANT, chunk)))
        if self._socket is None and not self.is_closed:
            self._connect()
        elif was_idle and not self.is_closed and self._is_connected:
            self._watch(STALL_S)

    def withdraw(self, chunk: int) -> bool:
        """Wait for a chunk no longer. The source is not told, so the connection ends, and others are asked for anew."""
        if chunk not in self._wanted:
            return False
        del self._wanted[chunk]
        self.fail(Fault.STALLED, "another chunk took too long")
        return True

    def fail(self, fault: Fault, reason: str) -> None:
        """End, because of the source."""
        if self.is_closed:
            return
        wanted, self._wanted = self._wanted, {}
        self.close()
        for chunk in wanted:
            self._on_fault(chunk, fault, reason)

    def close(self) -> None:
        """End."""
        if not self.is_closed:
            self.is_closed = True
            self._drop()
            self._on_end()

    # --- connecting

    def _connect(self) -> None:
        self._drop()
        if self._tried == len(self._way.addresses):
            self.fail(Fault.BROKEN, f"nobody answers at port {self._way.port} of {', '.join(self._way.addresses)}")
            return
        address = self._way.addresses[self._tried]
        self._tried += 1
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = self._socket = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        tune(sock)
        self._loop.watch(sock, self._readable)
        self._loop.watch_writable(sock, self._writable)
        self._timer = self._loop.call_later(CONNECT_S, self._connect)
        try:
            sock.connect((address, self._way.port))
        except BlockingIOError:
            pass
        except OSError:
            self._timer.cancel()
            self._timer = self._loop.call_later(0.0, self._connect)

    def _drop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            self._loop.unwatch(self._socket)
            self._socket.close()
            self._socket = None
        self._is_connected = False

    def _writable(self) -> None:
        assert self._socket is not None
        if not self._is_connected:
            error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                self._connect()
                return
            self._is_connected = True
            self._out = bytearray(Greeting(self._way.ticket, self._blob, self._random).pack())
            self._answer.clear()
            self._watch(STALL_S)
        self._send(b"")

    def _send(self, data: bytes) -> None:
        assert self._socket is not None
        self._out += data
        try:
            while self._out:
                del self._out[: self._socket.send(self._out)]
            self._loop.watch_writable(self._socket, None)
        except BlockingIOError:
            self._loop.watch_writable(self._socket, self._writable)
        except OSError as error:
            self._broke(error)

    # --- in

    def _readable(self) -> None:
        try:
            while self._socket is not None and self._read():
                self._heard = True
        except BlockingIOError:
            pass
        except MessageError as error:
            self.fail(Fault.FALSE, str(error))
        except OSError as error:
            self._broke(error)
        except Exception:
            self.fail(Fault.BROKEN, "of a mistake here")
            raise

    def _broke(self, error: OSError) -> None:
        if self._is_connected:
            self.fail(Fault.BROKEN, f"the connection broke ({os.strerror(error.errno or 0)})")
        else:
            self._connect()

    def _read(self) -> bool:
        assert self._socket is not None
        if self._opener is None:
            data = self._socket.recv(RANDOM_BYTES - len(self._answer))
            self._answer += data
            count = len(data)
            if len(self._answer) == RANDOM_BYTES:
                self._begin()
            frame = None
        else:
            count, frame = self._opener.read(self._socket)
        if frame is not None:
            self._take(frame)
        elif not count:
            if self._wanted:
                self.fail(Fault.BROKEN, "the connection was closed by the other side")
            else:
                self.close()
        return bool(count)

    def _begin(self) -> None:
        sending, receiving = directions(self._way.key, self._random, bytes(self._answer))
        self._sealer, self._opener = Sealer(sending), Opener(receiving, self._file.chunk_bytes)
        self._send(b"".join(part for chunk in self._wanted for part in self._sealer.seal(Kind.WANT, chunk)))

    def _take(self, frame: Frame) -> None:
        if frame.kind is Kind.WANT or frame.chunk not in self._wanted:
            raise MessageError("It sends what was not asked for.")
        digest = self._wanted[frame.chunk]
        if frame.kind is Kind.LACK:
            del self._wanted[frame.chunk]
            self._on_fault(frame.chunk, Fault.LACKING, "it says that it does not have it")
            return
        found = digest_of(frame.data)
        if len(frame.data) != self._file.span(frame.chunk)[1] or found != (digest or found):
            raise MessageError(f"Chunk {frame.chunk} has another content or size than it should have.")
        del self._wanted[frame.chunk]
        self._file.write(frame.chunk, frame.data)
        self._file.note(frame.chunk, found)
        if not self._wanted:
            self._watch(IDLE_S)
        self._on_chunk(frame.chunk, found)

    # --- time

    def _watch(self, within_s: float) -> None:
        """See to it that something comes, as long as something is wanted."""
        if self._timer is not None:
            self._timer.cancel()
        self._heard = False
        self._timer = self._loop.call_later(within_s, self._check)

    def _check(self) -> None:
        if not self._wanted:
            self.close()
        elif not self._heard:
            self.fail(Fault.STALLED, f"nothing came for {STALL_S:g} s")
        else:
            self._watch(STALL_S)
