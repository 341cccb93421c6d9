"""Messages pass between a manager and a worker whole and in order, however busy the other end is."""

import contextlib
import errno
import os
import socket
import time

import pytest

from parsl_context.wire.channel import Channel, WorkerChannel
from parsl_context.wire.codec import StreamReader, to_stream
from parsl_context.wire.eventloop import EventLoop


class Manager:
    """A manager's end, and what it was told."""

    def __init__(self, sock):
        self.loop = EventLoop()
        self.received = []
        self.ends = 0
        self.channel = Channel(self.loop, sock, self.take, self.end, who="the other end")

    def take(self, frames):
        self.received.append(frames)

    def end(self):
        self.ends += 1

    def turn(self):
        """What is ready now is handled; nothing is waited for."""
        self.loop.call_later(0, lambda: None)
        self.loop._turn()


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    manager = Manager(ours)
    yield manager, theirs
    manager.channel.close()
    manager.loop.close()
    theirs.close()


def read_all(manager, theirs, size):
    """Read as a worker that is slow at it, while the manager writes what it can."""
    theirs.setblocking(False)
    data = b""
    while len(data) < size:
        try:
            data += theirs.recv(1 << 20)
        except BlockingIOError:
            manager.turn()
    return data


def test_a_message_passes_both_ways(ends):
    manager, theirs = ends
    worker = WorkerChannel(theirs)
    manager.channel.send([b"header", b"frame"])
    manager.channel.send([b"second"])
    assert worker.receive() == [b"header", b"frame"]
    assert worker.receive() == [b"second"]
    worker.send([b"answer", b"", memoryview(b"view")])
    manager.turn()
    assert manager.received == [[b"answer", b"", b"view"]]


def test_a_small_message_is_sent_at_once_if_nothing_is_to_leave_before(ends):
    manager, theirs = ends
    worker = WorkerChannel(theirs)
    assert manager.channel.send_at_once([b"header", b"frame"])
    assert worker.receive() == [b"header", b"frame"]
    assert not manager.channel.send_at_once([b"header", bytes(20_000)])
    big = bytes(10_000_000)
    manager.channel.send([big])
    assert not manager.channel.send_at_once([b"header"])
    read_all(manager, theirs, 4 + 8 + len(big))
    theirs.setblocking(True)
    assert manager.channel.send_at_once([b"after"])
    assert worker.receive() == [b"after"]


def test_nothing_is_sent_at_once_where_there_is_no_room(ends):
    manager, theirs = ends
    message = [bytes(10_000)]
    sent = 0
    while manager.channel.send_at_once(message):
        sent += 1
    assert sent > 1
    theirs.setblocking(False)
    data = b""
    with contextlib.suppress(BlockingIOError):
        while True:
            data += theirs.recv(1 << 20)
    assert StreamReader().feed(data) == [message] * sent


def test_a_big_message_is_sent_as_the_worker_reads_it(ends):
    manager, theirs = ends
    big = bytes(range(256)) * 20_000
    manager.channel.send([b"first", big])
    manager.channel.send([b"second"])
    size = (4 + 2 * 8 + 5 + len(big)) + (4 + 8 + 6)
    data = read_all(manager, theirs, size)
    assert StreamReader().feed(data) == [[b"first", big], [b"second"]]


def test_a_message_of_very_many_frames_passes(ends):
    """More buffers than the system takes in one call."""
    manager, theirs = ends
    frames = [b"%d" % number for number in range(3000)]
    manager.channel.send(frames)
    data = read_all(manager, theirs, 4 + 8 * len(frames) + sum(map(len, frames)))
    theirs.setblocking(True)
    theirs.sendall(data)
    manager.turn()
    assert manager.received == [frames]


def test_frames_of_other_items_than_bytes_pass(ends):
    manager, theirs = ends
    words = memoryview(bytes(range(64))).cast("d")
    manager.channel.send([words])
    worker = WorkerChannel(theirs)
    assert worker.receive() == [bytes(range(64))]
    worker.send([words])
    manager.turn()
    assert manager.received == [[bytes(range(64))]]


