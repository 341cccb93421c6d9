"""Sequences of events that left a call, an order or a worker of a node stuck or lost, as generated events found."""

from __future__ import annotations

from parsl_context.scheduling.lines import Lane
from parsl_context.scheduling.node import events as node
from parsl_context.scheduling.node.events import (
    Assign,
    EndTemplate,
    Evict,
    GiveBack,
    Load,
    Replace,
    Revoke,
    SettleBuild,
    StartTemplate,
)
from parsl_context.scheduling.node.state import NodeState
from parsl_context.wire.messages import Digest, OrderId, TaskId, WorkerId

A, B, C, CODE = Digest("a"), Digest("b"), Digest("c"), Digest("code")
W0, W1, W2 = WorkerId(0), WorkerId(1), WorkerId(2)
ORDER = OrderId(0)


def call(number: int, *contexts: Digest, fresh: bool = False, nodes: int = 0) -> node.NodeTask:
    return node.NodeTask(id=TaskId(number), lane=Lane(contexts, fresh, nodes > 0), code=CODE, nodes=nodes)


def make(workers: int = 1, shared: str = "", pinned: str = "", nodes: str = "", **limits: float) -> NodeState:
    state = NodeState(workers, list(nodes))
    state.handle(node.LimitsSet(**limits), now=0.0)  # type: ignore[arg-type]
    for context in (A, B, C):
        options = {"is_shared": context in shared, "is_pinned": context in pinned}
        state.handle(node.ContextDeclared(context=context, **options), now=0.0)
    for worker in range(workers):
        up(state, WorkerId(worker), now=0.0)
    return state


def up(state: NodeState, worker: WorkerId, *inherited: Digest, now: float) -> list[node.Action]:
    return state.handle(node.WorkerReady(worker=worker, inherited=frozenset(inherited)), now=now)


def arrive(state: NodeState, *tasks: node.NodeTask, now: float = 1.0) -> list[node.Action]:
    return state.handle(node.TasksArrived(tasks=list(tasks)), now=now)


def end(state: NodeState, worker: WorkerId, number: int, now: float, run_s: float = 1.0) -> list[node.Action]:
    return state.handle(node.TaskEnded(worker=worker, task=TaskId(number), run_s=run_s), now=now)


def want(state: NodeState, *contexts: Digest, now: float = 1.0) -> list[node.Action]:
    return state.handle(node.InstanceWanted(order=ORDER, contexts=contexts), now=now)


def release(state: NodeState, now: float) -> list[node.Action]:
    """Calls have come for what was built, or none will."""
    return state.handle(node.OrderReleased(order=ORDER), now=now)


def hold(state: NodeState, worker: WorkerId, context: Digest, now: float, size: int = 0) -> list[node.Action]:
    ended = node.LoadEnded(worker=worker, context=context, load_s=1.0, size_bytes=size)
    return state.handle(ended, now=now)


def ready(state: NodeState, *contexts: Digest, now: float = 2.0, size: int = 0) -> list[node.Action]:
    """A template is ready."""
    for context in contexts:
        state.handle(node.TemplateLoaded(context=context, load_s=1.0, size_bytes=size), now=now)
    return state.handle(node.TemplateReady(template=contexts), now=now)


def test_calls_whose_contexts_went_with_a_replaced_process_go_back() -> None:
    state = make()
    hold(state, W0, A, now=0.0)
    arrive(state, call(1), call(2, fresh=True), call(3, A))
    assert end(state, W0, 1, now=2.0) == [Replace(worker=W0), GiveBack(tasks=[TaskId(3)])]


def test_a_call_for_nodes_is_not_given_to_a_process_that_is_about_to_end() -> None:
    state = make(nodes="xy")
    arrive(state, call(1, fresh=True, nodes=2), call(2, nodes=1))
    assert end(state, W0, 1, now=2.0) == [Replace(worker=W0)]
    assert up(state, W0, now=3.0) == [Assign(task=TaskId(2), worker=W0, nodes=("x",))]


def test_many_kinds_of_calls_for_nodes_do_not_hide_one_that_needs_none() -> None:
    """A worker looks at eight of its lines."""
    state = make(workers=2, nodes="xy")
    arrive(state, call(1), call(2, nodes=2), *(call(n, Digest(f"{n}"), nodes=2) for n in range(3, 13)))
    arrive(state, call(13, fresh=True))
    assert end(state, W0, 1, now=2.0) == [Replace(worker=W0)]


