"""Decisions on a node."""

from __future__ import annotations

from parsl_context.scheduling.lines import Lane
from parsl_context.scheduling.node import events as node
from parsl_context.scheduling.node.events import Assign, GiveBack, Load, Lose, Replace, Revoke, SettleBuild, Stop
from parsl_context.scheduling.node.state import NodeState
from parsl_context.wire.messages import Digest, OrderId, TaskId, WorkerId

A, B, CODE = Digest("a"), Digest("b"), Digest("code")
W0, W1 = WorkerId(0), WorkerId(1)
ORDER = OrderId(0)


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


def test_short_calls_are_sent_ahead_and_long_ones_are_not() -> None:
    state = node_with(1)
    arrive(state, *(call(number) for number in range(1, 10)))
    ahead = end(state, W0, 1, run_s=0.005)
    assert ahead == [
        Assign(task=TaskId(2), worker=W0),
        Assign(task=TaskId(3), worker=W0, is_ahead=True),
        Assign(task=TaskId(4), worker=W0, is_ahead=True),
    ]
    long = node_with(1)
    arrive(long, call(1), call(2), call(3))
    assert len(end(long, W0, 1, run_s=5.0)) == 1


def test_calls_wait_for_warm_workers_while_all_are_busy() -> None:
    state = node_with(2, warm={W0: A})
    arrive(state, call(1, A), call(2))
    assert arrive(state, call(3, A)) == []
    assert end(state, W0, 1) == [Assign(task=TaskId(3), worker=W0)]


def test_a_call_that_waits_beside_an_idle_worker_goes_back_for_others_to_have_its_slot() -> None:
    state = node_with(2, warm={W0: A})
    sent = [Assign(task=TaskId(1), worker=W0), GiveBack(tasks=[TaskId(2)])]
    assert arrive(state, call(1, A), call(2, A)) == sent
    arrive(state, call(3))
    assert arrive(state, call(4, A)) == []
    assert end(state, W1, 3) == [GiveBack(tasks=[TaskId(4)])]


def test_short_calls_wait_beside_an_idle_worker_for_a_moment() -> None:
    state = node_with(2, warm={W0: A})
    arrive(state, call(1, A))
    end(state, W0, 1, run_s=0.01)
    assert arrive(state, call(2, A), call(3, A)) == [Assign(task=TaskId(2), worker=W0)]


def test_a_call_whose_context_is_gone_goes_back() -> None:
    assert arrive(node_with(2), call(1, A)) == [GiveBack(tasks=[TaskId(1)])]
    state = node_with(1, warm={W0: A})
    arrive(state, call(1, A), call(2, A))
    gone = state.handle(node.ContextGone(worker=W0, context=A), now=2.0)
    assert gone == [GiveBack(tasks=[TaskId(2)])]


def test_an_instance_that_is_wanted_is_built_by_an_idle_worker_step_by_step() -> None:
    state = node_with(2, warm={W0: A})
    assert state.handle(node.InstanceWanted(order=ORDER, contexts=(A, B)), now=1.0) == [Load(worker=W0, context=B)]
    loaded = node.LoadEnded(worker=W0, context=B, load_s=1.0)
    assert state.handle(loaded, now=2.0) == [SettleBuild(order=ORDER, contexts=(A, B))]
    assert state.handle(node.InstanceWanted(order=ORDER, contexts=(A, B)), now=3.0) == [Load(worker=W1, context=A)]
    assert state.handle(node.LoadEnded(worker=W1, context=A, load_s=1.0), now=4.0) == [Load(worker=W1, context=B)]


def test_what_is_built_on_the_way_does_not_have_the_build_told_twice() -> None:
    state = node_with(1)
    assert state.handle(node.InstanceWanted(order=ORDER, contexts=(A, B)), now=1.0) == [Load(worker=W0, context=A)]
    state.handle(node.LoadBegan(worker=W0, context=A), now=1.0)
    assert state.handle(node.LoadEnded(worker=W0, context=B, load_s=1.0), now=2.0) == [], "A requires it"
    settled = state.handle(node.LoadEnded(worker=W0, context=A, load_s=3.0), now=5.0)
    assert settled == [SettleBuild(order=ORDER, contexts=(A, B))]


