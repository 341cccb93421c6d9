"""Decisions of the interchange."""

from __future__ import annotations

import math

from parsl_context.scheduling.cluster import events as cluster
from parsl_context.scheduling.cluster.events import (
    ConfirmCancelled,
    DrainManager,
    FailBuild,
    FailTasks,
    FailUnservable,
    NoteRequeued,
    OrderBuild,
    RefuseCancel,
    ReleaseBuild,
    SendBuild,
    SendTask,
    StopManager,
    TakeBack,
)
from parsl_context.scheduling.cluster.registry import BUILD_ATTEMPTS
from parsl_context.scheduling.cluster.state import ClusterState
from parsl_context.scheduling.lines import Lane
from parsl_context.wire.messages import ContextOptions, Digest, ManagerId, OrderId, TaskId, WorkerId

A, B, CODE = Digest("a"), Digest("b"), Digest("code")
M1, M2 = ManagerId("m1"), ManagerId("m2")
NOTHING = Lane((), False)


def joined(manager: ManagerId, slots: int = 1, **changes: object) -> cluster.ManagerJoined:
    fields = {"manager": manager, "node": str(manager), "block": "0", "slots": slots, **changes}
    return cluster.ManagerJoined(**fields)  # type: ignore[arg-type]


def make(
    managers: dict[ManagerId, int], warm: dict[ManagerId, Digest] | None = None, build_s: float = 1.0
) -> ClusterState:
    state = ClusterState(heartbeat_threshold_s=100.0)
    for context in (A, B):
        options = ContextOptions(name=f"{context}()", reuse="memory")
        state.handle(cluster.ContextDeclared(context=context, options=options), now=0.0)
    for manager, slots in managers.items():
        state.handle(joined(manager, slots), now=0.0)
    for manager, context in (warm or {}).items():
        ended = cluster.BuildEnded(manager=manager, context=context, load_s=build_s, size_bytes=100)
        state.handle(ended, now=0.0)
        state.handle(cluster.ContextHeld(manager=manager, worker=WorkerId(0), context=context), now=0.0)
    return state


def submit(
    state: ClusterState, number: int, *contexts: Digest, now: float = 1.0, **more: float
) -> list[cluster.Action]:
    event = cluster.TaskSubmitted(task=TaskId(number), lane=Lane(contexts, False), code=CODE, **more)
    return state.handle(event, now=now)


def end(
    state: ClusterState, manager: ManagerId, number: int, run_s: float = 1.0, now: float = 2.0
) -> list[cluster.Action]:
    return state.handle(cluster.TaskEnded(manager=manager, task=TaskId(number), run_s=run_s), now=now)


def order(number: int, manager: ManagerId, *contexts: Digest) -> OrderBuild:
    return OrderBuild(order=OrderId(number), contexts=contexts, manager=manager)


def settle(
    state: ClusterState, manager: ManagerId, *contexts: Digest, now: float, number: int = 0
) -> list[cluster.Action]:
    """An order ends. Gives what is done about it but the answer that comes each time."""
    settled = cluster.BuildSettled(manager=manager, order=OrderId(number), contexts=contexts)
    actions = state.handle(settled, now=now)
    actions.remove(ReleaseBuild(order=OrderId(number), manager=manager))
    return actions


def test_a_call_goes_where_its_context_is_warm() -> None:
    state = make({M1: 1, M2: 1}, warm={M2: A})
    assert submit(state, 1, A) == [SendTask(task=TaskId(1), manager=M2)]


def test_calls_wait_in_order_until_a_manager_joins() -> None:
    state = make({})
    for number in (1, 2, 3):
        assert submit(state, number) == []
    assert state.handle(joined(M1, slots=2), now=2.0) == [
        SendTask(task=TaskId(1), manager=M1),
        SendTask(task=TaskId(2), manager=M1),
    ]
    assert state.waiting == 1


def test_priority_goes_before_age() -> None:
    state = make({})
    submit(state, 1)
    submit(state, 2, priority=5)
    submit(state, 3, priority=1)
    state.handle(joined(M1), now=2.0)
    assert end(state, M1, 3) == [SendTask(task=TaskId(2), manager=M1)]
    assert end(state, M1, 2) == [SendTask(task=TaskId(1), manager=M1)]


def test_a_manager_holds_its_slots_and_more_only_of_short_calls() -> None:
    state = make({M1: 2})
    sent = [submit(state, number) for number in range(1, 20)]
    assert [bool(actions) for actions in sent] == [True, True, *[False] * 17]
    following = end(state, M1, 1, run_s=0.01, now=1.01)
    assert len(following) == 7, "30 ms of work for each worker are held ahead"
    fixed = make({})
    fixed.handle(joined(M1, slots=1, prefetch=2), now=0.0)
    assert sum(len(submit(fixed, number)) for number in range(1, 9)) == 3, "the slot and as many as the user says"


def test_what_is_held_ahead_is_made_up_for_at_half_all_at_once() -> None:
    state = make({M1: 1})
    for number in range(1, 30):
        submit(state, number)
    assert len(end(state, M1, 1, run_s=0.005, now=1.005)) == 7, "one that runs, and 30 ms of work ahead"
    sent = [len(end(state, M1, number, run_s=0.005, now=1.01)) for number in range(2, 14)]
    assert sent == [0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 4]


def test_a_manager_is_sent_more_as_its_last_call_begins() -> None:
    state = make({M1: 1})
    for number in range(1, 30):
        submit(state, number)
    assert [len(end(state, M1, number, run_s=0.029, now=1.029)) for number in range(1, 6)] == [3, 0, 2, 0, 2]