def test_a_message_cut_by_the_stream_is_given_when_it_is_whole(ends):
    manager, theirs = ends
    whole = b"".join([b"\x01\x00\x00\x00", b"\x05" + bytes(7), b"frame"])
    for byte in whole[:-1]:
        theirs.sendall(bytes([byte]))
        manager.turn()
    assert manager.received == []
    theirs.sendall(whole[-1:])
    manager.turn()
    assert manager.received == [[b"frame"]]


def test_the_end_of_the_stream_is_told_once_after_the_last_message(ends):
    manager, theirs = ends
    WorkerChannel(theirs).send([b"last words"])
    theirs.close()
    manager.turn()
    manager.turn()
    manager.channel.read()
    assert (manager.received, manager.ends) == ([[b"last words"]], 1)


def test_a_worker_that_died_is_noticed_by_reading_not_by_writing(ends):
    manager, theirs = ends
    theirs.close()
    manager.channel.send([b"to nobody"])
    manager.channel.send([b"again"])
    assert manager.ends == 0
    manager.turn()
    assert manager.ends == 1
    manager.channel.send([b"after the end"])


def test_a_worker_that_dies_while_much_is_unsent_is_noticed(ends):
    manager, theirs = ends
    manager.channel.send([bytes(10_000_000)])
    theirs.close()
    manager.turn()
    manager.turn()
    assert manager.ends == 1


def test_a_closed_end_is_not_told_of(ends):
    manager, theirs = ends
    manager.channel.close()
    manager.channel.close()
    manager.turn()
    assert (manager.received, manager.ends) == ([], 0)
    assert theirs.recv(1) == b""


def test_a_handler_may_close_the_channel(ends):
    manager, theirs = ends
    manager.channel._on_message = lambda frames: (manager.received.append(frames), manager.channel.close())
    WorkerChannel(theirs).send([b"1"])
    manager.turn()
    assert (manager.received, manager.ends) == ([[b"1"]], 0)


def test_a_worker_whose_manager_is_gone_receives_nothing(ends):
    manager, theirs = ends
    manager.channel.send([b"last"])
    manager.channel.close()
    worker = WorkerChannel(theirs)
    assert worker.receive() == [b"last"]
    assert worker.receive() is None


# --- streams that break


def fails(*_):
    raise MemoryError("no room")


@pytest.mark.parametrize("data", [b"\xff" * 64, b"\x00\x00\x00\x01" * 3])
def test_bytes_that_are_no_message_end_the_channel(ends, data):
    manager, theirs = ends
    theirs.send(data)
    theirs.send(data)
    for _ in range(3):
        manager.turn()
    assert (manager.ends, manager.received) == (1, [])


def test_a_message_that_cannot_be_handled_ends_the_channel_and_none_after_it_counts(ends):
    manager, theirs = ends
    manager.channel._on_message = lambda frames: manager.take(frames) if frames == [b"good"] else fails()
    worker = WorkerChannel(theirs)
    for message in (b"good", b"bad", b"good"):
        worker.send([message])
    manager.turn()
    assert (manager.ends, manager.received) == (1, [[b"good"]])


def test_a_channel_that_was_closed_by_a_message_delivers_nothing_more(ends):
    manager, theirs = ends
    worker = WorkerChannel(theirs)
    manager.channel._on_message = lambda frames: (manager.take(frames), manager.channel.close())
    for message in (b"one", b"two"):
        worker.send([message])
    manager.turn()
    assert (manager.ends, manager.received) == (0, [[b"one"]])


@pytest.mark.parametrize("chunk", [0, 1])
def test_a_reader_that_lost_a_chunk_delivers_nothing_of_what_follows(ends, monkeypatch, chunk):
    """Later bytes would be taken for the lost ones."""
    manager, theirs = ends
    feed, fed = manager.channel._reader.feed, []

    def feed_or_fail(data):
        fed.append(data)
        return fails() if len(fed) == chunk + 1 else feed(data)

    monkeypatch.setattr(manager.channel._reader, "feed", feed_or_fail)
    theirs.sendall(b"".join(to_stream([b"x" * 100_000])))
    theirs.sendall(b"".join(to_stream([b"second"])))
    for _ in range(4):
        manager.turn()
    assert (manager.ends, manager.received) == (1, [])