def test_a_call_for_nodes_goes_to_any_idle_worker_once_it_is_its_turn() -> None:
    state = make(workers=3, nodes="xyz")
    arrive(state, call(1, nodes=2), call(2, A, nodes=2), call(3, B, nodes=1))
    freed = end(state, W0, 1, now=2.0)
    assert [action.task for action in freed if isinstance(action, Assign)] == [TaskId(2), TaskId(3)]


def test_a_fresh_call_does_not_wait_beside_a_worker_that_an_order_has_no_use_for() -> None:
    state = make(workers=2)
    hold(state, W0, A, now=0.0)
    arrive(state, call(1), call(2), now=0.0)
    arrive(state, call(3, fresh=True), now=0.0)
    assert want(state, A) == []
    assert end(state, W0, 1, now=2.0) == [Replace(worker=W0)]


def test_calls_behind_a_slow_one_are_taken_back_for_a_worker_that_comes_later() -> None:
    state = NodeState(2)
    up(state, W0, now=0.0)
    arrive(state, *(call(number) for number in range(1, 6)), now=0.0)
    assert len(end(state, W0, 1, now=0.1, run_s=0.001)) == 4
    assert up(state, W1, now=0.2) == []
    due = state.next_deadline(0.2)
    assert due is not None
    assert state.handle(node.Tick(), now=due) == [Revoke(worker=W0, count=2)]
    state.handle(node.TasksRevoked(worker=W0, count=2), now=due)
    assert end(state, W1, 4, now=due, run_s=0.001) == [Assign(task=TaskId(5), worker=W1)]
    ended = end(state, W1, 5, now=due, run_s=0.001)
    assert ended == [Revoke(worker=W0, count=1)], "although it has yet to skip those taken before"


def test_a_worker_is_forked_for_calls_once_it_is_idle_if_their_template_is_ready() -> None:
    state = make(shared="a")
    arrive(state, call(1))
    want(state, A)
    ready(state, A)
    end(state, W0, 1, now=3.0)
    up(state, W0, A, now=4.0)
    arrive(state, call(2, A), call(3, A), now=4.0)
    want(state, B, now=4.0)
    assert end(state, W0, 2, now=5.0) == [Load(worker=W0, context=B)]
    state.handle(node.ContextGone(worker=W0, context=A), now=5.5)
    assert hold(state, W0, B, now=6.0) == [SettleBuild(order=ORDER, contexts=(B,))]
    assert release(state, now=6.1) == [Replace(worker=W0, template=(A,))]


def test_an_order_during_a_drain_has_ended() -> None:
    state = make()
    state.handle(node.DrainBegan(), now=0.0)
    assert want(state, A) == [SettleBuild(order=ORDER, contexts=(A,))]


def test_an_order_whose_template_is_evicted_starts_another() -> None:
    state = make(shared="a")
    assert want(state, A) == [StartTemplate(template=(A,))]
    evicted = state.handle(node.EvictionWanted(context=A), now=2.0)
    assert evicted == [EndTemplate(template=(A,)), StartTemplate(template=(A,))]


def test_an_order_goes_on_at_once_where_a_template_that_ends_makes_room() -> None:
    state = make(shared="a", memory_bytes=100)
    want(state, A)
    ready(state, A, size=60)
    release(state, now=3.0)
    up(state, W0, A, now=3.0)
    state.handle(node.WorkerEnded(worker=W0), now=4.0)
    up(state, W0, now=5.0)
    assert want(state, B, now=9.0) == [EndTemplate(template=(A,)), Load(worker=W0, context=B)]


def test_an_order_does_not_end_the_template_that_it_needs() -> None:
    state = make(shared="a", memory_bytes=100)
    want(state, A, B)
    assert ready(state, A, size=60) == [Replace(worker=W0, template=(A,))]
    assert up(state, W0, A, now=3.0) == [Load(worker=W0, context=B)], "no more room can be made"


def test_a_template_that_is_being_built_may_make_room_later() -> None:
    state = make(workers=2, shared="ab", memory_bytes=100)
    for context in (A, B):
        declared = node.ContextDeclared(context=context, is_shared=True, size_bytes=60)
        state.handle(declared, now=0.0)
    assert want(state, A) == [StartTemplate(template=(A,))]
    assert want(state, B) == []


