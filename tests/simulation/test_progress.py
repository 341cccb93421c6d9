"""The bound on the time without progress is kept in worlds where more is asked for than fits, and each rule is needed.

A check that cannot fail shows nothing: each rule that the bound rests on is taken away in turn, and it must say so.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from parsl_context.scheduling.cluster import events as cluster
from parsl_context.scheduling.cluster.builds import Builds
from parsl_context.scheduling.cluster.state import ClusterState
from parsl_context.scheduling.lines import Lane
from parsl_context.scheduling.node import events as node
from parsl_context.scheduling.node.state import NodeState
from parsl_context.wire.messages import Digest, ManagerId, TaskId
from tests.simulation.progress import Progress
from tests.simulation.simulator import OURS, Policy, Simulation, Tally
from tests.simulation.workloads import nodes
from tests.simulation.world import Call, Content, Delays, Member, World

LOOK_S = 0.5


def world(
    slots: int,
    contexts: int,
    calls: int,
    *,
    shared: bool = False,
    limit: int | None = None,
    memory: int | None = None,
    build_s: float = 0.3,
    run_s: float = 0.01,
    link_s: float = 0.001,
) -> World:
    """So many calls of each of so many contexts, made together; each context takes one byte."""
    names = [Digest(f"c{i:02}") for i in range(contexts)]
    return World(
        "more than fits",
        [Content(name, build_s, 1, shared=shared) for name in names],
        [Call((name,), run_s, code=Digest(f"f{name}")) for name in names for _ in range(calls)],
        nodes(1, slots),
        contexts_per_worker=limit,
        memory_bytes=memory,
        delays=Delays(link_s=link_s),
    )


def run(tried: World, policy: Policy = OURS) -> Tally:
    """All calls end, each within the bound after the one before."""
    simulation = Simulation(tried, policy)
    progress = Progress(simulation)
    while simulation.missing:
        simulation.run(simulation.clock.now + LOOK_S)
        progress.check()
    return simulation.tally


WORLDS = [
    world(1, 2, 1, shared=True),
    world(2, 5, 1, shared=True),
    world(4, 6, 1, shared=True),
    world(8, 40, 5, shared=True),
    world(2, 6, 4, shared=True, memory=2),
    world(1, 2, 4, limit=1),
    world(2, 5, 4, limit=1),
    world(8, 40, 5, limit=2),
    world(1, 3, 4, memory=1),
    world(1, 3, 4, limit=1, link_s=3.0),
    world(2, 4, 4, shared=True, memory=1, link_s=3.0),
]


@pytest.mark.parametrize("tried", WORLDS)
def test_a_call_ends_within_the_bound(tried: World) -> None:
    assert run(tried).ended == len(tried.calls)


@pytest.mark.parametrize("tried", [tried for tried in WORLDS if tried.delays.link_s < 1.0])
def test_what_is_built_is_not_given_up_before_it_has_paid(tried: World) -> None:
    """Each context once, or once for each worker."""
    assert run(tried).builds <= len(tried.contents) * (1 if tried.contents[0].shared else tried.workers)


class OrdersGoFirst(ClusterState):
    """An order that has ended makes room for the next, as anything that ends; its calls wait their turn."""

    def handle(self, event: cluster.Event, *, now: float) -> list[cluster.Action]:
        if not isinstance(event, cluster.BuildSettled):
            return super().handle(event, now=now)
        line = self._books.lines[Lane(event.contexts, False)]
        manager = self.managers[event.manager]
        self._builds.settle(line, manager)
        cold = self._builds.latest(manager, now)
        orders = [self._builds.order(cold, manager)] if cold is not None else []
        return [
            cluster.ReleaseBuild(order=event.order, manager=manager.id),
            *orders,
            *self._placement.serve(manager, now, line),
        ]


class NeverAnswers(ClusterState):
    """The manager is not told that no call comes for what it built."""

    def handle(self, event: cluster.Event, *, now: float) -> list[cluster.Action]:
        actions = super().handle(event, now=now)
        return [action for action in actions if not isinstance(action, cluster.ReleaseBuild)]


class KeepsNothing(NodeState):
    """What was built is given to the next order at once."""

    def handle(self, event: node.Event, *, now: float) -> list[node.Action]:
        actions = super().handle(event, now=now)
        settled = [action.order for action in actions if isinstance(action, node.SettleBuild)]
        return actions + [a for order in settled for a in self.handle(node.OrderReleased(order=order), now=now)]


def breaks(tried: World, policy: Policy) -> bool:
    """Whether the check says that the bound is not kept."""
    try:
        run(tried, policy)
    except AssertionError as error:
        return "no call has ended" in str(error)
    return False


def test_it_takes_that_an_order_is_followed_by_a_call_that_it_was_made_for() -> None:
    defect = Policy("", lambda: OrdersGoFirst(heartbeat_threshold_s=math.inf), NodeState)
    assert breaks(world(1, 2, 4, limit=1), defect)


def test_it_takes_that_a_node_keeps_what_it_built_until_a_call_has_come() -> None:
    assert breaks(world(2, 3, 4, memory=1), Policy("", OURS.cluster, KeepsNothing))
    assert run(world(2, 3, 4, memory=1)).ended == 12


@pytest.mark.parametrize("answers", [True, False])
def test_it_takes_that_a_node_is_told_when_no_call_comes(answers: bool) -> None:
    tried = world(1, 2, 1, limit=1)
    state = ClusterState if answers else NeverAnswers
    policy = Policy("", lambda: state(heartbeat_threshold_s=math.inf), NodeState)
    simulation = Simulation(tried, policy)
    progress = Progress(simulation)
    simulation.run(0.1)
    simulation.cancel(TaskId(1))
    progress.disturbed()
    simulation.run(2.0)
    assert simulation.tally.ended == answers
    if not answers:
        with pytest.raises(AssertionError, match="no call has ended"):
            progress.check()


def test_it_takes_that_a_manager_that_joins_is_given_orders_for_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    pays = Builds.pays
    monkeypatch.setattr(Builds, "pays", lambda self, line, now: self.free.slots > 0 and pays(self, line, now))
    early = replace(world(1, 2, 1), members=[Member(ManagerId("m1"), 1, joins_s=0.1)])
    assert breaks(early, OURS)
    monkeypatch.undo()
    assert run(early).ended == 2
