"""Chunks over real sockets from mover to mover, and what becomes of it when the other end is not what it should be.

Each bad peer is a thread with a plain socket. Nothing wrong is stored, the fault is named, and a good source serves
the same file meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parsl_context.distribute.peers import download, upload
from parsl_context.distribute.peers.chunks import CHUNK_BYTES, ChunkedFile, digest_of
from parsl_context.distribute.peers.framing import GREETING_BYTES, Greeting, Kind, Opener, Sealer, directions
from parsl_context.distribute.peers.mover import Mover
from parsl_context.scheduling.transfers.events import ORIGIN, Fault
from parsl_context.wire.ids import Digest, ManagerId
from parsl_context.wire.tickets import key_of, new_secret, new_ticket
from parsl_context.wire.transfers import Ticket

pytestmark = pytest.mark.process
BLOB = Digest("ab" * 16)
CHUNKS = 3
SIZE = CHUNKS * CHUNK_BYTES - 100
GOOD, BAD = ManagerId("good"), ManagerId("bad")


class Outcomes(queue.Queue[Any]):
    """What a mover tells."""

    def chunk(self, blob: Digest, chunk: int, digest: bytes, source: ManagerId) -> None:
        self.put((source, chunk, digest))

    def fault(self, blob: Digest, chunk: int, source: ManagerId, fault: Fault, reason: str) -> None:
        self.put((source, chunk, fault))

    def next(self, within_s: float = 10.0) -> Any:
        return self.get(timeout=within_s)


@pytest.fixture
def data() -> bytes:
    return os.urandom(SIZE)


@pytest.fixture
def digests(data: bytes) -> list[bytes]:
    return [digest_of(data[start : start + CHUNK_BYTES]) for start in range(0, SIZE, CHUNK_BYTES)]


@contextlib.contextmanager
def mover() -> Iterator[tuple[Mover, Outcomes]]:
    outcomes = Outcomes()
    made = Mover(
        lambda call: call(), on_chunk=outcomes.chunk, on_fault=outcomes.fault, on_lost=lambda blob: outcomes.put(blob)
    )
    yield made, outcomes
    made.close()


@pytest.fixture
def source(data: bytes, tmp_path: Path) -> Iterator[tuple[Mover, Ticket]]:
    """Serves the file."""
    path = tmp_path / "whole"
    path.write_bytes(data)
    with mover() as (made, _):
        made.share(BLOB, ChunkedFile(path, SIZE))
        yield made, ticket_to(made)


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[tuple[Mover, Outcomes, Path]]:
    """Has room for the file."""
    path = tmp_path / "copy"
    with mover() as (made, outcomes):
        path.write_bytes(bytes(SIZE))
        made.share(BLOB, ChunkedFile(path, SIZE, os.open(path, os.O_RDWR)))
        yield made, outcomes, path


def ticket_to(made: Mover, secret: bytes | None = None) -> Ticket:
    return _ticket(made.port, made.secret if secret is None else secret)


def _ticket(port: int, secret: bytes) -> Ticket:
    number = new_ticket()
    return Ticket(addresses=("127.0.0.1",), port=port, ticket=number, key=key_of(secret, number, BLOB))


class BadPeer:
    """Listens, answers the greeting as one does that has the key, and then does as it likes."""

    def __init__(self, behave: Callable[[BadPeer, socket.socket], None]) -> None:
        self._behave = behave
        self.secret = new_secret()
        self.hold = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.ticket = _ticket(self._listener.getsockname()[1], self.secret)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                with sock, contextlib.suppress(OSError):
                    self._behave(self, sock)

    def greet(self, sock: socket.socket) -> tuple[Opener, Sealer]:
        data = b""
        while len(data) < GREETING_BYTES:
            data += sock.recv(GREETING_BYTES - len(data))
        greeting = Greeting.unpack(data)
        random = os.urandom(16)
        sock.sendall(random)
        key = key_of(self.secret, greeting.ticket, greeting.blob)
        receiving, sending = directions(key, greeting.random, random)
        return Opener(receiving, 0), Sealer(sending)

    def wanted(self, opener: Opener, sock: socket.socket) -> int:
        frame = None
        while frame is None:
            _, frame = opener.read(sock)
        return frame.chunk

    def close(self) -> None:
        self.hold.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


def says(kind: Kind, change: Callable[[bytes], bytes]) -> Callable[[BadPeer, socket.socket], None]:
    def behave(peer: BadPeer, sock: socket.socket) -> None:
        opener, sealer = peer.greet(sock)
        chunk = peer.wanted(opener, sock)
        sock.sendall(b"".join(sealer.seal(kind, chunk, change(CONTENT[0]))))
        peer.hold.wait(5)

    return behave


CONTENT = [b""]  # the chunk that a bad peer starts from


def flipped(data: bytes) -> bytes:
    return data[:1000] + bytes([data[1000] ^ 1]) + data[1001:]


def stall(peer: BadPeer, sock: socket.socket) -> None:
    peer.greet(sock)
    peer.hold.wait(10)


def break_off_in_the_middle(peer: BadPeer, sock: socket.socket) -> None:
    opener, sealer = peer.greet(sock)
    sent = b"".join(sealer.seal(Kind.CHUNK, peer.wanted(opener, sock), CONTENT[0]))
    sock.sendall(sent[: len(sent) // 2])
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # as a killed process does


def half_close(peer: BadPeer, sock: socket.socket) -> None:
    peer.greet(sock)
    sock.shutdown(socket.SHUT_WR)
    peer.hold.wait(5)


def send_garbage(peer: BadPeer, sock: socket.socket) -> None:
    sock.sendall(os.urandom(1 << 20))
    peer.hold.wait(5)


def send_what_nobody_wants(peer: BadPeer, sock: socket.socket) -> None:
    _, sealer = peer.greet(sock)
    sock.sendall(b"".join(sealer.seal(Kind.CHUNK, 2, CONTENT[0])))
    peer.hold.wait(5)


def without_key(peer: BadPeer, sock: socket.socket) -> None:
    peer.secret = new_secret()
    _, sealer = peer.greet(sock)
    sock.sendall(b"".join(sealer.seal(Kind.CHUNK, 0, CONTENT[0])))
    peer.hold.wait(5)


def refuse(peer: BadPeer, sock: socket.socket) -> None:
    pass


FAULTS: dict[str, tuple[Callable[[BadPeer, socket.socket], None], Fault]] = {
    "flips a bit": (says(Kind.CHUNK, flipped), Fault.FALSE),
    "sends too little": (says(Kind.CHUNK, lambda data: data[:-1]), Fault.FALSE),
    "sends nothing of a chunk": (says(Kind.CHUNK, lambda data: b""), Fault.FALSE),
    "lied about what it has": (says(Kind.LACK, lambda data: b""), Fault.LACKING),
    "sends what was not asked for": (send_what_nobody_wants, Fault.FALSE),
    "asks instead of sending": (says(Kind.WANT, lambda data: b""), Fault.FALSE),
    "has no key": (without_key, Fault.FALSE),
    "sends garbage": (send_garbage, Fault.FALSE),
    "is killed": (break_off_in_the_middle, Fault.BROKEN),
    "closes its half": (half_close, Fault.BROKEN),
    "closes at once": (refuse, Fault.BROKEN),
    "stalls": (stall, Fault.STALLED),
}


def test_a_file_comes_from_another_node(
    source: tuple[Mover, Ticket], receiver: tuple[Mover, Outcomes, Path], data: bytes, digests: list[bytes]
) -> None:
    made, outcomes, path = receiver
    for chunk in range(CHUNKS):
        made.get(BLOB, GOOD, source[1], chunk, digests[chunk])
    assert sorted(outcomes.next() for _ in range(CHUNKS)) == [(GOOD, chunk, digests[chunk]) for chunk in range(CHUNKS)]
    assert path.read_bytes() == data


@pytest.mark.parametrize("name", FAULTS)
def test_nothing_wrong_is_stored_and_a_good_source_is_not_slowed(
    name: str,
    source: tuple[Mover, Ticket],
    receiver: tuple[Mover, Outcomes, Path],
    data: bytes,
    digests: list[bytes],
) -> None:
    behave, fault = FAULTS[name]
    CONTENT[0] = data[:CHUNK_BYTES]
    made, outcomes, path = receiver
    peer = BadPeer(behave)
    try:
        made.get(BLOB, BAD, peer.ticket, 0, digests[0])
        made.get(BLOB, GOOD, source[1], 1, digests[1])
        began = time.monotonic()
        told = [outcomes.next(), outcomes.next()]
        good = next(each for each in told if each[0] == GOOD)
        assert good == (GOOD, 1, digests[1])
        assert fault is not Fault.STALLED or told[0] == good, f"it waited {time.monotonic() - began:.1f} s"
        assert next(each for each in told if each[0] == BAD) == (BAD, 0, fault)
        stored = path.read_bytes()
        assert stored[:CHUNK_BYTES] == bytes(CHUNK_BYTES), "nothing of it is stored"
        made.get(BLOB, GOOD, source[1], 0, digests[0])
        assert outcomes.next() == (GOOD, 0, digests[0])
    finally:
        peer.close()


def test_a_chunk_whose_digest_nobody_knows_has_its_size_at_least(
    receiver: tuple[Mover, Outcomes, Path], data: bytes
) -> None:
    CONTENT[0] = data[:CHUNK_BYTES]
    made, outcomes, path = receiver
    peer = BadPeer(says(Kind.CHUNK, lambda data: data[:-1]))
    try:
        made.get(BLOB, BAD, peer.ticket, 0, None)
        assert outcomes.next() == (BAD, 0, Fault.FALSE)
        assert path.read_bytes() == bytes(SIZE)
    finally:
        peer.close()


def test_nobody_is_there(receiver: tuple[Mover, Outcomes, Path], digests: list[bytes]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    made, outcomes, _ = receiver
    made.get(BLOB, BAD, _ticket(port, new_secret()), 0, digests[0])
    assert outcomes.next() == (BAD, 0, Fault.BROKEN)


def test_an_address_that_does_not_answer_gives_way_to_the_next(
    source: tuple[Mover, Ticket], receiver: tuple[Mover, Outcomes, Path], digests: list[bytes]
) -> None:
    made, outcomes, _ = receiver
    known = source[1]
    way = Ticket(addresses=("127.0.0.77", "::1", "127.0.0.1"), port=known.port, ticket=known.ticket, key=known.key)
    made.get(BLOB, GOOD, way, 0, digests[0])
    assert outcomes.next() == (GOOD, 0, digests[0])


def test_who_shows_no_key_gets_nothing_and_is_named_once(
    source: tuple[Mover, Ticket], caplog: pytest.LogCaptureFixture
) -> None:
    made, _ = source
    for greeting in (Greeting(new_ticket(), BLOB, os.urandom(16)).pack(), os.urandom(GREETING_BYTES)):
        with socket.create_connection(("127.0.0.1", made.port)) as sock:
            sock.settimeout(5)
            sock.sendall(greeting + os.urandom(64))
            answer = b""
            with contextlib.suppress(ConnectionError):
                while data := sock.recv(1 << 16):
                    answer += data
            assert len(answer) <= 16
    assert caplog.text.count("has shown no key") == 1


def test_who_says_nothing_or_takes_nothing_is_closed_and_keeps_nobody_waiting(
    source: tuple[Mover, Ticket],
    receiver: tuple[Mover, Outcomes, Path],
    digests: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(upload, "GREETING_S", 0.3)
    made, outcomes, _ = receiver
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", source[0].port))) for _ in range(20)]
        made.get(BLOB, GOOD, source[1], 0, digests[0])
        assert outcomes.next() == (GOOD, 0, digests[0])
        for sock in silent:
            sock.settimeout(5)
            assert sock.recv(1) == b""


def test_a_chunk_that_is_withdrawn_is_answered_for(
    receiver: tuple[Mover, Outcomes, Path], digests: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "STALL_S", 30.0)
    made, outcomes, _ = receiver
    peer = BadPeer(stall)
    try:
        made.get(BLOB, BAD, peer.ticket, 0, digests[0])
        made.get(BLOB, BAD, peer.ticket, 1, digests[1])
        made.withdraw(BLOB, BAD, 0)
        assert sorted((outcomes.next()[1:], outcomes.next()[1:])) == [(0, Fault.WITHDRAWN), (1, Fault.STALLED)]
    finally:
        peer.close()


def test_what_was_given_up_by_the_store_is_not_served(
    source: tuple[Mover, Ticket], receiver: tuple[Mover, Outcomes, Path], digests: list[bytes], tmp_path: Path
) -> None:
    (tmp_path / "whole").unlink()
    made, outcomes, _ = receiver
    made.get(BLOB, GOOD, source[1], 0, digests[0])
    assert outcomes.next() == (GOOD, 0, Fault.LACKING)


@pytest.mark.parametrize("change", ["none", "content", "gone"])
def test_chunks_are_read_from_the_origin_if_it_is_still_the_same(
    change: str, receiver: tuple[Mover, Outcomes, Path], data: bytes, digests: list[bytes], tmp_path: Path
) -> None:
    from parsl_context.distribute.peers.origin import shared_identity

    path = tmp_path / "origin"
    path.write_bytes(data)
    found = shared_identity(str(path))
    assert found is not None
    if change == "content":
        path.write_bytes(data[::-1])
    elif change == "gone":
        path.unlink()
    made, outcomes, copy = receiver
    made.get_from_origin(BLOB, str(path), found[0], 1, None)
    assert outcomes.next() == (ORIGIN, 1, digests[1] if change == "none" else Fault.UNREADABLE)
    is_there = copy.read_bytes()[CHUNK_BYTES : 2 * CHUNK_BYTES] == data[CHUNK_BYTES : 2 * CHUNK_BYTES]
    assert is_there == (change == "none")
