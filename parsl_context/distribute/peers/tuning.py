"""Sockets of transfers, set so that they fill a link and leave no queue in it that calls would have to wait in."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Mapping

from parsl_context.errors import ConfigurationError

# What TCP may hold of a connection that it has not sent yet: a chunk is written as it leaves. [bytes]
_NOT_SENT_BYTES = 64 << 10
# What may be on its way unread; on a link of 1 Gbit/s it lasts for a round trip of 4 ms. [bytes]
_RECEIVE_BYTES = 256 << 10
SO_MAX_PACING_RATE = 47  # socket(7), asm-generic; not in Python's module
_TCP_NOTSENT_LOWAT = 25
VARIABLE = "PARSL_CONTEXT_TRANSFER_MBIT"


def upload_rate(environment: Mapping[str, str] = os.environ) -> float | None:
    """What a node may send, as the user has set it; None: what its links take. [bytes/s]

    Raises
    ------
    ConfigurationError
        If it is no number.
    """
    given = environment.get(VARIABLE)
    if not given:
        return None
    try:
        rate = float(given) * 1e6 / 8
    except ValueError:
        rate = 0.0
    if rate <= 0:
        raise ConfigurationError(f"{VARIABLE}={given!r} must be a number of megabits per second.")
    return rate


def tune(sock: socket.socket, rate: float | None = None) -> None:
    """Set up a socket before it is connected, or one that was accepted.

    Which congestion control it has is for the system to say: BBR takes the bursts that a token bucket lets through for
    the rate of the link, and then loses a quarter of what it sends. What a kernel refuses is done without.

    Parameters
    ----------
    rate
        That it may send at. [bytes/s]
    """
    options: list[tuple[int, int, int | bytes]] = [
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, _NOT_SENT_BYTES),
        (socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES),
    ]
    if rate is not None:
        options.append((socket.SOL_SOCKET, SO_MAX_PACING_RATE, struct.pack("=Q", int(rate))))
    for level, name, value in options:
        with contextlib.suppress(OSError):
            sock.setsockopt(level, name, value)