def test_one_more_instance_is_built_only_where_it_pays() -> None:
    state = make({M1: 1, M2: 1}, warm={M1: A}, build_s=10.0)
    submit(state, 1, A)
    end(state, M1, 1, run_s=1.0)
    sent = [submit(state, number, A, now=2.0) for number in range(2, 30)]
    assert sent[0] == [SendTask(task=TaskId(2), manager=M1)]
    assert [i for i, actions in enumerate(sent) if actions] == [0, 10], "ten calls of 1 s outlast a build"
    assert sent[10] == [order(0, M2, A)]


def hold(
    state: ClusterState, manager: ManagerId, *contexts: Digest, now: float, number: int = 0
) -> list[cluster.Action]:
    """A worker of the manager has built contexts that were ordered."""
    for context in contexts:
        state.handle(cluster.BuildBegan(manager=manager, context=context), now=now)
        state.handle(cluster.BuildEnded(manager=manager, context=context, load_s=1.0, size_bytes=100), now=now)
        held = cluster.ContextHeld(manager=manager, worker=WorkerId(0), context=context)
        assert state.handle(held, now=now) == []
    return settle(state, manager, *contexts, now=now, number=number)


def test_a_call_waits_until_its_contexts_are_built_and_goes_wherever_they_are_first() -> None:
    state = make({M1: 1, M2: 1})
    lane = (A, B)
    assert submit(state, 1, *lane) == [order(0, M1, *lane)]
    assert submit(state, 2, *lane) == [order(1, M2, *lane)]
    assert hold(state, M2, *lane, now=5.0, number=1) == [SendTask(task=TaskId(1), manager=M2)]
    assert hold(state, M1, *lane, now=6.0) == [SendTask(task=TaskId(2), manager=M1)]


def test_a_manager_that_is_lost_during_a_build_takes_no_call_with_it() -> None:
    state = make({M1: 1, M2: 1})
    assert submit(state, 1, A) == [order(0, M1, A)]
    lost = state.handle(cluster.ManagerLeft(manager=M1, reason="gone"), now=2.0)
    assert lost == [order(1, M2, A)]
    assert hold(state, M2, A, now=5.0, number=1) == [SendTask(task=TaskId(1), manager=M2)]


def test_a_build_is_ordered_elsewhere_when_those_that_should_serve_are_stuck() -> None:
    state = make({M1: 1, M2: 1}, warm={M1: A}, build_s=2.0)
    submit(state, 1, A)
    end(state, M1, 1, run_s=0.1)
    submit(state, 2, A, now=2.0)
    assert submit(state, 3, A, now=2.0) == []
    assert state.handle(cluster.Tick(), now=3.9) == []
    assert state.handle(cluster.Tick(), now=4.1) == [order(0, M2, A)]


def test_lines_share_managers_in_proportion_to_their_work() -> None:
    state = make({ManagerId(f"m{i}"): 1 for i in range(4)}, build_s=1.0)
    busy = [submit(state, number) for number in range(1, 5)]
    assert all(busy)
    for number in range(10, 40):
        submit(state, number, A)
    for number in range(40, 50):
        submit(state, number, B)
    ordered = [end(state, ManagerId(f"m{i}"), i + 1, now=2.0) for i in range(4)]
    contexts = [action.contexts for actions in ordered for action in actions if isinstance(action, OrderBuild)]
    assert sorted(contexts) == [(A,), (A,), (A,), (B,)]


def test_what_waits_behind_a_slow_call_is_taken_back_for_a_manager_that_is_idle() -> None:
    state = make({M1: 1, M2: 1})
    submit(state, 1)
    end(state, M1, 1, run_s=0.01, now=1.01)
    submit(state, 2, now=1.02)
    submit(state, 3, now=1.02)
    for number in range(4, 9):
        submit(state, number, now=1.02)
    assert len(end(state, M1, 3, run_s=0.01, now=1.03)) == 4
    assert end(state, M2, 2, run_s=0.01, now=1.04) == [SendTask(task=TaskId(8), manager=M2)]
    (back,) = end(state, M2, 8, run_s=0.01, now=1.05)
    assert back == TakeBack(tasks=[TaskId(7), TaskId(6)], manager=M1)
    returned = state.handle(cluster.TasksReturned(manager=M1, tasks=[TaskId(7), TaskId(6)]), now=1.06)
    assert SendTask(task=TaskId(6), manager=M2) in returned


def test_a_shared_context_makes_a_manager_warm_for_all_its_workers() -> None:
    state = make({M1: 4})
    options = ContextOptions(name="a()", reuse="node")
    state.handle(cluster.ContextDeclared(context=A, options=options), now=0.0)
    assert [submit(state, number, A) for number in range(1, 4)] == [[order(0, M1, A)], [], []]
    state.handle(cluster.BuildEnded(manager=M1, context=A, load_s=1.0, size_bytes=100), now=2.0)
    assert state.handle(cluster.TemplateHeld(manager=M1, contexts=(A,)), now=2.0) == []
    assert len(settle(state, M1, A, now=2.0)) == 3


def test_what_was_built_for_calls_serves_one_before_its_worker_is_given_to_another_order() -> None:
    state = make({})
    state.handle(joined(M1, contexts_per_worker=1), now=0.0)
    assert submit(state, 1, A) == [order(0, M1, A)]
    assert [submit(state, number, *needs) for number, needs in ((2, (A,)), (3, (B,)), (4, (B,)))] == [[], [], []]
    state.handle(cluster.BuildEnded(manager=M1, context=A, load_s=1.0, size_bytes=100), now=2.0)
    state.handle(cluster.ContextHeld(manager=M1, worker=WorkerId(0), context=A), now=2.0)
    settled = cluster.BuildSettled(manager=M1, order=OrderId(0), contexts=(A,))
    assert state.handle(settled, now=2.0) == [
        SendTask(task=TaskId(1), manager=M1),
        ReleaseBuild(order=OrderId(0), manager=M1),
    ]
    assert end(state, M1, 1, now=3.0) == [SendTask(task=TaskId(2), manager=M1)], "B would displace A"
    assert end(state, M1, 2, now=4.0) == [order(1, M1, B)]