def test_what_was_there_already_is_no_measurement() -> None:
    state = node_with(1, warm={W0: A}, build_s=2.0)
    state.handle(node.LoadEnded(worker=W0, context=A, load_s=None), now=1.0)
    assert state.usual_build_s(A) == 2.0


def test_an_instance_is_built_as_soon_as_a_worker_has_nothing_else() -> None:
    state = node_with(1)
    arrive(state, call(1), call(2))
    assert state.handle(node.InstanceWanted(order=ORDER, contexts=(A,)), now=1.0) == []
    assert end(state, W0, 1) == [Load(worker=W0, context=A)]
    loaded = node.LoadEnded(worker=W0, context=A, load_s=1.0)
    assert state.handle(loaded, now=3.0) == [SettleBuild(order=ORDER, contexts=(A,)), Assign(task=TaskId(2), worker=W0)]


def ahead_of_one() -> NodeState:
    state = NodeState(2)
    state.handle(node.WorkerReady(worker=W0), now=0.0)
    arrive(state, *(call(number) for number in range(1, 5)), now=0.0)
    end(state, W0, 1, run_s=0.001, now=0.1)
    state.handle(node.WorkerReady(worker=W1), now=0.2)
    arrive(state, call(5), now=0.2)
    return state


def test_calls_that_have_not_started_are_taken_back_for_an_idle_worker() -> None:
    state = ahead_of_one()
    assert end(state, W1, 5, run_s=0.001, now=0.3) == [Revoke(worker=W0, count=1)]
    revoked = state.handle(node.TasksRevoked(worker=W0, count=1), now=0.3)
    assert revoked == [Assign(task=TaskId(4), worker=W1)]
    assert end(state, W0, 2, now=0.4) == [], "it holds call 3, and skips 4 before anything is sent behind that"
    assert state.handle(node.TaskSkipped(worker=W0, task=TaskId(4)), now=0.5) == []
    assert state.running == 2


def test_calls_that_started_meanwhile_are_not_taken_back() -> None:
    state = ahead_of_one()
    end(state, W1, 5, run_s=0.001, now=0.3)
    assert state.handle(node.TasksRevoked(worker=W0, count=0), now=0.3) == []
    assert state.running == 3


def test_the_interchange_gets_back_what_has_not_started() -> None:
    state = ahead_of_one()
    arrive(state, call(6, code=Digest("long")), call(7, code=Digest("long")), now=0.3)
    back = state.handle(node.TasksReclaimed(tasks=[TaskId(7), TaskId(4), TaskId(2)]), now=0.4)
    assert back == [GiveBack(tasks=[TaskId(7)]), Revoke(worker=W0, count=1)]
    assert state.handle(node.TasksRevoked(worker=W0, count=1), now=0.4) == [GiveBack(tasks=[TaskId(4)])]


def isolated(*tasks: node.NodeTask) -> NodeState:
    """A worker that holds a context whose calls run in forks, with these calls."""
    state = node_with(1, warm={W0: A})
    state.handle(node.ContextDeclared(context=A, is_isolated=True), now=0.0)
    arrive(state, *tasks)
    return state


def test_a_call_that_runs_in_a_fork_is_ended_if_nobody_waits_for_it() -> None:
    state = isolated(call(1, A), call(2, A))
    wanted = node.TasksReclaimed(tasks=[TaskId(1)], ends=True)
    assert state.handle(wanted, now=1.5) == [Stop(worker=W0, task=TaskId(1))]
    stopped = node.TaskStopped(worker=W0, task=TaskId(1))
    assert state.handle(stopped, now=1.6) == [
        GiveBack(tasks=[TaskId(1)], were_ended=True),
        Assign(task=TaskId(2), worker=W0),
    ]
    assert CODE not in state._books.run, "it says nothing of how long calls take"


