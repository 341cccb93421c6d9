"""Managers of the interchange's host reach it by a Unix socket; those of other users do not."""

import contextlib
import errno
import gc
import os
import socket
import struct
import time

import pytest

from parsl_context.wire import local_link
from parsl_context.wire.channel import WorkerChannel
from parsl_context.wire.codec import StreamReader
from parsl_context.wire.eventloop import EventLoop
from parsl_context.wire.local_link import LocalListener, connect
from parsl_context.wire.messages import ManagerId

LINGER_S = 1.0


class Interchange:
    """The interchange's end, and what it was told."""

    def __init__(self):
        self.loop = EventLoop()
        self.messages = []
        self.lost = []
        self.listener = LocalListener(self.loop, on_message=self.messages.append, on_lost=self.lose)

    def lose(self, manager, reason):
        self.lost.append((manager, reason))

    def turn(self):
        """What is ready now is handled; nothing is waited for."""
        self.loop.call_later(0, lambda: None)
        self.loop._turn()


@pytest.fixture
def interchange():
    end = Interchange()
    yield end
    end.listener.close(LINGER_S)
    end.loop.close()


def join(interchange, name):
    sock = connect(interchange.listener.name)
    assert sock is not None
    channel = WorkerChannel(sock)
    channel.send([name])
    interchange.turn()
    interchange.turn()
    return sock, channel


def test_messages_pass_both_ways_between_the_interchange_and_each_manager(interchange):
    ends = [join(interchange, name) for name in (b"m1", b"m2")]
    for (_, channel), text in zip(ends, (b"from 1", b"from 2"), strict=True):
        channel.send([text, b"frame"])
    interchange.turn()
    assert sorted(interchange.messages) == [[b"m1", b"from 1", b"frame"], [b"m2", b"from 2", b"frame"]]
    assert interchange.listener.send(ManagerId("m2"), [b"to 2"])
    assert ends[1][1].receive() == [b"to 2"]
    for sock, _ in ends:
        sock.close()


def test_a_manager_that_is_not_here_is_not_sent_to(interchange):
    assert not interchange.listener.send(ManagerId("elsewhere"), [b"message"])


def test_the_end_of_a_manager_is_told_once(interchange):
    sock, _ = join(interchange, b"m1")
    sock.close()
    interchange.turn()
    assert interchange.lost == [("m1", "its connection broke")]
    assert not interchange.listener.send(ManagerId("m1"), [b"message"])


def test_the_last_message_is_delivered_before_the_end(interchange):
    sock, channel = join(interchange, b"m1")
    big = os.urandom(100_000)
    assert interchange.listener.send(ManagerId("m1"), [big])
    interchange.listener._channels[ManagerId("m1")].finish(LINGER_S)
    assert channel.receive() == [big]
    assert channel.receive() is None
    sock.close()


def test_who_cannot_get_there_takes_the_other_way(interchange):
    assert connect(None) is None
    assert connect("parsl-context-nobody-listens") is None


def test_an_interchange_of_another_user_is_not_talked_to(interchange, monkeypatch):
    monkeypatch.setattr(local_link.os, "getuid", lambda: 12345)
    assert connect(interchange.listener.name) is None


def test_a_manager_of_another_user_is_not_let_in(interchange, monkeypatch):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(f"\0{interchange.listener.name}")
    monkeypatch.setattr(local_link.os, "getuid", lambda: 12345)
    interchange.turn()
    monkeypatch.undo()
    assert WorkerChannel(sock).receive() is None
    assert interchange.messages == []
    sock.close()


def stranger(interchange, data):
    """A process of ours that connects and sends something else. Whether its link has ended."""
    sock = connect(interchange.listener.name)
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
        while data:
            data = data[sock.send(data) :]
            interchange.turn()
    for _ in range(3):
        interchange.turn()
    with sock:
        try:
            return sock.recv(1) == b""
        except ConnectionResetError:
            return True
        except BlockingIOError:
            return False


GARBAGE = {
    "text": b"GET / HTTP/1.1\r\n\r\n",
    "zeros": bytes(4096),
    "a long name": struct.pack("<IQ", 1, 5000) + bytes(5000),
    "several frames": struct.pack("<IQQ", 2, 2, 2) + b"abcd",
    "a beginning without end": struct.pack("<IQ", 1, 1 << 40) + b"x" * (8 << 20),
    "more than there is": struct.pack("<IQQ", 2, 1 << 62, 1 << 62) + b"x",
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_not_kept_and_the_log_says_who_sent_it(interchange, caplog, data):
    gc.collect()
    gc.disable()
    try:
        before = count_readers()
        assert stranger(interchange, data)
        held = [len(reader._rest) for reader in count_readers() - before]
        assert sum(held) == 0
    finally:
        gc.enable()
    assert f"process {os.getpid()}, which has not said who it is, breaks off" in caplog.text
    assert (interchange.messages, interchange.lost) == ([], [])


def count_readers():
    return {each for each in gc.get_objects() if type(each) is StreamReader}


def test_garbage_of_a_manager_names_it(interchange, caplog):
    sock, channel = join(interchange, b"m1")
    channel.send([b"large " * 10_000])
    for _ in range(12):
        interchange.turn()
    assert len(interchange.messages) == 1, "what comes after the name may be large"
    sock.sendall(b"GET / HTTP/1.1")
    interchange.turn()
    assert f"manager m1 (process {os.getpid()}) breaks off" in caplog.text
    assert interchange.lost == [("m1", "its connection broke")]
    sock.close()


def test_the_log_does_not_grow_with_what_others_try(interchange, monkeypatch, caplog):
    caplog.set_level("INFO")
    real = os.getuid()
    for _ in range(120):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.connect(f"\0{interchange.listener.name}")
            monkeypatch.setattr(local_link.os, "getuid", lambda: 12345)
            interchange.turn()
            monkeypatch.undo()
    lines = [record.getMessage() for record in caplog.records]
    assert lines[-1] == f"Refused process {os.getpid()} of user {real} (100 of theirs so far)"
    assert len(lines) == 11


def test_a_listener_without_descriptors_pauses_and_lets_in_who_waited(interchange, monkeypatch):
    real = interchange.listener._socket
    asked = []

    class Short:
        def accept(self):
            asked.append(None)
            raise OSError(errno.EMFILE, "too many open files")

        def __getattr__(self, name):
            return getattr(real, name)

    monkeypatch.setattr(local_link, "_FIRST_PAUSE_S", 0.01)
    sock = connect(interchange.listener.name)
    interchange.listener._socket = Short()
    interchange.loop.unwatch(real)
    interchange.loop.watch(interchange.listener._socket, interchange.listener._accept)
    for _ in range(50):
        interchange.turn()
    assert len(asked) == 1, "it would be asked all the time"
    interchange.listener._socket = real
    channel = WorkerChannel(sock)
    channel.send([b"m1"])
    channel.send([b"hello"])
    deadline = time.monotonic() + 5
    while not interchange.messages and time.monotonic() < deadline:
        interchange.loop.call_later(0.02, lambda: None)
        interchange.loop._turn()
    assert interchange.messages == [[b"m1", b"hello"]]
    sock.close()
