"""A shorter way between the interchange and managers on its host: a Unix socket instead of TCP, keys and threads.

On the way over ZeroMQ a message wakes two more threads in each direction, and is encrypted. What stays on the host
needs neither. The interchange listens at an abstract address, which exists in its network namespace alone and is gone
with it; a manager learns the address from the answer to its probe, over the encrypted way. Both ends ask the system
whether the other belongs to the same user.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import struct
from collections import Counter
from collections.abc import Callable
from functools import partial

from parsl_context.errors import MessageError
from parsl_context.wire.channel import Channel
from parsl_context.wire.codec import Frames
from parsl_context.wire.eventloop import EventLoop
from parsl_context.wire.messages import ManagerId

logger = logging.getLogger(f"parsl.{__name__}")

_BACKLOG = 128
_NAME_BYTES = 1024  # of a manager's identity, with which each link begins; more than one has
# After an accept that failed, as it does without descriptors. [s]
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_CREDENTIALS = struct.Struct("3i")  # struct ucred of Linux: process, user, group


class LocalListener:
    """The interchange's end: one channel for each session of a manager on this host.

    Parameters
    ----------
    on_message
        Called with the identity of the manager, as a frame, and the frames of its message.
    on_lost
        Called with a manager whose channel has ended.
    """

    def __init__(
        self, loop: EventLoop, *, on_message: Callable[[Frames], None], on_lost: Callable[[ManagerId, str], None]
    ) -> None:
        self.name = f"parsl-context-{secrets.token_hex(16)}"
        self._loop = loop
        self._on_message = on_message
        self._on_lost = on_lost
        self._channels: dict[ManagerId, Channel] = {}
        self._unnamed: set[Channel] = set()  # that have not said yet whose they are
        self._refused: Counter[int] = Counter()  # connections of other users
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(_address(self.name))
        self._socket.listen(_BACKLOG)
        self._socket.setblocking(False)
        loop.watch(self._socket, self._accept)
        self._is_paused = False
        self._pause_s = _FIRST_PAUSE_S

    def has(self, manager: ManagerId) -> bool:
        """Whether a manager has a channel here."""
        return manager in self._channels

    def send(self, manager: ManagerId, frames: Frames) -> bool:
        """Send a message; False if this manager has no channel here."""
        channel = self._channels.get(manager)
        if channel is None:
            return False
        channel.send(frames)
        return True

    def close(self, linger_s: float) -> None:
        """Close all ends; what was sent is delivered if it can be within so many seconds each."""
        if not self._is_paused:
            self._loop.unwatch(self._socket)
        self._is_paused = False
        self._socket.close()
        for channel in [*self._channels.values(), *self._unnamed]:
            channel.finish(linger_s)
        self._channels.clear()

    def _accept(self) -> None:
        try:
            sock, _ = self._socket.accept()
        except OSError as error:
            self._pause(error)
            return
        self._pause_s = _FIRST_PAUSE_S
        process, user, _ = _credentials(sock)
        if user != os.getuid():
            self._refuse(sock, process, user)
            return
        peer = _Peer(process)
        received, ended = partial(self._received, peer), partial(self._ended, peer)
        who = f"process {process}, which has not said who it is,"
        peer.channel = Channel(self._loop, sock, received, ended, who=who, first_bytes=_NAME_BYTES)
        self._unnamed.add(peer.channel)

    def _refuse(self, sock: socket.socket, process: int, user: int) -> None:
        sock.close()
        self._refused[user] += 1
        level = logging.WARNING if is_milestone(self._refused[user]) else logging.DEBUG
        logger.log(level, "Refused process %d of user %d (%d of theirs so far)", process, user, self._refused[user])

    def _pause(self, error: OSError) -> None:
        """Accept nobody for a while: whoever waits stays readable, and the loop would do nothing but ask."""
        logger.warning("A manager of this host could not connect, tried again in %g s: %s", self._pause_s, error)
        self._loop.unwatch(self._socket)
        self._is_paused = True
        self._loop.call_later(self._pause_s, self._resume)
        self._pause_s = min(_LONGEST_PAUSE_S, 2 * self._pause_s)

    def _resume(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._loop.watch(self._socket, self._accept)

    def _received(self, peer: _Peer, frames: Frames) -> None:
        if peer.manager is not None:
            self._on_message([peer.manager.encode(), *frames])
            return
        if len(frames) != 1 or not 0 < len(frames[0]) <= _NAME_BYTES:
            raise MessageError("A link begins with something else than the name of a manager.")
        peer.manager = ManagerId(bytes(frames[0]).decode("utf-8", "replace"))
        peer.channel.trust(f"manager {peer.manager} (process {peer.process})")
        self._unnamed.discard(peer.channel)
        self._channels[peer.manager] = peer.channel

    def _ended(self, peer: _Peer) -> None:
        self._unnamed.discard(peer.channel)
        if peer.manager is not None and self._channels.get(peer.manager) is peer.channel:
            del self._channels[peer.manager]
            self._on_lost(peer.manager, "its connection broke")


class _Peer:
    channel: Channel
    manager: ManagerId | None = None

    def __init__(self, process: int) -> None:
        self.process = process


def is_milestone(count: int) -> bool:
    """Whether to tell of what happened so often already. Others may do it as often as they like; logs must not grow."""
    return count < 10 or str(count).strip("0") == "1"


def connect(name: str | None) -> socket.socket | None:
    """Connect to the interchange that listens under a name, if it is on this host and of this user."""
    if name is None:
        return None
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with contextlib.suppress(OSError):
        sock.connect(_address(name))
        if _credentials(sock)[1] == os.getuid():
            return sock
    sock.close()
    return None


def _address(name: str) -> str:
    return f"\0{name}"


def _credentials(sock: socket.socket) -> tuple[int, int, int]:
    """Process, user and group at the other end."""
    process, user, group = _CREDENTIALS.unpack(
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    )
    return process, user, group