def test_one_that_is_only_wanted_elsewhere_goes_on() -> None:
    state = isolated(call(1, A))
    assert state.handle(node.TasksReclaimed(tasks=[TaskId(1)]), now=1.5) == []


def test_a_call_that_runs_in_its_worker_goes_on() -> None:
    state = node_with(1, warm={W0: A})
    arrive(state, call(1, A))
    assert state.handle(node.TasksReclaimed(tasks=[TaskId(1)], ends=True), now=1.5) == []


def test_a_call_that_ended_before_it_was_to_be_ended_has_its_outcome() -> None:
    state = isolated(call(1, A))
    state.handle(node.TasksReclaimed(tasks=[TaskId(1)], ends=True), now=1.5)
    assert end(state, W0, 1) == []
    assert state.running == 0


def test_a_call_between_others_is_given_back_and_they_wait_again() -> None:
    state = ahead_of_one()
    held = [call.id for call in state._books.workers[W0].held]
    wanted, behind = held[1], held[2:]
    assert state.handle(node.TasksReclaimed(tasks=[wanted]), now=0.4) == [Revoke(worker=W0, count=len(behind) + 1)]
    actions = state.handle(node.TasksRevoked(worker=W0, count=len(behind) + 1), now=0.4)
    assert actions[0] == GiveBack(tasks=[wanted])
    known = {each.id for worker in state._books.workers.values() for each in worker.held} | set(state._books.waiting)
    assert wanted not in known
    assert set(behind) <= known


def test_the_oldest_call_goes_first_whatever_its_contexts() -> None:
    state = node_with(1, warm={W0: A})
    state.handle(node.LoadEnded(worker=W0, context=B, load_s=1.0), now=0.0)
    arrive(state, call(1, A), now=0.1)
    arrive(state, call(2, B), now=0.2)
    arrive(state, call(3, A), now=0.3)
    assert end(state, W0, 1) == [Assign(task=TaskId(2), worker=W0)]
    assert end(state, W0, 2) == [Assign(task=TaskId(3), worker=W0)]


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
    arrive(state, *(call(number) for number in range(1, 5)))
    assert len(end(state, W0, 1, run_s=0.0005)) == 3
    assert state.handle(node.WorkerEnded(worker=W0), now=3.0) == [Lose(task=TaskId(2))]
    revived = state.handle(node.WorkerReady(worker=W0), now=4.0)
    assert revived == [Assign(task=TaskId(3), worker=W0), Assign(task=TaskId(4), worker=W0, is_ahead=True)]


def test_a_worker_that_dies_while_it_builds_loses_no_call() -> None:
    state = node_with(1, warm={W0: A})
    arrive(state, call(1, A), call(2, A))
    state.handle(node.LoadBegan(worker=W0, context=A), now=1.0)  # built anew for a call, after a body spoilt it
    assert state.handle(node.WorkerEnded(worker=W0), now=2.0) == [GiveBack(tasks=[TaskId(1), TaskId(2)], broken=A)]
    assert (state.waiting, state.running) == (0, 0)


def test_an_order_ends_with_the_worker_that_built_for_it() -> None:
    state = node_with(1)
    state.handle(node.InstanceWanted(order=ORDER, contexts=(A,)), now=1.0)
    ended = state.handle(node.WorkerEnded(worker=W0), now=2.0)
    assert ended == [GiveBack(tasks=[], broken=A), SettleBuild(order=ORDER, contexts=(A,))]


def test_an_order_that_fails_is_told_and_others_go_on() -> None:
    state = node_with(1)
    state.handle(node.InstanceWanted(order=ORDER, contexts=(A,)), now=1.0)
    arrive(state, call(3))
    actions = state.handle(node.LoadBroke(worker=W0, context=A, task=None), now=2.0)
    assert actions == [
        GiveBack(tasks=[], broken=A),
        SettleBuild(order=ORDER, contexts=(A,)),
        Assign(task=TaskId(3), worker=W0),
    ]


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
