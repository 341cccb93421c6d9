"""The interchange's link to its executor: one socket, batches per turn of the loop."""

from __future__ import annotations

from collections.abc import Sequence

import zmq
from parsl import curvezmq

from parsl_context.codec import Buffer, Decoder, Frames, encode
from parsl_context.messages import FromInterchange, Result, Results, ToInterchange


class ExecutorSide:
    """Sends to the executor; results are gathered and leave together at `flush`."""

    def __init__(self, context: curvezmq.ServerContext, url: str) -> None:
        self.socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
        self.socket.set_hwm(0)
        self.socket.connect(url)
        self._decoder: Decoder[ToInterchange] = Decoder(ToInterchange)
        self._results: list[Result] = []
        self._frames: Frames = []

    def decode(self, parts: list[bytes]) -> tuple[ToInterchange, list[bytes]]:
        """A message of the executor and its frames."""
        message, _ = self._decoder.decode(parts)
        return message, parts[1:]

    def add_result(self, result: Result, frames: Sequence[Buffer]) -> None:
        """Send an outcome at the next flush."""
        self._results.append(result)
        self._frames += frames

    def send(self, message: FromInterchange, frames: list[Buffer] | None = None) -> None:
        """Send a message now, after the outcomes gathered before."""
        self.flush()
        self.socket.send_multipart(encode(message, frames or []))

    def flush(self) -> None:
        """Send the outcomes gathered."""
        if self._results:
            parts = encode(Results(results=self._results), self._frames)
            self._results, self._frames = [], []
            self.socket.send_multipart(parts)
