"""Small worlds under each policy: all calls end, above the bound, and the same every time."""

from __future__ import annotations

import pytest

from parsl_context.wire.messages import Digest
from tests.simulation import workloads
from tests.simulation.bound import offline_bound
from tests.simulation.checks import check
from tests.simulation.policies import ALL
from tests.simulation.simulator import OURS, Policy, Simulation, Tally
from tests.simulation.world import Call, Content, World


def run(world: World, policy: Policy) -> Tally:
    return Simulation(world, policy).run()


@pytest.mark.parametrize("policy", ALL, ids=lambda policy: policy.name)
@pytest.mark.parametrize("letter", ["a", "b", "d", "f", "h", "i", "j"])
def test_all_calls_end_and_no_sooner_than_the_bound(letter: str, policy: Policy) -> None:
    world = workloads.ALL[letter](0.02)
    tally = run(world, policy)
    assert tally.ended == len(world.calls)
    assert tally.lost == tally.failed == 0
    assert tally.makespan_s >= offline_bound(world)


def test_the_bound_of_one_context_is_a_build_and_the_work_of_each_worker() -> None:
    world = workloads.one_short(0.1)
    expected = world.contents[0].build_s + sum(call.run_s for call in world.calls) / world.workers
    assert offline_bound(world) == pytest.approx(expected, rel=1e-5)


def test_the_same_world_gives_the_same_figures() -> None:
    world = workloads.churn(0.02)
    assert run(world, OURS) == run(world, OURS)


def test_contexts_stay_within_their_budget_all_along() -> None:
    world = workloads.crowded(0.02)
    simulation = Simulation(world)
    while simulation.missing:
        simulation.run(simulation.clock.now + 1.0)
        check(simulation)
    assert simulation.tally.ended == len(world.calls)


def test_workers_that_share_contexts_are_not_idle_beside_work() -> None:
    """A hundred contexts that all fit: within a fifth of the bound, although this small world is mostly builds."""
    world = workloads.zipf(0.15)
    simulation = Simulation(world)
    tally = simulation.run()
    assert tally.ended == len(world.calls)
    assert tally.makespan_s <= 1.2 * offline_bound(world)


@pytest.mark.parametrize(("slots", "managers"), [(8, 1), (32, 1), (8, 4)])
def test_calls_much_longer_than_one_before_have_all_workers(slots: int, managers: int) -> None:
    """A script tries one call, which is quick, then makes those that it is about: within a fifth of a call's time."""
    net, run_s = Digest("net"), 5.0
    tried = Call((net,), 0.0002, code=Digest("f"))
    calls = [tried] + [Call((net,), run_s, at_s=2.0, code=Digest("f"))] * (3 * slots * managers)
    world = World("a quick one first", [Content(net, 0.1)], calls, workloads.nodes(managers, slots))
    tally = run(world, OURS)
    assert tally.ended == len(calls)
    assert tally.makespan_s <= offline_bound(world) + run_s / 5