def test_a_call_that_waits_is_cancelled_at_once() -> None:
    state = make({})
    submit(state, 1)
    assert state.handle(cluster.TaskCancelled(task=TaskId(1)), now=1.0) == [ConfirmCancelled(tasks=[TaskId(1)])]
    assert state.handle(cluster.TaskCancelled(task=TaskId(1)), now=1.1) == [RefuseCancel(tasks=[TaskId(1)])]


def test_a_call_that_a_manager_holds_is_asked_for_and_not_given_to_others() -> None:
    state = make({M1: 1})
    submit(state, 1)
    asked = [TakeBack(tasks=[TaskId(1)], manager=M1, answers=True, ends=True)]
    assert state.handle(cluster.TaskCancelled(task=TaskId(1)), now=1.0) == asked
    back = cluster.TasksReturned(manager=M1, tasks=[TaskId(1)])
    assert state.handle(back, now=1.1) == [ConfirmCancelled(tasks=[TaskId(1)])]
    assert not state.knows_task(TaskId(1))


def test_of_a_map_that_is_left_no_call_that_runs_is_ended() -> None:
    state = make({M1: 1})
    submit(state, 1)
    asked = [TakeBack(tasks=[TaskId(1)], manager=M1, answers=True)]
    assert state.handle(cluster.TaskCancelled(task=TaskId(1), only_waiting=True), now=1.0) == asked


def test_what_a_manager_has_ended_runs_nowhere_else() -> None:
    """Though it had said before, to somebody who did not want it ended, that it goes on."""
    state = make({M1: 1, M2: 1})
    submit(state, 1)
    state.handle(cluster.TaskCancelled(task=TaskId(1), only_waiting=True), now=1.0)
    state.handle(cluster.TaskCancelled(task=TaskId(1)), now=1.0)
    state.handle(cluster.TasksKept(manager=M1, tasks=[TaskId(1)]), now=1.1)
    ended = cluster.TasksReturned(manager=M1, tasks=[TaskId(1)], were_ended=True)
    assert state.handle(ended, now=1.2) == [ConfirmCancelled(tasks=[TaskId(1)])]


def test_a_call_that_has_started_is_kept() -> None:
    state = make({M1: 1})
    submit(state, 1)
    state.handle(cluster.TaskCancelled(task=TaskId(1)), now=1.0)
    kept = cluster.TasksKept(manager=M1, tasks=[TaskId(1)])
    assert state.handle(kept, now=1.1) == [RefuseCancel(tasks=[TaskId(1)])]
    assert state.handle(kept, now=1.2) == [], "nobody asked any more"
    assert end(state, M1, 1, now=2.0) == []


def test_what_no_call_waits_for_any_more_is_released() -> None:
    state = make({M1: 1})
    submit(state, 1, A)
    state.handle(cluster.TaskCancelled(task=TaskId(1)), now=1.5)
    settled = cluster.BuildSettled(manager=M1, order=OrderId(0), contexts=(A,))
    assert state.handle(settled, now=2.0) == [ReleaseBuild(order=OrderId(0), manager=M1)]


def share(state: ClusterState, manager: ManagerId, context: Digest, number: int, now: float) -> list[cluster.Action]:
    """A template that was ordered is ready."""
    state.handle(cluster.BuildEnded(manager=manager, context=context, load_s=5.0, size_bytes=100), now=now)
    state.handle(cluster.TemplateHeld(manager=manager, contexts=(context,)), now=now)
    return settle(state, manager, context, now=now, number=number)


def make_shared(slots: int) -> ClusterState:
    """A manager with templates of A and B that have served a call each."""
    state = make({M1: slots})
    for number, context in ((1, A), (2, B)):
        options = ContextOptions(name=f"{context}()", reuse="node")
        state.handle(cluster.ContextDeclared(context=context, options=options), now=0.0)
        assert submit(state, number, context) == [order(number - 1, M1, context)]
        assert share(state, M1, context, number - 1, now=2.0) == [SendTask(task=TaskId(number), manager=M1)]
        end(state, M1, number, run_s=0.1, now=2.5)
    return state


def test_a_manager_serves_all_lines_of_its_templates_whatever_its_workers_hold() -> None:
    state = make_shared(2)
    state.handle(cluster.ContextHeld(manager=M1, worker=WorkerId(0), context=B), now=3.0)
    assert submit(state, 3, A, now=4.0) == [SendTask(task=TaskId(3), manager=M1)]
    state.handle(cluster.TemplateGone(manager=M1, contexts=(A,)), now=5.0)
    assert submit(state, 4, A, now=5.0) == [order(2, M1, A)]


def test_a_worker_goes_on_with_what_it_was_forked_for_until_others_wait_much_longer() -> None:
    state = make_shared(1)
    state.handle(cluster.ContextHeld(manager=M1, worker=WorkerId(0), context=A), now=3.0)
    submit(state, 3, A, now=4.0)
    submit(state, 4, B, now=4.0)
    for number in range(5, 9):
        submit(state, number, A, now=4.1)
    assert end(state, M1, 3, run_s=0.1, now=4.1) == [SendTask(task=TaskId(5), manager=M1)], "although B came before"
    for number in range(9, 14):
        submit(state, number, B, now=4.1)
    assert end(state, M1, 5, run_s=0.1, now=4.2) == [SendTask(task=TaskId(4), manager=M1)], "0.4 s more are to be done"


