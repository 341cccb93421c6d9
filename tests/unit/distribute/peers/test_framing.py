"""Frames between nodes: what was not sealed by who has the key, or not as the next frame, is refused."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from parsl_context.distribute.peers.framing import Frame, Greeting, Kind, Opener, Sealer, directions
from parsl_context.errors import MessageError
from parsl_context.wire.ids import Digest
from parsl_context.wire.tickets import key_of, new_secret, new_ticket

BLOB = Digest("0123456789abcdef" * 2)
KEY, ONE, OTHER = b"k" * 32, b"1" * 16, b"2" * 16


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()


def sealer(key: bytes = KEY, client: bytes = ONE, server: bytes = OTHER) -> Sealer:
    return Sealer(directions(key, client, server)[1])


def opener(most_bytes: int = 1000) -> Opener:
    return Opener(directions(KEY, ONE, OTHER)[1], most_bytes)


def read(reader: Opener, data: bytes, pair: tuple[socket.socket, socket.socket], step: int = 1000) -> list[Frame]:
    """The frames in some bytes that come in steps."""
    frames = []
    for start in range(0, len(data), step):
        pair[1].sendall(data[start : start + step])
        try:
            while True:
                _, frame = reader.read(pair[0])
                frames += [frame] if frame is not None else []
        except BlockingIOError:
            pass
    return frames


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_frames_arrive_in_whatever_pieces(pair: tuple[socket.socket, socket.socket], step: int) -> None:
    seal = sealer().seal
    data = b"".join([*seal(Kind.CHUNK, 3, b"abc"), *seal(Kind.LACK, 70_000), *seal(Kind.CHUNK, 4, b"x" * 900)])
    assert read(opener(), data, pair, step) == [
        Frame(Kind.CHUNK, 3, b"abc"),
        Frame(Kind.LACK, 70_000, b""),
        Frame(Kind.CHUNK, 4, b"x" * 900),
    ]


@pytest.mark.parametrize("place", [4, 5, 8, 9, 11, 30])
def test_a_flipped_bit_is_refused(pair: tuple[socket.socket, socket.socket], place: int) -> None:
    data = bytearray(b"".join(sealer().seal(Kind.CHUNK, 3, b"abcdef")))
    data[place] ^= 1
    with pytest.raises(MessageError):
        read(opener(), bytes(data), pair)


def test_a_frame_that_is_left_out_repeated_or_of_another_connection_is_refused(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    seal = sealer().seal
    frames = [b"".join(seal(Kind.WANT, chunk)) for chunk in range(3)]
    for wrong in (frames[1], frames[0] + frames[0], frames[0] + frames[2]):
        with pytest.raises(MessageError):
            read(opener(), wrong, pair)
    for other in (sealer(key=b"K" * 32), sealer(client=OTHER), sealer(server=ONE)):
        with pytest.raises(MessageError):
            read(opener(), b"".join(other.seal(Kind.WANT, 0)), pair)


def test_the_directions_of_a_connection_have_different_keys(pair: tuple[socket.socket, socket.socket]) -> None:
    there, _ = directions(KEY, ONE, OTHER)
    with pytest.raises(MessageError):
        read(opener(), b"".join(Sealer(there).seal(Kind.WANT, 0)), pair)


def test_a_frame_that_announces_too_much_is_refused_before_memory_is_taken(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    with pytest.raises(MessageError, match="announces"):
        read(opener(most_bytes=10), b"".join(sealer().seal(Kind.CHUNK, 0, b"x" * 11))[:9], pair)


def test_no_nonce_comes_twice() -> None:
    seal = sealer().seal
    assert len({b"".join(seal(Kind.LACK, 0)) for _ in range(1000)}) == 1000


def test_the_key_of_a_ticket_is_that_of_one_file_and_one_server() -> None:
    secret, ticket = new_secret(), new_ticket()
    keys = {
        key_of(secret, ticket, BLOB),
        key_of(new_secret(), ticket, BLOB),
        key_of(secret, new_ticket(), BLOB),
        key_of(secret, ticket, Digest("f" * 32)),
    }
    assert len(keys) == 4
    assert key_of(secret, ticket, BLOB) in keys


def test_a_greeting_is_read_and_anything_else_refused() -> None:
    greeting = Greeting(new_ticket(), BLOB, os.urandom(16))
    assert Greeting.unpack(greeting.pack()) == greeting
    for wrong in (greeting.pack()[:-1], b"GET / HTTP/1.1\r\n".ljust(len(greeting.pack()))):
        with pytest.raises(MessageError):
            Greeting.unpack(wrong)
