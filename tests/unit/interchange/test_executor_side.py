"""Outcomes on their way to the executor."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from parsl_context.interchange.executor_side import ExecutorSide
from parsl_context.wire.channel import WorkerChannel
from parsl_context.wire.codec import BATCH_FRAMES, Decoder
from parsl_context.wire.eventloop import EventLoop
from parsl_context.wire.messages import FromInterchange, Payload, Result, Results, TaskId

LARGE = b"x" * 5_000_000


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    made = EventLoop()
    yield made
    made.close()


@pytest.fixture
def link(loop: EventLoop) -> Iterator[tuple[ExecutorSide, socket.socket]]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(10)
    side = ExecutorSide(loop, ours.detach(), on_message=lambda frames: None, on_end=loop.stop)
    yield side, theirs
    side.close()
    theirs.close()


def result(number: int, frames: int = 0) -> Result:
    return Result(id=TaskId(number), ok=True, payload=Payload(b"", frames), run_s=0.0)


def received(theirs: socket.socket, count: int) -> list[list[TaskId]]:
    channel, decoder = WorkerChannel(theirs), Decoder[FromInterchange](FromInterchange)
    batches = []
    for _ in range(count):
        frames = channel.receive()
        assert frames is not None
        message, _ = decoder.decode(frames)
        assert isinstance(message, Results)
        batches.append([one.id for one in message.results])
    return batches


def test_outcomes_gathered_leave_together(link: tuple[ExecutorSide, socket.socket]) -> None:
    side, theirs = link
    side.add_result(result(1), ())
    side.add_result(result(2), ())
    side.flush()
    assert received(theirs, 1) == [[1, 2]]


def test_one_that_is_sent_at_once_leaves_within_the_turn_and_after_those_before(
    loop: EventLoop, link: tuple[ExecutorSide, socket.socket]
) -> None:
    side, theirs = link
    seen: list[list[list[TaskId]]] = []

    def turn() -> None:
        side.send_at_once(result(1), ())
        seen.append(received(theirs, 1))
        side.add_result(result(2), ())
        side.send_at_once(result(3), ())
        loop.stop()

    loop.call_later(0.0, turn)
    loop.run()
    assert seen == [[[1]]]
    assert received(theirs, 2) == [[2], [3]]


def test_one_that_the_link_does_not_take_whole_leaves_as_it_can(
    loop: EventLoop, link: tuple[ExecutorSide, socket.socket]
) -> None:
    side, theirs = link
    side.send_at_once(result(1, frames=1), [LARGE])
    taken = 0
    loop.watch(theirs, lambda: take())

    def take() -> None:
        nonlocal taken
        taken += len(theirs.recv(1 << 20))
        if taken > len(LARGE):
            loop.stop()

    loop.run()
    loop.unwatch(theirs)
    assert taken > len(LARGE)


def test_outcomes_leave_in_messages_below_what_a_reader_takes(
    link: tuple[ExecutorSide, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    side, _ = link
    sent: list[int] = []
    monkeypatch.setattr(side._channel, "send", lambda parts: sent.append(len(parts) - 1))
    for number in range(3_000):
        side.add_result(result(number, frames=700), [b""] * 700)
    side.flush()
    assert sum(sent) == 3_000 * 700
    assert max(sent) <= BATCH_FRAMES