def test_what_cannot_be_shared_after_all_is_built_by_each_worker() -> None:
    state = make({M1: 2})
    state.handle(cluster.ContextDeclared(context=A, options=ContextOptions(name="a()", reuse="node")), now=0.0)
    submit(state, 1, A)
    submit(state, 2, A)
    note = cluster.ContextNoted(manager=M1, context=A, note="not shared: threads", is_shared=False)
    assert state.handle(note, now=2.0) == [order(1, M1, A)]


def test_a_build_takes_a_worker_from_when_its_template_is_there() -> None:
    state = make({M1: 1})
    state.handle(cluster.ContextDeclared(context=B, options=ContextOptions(name="b()", reuse="node")), now=0.0)
    assert submit(state, 1, A, B) == [order(0, M1, A, B)]
    assert submit(state, 2) == [SendTask(task=TaskId(2), manager=M1)], "a minute of the template's costs no worker's"
    end(state, M1, 2, now=3.0)
    state.handle(cluster.BuildEnded(manager=M1, context=B, load_s=60.0, size_bytes=100), now=60.0)
    assert state.handle(cluster.TemplateHeld(manager=M1, contexts=(B,)), now=60.0) == []
    assert submit(state, 3, now=60.0) == [], "now it does"
    assert settle(state, M1, A, B, now=61.0) == [SendTask(task=TaskId(3), manager=M1)], "it was not built after all"


def refuse_build(state: ClusterState, manager: ManagerId, number: int) -> list[cluster.Action]:
    refused = cluster.BuildRefused(manager=manager, contexts=(A,), reason="too large")
    actions = state.handle(refused, now=2.0)
    return actions + settle(state, manager, A, now=2.0, number=number)


def test_contexts_that_fit_nowhere_fail_their_calls_at_once() -> None:
    state = make({M1: 1, M2: 1})
    submit(state, 1, A)
    outcome = [refuse_build(state, manager, number) for number, manager in enumerate((M1, M2))]
    assert outcome == [
        [order(1, M2, A)],
        [FailUnservable(tasks=[TaskId(1)], reason="too large")],
    ]
    assert submit(state, 2, A) == [FailUnservable(tasks=[TaskId(2)], reason="too large")]


def test_a_block_that_ends_soon_gets_no_work_that_cannot_finish() -> None:
    state = make({}, build_s=1.0)
    state.handle(joined(M1, ends_in_s=100.0, walltime_s=100.0), now=0.0)
    submit(state, 1, now=0.0)
    assert end(state, M1, 1, run_s=30.0, now=30.0) == []
    assert submit(state, 2, now=31.0) == [SendTask(task=TaskId(2), manager=M1)]
    end(state, M1, 2, run_s=30.0, now=80.0)
    assert submit(state, 3, now=81.0) == []
    fresh = state.handle(joined(M2, ends_in_s=100.0, walltime_s=100.0), now=82.0)
    assert fresh == [SendTask(task=TaskId(3), manager=M2)]


def test_a_lost_manager_fails_what_may_have_run_and_only_that() -> None:
    state = make({M1: 1})
    submit(state, 1)
    submit(state, 2)
    assert state.handle(cluster.ManagerLeft(manager=M1, reason="gone"), now=3.0) == [
        FailTasks(tasks=[TaskId(1)], manager=M1, reason="gone")
    ]
    assert state.handle(joined(M2), now=4.0) == [SendTask(task=TaskId(2), manager=M2)]


def test_silence_for_longer_than_the_threshold_is_loss() -> None:
    state = make({M1: 1})
    submit(state, 1)
    state.handle(cluster.ManagerContact(manager=M1), now=50.0)
    assert state.handle(cluster.Tick(), now=100.0) == []
    assert state.next_deadline() == 150.0
    assert state.handle(cluster.Tick(), now=149.0) == []
    (failed,) = state.handle(cluster.Tick(), now=150.0)
    assert isinstance(failed, FailTasks)
    assert "100 s" in failed.reason
    assert state.managers == {}


def test_a_manager_that_joins_anew_replaces_its_former_self() -> None:
    state = make({M1: 1})
    submit(state, 1)
    again = joined(ManagerId("m1.2"), node="m1")
    (failed,) = state.handle(again, now=3.0)
    assert isinstance(failed, FailTasks)
    assert list(state.managers) == [ManagerId("m1.2")]


def test_a_line_whose_workers_are_busy_with_others_waits_until_something_ends_there() -> None:
    state = make({M1: 2}, warm={M1: A}, build_s=100.0)
    state.handle(cluster.BuildEnded(manager=M1, context=B, load_s=100.0, size_bytes=100), now=0.0)
    state.handle(cluster.ContextHeld(manager=M1, worker=WorkerId(0), context=B), now=0.0)
    assert submit(state, 1, A) == [SendTask(task=TaskId(1), manager=M1)]
    assert submit(state, 2, B) == [SendTask(task=TaskId(2), manager=M1)], "one of its workers holds B"
    assert state.handle(cluster.TasksReturned(manager=M1, tasks=[TaskId(2)]), now=1.1) == []
    assert submit(state, 3, now=1.2) == [SendTask(task=TaskId(3), manager=M1)], "the slot is for others"
    assert submit(state, 4, B, now=1.3) == []
    assert end(state, M1, 1) == [SendTask(task=TaskId(2), manager=M1)]


def test_warm_work_goes_on_unless_a_line_cannot_do_its_part_with_the_workers_it_has() -> None:
    def next_of_b(calls_of_a: int) -> cluster.Action:
        state = make({M1: 1, M2: 1}, warm={M1: A, M2: B}, build_s=10.0)
        submit(state, 1, A)
        submit(state, 2, B)
        for number in range(3, 3 + calls_of_a):
            submit(state, number, A)
        for number in range(100, 110):
            submit(state, number, B)
        return end(state, M2, 2)[0]

    assert next_of_b(24) == SendTask(task=TaskId(100), manager=M2), "A ends 24 s from now, all work 17 s"
    assert next_of_b(40) == order(0, M2, A), "A ends 40 s from now, all work 25 s"


