"""Messages survive the wire whole; anything else is one typed error."""

import contextlib
import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl_context.errors import MessageError
from parsl_context.wire import messages as m
from parsl_context.wire.codec import (
    INLINE_LIMIT_BYTES,
    Decoder,
    StreamReader,
    deal,
    encode,
    make_payload,
    open_payload,
    to_stream,
)
from tests.unit.builders import LINKS, all_messages, payload, result, task, values_of

frames_of_a_message = st.lists(st.binary(max_size=64), max_size=4)
messages_in_frames = st.lists(st.lists(st.binary(max_size=32), max_size=4), max_size=6)


def stream_of(*messages: list[bytes]) -> bytes:
    return b"".join(part for frames in messages for part in to_stream(frames))


def test_every_tagged_message_is_covered():
    """A new message class must join a link, or be part of a message, to be tested here."""
    tagged = {
        kind
        for kind in vars(m).values()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind.__struct_config__.tag is not None
    }
    parts = {m.WorkerDied, m.ManagerGone, m.BuildFailed, m.Unservable}
    assert tagged - parts == {kind for _, kind in all_messages()}


@pytest.mark.parametrize(("link", "kind"), [pytest.param(*pair, id=pair[1].__name__) for pair in all_messages()])
@given(data=st.data())
def test_a_message_and_its_frames_come_back_as_they_were(link, kind, data):
    message, frames = data.draw(values_of(kind)), data.draw(frames_of_a_message)
    decoded, rest = Decoder(link).decode(encode(message, frames))
    assert decoded == message
    assert type(decoded) is kind
    assert list(rest) == frames


@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS.keys())
@given(header=st.binary(max_size=64))
def test_bytes_that_are_no_message_are_a_message_error(link, header):
    with pytest.raises(MessageError, match="malformed message of 1 frames"):
        Decoder(link).decode([header])


@given(position=st.integers(0, 200), byte=st.integers(0, 255))
def test_a_damaged_header_is_a_message_or_a_message_error(position, byte):
    header = bytearray(encode(m.Results(results=[result(3), result(4)]))[0])
    header[position % len(header)] = byte
    with contextlib.suppress(MessageError):
        Decoder(m.FromManager).decode([bytes(header)])


@given(cut=st.integers(min_value=1))
def test_a_cut_header_is_a_message_error(cut):
    header = encode(m.SubmitTasks(tasks=[task(1)]))[0]
    with pytest.raises(MessageError):
        Decoder(m.ToInterchange).decode([header[: -(cut % len(header)) or -1]])


@pytest.mark.parametrize(
    "header",
    [
        pytest.param({"type": "Dance"}, id="unknown tag"),
        pytest.param({"type": "Quit2", "request": 1}, id="tag of nobody"),
        pytest.param({"request": 1}, id="no tag"),
        pytest.param({"type": "HoldManager", "request": 1}, id="missing field"),
        pytest.param({"type": "HoldManager", "request": "1", "manager": "m"}, id="other type"),
        pytest.param({"type": "Welcome"}, id="message of another link"),
        pytest.param([1, 2, 3], id="not a message at all"),
    ],
)
def test_what_is_not_in_the_union_of_its_link_is_refused(header):
    with pytest.raises(MessageError):
        Decoder(m.ToInterchange).decode([msgspec.msgpack.encode(header)])


def test_a_deeply_nested_header_is_a_message_error():
    """A peer that sends nested arrays must not end the process that reads them."""
    nested = b"\x82\xa4type\xa4Quit\xa1x" + b"\x91" * 100_000 + b"\xc0"
    with pytest.raises(MessageError):
        Decoder(m.ToInterchange).decode([nested])


def test_a_message_without_frames_is_a_message_error():
    with pytest.raises(MessageError, match="without a header"):
        Decoder(m.ToManager).decode([])


@given(stream=st.binary(min_size=1, max_size=64), buffers=frames_of_a_message)
def test_a_payload_opens_to_what_it_was_made_of(stream, buffers):
    made, frames = make_payload(stream, buffers)
    assert open_payload(made, frames) == [stream, *buffers]
    assert made.frames == len(frames)


@pytest.mark.parametrize(("size", "frames"), [(INLINE_LIMIT_BYTES, 1), (INLINE_LIMIT_BYTES + 1, 2)])
def test_a_stream_travels_in_the_header_up_to_the_limit(size, frames):
    made, sent = make_payload(b"x" * size, [b"buffer"])
    assert (made.frames, len(sent)) == (frames, frames)
    assert bool(made.inline) == (frames == 1)
    assert open_payload(made, sent) == [b"x" * size, b"buffer"]


@given(counts=st.lists(st.integers(0, 4), max_size=6))
def test_each_item_is_dealt_the_frames_it_announces(counts):
    tasks = [task(number, payload=payload(frames=count)) for number, count in enumerate(counts)]
    frames = [f"{number}.{i}".encode() for number, count in enumerate(counts) for i in range(count)]
    dealt = {item.id: list(own) for item, own in deal(tasks, frames)}
    assert dealt == {n: [f"{n}.{i}".encode() for i in range(count)] for n, count in enumerate(counts)}


@pytest.mark.parametrize(("announced", "present"), [([1], 0), ([2, 1], 2), ([0], 1), ([], 1), ([3, -1], 2)])
def test_another_number_of_frames_than_announced_is_a_message_error(announced, present):
    tasks = [task(number, payload=payload(frames=count)) for number, count in enumerate(announced)]
    with pytest.raises(MessageError):
        list(deal(tasks, [b""] * present))


@given(messages=messages_in_frames, cuts=st.lists(st.integers(1, 40)))
def test_a_stream_gives_the_same_messages_wherever_it_is_cut(messages, cuts):
    stream, reader, received = stream_of(*messages), StreamReader(), []
    for size in [*cuts, len(stream) + 1]:
        piece, stream = stream[:size], stream[size:]
        received += reader.feed(piece)
    assert received == messages


def test_a_stream_can_come_byte_by_byte():
    messages = [[b"header", b"", b"frame"], [], [b"x" * 300]]
    reader = StreamReader()
    received = [got for byte in stream_of(*messages) for got in reader.feed(bytes([byte]))]
    assert received == messages


def test_large_frames_of_any_buffer_pass_a_stream():
    frames = [b"header", bytearray(b"a" * 3_000_000), memoryview(b"b" * 2_000_000)]
    stream, reader, received = stream_of(frames), StreamReader(), []
    for start in range(0, len(stream), 1 << 18):
        received += reader.feed(stream[start : start + (1 << 18)])
    assert received == [[bytes(frame) for frame in frames]]


def test_the_length_of_a_frame_is_counted_in_bytes():
    words = memoryview(bytes(64)).cast("d")
    assert StreamReader().feed(stream_of([words])) == [[bytes(64)]]


def test_a_stream_that_cannot_be_ours_is_a_message_error():
    with pytest.raises(MessageError, match="4294967295 frames"):
        StreamReader().feed(struct.pack("<I", 0xFFFFFFFF))
