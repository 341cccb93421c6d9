"""What managers have started of environments counts where builds are decided upon, and where ordinary calls go."""

from __future__ import annotations

from parsl_context.scheduling.cluster import events as cluster
from parsl_context.scheduling.cluster.events import FailUnservable, OrderBuild, SendTask
from parsl_context.scheduling.cluster.state import ClusterState
from parsl_context.scheduling.lines import Lane
from parsl_context.wire.messages import (
    ContextOptions,
    Digest,
    Environment,
    EnvironmentName,
    ManagerId,
    OrderId,
    TaskId,
    WorkerId,
)

A, CODE = Digest("a"), Digest("code")
ENVIRONMENT = Environment(digest=Digest("e"), source="env.tar.zst", form="pack", is_kept=True)
E = ENVIRONMENT.name
M1, M2 = ManagerId("m1"), ManagerId("m2")
REASON = "Environment env.tar.zst cannot be used on node n1: it is broken."


def make(*managers: ManagerId, slots: int = 2, home: EnvironmentName | None = None, **changes: object) -> ClusterState:
    state = ClusterState(heartbeat_threshold_s=1e6, home=home)
    options = ContextOptions(name="a()", reuse="memory", environment=ENVIRONMENT)
    state.handle(cluster.ContextDeclared(context=A, options=options), now=0.0)
    for manager in managers:
        join(state, manager, slots, **changes)
    return state


def join(state: ClusterState, manager: ManagerId, slots: int = 2, now: float = 0.0, **changes: object) -> object:
    fields = {"manager": manager, "node": str(manager), "block": "0", "slots": slots, "prefetch": None, **changes}
    return state.handle(cluster.ManagerJoined(**fields), now=now)  # type: ignore[arg-type]


def begin(state: ClusterState, manager: ManagerId, now: float) -> list[cluster.Action]:
    return state.handle(cluster.EnvironmentBegan(manager=manager, environment=E, source="env.tar.zst"), now=now)


def ready(state: ClusterState, manager: ManagerId, now: float, start_s: float = 20.0) -> list[cluster.Action]:
    return state.handle(cluster.EnvironmentReady(manager=manager, environment=E, start_s=start_s), now=now)


def build(state: ClusterState, manager: ManagerId, order: int, now: float) -> None:
    """An order ends in 1 s."""
    ended = cluster.BuildEnded(manager=manager, context=A, load_s=1.0, size_bytes=1)
    state.handle(ended, now=now)
    state.handle(cluster.ContextHeld(manager=manager, worker=WorkerId(0), context=A), now=now)
    state.handle(cluster.BuildSettled(manager=manager, order=OrderId(order), contexts=(A,)), now=now)


def submit(
    state: ClusterState, first: int, count: int = 1, now: float = 1.0, contexts: tuple[Digest, ...] = (A,)
) -> list[cluster.Action]:
    found: list[cluster.Action] = []
    for number in range(first, first + count):
        event = cluster.TaskSubmitted(task=TaskId(number), lane=Lane(contexts, False), code=CODE)
        found += state.handle(event, now=now)
    return found


def end(state: ClusterState, manager: ManagerId, number: int, now: float, run_s: float = 1.0) -> list[cluster.Action]:
    return state.handle(cluster.TaskEnded(manager=manager, task=TaskId(number), run_s=run_s), now=now)


def sites(actions: list[cluster.Action]) -> list[ManagerId]:
    return [action.manager for action in actions if isinstance(action, OrderBuild)]


def warm(*managers: ManagerId, slots: int = 1, start_s: float = 20.0) -> ClusterState:
    """The first manager has started the environment, and one worker there holds the context. Calls take 1 s."""
    state = make(*managers, slots=slots)
    assert sites(submit(state, 1)) == [managers[0]]
    ready(state, managers[0], now=1.0, start_s=start_s)
    build(state, managers[0], 0, now=2.0)
    end(state, managers[0], 1, now=3.0)
    return state


def test_a_build_that_is_worth_its_time_is_not_worth_the_start_of_an_environment_besides() -> None:
    state = warm(M1, M2)
    assert sites(submit(state, 2, 6, now=4.0)) == [], "5 s of work wait, a build takes 1 s, the environment 20 s"
    assert sites(submit(state, 20, 30, now=4.0)) == [M2], "35 s of work wait"


def test_a_build_is_worth_it_where_the_environment_is_ready() -> None:
    state = warm(M1, M2)
    ready(state, M2, now=3.5)
    assert sites(submit(state, 2, 6, now=4.0)) == [M2]