def test_no_instance_is_ordered_that_could_only_take_the_place_of_another() -> None:
    state = make({})
    state.handle(joined(M1, slots=2, memory_bytes=150), now=0.0)
    for number in range(1, 9):
        submit(state, number, A)
    state.handle(cluster.BuildEnded(manager=M1, context=A, load_s=0.1, size_bytes=100), now=2.0)
    state.handle(cluster.ContextHeld(manager=M1, worker=WorkerId(0), context=A), now=2.0)
    for _ in range(2):
        settled = settle(state, M1, A, now=2.0)
        assert not [action for action in settled if isinstance(action, OrderBuild)]


def test_returned_calls_keep_their_rank() -> None:
    state = make({M1: 2})
    for number in (1, 2, 3):
        submit(state, number)
    state.handle(cluster.ManagerLeaving(manager=M1), now=2.0)
    state.handle(cluster.TasksReturned(manager=M1, tasks=[TaskId(2)]), now=2.0)
    sent = state.handle(joined(M2, slots=2), now=3.0)
    assert sent == [SendTask(task=TaskId(2), manager=M2), SendTask(task=TaskId(3), manager=M2)]


def block_over(state: ClusterState, block: str = "0", now: float = 5.0) -> list[cluster.Action]:
    return state.handle(cluster.BlockEnded(block=block, reason="its job is over"), now=now)


def test_managers_of_a_block_that_is_over_end_and_get_no_more_calls() -> None:
    state = make({M1: 1})
    submit(state, 1)
    state.handle(joined(M2), now=1.0)
    state.handle(joined(ManagerId("m3"), block="1"), now=1.0)
    assert block_over(state) == [
        DrainManager(manager=M1, reason="its job is over"),  # it holds a call
        StopManager(manager=M2, reason="its job is over"),
    ]
    assert submit(state, 2) == [SendTask(task=TaskId(2), manager=ManagerId("m3"))]
    assert end(state, M1, 1, now=6.0) == [StopManager(manager=M1, reason="it has drained")]


def test_what_a_block_that_is_over_returns_runs_elsewhere() -> None:
    state = make({M1: 1})
    submit(state, 1)
    block_over(state)
    state.handle(joined(M2, block="1"), now=5.5)
    state.handle(cluster.ManagerLeaving(manager=M1), now=6.0)
    returned = state.handle(cluster.TasksReturned(manager=M1, tasks=[TaskId(1)]), now=6.0)
    assert SendTask(task=TaskId(1), manager=M2) in returned
    assert StopManager(manager=M1, reason="it has drained") in returned


def test_what_a_manager_kept_from_before_its_link_broke_serves_what_waits_there() -> None:
    """The call that ran is lost; that which waits is sent, and nothing is built."""
    state = make({M1: 2}, warm={M1: A})
    submit(state, 1, A)
    state.handle(cluster.ManagerLeft(manager=M1, reason="its connection broke"), now=2.0)
    assert submit(state, 2, A) == []
    again = joined(M2, 2, node=str(M1), held={WorkerId(1): [A]})
    assert state.handle(again, now=12.0) == [SendTask(task=TaskId(2), manager=M2)]


def test_what_a_manager_shares_since_before_its_link_broke_is_not_built_again() -> None:
    state = make({})
    state.handle(cluster.ContextDeclared(context=A, options=ContextOptions(name="a()", reuse="node")), now=0.0)
    submit(state, 1, A)
    submit(state, 2, A)
    again = joined(M2, 2, templates=[(A,)])
    sent = [SendTask(task=TaskId(number), manager=M2) for number in (1, 2)]
    assert state.handle(again, now=12.0) == sent


def test_a_manager_that_joins_anew_takes_the_place_of_its_session_before() -> None:
    """Its link broke, and only its own end saw that."""
    state = make({M1: 2}, warm={M1: A})
    submit(state, 1, A)
    again = joined(M2, 2, node=str(M1), held={WorkerId(1): [A]})
    reason = "it joined anew after its link broke"
    assert state.handle(again, now=12.0) == [FailTasks(tasks=[TaskId(1)], manager=M1, reason=reason)]
    assert state.handle(cluster.ManagerLeft(manager=M1, reason="its connection broke"), now=13.0) == [], "settled once"
    assert submit(state, 2, A, now=14.0) == [SendTask(task=TaskId(2), manager=M2)]


def test_a_manager_that_outlived_its_block_is_not_taken_back() -> None:
    """Its link broke before the provider said that the job is over; it joins anew."""
    state = make({})
    block_over(state, now=5.0)
    assert state.handle(joined(M1, up_s=10.0), now=7.0) == [StopManager(manager=M1, reason="its job is over")]
    assert submit(state, 1) == []


def test_a_manager_that_began_after_its_block_was_called_over_works() -> None:
    """Right after a job was submitted, Slurm's accounting may not know it, which reads as COMPLETED."""
    state = make({})
    block_over(state, now=5.0)
    state.handle(joined(M1, up_s=1.0), now=7.0)
    assert submit(state, 1) == [SendTask(task=TaskId(1), manager=M1)]
    assert block_over(state, now=9.0) == [DrainManager(manager=M1, reason="its job is over")], "now it is"


def test_a_draining_manager_gets_no_more_and_stops_when_it_holds_nothing() -> None:
    state = make({})
    state.handle(joined(M1, drain_in_s=10.0), now=0.0)
    submit(state, 1)
    assert state.next_deadline() == 10.0
    assert state.handle(cluster.Tick(), now=10.0) == []
    assert submit(state, 2) == []
    (stop,) = end(state, M1, 1, now=11.0)
    assert isinstance(stop, StopManager)
    assert state.handle(cluster.TasksReturned(manager=M1, tasks=[]), now=12.0) == [], "told once"


