"""Message streams over Unix sockets: executor, interchange and managers of one host, and a manager and its workers."""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import os
import socket
from collections import deque
from collections.abc import Callable

from parsl_context.errors import MessageError
from parsl_context.wire.codec import Buffer, Frames, StreamReader, to_stream
from parsl_context.wire.eventloop import EventLoop

logger = logging.getLogger(f"parsl.{__name__}")

_READ_BYTES = 1 << 16  # with 1 << 18 a read of a small message takes 9 us rather than 4: each maps fresh memory
_BUFFERS_PER_SEND = 512  # below IOV_MAX of Linux, 1024
# The system is short of memory for what is on its way: it does not say when that is over.
_SHORT_OF_MEMORY = (errno.ENOBUFS, errno.ENOMEM)
_SHORT_PAUSE_S = 0.02


class Channel:
    """An end that never blocks; what the other end does not read yet is kept and sent when it can be.

    A stream that broke is of no use: what cannot be understood, or an exception while something is read, written or
    heard, ends the channel, as its other end would, and whoever is told settles what was to come over it.

    Parameters
    ----------
    on_message
        Called with the frames of each message.
    on_end
        Called once when the other end is closed, or the stream broke.
    who
        What people call the other end.
    first_bytes
        What is kept of a first message that is not complete, until the other end is `trust`ed; None: anything. [bytes]
    """

    def __init__(
        self,
        loop: EventLoop,
        sock: socket.socket,
        on_message: Callable[[Frames], None],
        on_end: Callable[[], None],
        *,
        who: str,
        first_bytes: int | None = None,
    ) -> None:
        self._loop = loop
        self._socket = sock
        self._reader = StreamReader(first_bytes)
        self._who = who
        self._unsent: deque[Buffer] = deque()
        self._on_message = on_message
        self._on_end = on_end
        self._open = True
        self._will_write = False  # `_write` will be called: at the end of the turn, or when there is room again
        self._is_full = False
        # As little as this, a Unix stream socket takes whole or not at all: it goes into one buffer of the system.
        self._whole_bytes = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // 4
        sock.setblocking(False)
        loop.watch(sock, self.read)

    def trust(self, who: str) -> None:
        """The other end has said who it is."""
        self._who = who
        self._reader.first_bytes = None

    def send(self, frames: Frames) -> None:
        """Send a message after those before."""
        if not self._open:
            return
        self._unsent += to_stream(frames)
        # What is sent in one turn of the loop leaves in one system call, and none is tried while the socket is full.
        if not self._will_write:
            self._will_write = self._loop.at_turn_end(self._write)
            if not self._will_write:
                self._write()

    def send_at_once(self, frames: Frames, sent: list[int] | None = None) -> bool:
        """Send a small message in the calling thread, which need not be that of the loop. False if it must wait.

        Nobody may call `send` meanwhile.

        Parameters
        ----------
        sent
            Gets an item as the message leaves: in one step, in between which no signal handler can raise.
        """
        if self._unsent or not self._open:
            return False
        parts = to_stream(frames)
        if len(parts) > 1 or len(parts[0]) > self._whole_bytes:
            return False
        try:
            ([] if sent is None else sent).extend(map(self._socket.send, parts))
        except OSError:
            return False  # it is full, or the end of the stream will be read in a moment
        return True

    def read(self) -> None:
        """Take what has arrived."""
        while self._open:
            try:
                data = self._socket.recv(_READ_BYTES)
                if not data:
                    self._fail(None)
                    return
                for frames in self._reader.feed(data):
                    self._on_message(frames)
                    if self._is_closed():
                        return  # nothing of what comes after that counts
            except BlockingIOError:
                return
            except ConnectionError:
                self._fail(None)
                return
            except Exception as error:
                self._fail(error)
                return
            if len(data) < _READ_BYTES:
                return

    def finish(self, linger_s: float) -> None:
        """Close this end once what was sent has left, or after so many seconds."""
        if self._open:
            with contextlib.suppress(OSError):
                self._socket.settimeout(linger_s)
                for part in self._unsent:
                    self._socket.sendall(part)
        self.close()

    def close(self) -> None:
        """Close this end."""
        if self._open:
            self._open = False
            self._unsent.clear()
            self._loop.unwatch(self._socket)
            self._socket.close()
            self._reader.clear()  # whoever still has this end need not keep what was read

    def _is_closed(self) -> bool:
        return not self._open

    def _fail(self, error: Exception | None) -> None:
        """The stream is at its end, or broke. What whoever is told raises is for the loop to log."""
        if error is not None:
            tell_of(logger, error, f"The link with {self._who} breaks off")
        if self._open:
            self.close()
            self._on_end()

    def _write(self) -> None:
        if not self._open:
            return
        try:
            while self._unsent:
                batch = list(itertools.islice(self._unsent, _BUFFERS_PER_SEND))
                self._forget(batch, self._socket.sendmsg(batch))
        except BlockingIOError:
            self._wait_for_room(True)
            return
        except ConnectionError:
            self._unsent.clear()  # the end of the stream will be read in a moment
        except OSError as error:
            if error.errno in _SHORT_OF_MEMORY:
                self._will_write = True
                self._loop.call_later(_SHORT_PAUSE_S, self._write)
            else:
                self._fail(error)
            return
        except Exception as error:
            self._fail(error)
            return
        self._wait_for_room(False)

    def _wait_for_room(self, is_full: bool) -> None:
        self._will_write = is_full
        if is_full != self._is_full:
            self._is_full = is_full
            self._loop.watch_writable(self._socket, self._write if is_full else None)

    def _forget(self, batch: list[Buffer], sent: int) -> None:
        """Drop what was sent of a batch."""
        for part in batch:
            if sent < len(part):
                self._unsent[0] = memoryview(part)[sent:]
                return
            sent -= len(part)
            self._unsent.popleft()


def tell_of(log: logging.Logger, error: Exception, text: str) -> None:
    """Log why a link ends: what the other end or the system did is one line, a mistake of ours has its traceback."""
    if isinstance(error, MessageError | OSError):
        log.error("%s: %s", text, error)
        log.debug("%s", text, exc_info=error)
    else:
        log.error("%s: what came over it was understood, but what followed from that failed", text, exc_info=error)


class WorkerChannel:
    """The worker's end: blocks."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(True)  # whatever time-out code of the user's has made the default
        self._socket = sock
        self._pid = os.getpid()
        self._reader = StreamReader()
        self._received: deque[Frames] = deque()

    def send(self, frames: Frames) -> None:
        """Send a message whole."""
        if os.getpid() != self._pid:
            os._exit(0)  # a child that code of the user's forked: two would answer for one
        for part in to_stream(frames):
            self._socket.sendall(part)

    def fileno(self) -> int:
        """Descriptor that can be read when there is something to receive."""
        return self._socket.fileno()

    def has_message(self) -> bool:
        """Whether `receive` gives one without reading."""
        return bool(self._received)

    def read(self) -> bool:
        """Read what has arrived, so that `has_message` tells of it. False when the manager is gone."""
        try:
            data = self._socket.recv(_READ_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        self._received.extend(self._reader.feed(data))
        return bool(data)

    def receive(self) -> Frames | None:
        """The next message; None when the manager is gone."""
        while not self._received:
            try:
                data = self._socket.recv(_READ_BYTES)
            except ConnectionError:
                return None
            if not data:
                return None
            self._received.extend(self._reader.feed(data))
        return self._received.popleft()