class Short:
    """A socket that the system lends no memory for a while, or that breaks."""

    def __init__(self, sock, *errors):
        self.sock, self.errors = sock, list(errors)

    def sendmsg(self, batch):
        if self.errors:
            raise self.errors.pop(0)
        return self.sock.sendmsg(batch)

    def __getattr__(self, name):
        return getattr(self.sock, name)


@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.ENOMEM])
def test_a_channel_that_is_short_of_memory_sends_when_it_is_not(ends, number):
    manager, theirs = ends
    watched = manager.channel._socket
    manager.channel._socket = Short(watched, OSError(number, "short"), OSError(number, "short"))
    manager.channel.send([b"one"])
    manager.channel.send([b"two"])
    theirs.setblocking(False)
    deadline = time.monotonic() + 5
    reader, found = StreamReader(), []
    while len(found) < 2 and time.monotonic() < deadline:
        manager.loop.call_later(0.05, lambda: None)
        manager.loop._turn()
        with contextlib.suppress(BlockingIOError):
            found += reader.feed(theirs.recv(1 << 16))
    manager.channel._socket = watched
    assert (found, manager.ends) == ([[b"one"], [b"two"]], 0)


def test_a_channel_that_cannot_write_ends(ends):
    manager, _ = ends
    watched = manager.channel._socket
    manager.channel._socket = Short(watched, OSError(errno.EIO, "broken"))
    manager.loop.unwatch(watched)
    manager.loop.watch(manager.channel._socket, manager.channel.read)
    manager.channel.send([b"one"])
    assert manager.ends == 1


def log_of(caplog):
    """What the log says: each level, what it tells, and whether a traceback follows."""
    return [(record.levelname, record.getMessage(), bool(record.exc_info)) for record in caplog.records]


GARBAGE = "The link with the other end breaks off: A stream announces a message of 1414745936 frames."


@pytest.mark.parametrize("debug", [False, True])
def test_a_stream_that_broke_is_one_line_in_the_log(ends, caplog, debug):
    caplog.set_level("DEBUG" if debug else "INFO")
    manager, theirs = ends
    theirs.sendall(b"POST / HTTP/1.1\r\n\r\n")
    manager.turn()
    assert manager.ends == 1
    expected = [("ERROR", GARBAGE, False)]
    assert log_of(caplog)[:1] == expected
    assert len(caplog.records) == (2 if debug else 1)
    assert not debug or (caplog.records[1].levelname == "DEBUG" and caplog.records[1].exc_info)


def test_a_channel_that_cannot_write_says_why_in_one_line(ends, caplog):
    caplog.set_level("INFO")
    manager, _ = ends
    manager.channel._fail(OSError(errno.EIO, "Input/output error"))
    assert log_of(caplog) == [
        ("ERROR", "The link with the other end breaks off: [Errno 5] Input/output error", False),
    ]


def test_a_mistake_of_ours_is_logged_with_its_traceback(ends, caplog):
    manager, theirs = ends
    manager.take = manager.channel._on_message = lambda frames: {}["missing"]
    theirs.sendall(b"".join(to_stream([b"fine"])))
    manager.turn()
    ((level, text, has_traceback),) = log_of(caplog)
    assert (level, has_traceback) == ("ERROR", True)
    assert "the other end" in text


def test_a_child_that_was_forked_by_code_of_the_user_answers_nothing(ends):
    manager, theirs = ends
    worker = WorkerChannel(theirs)
    child = os.fork()
    if child == 0:
        worker.send([b"from the child"])
        os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    worker.send([b"from the parent"])
    manager.turn()
    assert manager.received == [[b"from the parent"]]
