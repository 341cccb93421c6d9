"""Environments that nodes take long to start: where calls go meanwhile, and when another node starts one."""

from __future__ import annotations

import math
import random

import pytest

from parsl_context.scheduling.cluster.state import ClusterState
from parsl_context.scheduling.node.state import NodeState
from parsl_context.wire.messages import Digest, EnvironmentName, ManagerId
from tests.simulation.simulator import OURS, Policy, Simulation
from tests.simulation.world import Call, Content, Member, World

A, B = Digest("a"), Digest("b")
START_S = 20.0


def at_home(home: str) -> Policy:
    """Ours, for an executor with an environment."""
    name = EnvironmentName(home)
    return Policy(
        "at home",
        lambda: ClusterState(heartbeat_threshold_s=math.inf, home=name),
        lambda slots: NodeState(slots, home=name),
    )


def burst(calls: int, run_s: float, contexts: tuple[Digest, ...] = (A,)) -> Simulation:
    """One node has started the environment when another joins; then many calls come at once."""
    members = [Member(ManagerId("m1"), 2), Member(ManagerId("m2"), 2, joins_s=50.0)]
    first, later = Call(contexts, run_s, code=Digest("f")), Call(contexts, run_s, at_s=60.0, code=Digest("f"))
    home = "" if contexts else "e"
    world = World(
        "burst", [Content(A, 1.0, environment="e")], [first, *[later] * calls], members,
        environments={"e": START_S}, home=home,
    )  # fmt: skip
    return Simulation(world, at_home(home) if home else OURS)


def started(simulation: Simulation) -> list[str]:
    """Nodes that have started an environment, or were about to."""
    return sorted(manager.id for manager in simulation.managers.values() if manager.environments or manager.coming)


def test_a_burst_that_is_over_before_the_environment_would_be_there_stays_where_it_is() -> None:
    simulation = burst(40, 0.2)
    tally = simulation.run()
    assert tally.ended == 41
    assert started(simulation) == ["m1"]
    assert tally.makespan_s < 60.0 + 40 * 0.2 / 2 + 2.5, "the second worker builds, which is worth it"


def test_a_burst_that_takes_longer_is_shared_with_a_node_that_starts_the_environment_for_it() -> None:
    simulation = burst(400, 0.5)
    tally = simulation.run()
    assert started(simulation) == ["m1", "m2"]
    assert tally.makespan_s < 60.0 + (200.0 - 2 * START_S) / 4 + START_S + 8.0


def test_ordinary_calls_do_not_wait_for_an_environment_that_another_node_has_started() -> None:
    """The node that joined at 50 s has it at 70 s."""
    simulation = burst(40, 0.2, ())
    tally = simulation.run()
    assert tally.makespan_s < 60.0 + 40 * 0.2 / 2 + 1.0


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("home", ["", "e"])
def test_all_calls_end_in_their_environments(seed: int, home: str) -> None:
    chance = random.Random(seed)
    contents = [
        Content(A, 1.0, environment="e", shared=chance.random() < 0.5),
        Content(B, 0.5, environment="f", shared=chance.random() < 0.5),
        Content(Digest("c"), 0.5, environment=home),
    ]
    kinds: list[tuple[Digest, ...]] = [(), (A,), (B,), (Digest("c"),)]
    calls = [
        Call(contexts, run_s, at_s=chance.uniform(0, 60), code=Digest(f"code {contexts}"))
        for contexts, run_s in zip(kinds, (0.1, 0.5, 1.0, 0.01), strict=True)
        for _ in range(60)
    ]
    members = [Member(ManagerId(f"m{i}"), 3, joins_s=chance.uniform(0, 30)) for i in range(3)]
    world = World("mixed", contents, calls, members, environments={"e": START_S, "f": 3.0}, home=home, seed=seed)
    simulation = Simulation(world, at_home(home) if home else OURS)
    tally = simulation.run(1000.0)
    assert tally.ended == len(calls)
    assert tally.makespan_s < 120.0
