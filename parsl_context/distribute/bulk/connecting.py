"""Both ends of a connection of the bulk road greet each other: who has no key gets no further."""

from __future__ import annotations

import contextlib
import secrets
import socket

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from parsl_context.distribute.peers.framing import GREETING_BYTES, RANDOM_BYTES, Greeting, directions
from parsl_context.distribute.peers.tuning import tune, upload_rate
from parsl_context.wire.bulk import BULK, BulkRoad
from parsl_context.wire.tickets import key_of

CONNECT_S = 5.0
_GONE_S = 30  # without a sign of life of the other host
_Ciphers = tuple[AESGCM, AESGCM]


def connect(host: str, road: BulkRoad) -> tuple[socket.socket, _Ciphers]:
    """The manager's end: a connection, and its ciphers for what comes and what goes.

    Raises
    ------
    OSError
        If nobody answers, or not as a server of the road does.
    """
    error: OSError = ConnectionError(f"{host} has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(host, road.port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        try:
            tune(sock, upload_rate())
            keep_watch(sock)
            sock.settimeout(CONNECT_S)
            sock.connect(address)
            return sock, _greet(sock, road)
        except OSError as failed:
            error = failed
            sock.close()
    raise error


def _greet(sock: socket.socket, road: BulkRoad) -> _Ciphers:
    random = secrets.token_bytes(RANDOM_BYTES)
    sock.sendall(Greeting(road.ticket, BULK, random).pack())
    answer = _read_exactly(sock, RANDOM_BYTES)
    sock.setblocking(False)
    sending, receiving = directions(road.key, random, answer)
    return receiving, sending


def answer(sock: socket.socket, secret: bytes) -> tuple[bytes, _Ciphers]:
    """The server's end: the ticket of who connects, and the ciphers. Waits for the greeting.

    Raises
    ------
    OSError, MessageError
        If none comes, or something else.
    """
    sock.settimeout(CONNECT_S)
    keep_watch(sock)
    greeting = Greeting.unpack(_read_exactly(sock, GREETING_BYTES))
    random = secrets.token_bytes(RANDOM_BYTES)
    sock.sendall(random)
    sock.setblocking(False)
    receiving, sending = directions(key_of(secret, greeting.ticket, BULK), greeting.random, random)
    return greeting.ticket, (receiving, sending)


def keep_watch(sock: socket.socket) -> None:
    """Have a connection end when the other host is gone: nobody says so when a cable is cut."""
    options = [
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _GONE_S // 2),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _GONE_S // 6),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * _GONE_S),
    ]
    for level, name, value in options:
        with contextlib.suppress(OSError):
            sock.setsockopt(level, name, value)


def _read_exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            raise ConnectionError("it was closed by the other side")
        data += part
    return data