def test_what_is_kept_for_nothing_goes_before_the_budget_is_exceeded() -> None:
    state = make(workers=2, memory_bytes=100)
    hold(state, W0, A, now=0.0, size=50)
    state.handle(node.ContextDeclared(context=B, size_bytes=100), now=0.0)
    hold(state, W1, B, now=0.0, size=120)
    state.handle(node.ContextGone(worker=W1, context=B), now=1.0)
    assert want(state, B, now=9.0) == [Evict(worker=W0, context=A)]
    gone = state.handle(node.ContextGone(worker=W0, context=A), now=9.5)
    assert gone == [Load(worker=W0, context=B)]


def test_a_template_is_given_up_without_those_that_share_a_context_with_it() -> None:
    state = make(shared="abc", pinned="a", memory_bytes=100)
    want(state, B)
    ready(state, B, size=20)
    release(state, now=3.0)
    up(state, W0, B, now=3.0)
    want(state, A, B, now=5.0)
    ready(state, A, B, now=6.0, size=20)
    up(state, W0, A, B, now=7.0)
    state.handle(node.ContextDeclared(context=C, is_shared=True, size_bytes=60), now=8.0)
    assert want(state, C, now=9.0) == [EndTemplate(template=(B,)), StartTemplate(template=(C,))]


def test_what_is_preloaded_takes_no_worker_from_calls() -> None:
    state = make(shared="ab")
    state.handle(node.BuildWanted(context=A), now=0.0)
    ready(state, A, now=1.0)
    up(state, W0, A, now=1.0)
    want(state, B, now=2.0)
    assert ready(state, B, now=3.0) == [SettleBuild(order=ORDER, contexts=(B,))]
    assert arrive(state, call(1, B), now=3.0) == [Replace(worker=W0, template=(B,))]
    assert up(state, W0, B, now=4.0) == [Assign(task=TaskId(1), worker=W0)]


def test_what_is_preloaded_takes_no_room_from_an_order() -> None:
    state = make(workers=2, memory_bytes=100)
    hold(state, W1, C, now=0.0, size=40)
    arrive(state, call(1, C), now=0.0)
    state.handle(node.BuildWanted(context=A), now=0.0)
    hold(state, W0, A, now=1.0, size=60)
    state.handle(node.ContextDeclared(context=B, size_bytes=70), now=1.0)
    assert want(state, B, now=2.0) == []
    state.handle(node.EvictionWanted(context=C), now=3.0)
    assert state.handle(node.ContextGone(worker=W0, context=A), now=3.0) == []


def test_a_worker_that_is_full_is_not_preloaded() -> None:
    state = make(contexts_per_worker=1)
    state.handle(node.BuildWanted(context=A), now=0.0)
    hold(state, W0, A, now=1.0)
    assert state.handle(node.BuildWanted(context=B), now=2.0) == []


def test_a_full_worker_waits_for_calls_before_it_takes_the_next_order() -> None:
    state = make(contexts_per_worker=1)
    want(state, A)
    hold(state, W0, A, now=2.0)
    assert want(state, B, now=2.1) == []
    assert state.next_deadline(2.1) is None, "however long they take to come"
    assert release(state, now=99.0) == [Evict(worker=W0, context=A), Load(worker=W0, context=B)]


def test_the_first_call_for_what_was_built_comes_before_another_order_although_another_call_was_there_first() -> None:
    state = make(contexts_per_worker=1)
    want(state, A)
    hold(state, W0, A, now=2.0)
    arrive(state, call(1), now=2.1)
    arrive(state, call(2, A), now=2.2)
    assert release(state, now=2.2) == []
    assert want(state, B, now=2.3) == []
    assert end(state, W0, 1, now=3.0) == [Assign(task=TaskId(2), worker=W0)]
    assert end(state, W0, 2, now=4.0) == [Evict(worker=W0, context=A), Load(worker=W0, context=B)]


def test_what_was_built_is_not_lost_to_a_call_that_needs_a_fresh_process_before_its_own_have_come() -> None:
    state = make()
    want(state, A)
    hold(state, W0, A, now=2.0)
    assert arrive(state, call(1, fresh=True), now=2.1) == []
    assert arrive(state, call(2, A), now=2.2) == [Assign(task=TaskId(2), worker=W0)]
    assert end(state, W0, 2, now=3.0) == [Replace(worker=W0)]


