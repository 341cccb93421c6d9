"""Processes that could not be forked are asked for again, after pauses that grow, until a bound."""

import pytest

from parsl_context.pool import driver as driver_module
from parsl_context.pool.driver import NodeDriver

TEMPLATE = ("context",)


class Loop:
    """Remembers what is to be called later."""

    def __init__(self):
        self.later = []

    def call_later(self, delay_s, call):
        self.later.append((delay_s, call))


class Family:
    """Remembers what it was told to start."""

    def __init__(self):
        self.started = []

    def start_worker(self, worker, template=None, nest=None):
        self.started.append((worker, template))


class Node:
    """A driver, and a clock that is set by hand. [s]"""

    def __init__(self):
        self.now = 0.0
        self.loop, self.family, self.given_up = Loop(), Family(), []
        self.driver = NodeDriver(self.loop, self.family, None, slots=2, nodes=(), on_give_up=self.given_up.append)

    def monotonic(self):
        return self.now


@pytest.fixture
def node(monkeypatch):
    node = Node()
    monkeypatch.setattr(driver_module, "time", node)
    return node


def test_a_worker_that_was_not_forked_is_asked_for_again_after_pauses_that_grow(node, caplog):
    for _ in range(8):
        assert node.driver.fork_again(0, TEMPLATE, "no room")
    pauses = [pause for pause, _ in node.loop.later]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (0.1, 5.0)
    node.loop.later[0][1]()
    assert node.family.started == [(0, TEMPLATE)]
    assert len(caplog.records) == 1


def test_it_is_not_asked_for_for_ever_though_others_come_up(node):
    assert node.driver.fork_again(0, TEMPLATE, "no room")
    node.now = 59.0
    node.driver.came_up()
    node.driver.was_forked(1)
    assert node.driver.fork_again(0, TEMPLATE, "no room")
    node.now = 60.0
    assert not node.driver.fork_again(0, TEMPLATE, "no room")
    assert not node.given_up


def test_one_that_came_up_begins_anew(node):
    assert node.driver.fork_again(0, TEMPLATE, "no room")
    node.now = 60.0
    node.driver.was_forked(0)
    assert node.driver.fork_again(0, TEMPLATE, "no room")
    assert [pause for pause, _ in node.loop.later] == [0.1, 0.1]


def test_a_template_that_was_not_forked_is_asked_for_after_a_pause(node):
    node.driver.start_template_later(TEMPLATE)
    assert [pause for pause, _ in node.loop.later] == [0.1]
