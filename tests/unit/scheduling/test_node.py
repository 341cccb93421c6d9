"""Decisions on a node."""

from __future__ import annotations

from parsl_context.messages import Digest, TaskId, WorkerId
from parsl_context.scheduling import node_events as node
from parsl_context.scheduling.node import NodeState
from parsl_context.scheduling.node_events import Assign, GiveBack, Lane, Load, Lose, Replace

A, B, CODE = Digest("a"), Digest("b"), Digest("code")
W0, W1 = WorkerId(0), WorkerId(1)


def call(number: int, *contexts: Digest, fresh: bool = False, code: Digest = CODE) -> node.NodeTask:
    return node.NodeTask(id=TaskId(number), lane=Lane(contexts, fresh), code=code)


def node_with(workers: int = 1, warm: dict[WorkerId, Digest] | None = None, build_s: float = 1.0) -> NodeState:
    state = NodeState(workers)
    for number in range(workers):
        state.handle(node.WorkerReady(worker=WorkerId(number)), now=0.0)
    for worker, context in (warm or {}).items():
        state.handle(node.LoadEnded(worker=worker, context=context, load_s=build_s), now=0.0)
    return state


def arrive(state: NodeState, *tasks: node.NodeTask, now: float = 1.0) -> list[node.Action]:
    return state.handle(node.TasksArrived(tasks=list(tasks)), now=now)


def end(state: NodeState, worker: WorkerId, number: int, run_s: float = 1.0, now: float = 2.0) -> list[node.Action]:
    return state.handle(node.TaskEnded(worker=worker, task=TaskId(number), run_s=run_s), now=now)


def test_a_call_goes_where_its_context_is_warm() -> None:
    state = node_with(2, warm={W1: A})
    assert arrive(state, call(1, A)) == [Assign(task=TaskId(1), worker=W1)]


def test_calls_are_spread_over_idle_workers_before_any_gets_two() -> None:
    state = node_with(2)
    end_all = arrive(state, call(1), call(2), call(3))
    assert end_all == [Assign(task=TaskId(1), worker=W0), Assign(task=TaskId(2), worker=W1)]
    assert end(state, W1, 2) == [Assign(task=TaskId(3), worker=W1)]


def test_short_calls_are_sent_ahead_in_turn_and_long_ones_are_not() -> None:
    state = node_with(2)
    arrive(state, call(1), call(2))
    end(state, W0, 1, run_s=0.001)
    end(state, W1, 2, run_s=0.001)
    sent = arrive(state, *(call(number) for number in range(10, 20)))
    assert [action.worker for action in sent if isinstance(action, Assign)] == [W0, W1] * 3
    long = node_with(1)
    arrive(long, call(1))
    end(long, W0, 1, run_s=5.0)
    assert len(arrive(long, call(2), call(3))) == 1


def test_a_cold_worker_is_not_used_where_a_warm_one_is_soon_free() -> None:
    state = node_with(2, warm={W0: A}, build_s=10.0)
    arrive(state, call(1, A))
    end(state, W0, 1, run_s=1.0)
    assert arrive(state, call(2, A), call(3, A)) == [Assign(task=TaskId(2), worker=W0)]
    assert end(state, W0, 2) == [Assign(task=TaskId(3), worker=W0)]


def test_a_context_is_built_on_another_worker_when_the_backlog_is_worth_it() -> None:
    state = node_with(2, warm={W0: A}, build_s=2.0)
    arrive(state, call(1, A))
    end(state, W0, 1, run_s=1.0)
    sent = arrive(state, *(call(number, A) for number in range(2, 8)))
    assert Assign(task=TaskId(3), worker=W1) in sent