def test_a_held_manager_gets_no_more_and_is_not_stopped() -> None:
    state = make({M1: 1})
    assert state.handle(cluster.ManagerHeld(manager=M1), now=1.0) == []
    assert submit(state, 1) == []


def break_build(
    state: ClusterState, manager: ManagerId, now: float, kinds: tuple[str, ...] = (), number: int = 0
) -> list[cluster.Action]:
    broke = state.handle(cluster.BuildBroke(manager=manager, context=A, tasks=[], kinds=kinds), now=now)
    return broke + settle(state, manager, A, now=now, number=number)


def test_a_context_that_cannot_be_built_is_tried_with_pauses_and_then_fails_its_calls() -> None:
    state = make({M1: 1})
    now = 1.0
    assert submit(state, 1, A, now=now) == [order(0, M1, A)]
    submit(state, 2, A, now=now)
    for attempt in range(1, BUILD_ATTEMPTS):
        assert break_build(state, M1, now=now, number=attempt - 1) == []
        pause_s = 0.2 * 2 ** (attempt - 1)
        assert state.handle(cluster.Tick(), now=now + 0.9 * pause_s) == []
        now += 1.01 * pause_s
        assert state.handle(cluster.Tick(), now=now) == [order(attempt, M1, A)]
    assert break_build(state, M1, now=now, number=BUILD_ATTEMPTS - 1) == [
        FailBuild(tasks=[TaskId(1), TaskId(2)], context=A, attempts=BUILD_ATTEMPTS)
    ]
    assert submit(state, 3, A, now=now) == [FailBuild(tasks=[TaskId(3)], context=A, attempts=3)], "at once"
    assert submit(state, 4, now=now) == [SendTask(task=TaskId(4), manager=M1)], "others go on"
    end(state, M1, 4, now=now)
    state.handle(cluster.Tick(), now=now + 1.0)
    assert submit(state, 5, A, now=now + 1.0) == [order(3, M1, A)], "tried again after the pause"


def test_a_build_that_would_fail_again_fails_its_calls_at_once() -> None:
    state = make({M1: 1})
    assert submit(state, 1, A, now=1.0) == [order(0, M1, A)]
    failed = [FailBuild(tasks=[TaskId(1)], context=A, attempts=1)]
    assert break_build(state, M1, now=1.0, kinds=("KeyError", "LookupError", "Exception")) == failed
    assert submit(state, 2, A, now=1.7) == [FailBuild(tasks=[TaskId(2)], context=A, attempts=1)]
    state.handle(cluster.Tick(), now=2.0)
    assert submit(state, 3, A, now=2.0) == [order(1, M1, A)], "after the pause that three attempts would have"


def test_a_context_that_was_built_before_is_tried_again_whatever_fails() -> None:
    """Its code is right: it may be the node's fault."""
    state = make({M1: 1})
    submit(state, 1, A, now=1.0)
    state.handle(cluster.BuildEnded(manager=M1, context=A, load_s=1.0, size_bytes=1), now=1.0)
    assert break_build(state, M1, now=1.0, kinds=("KeyError", "LookupError", "Exception")) == []


def test_a_call_that_builds_where_it_runs_is_tried_again_after_its_build_failed() -> None:
    state = make({M1: 1})
    lane = Lane((A,), False, in_order=True)
    event = cluster.TaskSubmitted(task=TaskId(1), lane=lane, code=CODE)
    assert state.handle(event, now=1.0) == [SendTask(task=TaskId(1), manager=M1)]
    broke = cluster.BuildBroke(manager=M1, context=A, tasks=[TaskId(1)])
    assert state.handle(broke, now=2.0) == []
    assert state.handle(cluster.Tick(), now=2.3) == [SendTask(task=TaskId(1), manager=M1)]


def test_a_build_that_failed_is_tried_elsewhere_first() -> None:
    state = make({M1: 1, M2: 1})
    assert submit(state, 1, A) == [order(0, M1, A)]
    assert break_build(state, M1, now=2.0) == []
    assert state.handle(cluster.Tick(), now=2.3) == [order(1, M2, A)]


def test_wanted_contexts_are_built_on_managers_that_are_there_and_that_come() -> None:
    state = make({M1: 1})
    assert state.handle(cluster.ContextWanted(context=A), now=1.0) == [SendBuild(context=A, manager=M1)]
    assert state.handle(joined(M2), now=2.0) == [SendBuild(context=A, manager=M2)]


def test_a_cancelled_call_is_not_sent() -> None:
    state = make({})
    submit(state, 1)
    submit(state, 2)
    state.handle(cluster.TaskCancelled(task=TaskId(1)), now=1.0)
    assert state.handle(joined(M1), now=2.0) == [SendTask(task=TaskId(2), manager=M1)]


def test_rows_tell_where_contexts_live_and_what_they_did() -> None:
    state = make({M1: 2}, warm={M1: A}, build_s=3.0)
    submit(state, 1, A)
    end(state, M1, 1, now=5.0)
    a, b = state.context_rows(now=7.0)
    assert (a.name, a.state, a.where, a.workers, a.loads, a.calls) == ("a()", "ready", M1, 1, 1, 1)
    assert (a.load_s, a.bytes, a.last_used_s) == (3.0, 100, 2.0)
    assert (a.block, a.age_s) == ("0", 7.0)
    assert (b.state, b.where, b.loads, b.block, b.age_s) == ("cold", None, 0, None, None)


