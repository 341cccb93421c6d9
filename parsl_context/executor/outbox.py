"""What goes to the interchange, in order: filled from any thread, emptied by the client's, or by who has one call only.

A person may press Ctrl-C at any moment, or a handler of another signal raise: in the main thread any call may end in an
exception, and one that was made in C may have done its work all the same. So what must not be divided is one call in C
that notes its outcome, `outcomes.extend(map(function, arguments))`, and what was begun is settled by an exception
handler that holds wherever the exception came.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from parsl_context.wire import messages as m
from parsl_context.wire.channel import Channel
from parsl_context.wire.codec import BATCH_FRAMES, Buffer, Frames, encode

_Item: TypeAlias = m.Task | m.ToInterchange


class Outgoing:
    """A call or another message on its way."""

    __slots__ = ("frames", "item", "sent")

    def __init__(self, item: _Item, frames: Sequence[Buffer]) -> None:
        self.item = item
        self.frames = frames
        self.sent: list[int] = []  # not empty: it has left, or is not to leave any more

    def withdraw(self) -> None:
        """It is not to leave, if it has not yet."""
        self.sent.append(0)


class Outbox:
    """What waits to be sent.

    Parameters
    ----------
    channel
        Takes it to the interchange. Its loop runs in the thread that calls `empty`.
    wake
        A socket that does not block: gets a byte when there is something for that thread.
    """

    def __init__(self, channel: Channel, wake: socket.socket) -> None:
        self._channel = channel
        self._wake_writer = wake
        self._waiting: deque[Outgoing] = deque()
        self._is_signalled = False  # that thread will look
        self._sending = threading.Lock()  # held by who puts messages into the channel

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Outgoing]:
        return iter(self._waiting)

    def add(self, outgoing: Outgoing) -> None:
        """Have the thread send it after what was added before."""
        try:
            self._waiting.append(outgoing)
            self._wake()
        except BaseException:
            self._wake()
            raise

    def add_and_send(self, outgoing: Outgoing) -> bool:
        """Send it, and what waits before it, in this thread. False if that is left to the other."""
        turn: list[bool | None] = []  # [True]: we hold the lock; longer: we have released it
        try:
            self._waiting.append(outgoing)
            turn.extend(map(self._sending.acquire, (False,)))
            is_sent = turn[0] is True and self._send_up_to(outgoing)
            self._end(turn)
            if not is_sent:
                self._wake()
            return is_sent
        except BaseException:
            self._end(turn)
            self._wake()
            raise

    def _end(self, turn: list[bool | None]) -> None:
        """Release the lock if it is held by us."""
        if turn == [True]:
            turn.extend(map(self._sending.__exit__, (None,), (None,), (None,)))

    def empty(self) -> None:
        """Send all, calls that follow each other in one message. In the thread that was woken, which has read that."""
        self._is_signalled = False  # before it is looked at what waits: what comes after that signals again
        with self._sending:
            self._send_all()

    def _send_up_to(self, last: Outgoing) -> bool:
        # Only the holder of the lock takes any: the first stays where it is until it has left.
        while self._waiting:
            first = self._waiting[0]
            if not first.sent and not self._channel.send_at_once(
                encode(_message(first.item), first.frames), first.sent
            ):
                return False
            self._waiting.popleft()
            if first is last:
                break
        return True

    def _send_all(self) -> None:
        tasks: list[m.Task] = []
        frames: Frames = []
        while self._waiting:
            outgoing = self._waiting.popleft()
            item, own = outgoing.item, outgoing.frames
            if outgoing.sent:
                continue
            if isinstance(item, m.Task):
                if len(frames) + len(own) > BATCH_FRAMES:
                    self._send(m.SubmitTasks(tasks=tasks), frames)
                    tasks, frames = [], []
                tasks.append(item)
                frames += own
                continue
            if tasks:
                self._send(m.SubmitTasks(tasks=tasks), frames)
                tasks, frames = [], []
            self._send(item, own)
        if tasks:
            self._send(m.SubmitTasks(tasks=tasks), frames)

    def _send(self, message: m.ToInterchange, frames: Sequence[Buffer]) -> None:
        self._channel.send(encode(message, frames))

    def _wake(self) -> None:
        if self._is_signalled:
            return
        try:
            self._is_signalled = True
            with contextlib.suppress(OSError):  # the thread has ended; nobody is there to be woken
                self._wake_writer.send(b"\0")
        except BaseException:
            self._is_signalled = False  # the byte may not have left, and a second one does no harm
            raise


def _message(item: _Item) -> m.ToInterchange:
    return m.SubmitTasks(tasks=[item]) if isinstance(item, m.Task) else item
