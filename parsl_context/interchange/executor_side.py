"""The interchange's link to its executor: one socket pair, batches per turn of the loop."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

from parsl_context.wire.channel import Channel
from parsl_context.wire.codec import BATCH_FRAMES, Buffer, Decoder, Frames, encode
from parsl_context.wire.eventloop import EventLoop
from parsl_context.wire.giving_way import GivingWay
from parsl_context.wire.messages import FromInterchange, Result, Results, ToInterchange


class ExecutorSide:
    """Sends to the executor; results are gathered and leave together at `flush`.

    Parameters
    ----------
    fd
        Our end of the link.
    on_message
        Called with the frames of each message.
    on_end
        Called once when the executor is gone.
    """

    def __init__(
        self, loop: EventLoop, fd: int, *, on_message: Callable[[Frames], None], on_end: Callable[[], None]
    ) -> None:
        link = socket.socket(fileno=fd)
        link.set_inheritable(False)
        self._channel = Channel(loop, link, on_message, on_end, who="the executor")
        self._decoder: Decoder[ToInterchange] = Decoder(ToInterchange)
        self._results: list[Result] = []
        self._frames: Frames = []
        self._give_way = GivingWay()

    def decode(self, parts: Frames) -> tuple[ToInterchange, Sequence[Buffer]]:
        """A message of the executor and its frames."""
        return self._decoder.decode(parts)

    def add_result(self, result: Result, frames: Sequence[Buffer]) -> None:
        """Send an outcome at the next flush."""
        if len(self._frames) + len(frames) > BATCH_FRAMES:
            self.flush()
        self._results.append(result)
        self._frames += frames

    def send(self, message: FromInterchange, frames: Sequence[Buffer] = ()) -> None:
        """Send a message in this turn of the loop, after the outcomes gathered before."""
        self.flush()
        self._channel.send(encode(message, frames))

    def flush(self) -> None:
        """Send the outcomes gathered."""
        if self._results:
            parts = encode(Results(results=self._results), self._frames)
            self._results, self._frames = [], []
            self._channel.send(parts)

    def send_at_once(self, result: Result, frames: Sequence[Buffer]) -> None:
        """Send an outcome now, if the link takes it, and let the executor have it before anything else is done."""
        self.flush()
        parts = encode(Results(results=[result]), frames)
        if self._channel.send_at_once(parts):
            self._give_way()
        else:
            self._channel.send(parts)

    def close(self) -> None:
        """Close our end."""
        self._channel.close()
