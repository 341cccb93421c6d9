"""Calls that are ended while they run: only those that run in a child of their worker can be."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from parsl_context.wire import messages as m
from parsl_context.wire.channel import WorkerChannel
from parsl_context.wire.codec import Buffer, Decoder


class Stops:
    """Hears the manager while a call runs in a child: it may want the call to end.

    Parameters
    ----------
    put_off
        Takes messages that are for later, in order.
    """

    def __init__(
        self,
        channel: WorkerChannel,
        decoder: Decoder[m.ToWorker],
        put_off: deque[tuple[m.ToWorker, Sequence[Buffer]]],
        task: m.TaskId,
    ) -> None:
        self._channel = channel
        self._decoder = decoder
        self._put_off = put_off
        self._task = task
        self._wants_end = any(self._is_meant(message) for message, _ in put_off)
        self._take()

    def fileno(self) -> int:
        return self._channel.fileno()

    def hear(self) -> bool:
        goes_on = self._channel.read()
        self._take()
        return goes_on

    def wants_end(self) -> bool:
        return self._wants_end

    def _take(self) -> None:
        while self._channel.has_message() and (frames := self._channel.receive()) is not None:
            message, rest = self._decoder.decode(frames)
            self._wants_end |= self._is_meant(message)
            self._put_off.append((message, rest))

    def _is_meant(self, message: m.ToWorker) -> bool:
        return isinstance(message, m.StopTask) and message.task == self._task
