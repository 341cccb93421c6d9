"""How fast a connection may send: as fast as leaves no queue in the links that calls would have to wait in.

The kernel measures the round trip of each connection. What it is longer than the shortest one seen is time that packets
wait in queues, wherever these are; the rate falls when that is too long, and rises otherwise (the idea of TCP Vegas and
LEDBAT, RFC 6817). TCP alone sends faster until the queue overflows, and so keeps it full.
"""

from __future__ import annotations

import contextlib
import socket
import struct

from parsl_context.distribute.peers.tuning import SO_MAX_PACING_RATE

_TARGET_S = 3e-3  # that packets may wait
_TARGET_SHARE = 0.25  # or of the shortest round trip, between distant hosts
_EVERY_S = 0.05  # a few round trips, or one queue would be counted twice. [s]
_DOWN = 0.9
_UP = 1.15
_HEADROOM = 1.5  # beyond what was delivered lately
_LEAST = 256e3  # [bytes/s]
# Of struct tcp_info, linux/tcp.h.
_info = struct.Struct("=7xB60xI76xI8xQ")  # bits, tcpi_rtt, tcpi_min_rtt, tcpi_delivery_rate
_APP_LIMITED = 1  # of the bits: what was delivered is what there was to send, and says nothing of the way
_INFO_BYTES = 168
_most = struct.Struct("=Q")


class Pace:
    """Rate of one connection.

    Parameters
    ----------
    most
        That it may have at all. [bytes/s]
    """

    def __init__(self, sock: socket.socket, most: float | None) -> None:
        self._socket = sock
        self._most = most
        self._rate: float | None = None  # None: as TCP likes
        self._adjusted_at = 0.0

    def adjust(self, now: float) -> None:
        """Measure and set the rate, if it is time to. To be called while something is being sent."""
        if now - self._adjusted_at < _EVERY_S:
            return
        self._adjusted_at = now
        with contextlib.suppress(OSError, struct.error):  # a kernel without all of these
            info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
            bits, rtt_us, min_us, delivered = _info.unpack_from(info)
            known = None if bits & _APP_LIMITED else float(delivered)
            rate = next_rate(self._rate, rtt_us / 1e6, min_us / 1e6, known)
            if rate is not None and rate != self._rate:
                self._set(rate)

    def _set(self, rate: float) -> None:
        self._rate = rate if self._most is None else min(rate, self._most)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, _most.pack(int(self._rate)))


def next_rate(rate: float | None, rtt_s: float, min_s: float, delivered: float | None) -> float | None:
    """Rate that follows from a measurement; None: no limit. [bytes/s]

    Parameters
    ----------
    rate
        Before; None: there was no limit.
    rtt_s, min_s
        Round trip now, and the shortest one seen. [s]
    delivered
        Rate at which the other side has got what was sent lately; None where it was not sent as fast as it could be.
        [bytes/s]
    """
    has_queue = rtt_s - min_s > max(_TARGET_S, _TARGET_SHARE * min_s)
    if rate is None and delivered is None:
        return None
    if has_queue:
        return max(_LEAST, _DOWN * min(each for each in (rate, delivered) if each is not None))
    if rate is None or delivered is None:
        return _HEADROOM * delivered if delivered is not None else _UP * (rate or _LEAST)
    return max(_LEAST, min(_UP * rate, _HEADROOM * delivered))
