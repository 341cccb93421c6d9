"""Messages <-> frames, and frames <-> a byte stream.

A message is one header frame (MessagePack, decoded by msgspec without running code) and the user frames that its
payloads announce. Over ZeroMQ, between hosts, the frames are the parts of one multipart message; between executor and
interchange and between a manager and its workers they travel over a Unix stream socket, each message led by the number
and the lengths of its frames.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

from parsl_context.errors import MessageError
from parsl_context.wire.messages import Payload, Result, Task

Buffer: TypeAlias = bytes | bytearray | memoryview
Frames: TypeAlias = list[Buffer]

# A stream up to this size is copied into the header: below it, one more frame costs more than the copy.
INLINE_LIMIT_BYTES = 16_384

_MAX_FRAMES = 1 << 20  # more is no message of ours
_MAX_BYTES = 1 << 48  # neither is what no machine has memory for
# A message of many calls or results is cut when it has as many frames, well below what a reader takes; one value has
# far fewer, see `MAX_BUFFERS`.
BATCH_FRAMES = 1 << 18
MAX_BUFFERS = 1 << 16  # of one value that travel in frames of their own

Message = TypeVar("Message")
Item = TypeVar("Item", Task, Result)

_encoder = msgspec.msgpack.Encoder()


def encode(message: msgspec.Struct, frames: Iterable[Buffer] = ()) -> Frames:
    """Frames of a message, header first."""
    return [_encoder.encode(message), *frames]


class Decoder(Generic[Message]):
    """Decodes the messages of one direction of one link.

    Raises
    ------
    MessageError
        From `decode`, for anything that is not a message of the union given.
    """

    def __init__(self, union: Any) -> None:
        self._decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(union)

    def decode(self, frames: Sequence[Buffer]) -> tuple[Message, Sequence[Buffer]]:
        """The message and the user frames that follow its header."""
        if not frames:
            raise MessageError("A message without a header frame arrived.")
        try:
            return self._decoder.decode(frames[0]), frames[1:]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MessageError(f"A malformed message of {len(frames)} frames arrived: {error}.") from error


def make_payload(stream: bytes, buffers: Sequence[Buffer] = ()) -> tuple[Payload, Sequence[Buffer]]:
    """A payload and the frames that go with it."""
    if len(stream) <= INLINE_LIMIT_BYTES:
        return Payload(stream, len(buffers)), buffers
    return Payload(b"", 1 + len(buffers)), [stream, *buffers]


def open_payload(payload: Payload, frames: Sequence[Buffer]) -> Frames:
    """The stream and its buffers, from a payload and its frames."""
    return [payload.inline, *frames] if payload.inline else list(frames)


def deal(items: Sequence[Item], frames: Sequence[Buffer]) -> Iterable[tuple[Item, Sequence[Buffer]]]:
    """Each task or result of a message with the frames that are its own.

    Raises
    ------
    MessageError
        If the message announces another number of frames than it has.
    """
    counts = [item.payload.frames for item in items]
    if not frames and not any(counts):
        return zip(items, itertools.repeat(()), strict=False)
    if sum(counts) != len(frames) or min(counts) < 0:
        raise MessageError(f"A message announces other frames than the {len(frames)} that it has.")
    ends = itertools.accumulate(counts)
    return [(item, frames[end - count : end]) for item, count, end in zip(items, counts, ends, strict=True)]


_count = struct.Struct("<I")
_sizes = tuple(struct.Struct(f"<{count}Q") for count in range(8))  # of messages of few frames, made once
_lone = struct.Struct("<IQ")  # count and size, of a message of one frame


def to_stream(frames: Sequence[Buffer]) -> list[Buffer]:
    """Buffers of bytes to write to a stream socket, in order, for one message; none is empty."""
    if len(frames) == 1 and type(frames[0]) is bytes and len(frames[0]) <= INLINE_LIMIT_BYTES:
        return [_lone.pack(1, len(frames[0])) + frames[0]]
    sizes = [len(frame) if type(frame) is bytes else memoryview(frame).nbytes for frame in frames]
    lead = _count.pack(len(sizes)) + _struct_of(len(sizes)).pack(*sizes)
    if sum(sizes) <= INLINE_LIMIT_BYTES:
        return [b"".join((lead, *frames))]
    return [lead, *(memoryview(frame).cast("B") for frame, size in zip(frames, sizes, strict=True) if size)]


def _struct_of(count: int) -> struct.Struct:
    return _sizes[count] if count < len(_sizes) else struct.Struct(f"<{count}Q")


class StreamReader:
    """Cuts the bytes read from a stream socket into messages (lists of frames).

    Attributes
    ----------
    first_bytes : int, optional
        What is kept of a first message that is not complete; None: anything. To be lifted when that has come. [bytes]
    """

    def __init__(self, first_bytes: int | None = None) -> None:
        self.first_bytes = first_bytes
        self._rest = bytearray()  # of a message that is not complete

    def feed(self, data: Buffer) -> list[Frames]:
        """Messages that are complete with `data`.

        Raises
        ------
        MessageError
            If the stream cannot be one of ours.
        """
        if self._rest:
            self._rest += data
            data = self._rest
        messages: list[Frames] = []
        start = 0
        while start < len(data) and (found := _cut(data, start)) is not None:
            frames, start = found
            messages.append(frames)
        if data is not self._rest:
            if start < len(data):
                self._rest += data[start:]
        elif start:
            del self._rest[:start]
        if self.first_bytes is not None and not messages and len(self._rest) > self.first_bytes:
            raise MessageError(f"A stream begins with {len(self._rest)} bytes that are no message.")
        return messages

    def clear(self) -> None:
        """Forget what was read; nothing more will be."""
        self._rest.clear()


def _cut(data: Buffer, start: int) -> tuple[Frames, int] | None:
    """The message that begins there, if it is complete, and where the next one does."""
    if len(data) < start + 4:
        return None
    (count,) = _count.unpack_from(data, start)
    if count > _MAX_FRAMES:
        raise MessageError(f"A stream announces a message of {count} frames.")
    body = start + 4 + 8 * count
    if len(data) < body:
        return None
    sizes = _struct_of(count).unpack_from(data, start + 4)
    end = body + sum(sizes)
    if len(data) < end:
        if end - start > _MAX_BYTES:
            raise MessageError(f"A stream announces a message of {end - body} bytes.")
        return None
    frames: Frames = []
    with memoryview(data) as view:
        for size in sizes:
            # A copy of its own: nothing keeps the stream's memory, and arrays take it over and may be written.
            frames.append(bytearray(view[body : body + size]))
            body += size
    return frames, end