def test_a_start_that_is_nearly_done_costs_little() -> None:
    state = warm(M1, M2)
    begin(state, M2, now=4.0)
    assert sites(submit(state, 2, 6, now=4.0)) == []
    assert sites(state.handle(cluster.Tick(), now=21.5)) == [M2], "2.5 s and 1 s, for 6 s of work"


def test_a_start_that_lasts_longer_than_others_is_expected_to_go_on() -> None:
    state = warm(M1, M2)
    begin(state, M2, now=4.0)
    submit(state, 2, now=4.0)
    end(state, M1, 2, now=60.0)
    assert sites(submit(state, 3, 6, now=60.0)) == [], "it has taken 56 s, and may take as long again"


def test_builds_go_where_the_environment_is_ready_rather_than_where_most_workers_are_idle() -> None:
    state = make(M1, slots=2)
    join(state, M2, slots=4)
    ready(state, M1, now=0.5)
    assert sites(submit(state, 1)) == [M1]


def test_when_the_environment_becomes_ready_what_waits_is_looked_at() -> None:
    state = warm(M1, M2)
    assert sites(submit(state, 2, 6, now=4.0)) == []
    assert sites(ready(state, M2, now=4.1)) == [M2]


def test_what_is_gone_has_to_be_started_again() -> None:
    state = warm(M1, M2)
    ready(state, M2, now=3.5)
    state.handle(cluster.EnvironmentGone(manager=M2, environment=E), now=3.6)
    assert sites(submit(state, 2, 6, now=4.0)) == []


def test_a_block_that_ends_before_the_environment_would_be_there_builds_nothing() -> None:
    ends = {"ends_in_s": 15.0, "walltime_s": 1000.0}
    state = warm(M1)
    state.handle(cluster.ManagerLeft(manager=M1, reason="gone"), now=3.5)
    join(state, M2, 1, 4.0, **ends)
    assert sites(submit(state, 2, now=4.0)) == [], "20 s, 1 s and 1 s in 15 s"
    state = warm(M1, start_s=5.0)
    state.handle(cluster.ManagerLeft(manager=M1, reason="gone"), now=3.5)
    join(state, M2, 1, 4.0, **ends)
    assert sites(submit(state, 2, now=4.0)) == [M2]


def test_ordinary_calls_go_where_their_environment_is_ready() -> None:
    state = make(M1, M2, home=E)
    assert submit(state, 1, contexts=()) == []
    assert ready(state, M2, now=2.0) == [SendTask(task=TaskId(1), manager=M2)]
    assert submit(state, 2, 2, now=2.0, contexts=()) == [SendTask(task=TaskId(2), manager=M2)], "not where it starts"
    assert ready(state, M1, now=3.0) == [SendTask(task=TaskId(3), manager=M1)]


def test_ordinary_calls_fail_when_the_last_manager_cannot_start_their_environment() -> None:
    state = make(M1, M2, home=E)
    submit(state, 1, contexts=())
    refused = [cluster.OrdinaryRefused(manager=manager, tasks=[], reason=REASON) for manager in (M1, M2)]
    assert state.handle(refused[0], now=2.0) == [], "the other may"
    assert state.handle(refused[1], now=2.0) == [FailUnservable(tasks=[TaskId(1)], reason=REASON)]


def test_one_that_has_started_it_after_all_is_refused_for_the_first_pause_next_time() -> None:
    state = make(M1, home=E)
    refused = cluster.OrdinaryRefused(manager=M1, tasks=[], reason=REASON)
    for now in (1.0, 10.0):
        state.handle(refused, now=now)
        ready(state, M1, now=now + 0.5)
    assert submit(state, 1, now=11.0, contexts=()) == [SendTask(task=TaskId(1), manager=M1)]
    state.handle(refused, now=20.0)
    state.handle(cluster.Tick(), now=21.0)
    assert submit(state, 2, now=21.0, contexts=()) == [SendTask(task=TaskId(2), manager=M1)]


def test_a_manager_that_starts_the_environment_of_ordinary_calls_is_not_idle() -> None:
    state = make(M1, home=E)
    assert state.managers[M1].idle_since is None
    ready(state, M1, now=5.0)
    assert state.managers[M1].idle_since == 5.0
    state = make(M1, home=E)
    state.handle(cluster.OrdinaryRefused(manager=M1, tasks=[], reason=REASON), now=6.0)
    assert state.managers[M1].idle_since == 6.0
