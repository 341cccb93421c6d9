"""Values that calls of a far node have in common: asked for once, there while named, and given up for others."""

import os
import random

import pytest

from parsl_context.distribute.bulk.channel import Lack
from parsl_context.pool import far_values as module
from parsl_context.pool.far_values import FarValues
from parsl_context.scheduling.kept import KEPT_S
from parsl_context.wire import messages as m
from parsl_context.wire.segments import create_segments
from tests.unit.builders import task

SIZE = 400_000


class Road:
    """Notes what is asked for."""

    def __init__(self):
        self.wanted = []

    def want(self, segment, done):
        self.wanted.append((segment, done))

    def close(self):
        pass


class Loop:
    """Keeps what is to be called later."""

    def __init__(self):
        self.later = []

    def call_later(self, delay_s, call):
        self.later.append((delay_s, call))


class Link(list):
    """Keeps what is sent."""

    send = list.append


class Node:
    """A node with a road to the script's host, and what its calls had."""

    def __init__(self, folder, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)
        self.segments = create_segments([str(folder)])
        self.admitted = []
        self.road, self.loop, self.link = Road(), Loop(), Link()
        self.values = FarValues(self.loop, self.link, self.segments, "script", self.admitted.append)
        self.values._road, self.values._is_open = self.road, True

    def batch(self, number, name="a-x-1", recurs=False):
        shared = m.Shared(m.Segment(name, (SIZE,)), (1,), recurs)
        return [(task(number, payload=m.Payload(b"stream", 0, None, (shared,))), ())]

    def come(self, lack=None):
        """What was asked for first comes, or does not."""
        segment, done = self.road.wanted.pop(0)
        if lack is None:
            self.segments.arriving(segment).write(memoryview(bytes(SIZE)))
        done(lack)

    @property
    def files(self):
        return sorted(set(os.listdir(self.segments.path)) - {"token"})


@pytest.fixture
def node(tmp_path, monkeypatch):
    made = Node(tmp_path, monkeypatch)
    yield made
    made.values.forget_session()
    assert made.files == []
    made.segments.close()


def test_calls_that_have_a_value_in_common_wait_for_it_together(node):
    calls = [node.batch(1), node.batch(2), node.batch(3)]
    assert all(node.values.expect(call) for call in calls)
    assert len(node.road.wanted) == 1
    node.come()
    assert node.admitted == calls
    assert not node.values.expect(node.batch(4)), "it is there for the next"


def test_it_stays_while_a_call_names_it_and_for_a_while(node):
    calls = [node.batch(1), node.batch(2)]
    for call in calls:
        node.values.expect(call)
    node.come()
    node.values.drop(calls[0])
    node.values.drop(calls[0])
    assert node.files == ["a-x-1"]
    node.values.drop(calls[1])
    assert node.files == ["a-x-1"]
    node.now += KEPT_S
    ((delay_s, expire),) = node.loop.later
    assert delay_s == KEPT_S
    expire()
    assert node.files == []


def test_a_value_of_one_call_goes_with_it_unless_it_is_known_to_recur(node):
    for number, recurs in ((1, False), (2, True)):
        call = node.batch(number, recurs=recurs)
        node.values.expect(call)
        node.come()
        node.values.drop(call)
        assert bool(node.files) == recurs


def test_what_no_call_names_gives_way_to_what_comes(node):
    call = node.batch(1, recurs=True)
    node.values.expect(call)
    node.come()
    node.values.drop(call)
    other = node.batch(2, "a-x-2")
    node.values.expect(other)
    node.come(Lack("no room", is_ours=True))
    assert node.files == []
    assert [segment.name for segment, _ in node.road.wanted] == ["a-x-2"], "it is asked for again"
    node.come(Lack("no room", is_ours=True))
    assert m.TasksReturned(tasks=[2]) in node.link, "once: now there is nothing to give up"


def test_a_value_that_nobody_waits_for_any_more_does_not_stay(node):
    node.values.expect(node.batch(1))
    node.values.take_back([1])
    node.come()
    assert node.files == []


def test_whatever_happens_calls_have_their_values_and_then_nothing_is_left(node):
    choose = random.Random(5)
    running, waiting = {}, {}
    for number in range(400):
        match choose.choice(["call", "call", "end", "come", "lack", "back", "time"]):
            case "call":
                name = f"a-x-{choose.randrange(3)}"
                call = node.batch(number, name, choose.random() < 0.5)
                (waiting if node.values.expect(call) else running)[number] = (name, call)
            case "end" if running:
                _, call = running.pop(choose.choice(list(running)))
                node.values.drop(call)
            case "come" if node.road.wanted:
                node.come()
            case "lack" if node.road.wanted:
                node.come(Lack("gone", is_ours=choose.random() < 0.5))
            case "back" if waiting:
                node.values.take_back([choose.choice(list(waiting))])
            case "time":
                node.now += choose.random() * KEPT_S
        for call in node.admitted:
            running[call[0][0].id] = waiting.pop(call[0][0].id)
        node.admitted.clear()
        for message in node.link:
            for returned in getattr(message, "tasks", ()):
                waiting.pop(returned, None)
        node.link.clear()
        assert {name for name, _ in running.values()} <= set(node.files)
    while node.road.wanted:
        node.come()
    for call in [*node.admitted, *(call for _, call in running.values())]:
        node.values.drop(call)
    node.now += KEPT_S
    for _, call in node.loop.later:
        if call == node.values._expire:
            call()
    assert node.files == []