def test_rows_tell_of_builds_that_are_going_on() -> None:
    state = make({M1: 3}, warm={M1: A}, build_s=3.0)
    for began_at in (4.0, 5.0):
        state.handle(cluster.BuildBegan(manager=M1, context=A), now=began_at)
    (a, _) = state.context_rows(now=6.5)
    assert (a.building, a.building_s, a.usual_s, a.shared) == (2, 2.5, 3.0, False)
    state.handle(cluster.BuildEnded(manager=M1, context=A, load_s=3.0, size_bytes=0), now=7.0)
    (a, _) = state.context_rows(now=7.5)
    assert (a.building, a.building_s) == (1, 2.5)
    state.handle(cluster.BuildBroke(manager=M1, context=A, tasks=[]), now=8.0)
    (a, b) = state.context_rows(now=8.5)
    assert (a.building, a.building_s, b.usual_s) == (0, None, None)


def test_calls_of_a_context_that_is_gone_still_count_for_another_that_they_used() -> None:
    state = make({M1: 1}, warm={M1: A})
    state.handle(cluster.ContextHeld(manager=M1, worker=WorkerId(0), context=B), now=0.0)
    submit(state, 1, A, B)
    end(state, M1, 1, now=5.0)
    submit(state, 2, A)
    end(state, M1, 2, now=6.0)
    state.handle(cluster.BlobForgotten(digest=B), now=7.0)
    (a,) = state.context_rows(now=8.0)
    assert (a.calls, a.last_used_s) == (2, 2.0)


def test_a_worker_finds_the_one_line_that_waits_among_many() -> None:
    contexts = [Digest(f"c{i}") for i in range(10)]
    state = make({M1: 1})
    for context in contexts:
        state.handle(cluster.ContextDeclared(context=context, options=ContextOptions(name="", reuse="memory")), now=0.0)
        state.handle(cluster.BuildEnded(manager=M1, context=context, load_s=1e6, size_bytes=0), now=0.0)
        state.handle(cluster.ContextHeld(manager=M1, worker=WorkerId(0), context=context), now=0.0)
    submit(state, 0, contexts[0])
    for number, context in enumerate(contexts):
        assert submit(state, 1 + number, context) == []
    for number in range(9):
        state.handle(cluster.TaskCancelled(task=TaskId(1 + number)), now=1.5)
    assert end(state, M1, 0) == [SendTask(task=TaskId(10), manager=M1)]


def test_a_call_that_came_back_from_a_worker_that_builds_ahead_is_sent_again_when_that_has_ended() -> None:
    state = make({M1: 2}, warm={M1: A}, build_s=100.0)
    assert submit(state, 1, A) == [SendTask(task=TaskId(1), manager=M1)]
    state.handle(cluster.BuildBegan(manager=M1, context=B), now=1.0)
    assert state.handle(cluster.TasksReturned(manager=M1, tasks=[TaskId(1)]), now=1.1) == []
    state.handle(cluster.BuildEnded(manager=M1, context=B, load_s=10.0, size_bytes=100), now=11.0)
    held = cluster.ContextHeld(manager=M1, worker=WorkerId(0), context=B)
    assert state.handle(held, now=11.0) == [SendTask(task=TaskId(1), manager=M1)]


def test_a_call_that_came_back_from_a_worker_that_builds_ahead_is_sent_again_when_that_has_failed() -> None:
    state = make({M1: 2}, warm={M1: A}, build_s=100.0)
    submit(state, 1, A)
    state.handle(cluster.BuildBegan(manager=M1, context=B), now=1.0)
    state.handle(cluster.TasksReturned(manager=M1, tasks=[TaskId(1)]), now=1.1)
    broke = cluster.BuildBroke(manager=M1, context=B, tasks=[])
    assert state.handle(broke, now=11.0) == [SendTask(task=TaskId(1), manager=M1)]


def test_without_managers_no_deadline_is_set() -> None:
    assert ClusterState(heartbeat_threshold_s=1.0).next_deadline() == math.inf


def test_calls_are_considered_anew_when_those_that_served_them_are_gone() -> None:
    """Two calls wanted a build that had no place: that one call alone waits afterwards is news all the same."""
    state = make({})
    submit(state, 1, A, now=0.0)
    submit(state, 2, A, now=0.0)  # looked at again after a second
    state.handle(joined(M1), now=0.0)
    state.handle(cluster.BuildEnded(manager=M1, context=A, load_s=0.01, size_bytes=100), now=0.01)
    state.handle(cluster.ContextHeld(manager=M1, worker=WorkerId(0), context=A), now=0.01)
    assert settle(state, M1, A, now=0.01) == [SendTask(task=TaskId(1), manager=M1)]
    assert end(state, M1, 1, run_s=0.01, now=0.02) == [SendTask(task=TaskId(2), manager=M1)]
    end(state, M1, 2, run_s=0.01, now=0.03)
    state.handle(joined(M2), now=0.04)
    state.handle(cluster.ManagerLeft(manager=M1, reason="its connection broke"), now=0.05)
    assert submit(state, 3, A, now=0.06) == [order(1, M2, A)]


def lose(state: ClusterState, manager: ManagerId, now: float = 2.0) -> list[cluster.Action]:
    return state.handle(cluster.ManagerLeft(manager=manager, reason="gone"), now=now)


def test_calls_of_a_lost_manager_wait_again_as_often_as_is_allowed() -> None:
    state = ClusterState(heartbeat_threshold_s=100.0, requeue_lost=2)
    state.handle(joined(M1, 2), now=0.0)
    submit(state, 1)
    submit(state, 2)
    submit(state, 3)
    requeued = NoteRequeued(tasks=[TaskId(1), TaskId(2)], manager=M1, reason="gone")
    assert lose(state, M1) == [requeued]
    assert state.waiting == 3
    sent = state.handle(joined(M2, 1), now=3.0)
    assert sent == [SendTask(task=TaskId(1), manager=M2)], "before those that came later"
    assert lose(state, M2) == [NoteRequeued(tasks=[TaskId(1)], manager=M2, reason="gone")]
    state.handle(joined(M1, 1), now=4.0)
    assert lose(state, M1) == [FailTasks(tasks=[TaskId(1)], manager=M1, reason="gone")]
    assert not state.knows_task(TaskId(1))
    assert state.waiting == 2