def test_contexts_do_not_starve_each_other() -> None:
    """A warm queue is left for a cold call that has waited for longer than its build takes."""
    state = node_with(1, warm={W0: A}, build_s=2.0)
    arrive(state, call(1, A), now=0.0)
    arrive(state, call(2, B), now=0.1)
    arrive(state, *(call(number, A) for number in range(3, 20)), now=1.0)
    assert end(state, W0, 1, now=2.0) == [Assign(task=TaskId(3), worker=W0)]
    assert end(state, W0, 3, now=3.0)[0] == Assign(task=TaskId(4), worker=W0)
    arrive(state, *(call(number, A) for number in range(20, 40)), now=50.0)
    for number in range(4, 20):
        following = end(state, W0, number, now=60.0)
    assert following == [Assign(task=TaskId(2), worker=W0)]


def test_a_fresh_call_gets_a_process_in_which_nothing_ran() -> None:
    state = node_with(1)
    assert arrive(state, call(1, A, fresh=True)) == [Assign(task=TaskId(1), worker=W0)]
    assert end(state, W0, 1) == [Replace(worker=W0)]
    assert arrive(state, call(2)) == []
    assert state.handle(node.WorkerReady(worker=W0), now=3.0) == [Assign(task=TaskId(2), worker=W0)]
    end(state, W0, 2)
    assert arrive(state, call(3, fresh=True)) == [Replace(worker=W0)]
    assert state.handle(node.WorkerReady(worker=W0), now=4.0) == [Assign(task=TaskId(3), worker=W0)]


def test_only_the_oldest_call_is_lost_with_its_worker() -> None:
    state = node_with(1)
    arrive(state, call(1))
    end(state, W0, 1, run_s=0.0005)
    arrive(state, call(2), call(3), call(4))
    assert state.handle(node.WorkerEnded(worker=W0), now=3.0) == [Lose(task=TaskId(2))]
    revived = state.handle(node.WorkerReady(worker=W0), now=4.0)
    assert [action.task for action in revived if isinstance(action, Assign)] == [3, 4]


def test_a_worker_that_dies_while_it_builds_loses_no_call() -> None:
    state = node_with(1)
    arrive(state, call(1, A), call(2, A))
    state.handle(node.LoadBegan(worker=W0, context=A), now=1.0)
    assert state.handle(node.WorkerEnded(worker=W0), now=2.0) == [GiveBack(tasks=[TaskId(1), TaskId(2)], broken=A)]
    assert (state.waiting, state.running) == (0, 0)


def test_calls_that_wait_for_a_broken_context_come_back_and_others_go_on() -> None:
    state = node_with(1)
    arrive(state, call(1, A), call(2, A))
    arrive(state, call(3))
    state.handle(node.LoadBegan(worker=W0, context=A), now=1.0)
    actions = state.handle(node.LoadBroke(worker=W0, context=A, task=TaskId(1)), now=2.0)
    assert actions == [GiveBack(tasks=[TaskId(1), TaskId(2)], broken=A), Assign(task=TaskId(3), worker=W0)]


def test_wanted_contexts_are_built_on_each_worker_once_no_call_waits() -> None:
    state = node_with(2)
    arrive(state, call(1))
    assert state.handle(node.BuildWanted(context=A), now=1.0) == [Load(worker=W1, context=A)]
    assert end(state, W0, 1) == [Load(worker=W0, context=A)]
    state.handle(node.LoadEnded(worker=W0, context=A, load_s=1.0), now=3.0)
    state.handle(node.WorkerEnded(worker=W0), now=4.0)
    assert state.handle(node.WorkerReady(worker=W0), now=5.0) == [Load(worker=W0, context=A)]


def test_a_wanted_context_that_fails_is_not_tried_again_and_again() -> None:
    state = node_with(1)
    state.handle(node.BuildWanted(context=A), now=1.0)
    actions = state.handle(node.LoadBroke(worker=W0, context=A, task=None), now=2.0)
    assert actions == [GiveBack(tasks=[], broken=A)]


def test_draining_gives_back_what_has_not_started_and_takes_no_more() -> None:
    state = node_with(1)
    arrive(state, call(1), call(2))
    assert state.handle(node.DrainBegan(), now=1.0) == [GiveBack(tasks=[TaskId(2)])]
    assert arrive(state, call(3)) == [GiveBack(tasks=[TaskId(3)])]
    assert end(state, W0, 1) == []
    assert state.running == 0
