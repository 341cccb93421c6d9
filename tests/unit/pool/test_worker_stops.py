"""What a worker hears while a call runs in a child of it: whether that is to end; all else is for later, in order."""

import socket
from collections import deque

import pytest

from parsl_context.pool.stops import Stops
from parsl_context.wire import messages as m
from parsl_context.wire.channel import WorkerChannel
from parsl_context.wire.codec import Decoder, encode, to_stream


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def send(end, *messages):
    for message in messages:
        for part in to_stream(encode(message)):
            end.sendall(part)


def stops(end, put_off, task=7):
    return Stops(WorkerChannel(end), Decoder(m.ToWorker), put_off, m.TaskId(task))


def test_the_call_is_ended_that_is_meant_and_other_messages_wait(ends):
    put_off = deque()
    heard = stops(ends[1], put_off)
    send(ends[0], m.DropContext(context="a"), m.StopTask(task=6))
    assert heard.hear()
    assert not heard.wants_end()
    send(ends[0], m.StopTask(task=7), m.Exit())
    assert heard.hear()
    assert heard.wants_end()
    kinds = [type(message) for message, _ in put_off]
    assert kinds == [m.DropContext, m.StopTask, m.StopTask, m.Exit]


def test_what_came_before_the_call_was_begun_counts(ends):
    assert stops(ends[1], deque([(m.StopTask(task=7), ())])).wants_end()
    assert not stops(ends[1], deque([(m.StopTask(task=8), ())])).wants_end()


def test_a_manager_that_is_gone_says_nothing_more(ends):
    heard = stops(ends[1], deque())
    ends[0].close()
    assert not heard.hear()