def test_a_requeued_call_goes_where_a_worker_is_idle_at_once() -> None:
    state = ClusterState(heartbeat_threshold_s=100.0, requeue_lost=1)
    state.handle(joined(M1, 1), now=0.0)
    submit(state, 1)
    state.handle(joined(M2, 1), now=0.0)
    assert lose(state, M1)[-1] == SendTask(task=TaskId(1), manager=M2)
    assert end(state, M1, 1) == [], "what the lost manager says counts for nothing"
    assert state.knows_task(TaskId(1))
    end(state, M2, 1)
    assert not state.knows_task(TaskId(1))


def test_a_call_that_nobody_waits_for_is_not_queued_again() -> None:
    state = ClusterState(heartbeat_threshold_s=100.0, requeue_lost=1)
    state.handle(joined(M1, 1), now=0.0)
    submit(state, 1)
    state.handle(cluster.TaskCancelled(task=TaskId(1)), now=1.0)
    assert lose(state, M1) == [FailTasks(tasks=[TaskId(1)], manager=M1, reason="gone")]


def test_calls_that_turn_out_to_be_long_do_not_wait_at_a_manager() -> None:
    state = make({M1: 1})
    submit(state, 1)
    end(state, M1, 1, run_s=0.0001)
    for number in range(2, 12):
        submit(state, number)
    ahead = end(state, M1, 2, run_s=0.0001)
    assert len(ahead) == 9, "they are short, as far as is known"
    assert end(state, M1, 3, run_s=0.1) == [], "one that is longer tells little of the others"
    taken = end(state, M1, 4, run_s=2.0)
    assert [type(action) for action in taken] == [TakeBack]
    assert isinstance(taken[0], TakeBack)
    assert len(taken[0].tasks) == 6
    back = cluster.TasksReturned(manager=M1, tasks=taken[0].tasks)
    assert state.handle(back, now=3.0) == [], "one runs there, and no other is sent"
    assert state.waiting == 6


def test_what_waits_behind_a_call_that_goes_on_and_on_is_taken_back_and_idle_slots_build() -> None:
    state = make({M1: 4}, warm={M1: A}, build_s=0.1)
    submit(state, 1, A)
    end(state, M1, 1, run_s=0.0001, now=1.01)
    for number in range(2, 12):
        submit(state, number, A, now=2.0)
    assert len(end(state, M1, 2, run_s=0.0001, now=2.001)) == 9, "one runs, and the others wait behind it"
    actions: list[cluster.Action] = []
    while not actions and (now := state.next_deadline()) < 5.0:
        actions = state.handle(cluster.Tick(), now=now)
    (taken,) = actions
    assert isinstance(taken, TakeBack)
    assert len(taken.tasks) == 8
    back = cluster.TasksReturned(manager=M1, tasks=taken.tasks)
    ordered = state.handle(back, now=now)
    assert ordered == [order(number, M1, A) for number in range(3)]
    state.handle(cluster.ContextHeld(manager=M1, worker=WorkerId(1), context=A), now=now)
    assert settle(state, M1, A, now=now) == [SendTask(task=TaskId(4), manager=M1)], "none is sent ahead"


def refuse_ordinary(state: ClusterState, manager: ManagerId, *tasks: int, now: float = 2.0) -> list[cluster.Action]:
    refused = cluster.OrdinaryRefused(manager=manager, tasks=[TaskId(task) for task in tasks], reason="It is broken.")
    return state.handle(refused, now=now)


def test_ordinary_calls_that_a_manager_refuses_go_elsewhere() -> None:
    state = make({M1: 1, M2: 1})
    (sent,) = submit(state, 1)
    assert isinstance(sent, SendTask)
    other = M2 if sent.manager == M1 else M1
    assert refuse_ordinary(state, sent.manager, 1) == [SendTask(task=TaskId(1), manager=other)]
    assert submit(state, 2, now=2.5) == [], "it waits for the other"
    assert end(state, other, 1, now=2.6) == [SendTask(task=TaskId(2), manager=other)]


def test_ordinary_calls_that_all_managers_refuse_fail_at_once_for_a_while() -> None:
    state = make({M1: 1})
    submit(state, 1)
    assert refuse_ordinary(state, M1, 1) == [FailUnservable(tasks=[TaskId(1)], reason="It is broken.")]
    assert submit(state, 2, now=2.5) == [FailUnservable(tasks=[TaskId(2)], reason="It is broken.")]
    state.handle(cluster.Tick(), now=3.0)
    assert submit(state, 3, now=3.0) == [SendTask(task=TaskId(3), manager=M1)], "it is tried again"
    refuse_ordinary(state, M1, 3, now=3.1)
    state.handle(cluster.Tick(), now=4.2)
    assert submit(state, 4, now=4.2) == [FailUnservable(tasks=[TaskId(4)], reason="It is broken.")], "later each time"


def test_calls_with_contexts_are_not_refused_with_ordinary_ones() -> None:
    state = make({M1: 1}, warm={M1: A})
    refuse_ordinary(state, M1)
    assert submit(state, 1, A) == [SendTask(task=TaskId(1), manager=M1)]


def test_one_that_joins_takes_the_ordinary_calls() -> None:
    state = make({M1: 1})
    refuse_ordinary(state, M1)
    state.handle(joined(M2), now=2.0)
    assert submit(state, 1, now=2.1) == [SendTask(task=TaskId(1), manager=M2)]
    state.handle(cluster.ManagerLeft(manager=M2, reason="gone"), now=2.2)
    assert submit(state, 2, now=2.3) == [FailUnservable(tasks=[TaskId(2)], reason="It is broken.")]