def test_a_worker_that_was_forked_for_a_call_serves_it_before_an_order() -> None:
    state = make(shared="a")
    want(state, A)
    ready(state, A)
    assert arrive(state, call(1, A), now=3.0) == [Replace(worker=W0, template=(A,))]
    assert want(state, B, now=3.1) == []
    assert up(state, W0, A, now=3.2) == [Assign(task=TaskId(1), worker=W0)]
    assert end(state, W0, 1, now=4.0) == [Load(worker=W0, context=B)]


def test_a_template_is_kept_for_the_calls_that_it_was_built_for() -> None:
    state = make(shared="ab", memory_bytes=100)
    for context in (A, B):
        state.handle(node.ContextDeclared(context=context, is_shared=True, size_bytes=60), now=0.0)
    want(state, A)
    assert want(state, B) == []
    assert ready(state, A, size=60) == [SettleBuild(order=ORDER, contexts=(A,))]
    assert release(state, now=3.0) == [EndTemplate(template=(A,)), StartTemplate(template=(B,))]


def test_a_line_that_no_worker_holds_anything_for_is_not_passed_over_for_ever() -> None:
    """Its template is ready, and calls of another template keep its only worker busy."""
    state = make(shared="ab")
    for context in (A, B):
        want(state, context)
        ready(state, context)
    arrive(state, call(1, A), call(2, A), now=3.0)
    up(state, W0, A, now=3.0)
    arrive(state, call(3, B), now=3.0)
    arrive(state, call(4, A), now=3.1)
    arrive(state, call(5, A), now=3.5)
    assert end(state, W0, 1, now=4.0) == [Assign(task=TaskId(2), worker=W0)]
    assert end(state, W0, 2, now=4.1) == [Assign(task=TaskId(4), worker=W0)]
    assert end(state, W0, 4, now=4.2) == [Replace(worker=W0, template=(B,))], "0.5 s older than call 5"
    assert up(state, W0, B, now=4.3) == [Assign(task=TaskId(3), worker=W0)]


def test_a_worker_is_not_forked_for_short_calls_where_that_costs_more_than_their_time() -> None:
    state = make(workers=2, shared="a")
    hold(state, W1, B, now=0.0)
    want(state, A)
    ready(state, A)
    arrive(state, call(1, A), now=3.0)
    up(state, W0, A, now=3.0)
    end(state, W0, 1, now=3.1, run_s=0.5)
    actions = arrive(state, call(2, A), call(3, A), now=4.0)
    assert actions == [Assign(task=TaskId(2), worker=W0), GiveBack(tasks=[TaskId(3)])], "B takes 1 s to build again"


def test_an_instance_that_calls_are_about_to_come_for_does_not_go_with_a_fork_for_another_order() -> None:
    state = make(workers=2, shared="ac", memory_bytes=5)
    want(state, A, B, now=0.0)
    want(state, B, C, now=0.0)
    ready(state, A, now=1.0, size=1)
    up(state, W0, A, now=1.0)
    ready(state, C, now=1.0, size=2)
    actions = hold(state, W0, B, now=2.0, size=2)
    assert actions == [SettleBuild(order=ORDER, contexts=(A, B))]
    given_up = [EndTemplate(template=(A,)), Evict(worker=W0, context=A), Evict(worker=W0, context=B)]
    assert release(state, now=3.0) == given_up


def test_a_template_that_is_ready_serves_its_order_before_an_older_one_can_end_it() -> None:
    state = make(shared="abc", memory_bytes=3)
    for context, size in ((A, 1), (B, 2), (C, 1)):
        declared = node.ContextDeclared(context=context, is_shared=True, size_bytes=size)
        state.handle(declared, now=0.0)
    want(state, A)
    assert want(state, A, B) == [], "no room beside A"
    ready(state, A, size=1)
    arrive(state, call(1, A), now=3.0)
    release(state, now=3.0)
    up(state, W0, A, now=3.0)
    assert want(state, A, C, now=4.0) == [StartTemplate(template=(A, C))]
    end(state, W0, 1, now=5.0)
    assert SettleBuild(order=ORDER, contexts=(A, C)) in ready(state, A, C, size=1)
