"""Blocks that end soon: what is still sent there, and when they had better end at once."""

from __future__ import annotations

from parsl_context.scheduling.batching import Joint
from parsl_context.scheduling.cluster import events as cluster
from parsl_context.scheduling.cluster.events import OrderBuild, SendTask, StopManager
from parsl_context.scheduling.cluster.state import ClusterState
from parsl_context.scheduling.lines import Lane
from parsl_context.wire.messages import Digest, TaskId, WorkerId
from tests.unit.scheduling.cluster.test_state import CODE, M1, M2, A, end, joined, make, submit


def lasting(state: ClusterState, left_s: float, *, walltime_s: float = 1000.0, slots: int = 1) -> None:
    state.handle(joined(M1, slots, ends_in_s=left_s, walltime_s=walltime_s), now=0.0)


def measured(run_s: float, *, left_s: float = 100.0) -> ClusterState:
    """A state that knows what calls take, with a block that ends."""
    state = make({})
    lasting(state, left_s)
    submit(state, 1, now=0.0)
    end(state, M1, 1, run_s=run_s, now=0.0)
    return state


def stops(actions: list[cluster.Action]) -> list[str]:
    return [action.reason for action in actions if isinstance(action, StopManager)]


def test_a_block_ends_itself_when_nothing_that_waits_could_end_there() -> None:
    state = measured(20.0)
    submit(state, 2, now=70.0)
    submit(state, 3, now=70.0)
    (reason,) = stops(end(state, M1, 2, run_s=20.0, now=90.0))
    assert reason == "no call that waits could end in the 10 s that its block has left"
    assert state.waiting == 1


def test_a_block_goes_on_while_a_call_may_end_there_or_none_waits() -> None:
    state = measured(20.0)
    submit(state, 2, now=50.0)
    submit(state, 3, now=50.0)
    assert end(state, M1, 2, run_s=20.0, now=70.0) == [SendTask(task=TaskId(3), manager=M1)]
    assert end(state, M1, 3, run_s=20.0, now=90.0) == [], "nothing waits"


def test_it_is_seen_as_time_goes_by() -> None:
    state = measured(20.0)
    assert state.handle(cluster.Tick(), now=85.0) == []
    submit(state, 2, now=85.5)
    assert state.waiting == 1
    assert len(stops(state.handle(cluster.Tick(), now=95.0))) == 1


def test_a_build_counts_where_the_context_is_not_there() -> None:
    state = make({M2: 1}, {M2: A}, build_s=30.0)
    submit(state, 1, A, now=0.0)
    end(state, M2, 1, run_s=5.0, now=5.0)
    lasting(state, 30.0)
    submit(state, 2, A, now=5.0)  # runs on M2
    submit(state, 3, A, now=5.0)
    actions = state.handle(cluster.Tick(), now=20.0)
    assert not any(isinstance(action, OrderBuild) for action in actions)
    assert len(stops(actions)) == 1


def test_what_fits_into_no_block_may_be_tried_in_a_fresh_one() -> None:
    state = make({})
    lasting(state, 10.0, walltime_s=10.0)
    submit(state, 1, now=0.0)
    assert end(state, M1, 1, run_s=20.0, now=0.5) == []
    assert submit(state, 2, now=0.6) == [SendTask(task=TaskId(2), manager=M1)]


def test_a_busy_manager_is_left_alone() -> None:
    state = make({})
    state.handle(joined(M1, 2, ends_in_s=100.0, walltime_s=1000.0), now=0.0)
    submit(state, 1, now=0.0)
    end(state, M1, 1, run_s=20.0, now=0.0)
    submit(state, 2, now=75.0)
    submit(state, 3, now=76.0)
    submit(state, 4, now=77.0)
    assert stops(end(state, M1, 2, run_s=15.0, now=90.0)) == [], "a call still runs there"
    assert stops(state.handle(cluster.Tick(), now=90.5)) == []
    assert len(stops(end(state, M1, 3, run_s=15.0, now=91.0))) == 1


def test_an_instance_that_is_there_needs_no_build() -> None:
    state = make({M2: 1}, {M2: A}, build_s=30.0)
    submit(state, 1, A, now=0.0)
    end(state, M2, 1, run_s=5.0, now=5.0)
    lasting(state, 30.0)
    state.handle(cluster.ContextHeld(manager=M1, worker=WorkerId(0), context=A), now=6.0)
    state.handle(cluster.ManagerLeft(manager=M2, reason="gone"), now=6.0)
    assert submit(state, 2, A, now=20.0) == [SendTask(task=TaskId(2), manager=M1)]


def test_calls_that_wait_for_others_of_their_batch_need_no_build_where_their_context_is() -> None:
    state = make({})
    lasting(state, 30.0)
    state.handle(cluster.BuildEnded(manager=M1, context=A, load_s=30.0, size_bytes=1), now=0.0)
    state.handle(cluster.ContextHeld(manager=M1, worker=WorkerId(0), context=A), now=0.0)
    lane = Lane((A,), False, joint=Joint(CODE, "", 4, 5.0))
    state.handle(cluster.TaskSubmitted(task=TaskId(1), lane=lane, code=CODE), now=10.0)
    state.handle(cluster.BatchesDue(), now=10.0)
    assert state.waiting == 1
    assert state.handle(cluster.Tick(), now=12.0) == []
    assert state.handle(cluster.Tick(), now=15.0) == [SendTask(task=TaskId(1), manager=M1)]


def by_code(state: ClusterState, number: int, code: str, *, now: float) -> list[cluster.Action]:
    lane = Lane((), False, code=Digest(code))
    return state.handle(cluster.TaskSubmitted(task=TaskId(number), lane=lane, code=Digest(code)), now=now)


def known(lengths: dict[str, float], *, left_s: float, slots: int = 1) -> ClusterState:
    """A state with a block that has so much time left, and calls of several lengths whose times are known."""
    state = make({M2: 1})
    for number, (code, run_s) in enumerate(lengths.items()):
        by_code(state, number, code, now=0.0)
        end(state, M2, number, run_s=run_s, now=0.0)
    state.handle(cluster.ManagerHeld(manager=M2), now=0.0)
    lasting(state, left_s, slots=slots)
    return state


def test_calls_that_do_not_fit_do_not_hide_one_that_does() -> None:
    state = known({**{f"long{i}": 50.0 for i in range(8)}, "short": 5.0, "other": 5.0}, left_s=40.0)
    by_code(state, 100, "other", now=0.0)
    for i in range(8):
        by_code(state, 101 + i, f"long{i}", now=0.0)
    by_code(state, 200, "short", now=1.0)
    assert end(state, M1, 100, run_s=5.0, now=5.0) == [SendTask(task=TaskId(200), manager=M1)]


def test_calls_are_sent_again_once_they_turn_out_to_be_shorter() -> None:
    state = known({"varied": 50.0, "other": 5.0}, left_s=40.0, slots=2)
    for number in (99, 100):
        by_code(state, number, "other", now=0.0)
    by_code(state, 101, "varied", now=0.0)
    assert end(state, M1, 100, run_s=5.0, now=1.0) == [], "there is no time for it"
    line = next(line for line in state.lines.values() if line.waiting)
    for _ in range(400):
        line.longest.add(1.0)
    assert state.handle(cluster.Tick(), now=3.0) == [SendTask(task=TaskId(101), manager=M1)]
