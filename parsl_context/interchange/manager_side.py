"""The interchange's links to its managers: what each was sent, and which links broke.

Managers elsewhere are at one ROUTER socket, those on this host at the ends of Unix sockets.

A connection is a session: ZeroMQ loses nothing while it stands and says nothing of what was lost when it breaks. So a
broken link means a lost manager, noticed at once: the socket's monitor tells that *some* link broke, and a ping to a
manager that is gone fails with EHOSTUNREACH (ZMQ_ROUTER_MANDATORY).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import zmq
from parsl import curvezmq
from parsl.addresses import tcp_url

from parsl_context.wire.codec import BATCH_FRAMES, Buffer, Decoder, Frames, encode
from parsl_context.wire.eventloop import EventLoop
from parsl_context.wire.local_link import LocalListener
from parsl_context.wire.messages import Digest, FromManager, Joined, ManagerId, Ping, RunTasks, Task, TaskId, ToManager

LINGER_S = 1.0  # the last messages may take so long to leave

logger = logging.getLogger(f"parsl.{__name__}")


@dataclass
class Session:
    """What the interchange remembers of a manager besides what it decides with."""

    joined: Joined
    shares_segments: bool = False  # rather than being sent frames
    has_road: bool = False  # on which segments come and go
    has_built: bool = False  # so that it may have clean-ups to run when it ends
    known: set[Digest] = field(default_factory=set)  # blobs it was sent
    tasks: list[Task] = field(default_factory=list)  # to send at the next flush
    mates: dict[TaskId, int] = field(default_factory=dict)
    frames: Frames = field(default_factory=list)


class ManagerSide:
    """Sends to managers; calls are gathered and leave together at `flush`.

    Parameters
    ----------
    on_message
        Called with the identity of a manager, as a frame, and the frames of its message.
    on_lost
        Called with a manager whose link is found broken.
    on_gone
        Called when a manager that was let go has run its clean-ups, or is lost.

    Attributes
    ----------
    leaving : set of ManagerId
        Managers that were let go and run clean-ups.
    """

    def __init__(
        self,
        loop: EventLoop,
        context: curvezmq.ServerContext,
        *,
        address: str | None,
        port: int | None,
        port_range: tuple[int, int],
        listener_fd: int | None,
        on_message: Callable[[Frames], None],
        on_lost: Callable[[ManagerId, str], None],
        on_gone: Callable[[ManagerId], None],
    ) -> None:
        self.socket: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
        self.socket.set_hwm(0)
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.monitor: zmq.Socket[bytes] = self.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self.port = self._bind(address or "*", port, port_range, listener_fd)
        self.sessions: dict[ManagerId, Session] = {}
        self.leaving: set[ManagerId] = set()
        self._pending: set[ManagerId] = set()  # managers with calls to send
        self._decoder: Decoder[FromManager] = Decoder(FromManager)
        self._on_lost = on_lost
        self._on_gone = on_gone
        self._loop = loop
        self._local = LocalListener(loop, on_message=on_message, on_lost=self._lose)
        loop.watch_zmq(self.socket, on_message)

    @property
    def local_name(self) -> str:
        """Name under which managers of this host find the shorter way."""
        return self._local.name

    def is_near(self, manager: ManagerId) -> bool:
        """Whether a manager is on this host, as far as it has said."""
        return self._local.has(manager)

    def let_go(self, manager: ManagerId) -> None:
        """End a session whose manager ends, too, after it has run its clean-ups."""
        session = self.sessions.pop(manager, None)
        if session is not None and session.has_built:
            self.leaving.add(manager)

    def gone(self, manager: ManagerId) -> None:
        """A manager has nothing left to run."""
        if manager in self.leaving:
            self.leaving.discard(manager)
            self._on_gone(manager)

    def _lose(self, manager: ManagerId, reason: str) -> None:
        if manager in self.sessions:
            self._on_lost(manager, reason)
        else:
            self.gone(manager)

    def _bind(self, address: str, port: int | None, port_range: tuple[int, int], listener_fd: int | None) -> int:
        if listener_fd is not None:
            self.socket.setsockopt(zmq.USE_FD, listener_fd)
        if port:
            self.socket.bind(tcp_url(address, port))
            return port
        low, high = port_range
        return self.socket.bind_to_random_port(tcp_url(address), min_port=low, max_port=high, max_tries=100)

    def decode(self, parts: Frames) -> tuple[ManagerId, FromManager, Frames]:
        """The sender, its message and the frames.

        Raises
        ------
        MessageError
            If it is no message of ours.
        """
        message, _ = self._decoder.decode(parts[1:])
        return ManagerId(bytes(parts[0]).decode("utf-8", "replace")), message, parts[2:]

    def send(self, manager: ManagerId, message: ToManager, frames: list[Buffer] | None = None) -> bool:
        """Send now. False, and `on_lost` called for a manager with a session, if the link is broken."""
        parts = encode(message, frames or [])
        if self._local.send(manager, parts):
            return True
        self._loop.used_zmq()
        try:
            # ZeroMQ copies small frames all the same; a segment's should not hold up everybody else.
            self.socket.send_multipart([manager.encode(), *parts], copy=not frames)
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self._lose(manager, "its connection broke")
            return False
        return True

    def add_tasks(self, manager: ManagerId, batch: Sequence[tuple[Task, Sequence[Buffer]]]) -> None:
        """Send a call, or several that run together, at the next flush."""
        session = self.sessions[manager]
        if len(session.frames) + sum(len(frames) for _, frames in batch) > BATCH_FRAMES:
            self._flush_one(manager, session)
        if len(batch) > 1:
            session.mates[batch[0][0].id] = len(batch) - 1
        for task, frames in batch:
            session.tasks.append(task)
            session.frames += frames
        self._pending.add(manager)

    def flush(self) -> None:
        """Send the calls gathered."""
        while self._pending:
            manager = self._pending.pop()
            session = self.sessions.get(manager)
            if session is not None:
                self._flush_one(manager, session)

    def _flush_one(self, manager: ManagerId, session: Session) -> None:
        tasks, mates, frames = session.tasks, session.mates, session.frames
        session.tasks, session.mates, session.frames = [], {}, []
        self.send(manager, RunTasks(tasks=tasks, mates=mates), frames)

    def ping_all(self) -> None:
        """Find the managers whose links are broken."""
        for manager in [*self.sessions, *self.leaving]:
            self.send(manager, Ping())

    def close(self) -> None:
        """Close the sockets; what was sent is delivered if it can be."""
        self._local.close(LINGER_S)
        self.socket.disable_monitor()
        self.monitor.close()
