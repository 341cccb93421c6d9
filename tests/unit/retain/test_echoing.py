"""Lines that are printed leave whole, and those for which there is no room are counted."""

import os
import select
import socket
import sys

import pytest

from parsl_context.retain import echoing
from parsl_context.retain.speaking import Voice


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()


@pytest.fixture
def start(monkeypatch, ends):
    monkeypatch.setattr(echoing, "_echo", None)
    monkeypatch.setattr(echoing, "_depth", 0)
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, getattr(sys, name))  # and set back
    return lambda always=False: echoing.start(ends[1], "worker 3", always=always)


def heard(ends):
    """Text, whether it is an error's, whether it has a label, of each line; and how many were dropped."""
    lines, dropped = [], 0
    while select.select([ends[0]], [], [], 0)[0]:
        data = ends[0].recv(echoing.PACKET_BYTES)
        count, lost = echoing.counts(data)
        packet = echoing.decode(data)
        assert (packet.who, len(packet.lines)) == ("worker 3", count)
        lines += [(line.text, line.is_error, line.is_labelled) for line in packet.lines]
        dropped += lost
    return lines, dropped


def test_within_a_scope_lines_are_sent_and_written_as_ever(start, ends, capsys):
    start()
    print("before")
    with echoing.scope():
        print("one", 2)
        print("begun", end=" ")
        print("ended\nthree")
        sys.stderr.write("an error\n")
        print("no end", end="")
    print("after")
    assert heard(ends) == (
        [("one 2", False, False), ("begun ended", False, False), ("three", False, False), ("an error", True, False),
         ("no end", False, False)],
        0,
    )  # fmt: skip
    assert capsys.readouterr() == ("before\none 2\nbegun ended\nthree\nno endafter\n", "an error\n")


def test_outside_of_an_executor_that_can_bring_it_nothing_happens(start, ends):
    stream = sys.stdout
    with echoing.scope():
        assert sys.stdout is stream
        print("here alone")


def test_a_process_may_send_all_that_it_writes(start, ends):
    start(always=True)
    print("one")
    with echoing.scope():
        print("two")
    print("three")
    assert [text for text, *_ in heard(ends)[0]] == ["one", "two", "three"]


def test_lines_of_a_build_say_whose_they_are(start, ends):
    start()
    with echoing.scope(), Voice("worker 3").about("model()"):
        print("loading")
        with echoing.scope():
            print("of one that it requires")
    assert heard(ends)[0] == [
        ("[worker 3, context model()] loading", False, True),
        ("[worker 3, context model()] of one that it requires", False, True),
    ]


def test_a_stream_that_is_kept_sends_nothing_later(start, ends):
    start()
    with echoing.scope():
        kept = sys.stdout
    kept.write("later\n")
    assert heard(ends) == ([], 0)


def test_where_there_is_no_room_lines_are_counted_and_none_waits(start, ends):
    start()
    with echoing.scope():
        for i in range(50_000):
            print(i)
    lines, dropped = heard(ends)
    assert [text for text, *_ in lines[:3]] == ["0", "1", "2"]
    assert len(echoing._echo._waiting) <= echoing.KEPT_LINES
    echoing.end_last()
    more, lost = heard(ends)
    assert len(lines) + len(more) + dropped + lost == 50_000
    assert dropped + lost > 0


def test_long_lines_are_cut_and_odd_characters_arrive(start, ends):
    start()
    with echoing.scope():
        print("x" * 1_000_000)
        print("y" * 1_000_000, end="")
        print("\ud800 é 雪")
    texts = [text for text, *_ in heard(ends)[0]]
    assert [len(text) for text in texts[:2]] == [echoing.LINE_CHARACTERS + 4] * 2
    assert texts[0].endswith("x ...")
    with echoing.scope():
        print("\ud800 é 雪")
    assert heard(ends)[0][0][0] == "\\ud800 é 雪"


def test_what_waits_is_the_parents_alone(start, ends):
    start()
    with echoing.scope():
        print("begun", end="")
        pid = os.fork()
        if pid == 0:
            echoing.end()
            os._exit(0)
        os.waitpid(pid, 0)
    assert heard(ends) == ([("begun", False, False)], 0)


def test_a_manager_that_is_gone_is_no_error(start, ends):
    start()
    ends[0].close()
    with echoing.scope():
        print("to nobody")


@pytest.mark.parametrize("data", [b"", b"1234567"])
def test_what_is_too_short_is_no_packet(data):
    with pytest.raises(ValueError, match="too short"):
        echoing.counts(data)


@pytest.mark.parametrize("data", [b"\0" * 8, b"\0" * 8 + b"\xc1", b"\0" * 8 + b"\x93"])
def test_something_else_is_no_packet(data):
    with pytest.raises(ValueError, match=r"MessagePack|truncated|Expected"):
        echoing.decode(data)
