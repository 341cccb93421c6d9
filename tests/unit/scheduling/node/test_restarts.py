"""A node that is short of something for a while comes back; one that never comes up is given up."""

from __future__ import annotations

from parsl_context.scheduling.node.restarts import PATIENCE_S, Restarts


def test_pauses_grow_until_a_process_comes_up() -> None:
    restarts = Restarts()
    assert [restarts.failed(now=float(n)) for n in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    restarts.came_up()
    assert restarts.failed(now=9.0) == 0.1


def test_a_node_is_given_up_when_nothing_came_up_for_long() -> None:
    restarts = Restarts()
    assert restarts.failed(now=0.0) is not None
    assert restarts.failed(now=PATIENCE_S - 0.1) is not None
    assert restarts.failed(now=PATIENCE_S) is None


def test_what_came_up_meanwhile_counts() -> None:
    restarts = Restarts()
    restarts.failed(now=0.0)
    restarts.came_up()
    assert restarts.failed(now=PATIENCE_S) is not None
