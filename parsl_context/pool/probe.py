"""Who is at the interchange's address? One TCP connection that is closed at once tells; ZeroMQ does not."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable

from parsl_context.pool.search import Found
from parsl_context.wire.eventloop import EventLoop, Timer

# A host that is there answers sooner: the system asks again after 1 s. [s]
_ANSWER_WITHIN_S = 2.0


class Probe:
    """Connects, and calls `on_found` once from the loop unless it is cancelled.

    Parameters
    ----------
    url
        `tcp://ADDRESS:PORT`, where the address is a number.
    """

    def __init__(self, loop: EventLoop, url: str, on_found: Callable[[Found], None]) -> None:
        self._loop = loop
        self._on_found = on_found
        self._socket: socket.socket | None = None
        self._limit: Timer | None = None
        try:
            self._connect(url)
        except OSError as error:  # no way there that the system knows of, or no descriptors
            number = error.errno or 0
            self._limit = loop.call_later(0.0, lambda: self._end(found_by(number)))

    def cancel(self) -> None:
        """Close the connection; nobody is called any more."""
        if self._limit is not None:
            self._limit.cancel()
        if self._socket is not None:
            self._loop.unwatch(self._socket)
            self._socket.close()
            self._socket = None

    def _connect(self, url: str) -> None:
        host, _, port = url.removeprefix("tcp://").rpartition(":")
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )[0]
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        number = sock.connect_ex(address)
        if number not in (0, errno.EINPROGRESS):
            sock.close()
            raise OSError(number, os.strerror(number))
        self._socket = sock
        self._loop.watch(sock, self._answered)
        self._loop.watch_writable(sock, self._answered)
        self._limit = self._loop.call_later(_ANSWER_WITHIN_S, lambda: self._end(Found.SILENT))

    def _answered(self) -> None:
        assert self._socket is not None
        found = found_by(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        if found is Found.ACCEPTED and _is_with_itself(self._socket):
            found = Found.REFUSED
        self._end(found)

    def _end(self, found: Found) -> None:
        self.cancel()
        self._on_found(found)


def found_by(number: int) -> Found:
    """What an error of a connection says; 0: none. Whatever is no clear no is not taken for one."""
    match number:
        case 0:
            return Found.ACCEPTED
        case errno.ECONNREFUSED | errno.ECONNRESET:
            return Found.REFUSED
        case errno.ETIMEDOUT:
            return Found.SILENT
        case _:
            return Found.UNREACHABLE


def _is_with_itself(sock: socket.socket) -> bool:
    """Whether the system chose the very port that nobody listens at, on this host, as ours: TCP then meets itself."""
    try:
        return bool(sock.getsockname() == sock.getpeername())
    except OSError:  # it has been closed again
        return False
