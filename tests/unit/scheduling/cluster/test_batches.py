"""Decisions of the interchange on calls that may run together."""

from __future__ import annotations

import pytest

from parsl_context.scheduling.batching import Joint
from parsl_context.scheduling.cluster import events as cluster
from parsl_context.scheduling.cluster.events import ConfirmCancelled, FailTasks, RefuseCancel, SendTask, TakeBack
from parsl_context.scheduling.cluster.state import ClusterState
from parsl_context.scheduling.lines import Lane
from parsl_context.wire.messages import Digest, ManagerId, TaskId, WorkerId
from tests.unit.scheduling.cluster.test_state import CODE, M1, M2, A, end, joined, make

T = TaskId


def submit(
    state: ClusterState,
    *numbers: int,
    now: float = 1.0,
    size: int | None = 4,
    wait_s: float = 0.0,
    code: Digest = CODE,
    priority: float = 9.0,
) -> list[cluster.Action]:
    lane = Lane((A,), False, joint=Joint(code, "", size, wait_s))
    for number in numbers:
        event = cluster.TaskSubmitted(task=T(number), lane=lane, code=code, priority=priority)
        assert state.handle(event, now=now) == []
    return state.handle(cluster.BatchesDue(), now=now)


def batch(manager: ManagerId, *numbers: int) -> SendTask:
    return SendTask(task=T(numbers[0]), manager=manager, mates=tuple(map(T, numbers[1:])))


def end_batch(
    state: ClusterState, manager: ManagerId, *numbers: int, run_s: float = 1.0, now: float = 2.0
) -> list[cluster.Action]:
    for number in reversed(numbers[1:]):
        assert end(state, manager, number, 0.0, now) == []
    return end(state, manager, numbers[0], run_s, now)


def warm(slots: int, *, managers: int = 1) -> ClusterState:
    names = (M1, M2)[:managers]
    state = make(dict.fromkeys(names, slots))
    for name in names:
        state.handle(cluster.BuildEnded(manager=name, context=A, load_s=1e3, size_bytes=1), now=0.0)
        for worker in range(slots):
            state.handle(cluster.ContextHeld(manager=name, worker=WorkerId(worker), context=A), now=0.0)
    return state


def test_calls_that_came_together_run_together() -> None:
    state = warm(1)
    assert submit(state, 1, 2, 3) == [batch(M1, 1, 2, 3)]


def test_no_batch_is_larger_than_it_may_be_and_the_rest_waits_for_a_worker() -> None:
    state = warm(1)
    assert submit(state, *range(1, 11)) == [batch(M1, 1, 2, 3, 4)]
    assert end_batch(state, M1, 1, 2, 3, 4) == [batch(M1, 5, 6, 7, 8)]
    assert end_batch(state, M1, 5, 6, 7, 8) == [batch(M1, 9, 10)]
    assert end_batch(state, M1, 9, 10) == []
    assert not state.waiting


def test_calls_are_split_among_idle_workers() -> None:
    state = warm(2, managers=2)
    sent = submit(state, *range(1, 11), size=32)
    assert sorted(len(action.mates) + 1 for action in sent if isinstance(action, SendTask)) == [2, 2, 3, 3]


def test_only_full_batches_are_sent_ahead_of_a_worker() -> None:
    state = warm(2)
    submit(state, 1)
    end_batch(state, M1, 1, run_s=0.004)  # short: the manager may hold more than it runs
    assert submit(state, 2, 3) == [batch(M1, 2), batch(M1, 3)]
    assert submit(state, *range(4, 10)) == []
    assert end_batch(state, M1, 2, run_s=0.004) == [batch(M1, 4, 5, 6, 7)], "the others may become more"
    submit(state, 10, 11)
    assert end_batch(state, M1, 4, 5, 6, 7, run_s=0.004) == [batch(M1, 8, 9, 10, 11)]
    submit(state, *range(12, 20))
    ahead = end_batch(state, M1, 3, run_s=0.004)
    assert ahead == [batch(M1, 12, 13, 14, 15), batch(M1, 16, 17, 18, 19)]


def test_only_calls_of_one_code_and_priority_join() -> None:
    state = warm(1)
    submit(state, 1)
    submit(state, 2, 3)
    submit(state, 4, code=Digest("other"))
    submit(state, 5, priority=1.0)
    order: list[cluster.Action] = []
    held = [1]
    while held:
        actions = [action for action in end_batch(state, M1, *held) if isinstance(action, SendTask)]
        order += actions
        held = [number for action in actions for number in (action.task, *action.mates)]
    assert batch(M1, 5) in order
    assert batch(M1, 2, 3) in order
    assert batch(M1, 4) in order
    assert order.index(batch(M1, 5)) < order.index(batch(M1, 2, 3))


def test_a_call_waits_for_others_as_long_as_it_may() -> None:
    state = warm(1)
    assert submit(state, 1, wait_s=0.5) == []
    assert state.next_deadline() == pytest.approx(1.5)
    assert submit(state, 2, wait_s=0.5, now=1.2) == []
    assert state.handle(cluster.Tick(), now=1.5) == [batch(M1, 1, 2)]
    end_batch(state, M1, 1, 2)
    assert submit(state, 3, 4, 5, 6, wait_s=0.5) == [batch(M1, 3, 4, 5, 6)]


def test_a_batch_that_comes_back_waits_again_in_its_order() -> None:
    state = warm(1)
    submit(state, 1, 2, 3, 4)
    submit(state, 5)
    back = cluster.TasksReturned(manager=M1, tasks=[T(1)])
    sent = state.handle(back, now=2.0)
    assert sent in ([], [batch(M1, 1, 2, 3, 4)])
    assert state.waiting == (5 if not sent else 1)


def test_all_calls_of_a_batch_are_lost_with_its_manager() -> None:
    state = warm(1)
    submit(state, 1, 2, 3)
    gone = state.handle(cluster.ManagerLeft(manager=M1, reason="gone"), now=2.0)
    assert gone[0] == FailTasks(tasks=[T(1), T(2), T(3)], manager=M1, reason="gone")
    assert not any(state.knows_task(T(number)) for number in (1, 2, 3))


def test_all_calls_of_a_batch_are_lost_with_its_worker() -> None:
    state = warm(1)
    submit(state, 1, 2, 3)
    assert state.batch_of(T(1)) == [1, 2, 3]
    state.handle(cluster.TaskLost(manager=M1, task=T(1)), now=2.0)
    assert not any(state.knows_task(T(number)) for number in (1, 2, 3))


def test_one_call_of_a_batch_is_cancelled_if_it_comes_back_unstarted() -> None:
    state = warm(1)
    submit(state, 1, 2, 3)
    asked = state.handle(cluster.TaskCancelled(task=T(2)), now=1.5)
    assert asked == [TakeBack(tasks=[T(1)], manager=M1, answers=True)]
    actions = state.handle(cluster.TasksReturned(manager=M1, tasks=[T(1)]), now=2.0)
    assert actions[0] == ConfirmCancelled(tasks=[T(2)])
    assert state.waiting == 2 or batch(M1, 1, 3) in actions


def test_a_batch_that_runs_is_ended_if_nobody_waits_for_any_of_its_calls() -> None:
    state = warm(1)
    submit(state, 1, 2)
    asked = [state.handle(cluster.TaskCancelled(task=T(number)), now=1.5)[0] for number in (2, 1)]
    assert [each.ends for each in asked if isinstance(each, TakeBack)] == [False, True]
    ended = cluster.TasksReturned(manager=M1, tasks=[T(1)], were_ended=True)
    assert state.handle(ended, now=2.0)[0] == ConfirmCancelled(tasks=[T(1), T(2)])


def test_a_call_of_a_batch_that_has_started_is_not_cancelled() -> None:
    state = warm(1)
    submit(state, 1, 2, 3)
    state.handle(cluster.TaskCancelled(task=T(2)), now=1.5)
    assert state.handle(cluster.TasksKept(manager=M1, tasks=[T(1)]), now=2.0) == [RefuseCancel(tasks=[T(2)])]


def test_a_line_is_gone_when_its_code_or_its_context_is() -> None:
    for digest in (CODE, A):
        state = warm(1)
        submit(state, 1, 2)
        end_batch(state, M1, 1, 2)
        before = len(state._books.lines)
        state.handle(cluster.BlobForgotten(digest=digest), now=3.0)
        assert len(state._books.lines) == before - 1
        assert not any(state._books.lines_of.values())


def test_rows_show_how_large_batches_are() -> None:
    state = warm(1)
    submit(state, 1, 2, 3)
    end_batch(state, M1, 1, 2, 3)
    (row,) = [row for row in state.context_rows(3.0) if row.digest == A]
    assert (row.calls, row.batch) == (3, 3.0)


def test_a_manager_that_joins_late_gets_its_share() -> None:
    state = warm(1)
    submit(state, *range(1, 10))
    state.handle(joined(M2, 1), now=2.0)
    held = state.handle(cluster.ContextHeld(manager=M2, worker=WorkerId(0), context=A), now=2.0)
    assert held == [batch(M2, 5, 6, 7, 8)]


def test_a_batch_that_is_lost_waits_again_call_by_call() -> None:
    state = ClusterState(heartbeat_threshold_s=100.0, requeue_lost=1)
    state.handle(joined(M1, 1), now=0.0)
    lane = Lane((), False, joint=Joint(CODE, "", 4, 0.0))
    for number in range(1, 5):
        state.handle(cluster.TaskSubmitted(task=T(number), lane=lane, code=CODE), now=1.0)
    assert state.handle(cluster.BatchesDue(), now=1.0) == [batch(M1, 1, 2, 3, 4)]
    state.handle(cluster.TaskEnded(manager=M1, task=T(2), run_s=0.0), now=1.5)
    state.handle(cluster.ManagerLeft(manager=M1, reason="gone"), now=2.0)
    assert state.waiting == 3
    assert state.handle(joined(M2, 1), now=3.0) == [batch(M2, 1, 3, 4)]
