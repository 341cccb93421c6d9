"""Decisions on a node about what is shared, what may be held, and what is given up."""

from __future__ import annotations

from parsl_context.scheduling.lines import Lane
from parsl_context.scheduling.node import events as node
from parsl_context.scheduling.node.events import (
    Assign,
    EndTemplate,
    Evict,
    GiveBack,
    Load,
    RefuseBuild,
    Replace,
    Revoke,
    SettleBuild,
    StartTemplate,
)
from parsl_context.scheduling.node.state import NodeState
from parsl_context.wire.messages import Digest, OrderId, TaskId, WorkerId

A, B, C, CODE = Digest("a"), Digest("b"), Digest("c"), Digest("code")
W0, W1 = WorkerId(0), WorkerId(1)
ORDER = OrderId(0)
MB = 1 << 20


def call(number: int, *contexts: Digest) -> node.NodeTask:
    return node.NodeTask(id=TaskId(number), lane=Lane(contexts, False), code=CODE)


def make(workers: int = 2, shared: tuple[Digest, ...] = (), **limits: float) -> NodeState:
    state = NodeState(workers)
    state.handle(node.LimitsSet(**limits), now=0.0)  # type: ignore[arg-type]
    for context in (A, B, C):
        state.handle(node.ContextDeclared(context=context, is_shared=context in shared), now=0.0)
    for worker in range(workers):
        state.handle(node.WorkerReady(worker=WorkerId(worker)), now=0.0)
    return state


def arrive(state: NodeState, *tasks: node.NodeTask, now: float = 1.0) -> list[node.Action]:
    return state.handle(node.TasksArrived(tasks=list(tasks)), now=now)


def want(state: NodeState, *contexts: Digest, now: float = 1.0) -> list[node.Action]:
    return state.handle(node.InstanceWanted(order=ORDER, contexts=contexts), now=now)


def build(state: NodeState, worker: WorkerId, *contexts: Digest, now: float, size: int = 0) -> list[node.Action]:
    """The worker builds contexts that it was told to build."""
    actions: list[node.Action] = []
    for context in contexts:
        state.handle(node.LoadBegan(worker=worker, context=context), now=now)
        ended = node.LoadEnded(worker=worker, context=context, load_s=1.0, size_bytes=size)
        actions = state.handle(ended, now=now)
    return actions + release(state, now)


def give_up(state: NodeState, worker: WorkerId, context: Digest, kept: int) -> list[node.Action]:
    """The worker ends an instance, and keeps memory of it."""
    assert state.handle(node.EvictionWanted(context=context), now=5.0) == [Evict(worker=worker, context=context)]
    return state.handle(node.ContextGone(worker=worker, context=context, kept_bytes=kept), now=6.0)


def with_two(budget: int) -> NodeState:
    """A worker that holds a small and a large instance."""
    state = make(workers=1, memory_bytes=budget)
    for number, (context, size) in enumerate([(A, 80 * MB), (B, 160 * MB)]):
        state.handle(node.LoadBegan(worker=W0, context=context), now=2.0 + number)
        ended = node.LoadEnded(worker=W0, context=context, load_s=1.0, size_bytes=size)
        state.handle(ended, now=2.5 + number)
    return state


def take_over(
    before: NodeState, held: dict[WorkerId, set[Digest]], *templates: tuple[Digest, ...], **limits: int
) -> NodeState:
    """The state of the next session, whose interchange has declared nothing yet."""
    state = NodeState(len(held))
    for event in before.kept(held, templates):
        assert state.handle(event, now=10.0) == []
    state.handle(node.LimitsSet(**limits), now=10.0)
    return state


def release(state: NodeState, now: float) -> list[node.Action]:
    """Calls have come for what was built, or none will."""
    return state.handle(node.OrderReleased(order=ORDER), now=now)


def run(state: NodeState, worker: WorkerId, number: int, context: Digest, now: float) -> list[node.Action]:
    """The worker is given a call and is done with it."""
    assert Assign(task=TaskId(number), worker=worker) in arrive(state, call(number, context), now=now)
    return state.handle(node.TaskEnded(worker=worker, task=TaskId(number), run_s=1.0), now=now)


def share(state: NodeState, worker: WorkerId, number: int, *contexts: Digest, now: float = 2.0) -> list[node.Action]:
    """A template of contexts that were ordered is ready, and the worker is forked from it for a call and given that."""
    ready = state.handle(node.TemplateReady(template=contexts), now=now)
    assert ready == [SettleBuild(order=ORDER, contexts=contexts)]
    assert arrive(state, call(number, *contexts), now=now) == [Replace(worker=worker, template=contexts)]
    release(state, now)
    return state.handle(node.WorkerReady(worker=worker, inherited=frozenset(contexts)), now=now + 1)


def test_a_shared_context_is_built_once_and_workers_are_forked_from_there() -> None:
    state = make(shared=(A,))
    assert want(state, A) == [StartTemplate(template=(A,))]
    assert share(state, W0, 1, A) == [Assign(task=TaskId(1), worker=W0)]
    assert arrive(state, call(2, A), now=4.0) == [Replace(worker=W1, template=(A,))]
    ready = node.WorkerReady(worker=W1, inherited=frozenset({A}))
    assert state.handle(ready, now=5.0) == [Assign(task=TaskId(2), worker=W1)]


def test_a_template_with_more_contexts_serves_too() -> None:
    state = make(shared=(A, B))
    assert want(state, A, B) == [StartTemplate(template=(A, B))]
    share(state, W0, 1, A, B)
    assert want(state, A, now=4.0) == [SettleBuild(order=ORDER, contexts=(A,))]
    assert arrive(state, call(2, A), now=4.0) == [Replace(worker=W1, template=(A, B))]


def test_own_contexts_are_built_on_top_of_shared_ones() -> None:
    state = make(shared=(A,))
    assert want(state, A, B) == [StartTemplate(template=(A,))]
    assert state.handle(node.TemplateReady(template=(A,)), now=2.0) == [Replace(worker=W0, template=(A,))]
    ready = node.WorkerReady(worker=W0, inherited=frozenset({A}))
    assert state.handle(ready, now=3.0) == [Load(worker=W0, context=B)]
    assert build(state, W0, B, now=4.0) == [SettleBuild(order=ORDER, contexts=(A, B))]


def test_what_must_not_be_shared_is_built_by_workers() -> None:
    state = make(shared=(A,))
    want(state, A)
    actions = state.handle(node.TemplateUnsafe(template=(A,), context=A), now=2.0)
    assert actions == [EndTemplate(template=(A,)), Load(worker=W0, context=A)]


def test_a_template_that_cannot_build_ends_what_was_ordered() -> None:
    state = make(shared=(A,))
    want(state, A)
    actions = state.handle(node.TemplateBroke(template=(A,), context=A), now=2.0)
    assert actions == [GiveBack(tasks=[], broken=A), SettleBuild(order=ORDER, contexts=(A,))]
    assert want(state, A, now=3.0) == [StartTemplate(template=(A,))], "tried anew when asked anew"


def test_a_template_that_died_is_started_again_only_when_it_is_needed() -> None:
    state = make(workers=1, shared=(A,))
    want(state, A)
    share(state, W0, 1, A)
    assert state.handle(node.TemplateEnded(template=(A,)), now=4.0) == []
    state.handle(node.TaskEnded(worker=W0, task=TaskId(1), run_s=1.0), now=4.5)
    assert arrive(state, call(2, A), now=5.0) == [Assign(task=TaskId(2), worker=W0)]


def test_a_worker_that_dies_of_what_it_inherits_is_a_build_that_failed() -> None:
    state = make(workers=1, shared=(A,))
    want(state, A)
    state.handle(node.TemplateReady(template=(A,)), now=2.0)
    assert arrive(state, call(1, A), now=2.0) == [Replace(worker=W0, template=(A,))]
    ended = state.handle(node.WorkerEnded(worker=W0), now=3.0)
    assert ended == [EndTemplate(template=(A,)), GiveBack(tasks=[TaskId(1)], broken=A)]
    assert want(state, A, now=4.0) == [StartTemplate(template=(A,))], "what it made is of no use to others either"


def test_what_a_worker_gives_up_of_a_templates_is_had_from_it_again() -> None:
    state = make(workers=1, shared=(A,))
    want(state, A)
    state.handle(node.TemplateReady(template=(A,)), now=2.0)
    assert arrive(state, *(call(number, A) for number in range(1, 5)), now=2.0) == [Replace(worker=W0, template=(A,))]
    state.handle(node.WorkerReady(worker=W0, inherited=frozenset({A})), now=3.0)
    state.handle(node.TaskEnded(worker=W0, task=TaskId(1), run_s=1e-4), now=3.1)
    state.handle(node.TaskEnded(worker=W0, task=TaskId(2), run_s=1e-4), now=3.2)
    worn = state.handle(node.ContextsWorn(worker=W0, contexts=[A]), now=3.3)
    assert worn == [Revoke(worker=W0, count=1)], "the call behind, which need not wait for a build"
    assert state.handle(node.TasksRevoked(worker=W0, count=1), now=3.3) == []
    ended = state.handle(node.TaskEnded(worker=W0, task=TaskId(3), run_s=1e-4), now=3.3)
    assert ended == [Replace(worker=W0, template=(A,))]


def test_what_a_worker_gives_up_of_a_template_that_is_gone_it_builds_as_its_own() -> None:
    state = make(workers=1, shared=(A,))
    want(state, A)
    state.handle(node.TemplateReady(template=(A,)), now=2.0)
    arrive(state, call(1, A), now=2.0)
    state.handle(node.WorkerReady(worker=W0, inherited=frozenset({A})), now=3.0)
    state.handle(node.TemplateEnded(template=(A,)), now=3.1)
    assert state.handle(node.ContextsWorn(worker=W0, contexts=[A]), now=3.2) == []
    assert state.handle(node.TaskEnded(worker=W0, task=TaskId(1), run_s=0.1), now=3.2) == []
    assert arrive(state, call(2, A), now=3.2) == [Assign(task=TaskId(2), worker=W0)]


def test_a_node_that_drains_builds_no_template_again() -> None:
    state = make(workers=1, shared=(B,))
    assert want(state, A, B) == [StartTemplate(template=(B,))]
    assert state.handle(node.TemplateReady(template=(B,)), now=2.0) == [Replace(worker=W0, template=(B,))]
    state.handle(node.DrainBegan(), now=3.0)
    state.handle(node.TemplateEnded(template=(B,)), now=3.1)
    assert state.handle(node.WorkerReady(worker=W0), now=3.2) == [SettleBuild(order=ORDER, contexts=(A, B))]


def test_what_a_worker_gives_up_of_its_own_it_builds_for_the_calls_it_is_sent() -> None:
    state = make(workers=1)
    want(state, A)
    build(state, W0, A, now=2.0)
    arrive(state, call(1, A), now=2.1)
    assert state.handle(node.ContextsWorn(worker=W0, contexts=[A]), now=2.2) == []
    state.handle(node.TaskEnded(worker=W0, task=TaskId(1), run_s=0.1), now=2.2)
    assert arrive(state, call(2, A), now=2.2) == [Assign(task=TaskId(2), worker=W0)]


def test_room_is_made_before_a_build_that_waits_for_it() -> None:
    state = make(workers=1, memory_bytes=100)
    assert want(state, A) == [Load(worker=W0, context=A)]
    build(state, W0, A, now=2.0, size=60)
    assert want(state, B, now=3.0) == [Evict(worker=W0, context=A)]
    assert want(state, B, now=4.0) == [], "asked for once"
    gone = node.ContextGone(worker=W0, context=A)
    assert state.handle(gone, now=5.0) == [Load(worker=W0, context=B)]


def test_a_template_waits_for_room_as_any_build() -> None:
    state = make(workers=1, shared=(B,), memory_bytes=100)
    want(state, A)
    build(state, W0, A, now=2.0, size=60)
    assert want(state, B, now=3.0) == [Evict(worker=W0, context=A)]
    assert state.handle(node.ContextGone(worker=W0, context=A), now=5.0) == [StartTemplate(template=(B,))]


def test_a_process_whose_allocator_keeps_the_memory_is_replaced() -> None:
    state = make(workers=1, memory_bytes=1000 * MB)
    want(state, A)
    build(state, W0, A, now=2.0, size=600 * MB)
    assert give_up(state, W0, A, kept=500 * MB) == [Replace(worker=W0)]


def test_a_few_megabytes_that_do_not_return_replace_no_process() -> None:
    state = make(workers=1, memory_bytes=1000 * MB)
    want(state, A)
    build(state, W0, A, now=2.0, size=8 * MB)
    assert give_up(state, W0, A, kept=8 * MB) == []


def test_what_does_not_return_costs_no_larger_instance_in_the_process_while_there_is_room() -> None:
    assert give_up(with_two(budget=1000 * MB), W0, A, kept=60 * MB) == []
    assert give_up(with_two(budget=210 * MB), W0, A, kept=60 * MB) == [Replace(worker=W0)], "there is no room for it"


def test_what_was_kept_through_a_broken_link_serves_calls_and_counts_as_before() -> None:
    before = with_two(budget=1000 * MB)
    state = take_over(before, {W0: {A, B}}, memory_bytes=250 * MB)
    assert arrive(state, call(1, A), now=11.0) == [Assign(task=TaskId(1), worker=W0)]
    state.handle(node.TaskEnded(worker=W0, task=TaskId(1), run_s=1.0), now=12.0)
    state.handle(node.ContextDeclared(context=C, size_bytes=100 * MB), now=13.0)
    assert want(state, C, now=13.0) == [Evict(worker=W0, context=B)]


def test_workers_are_forked_from_a_template_that_was_kept_through_a_broken_link() -> None:
    before = make(shared=(A,))
    want(before, A)
    before.handle(node.TemplateLoaded(context=A, load_s=9.0, size_bytes=60 * MB), now=2.0)
    share(before, W0, 1, A)
    state = take_over(before, {W0: {A}, W1: set()}, (A,), memory_bytes=100 * MB)
    assert state.usual_build_s(A) == 9.0
    assert arrive(state, call(2, A), now=11.0) == [Assign(task=TaskId(2), worker=W0)]
    assert arrive(state, call(3, A), now=11.0) == [Replace(worker=W1, template=(A,))]
    state.handle(node.EvictionWanted(context=A), now=12.0)
    assert state.handle(node.EvictionWanted(context=A), now=12.0) == [], "it was theirs, and the template's, once"


def test_instances_in_use_are_not_given_up() -> None:
    state = make(workers=2, memory_bytes=100)
    want(state, A)
    build(state, W0, A, now=2.0, size=60)
    arrive(state, call(2, A), now=3.0)
    assert want(state, B, now=4.0) == []
    ended = node.TaskEnded(worker=W0, task=TaskId(2), run_s=1.0)
    assert state.handle(ended, now=5.0) == [Evict(worker=W0, context=A)]


def test_builds_that_do_not_fit_together_come_one_after_the_other() -> None:
    state = make(workers=2, memory_bytes=100)
    for context in (A, B):
        state.handle(node.ContextDeclared(context=context, size_bytes=60), now=0.0)
    assert want(state, A) == [Load(worker=W0, context=A)]
    assert want(state, B) == []
    loaded = node.LoadEnded(worker=W0, context=A, load_s=1.0, size_bytes=60)
    assert state.handle(loaded, now=2.0) == [SettleBuild(order=ORDER, contexts=(A,))], "calls may come for it"
    assert state.next_deadline(2.0) is None, "however long that takes"
    assert release(state, now=3.0) == [Evict(worker=W0, context=A)]
    assert state.handle(node.ContextGone(worker=W0, context=A), now=3.1) == [Load(worker=W0, context=B)]


def test_an_instance_makes_room_for_others_as_soon_as_calls_have_used_it() -> None:
    state = make(workers=2, memory_bytes=100)
    for context in (A, B):
        state.handle(node.ContextDeclared(context=context, size_bytes=60), now=0.0)
    want(state, A)
    want(state, B)
    state.handle(node.LoadEnded(worker=W0, context=A, load_s=1.0, size_bytes=60), now=2.0)
    arrive(state, call(1, A), now=2.1)
    ended = node.TaskEnded(worker=W0, task=TaskId(1), run_s=0.1)
    assert state.handle(ended, now=2.2) == [Evict(worker=W0, context=A)]


def test_one_instance_is_not_traded_for_another_of_the_same_context() -> None:
    state = make(workers=2, memory_bytes=100)
    state.handle(node.ContextDeclared(context=A, size_bytes=60), now=0.0)
    want(state, A)
    build(state, W0, A, now=2.0, size=60)
    assert want(state, A, now=50.0) == [SettleBuild(order=ORDER, contexts=(A,))]


def test_pinned_contexts_are_given_up_only_when_asked_for() -> None:
    state = make(workers=2, memory_bytes=100, idle_s=1.0)
    state.handle(node.ContextDeclared(context=A, is_pinned=True), now=0.0)
    want(state, A)
    build(state, W0, A, now=2.0, size=60)
    assert state.handle(node.Tick(), now=50.0) == []
    assert want(state, B, now=51.0) == [Load(worker=W1, context=B)], "nothing runs and nothing can be given up"
    assert state.handle(node.EvictionWanted(context=A), now=52.0) == [Evict(worker=W0, context=A)]


def test_a_call_that_needs_a_fresh_process_spares_pinned_contexts() -> None:
    state = make(2)
    state.handle(node.ContextDeclared(context=A, is_pinned=True), now=0.0)
    for worker, context in ((W0, A), (W1, B)):
        assert want(state, context) == [Load(worker=worker, context=context)]
        build(state, worker, context, now=2.0)
    fresh = node.NodeTask(id=TaskId(1), lane=Lane((), True), code=CODE)
    assert arrive(state, fresh, now=3.0) == [Replace(worker=W1, template=None)]


def test_what_is_declared_larger_than_the_budget_is_refused() -> None:
    state = make(workers=1, memory_bytes=100)
    state.handle(node.ContextDeclared(context=A, size_bytes=500), now=0.0)
    refused, settled = want(state, A)
    assert isinstance(refused, RefuseBuild)
    assert "context_memory_gb" in refused.reason
    assert settled == SettleBuild(order=ORDER, contexts=(A,))


def test_what_proves_larger_than_the_budget_is_built_when_nothing_else_runs() -> None:
    state = make(workers=1, memory_bytes=100)
    want(state, A)
    build(state, W0, A, now=2.0, size=500)
    state.handle(node.EvictionWanted(context=A), now=3.0)
    state.handle(node.ContextGone(worker=W0, context=A), now=4.0)
    assert want(state, A, now=5.0) == [Load(worker=W0, context=A)]


def test_a_worker_keeps_only_so_many_contexts() -> None:
    state = make(workers=1, contexts_per_worker=1)
    want(state, A)
    build(state, W0, A, now=2.0)
    assert want(state, B, now=3.0) == [Evict(worker=W0, context=A), Load(worker=W0, context=B)]


def on_device(state: NodeState, context: Digest, size: int, limit: int, now: float) -> list[node.Action]:
    """The only worker builds a context on an accelerator, and is free again."""
    state.handle(node.LoadBegan(worker=W0, context=context), now=now)
    ended = node.LoadEnded(
        worker=W0, context=context, load_s=1.0, size_bytes=1, device_bytes=size, device_limit_bytes=limit
    )
    return state.handle(ended, now=now) + release(state, now)


def test_a_worker_keeps_what_fits_on_its_accelerator() -> None:
    state = make(workers=1)
    assert want(state, A) == [Load(worker=W0, context=A)]
    on_device(state, A, 30, limit=70, now=2.0)
    assert want(state, B, now=3.0) == [Load(worker=W0, context=B)], "it may be as large, and fits"
    on_device(state, B, 40, limit=70, now=4.0)
    evicted = want(state, C, now=5.0)
    assert evicted[-1] == Load(worker=W0, context=C)
    assert {action.context for action in evicted[:-1] if isinstance(action, Evict)} == {A, B}


def test_what_takes_nothing_of_an_accelerator_is_left_there() -> None:
    state = make(workers=1)
    want(state, A)
    on_device(state, A, 0, limit=70, now=2.0)
    want(state, B, now=3.0)
    on_device(state, B, 69, limit=70, now=4.0)
    state.handle(node.EvictionWanted(context=B), now=5.0)
    state.handle(node.ContextGone(worker=W0, context=B), now=6.0)
    assert want(state, B, now=7.0) == [Load(worker=W0, context=B)]


def test_instances_that_lie_idle_are_given_up_in_time() -> None:
    state = make(workers=1, idle_s=10.0)
    assert state.next_deadline(0.0) is None
    want(state, A)
    build(state, W0, A, now=1.0)
    run(state, W0, 1, A, now=2.0)
    assert state.next_deadline(3.0) == 12.0
    assert state.handle(node.Tick(), now=11.0) == []
    assert state.handle(node.Tick(), now=12.0) == [Evict(worker=W0, context=A)]


def test_a_pinned_instance_is_given_up_on_demand_alone_and_not_looked_at_all_the_time() -> None:
    state = make(workers=1, idle_s=10.0, contexts_per_worker=1)
    state.handle(node.ContextDeclared(context=A, is_pinned=True), now=0.0)
    want(state, A)
    build(state, W0, A, now=1.0)
    run(state, W0, 1, A, now=2.0)
    assert state.handle(node.Tick(), now=12.0) == []
    assert state.next_deadline(12.0) == 14.5
    assert want(state, B, now=13.0) == [Load(worker=W0, context=B)]
    build(state, W0, B, now=14.0)
    assert state.handle(node.EvictionWanted(context=A), now=15.0) == [Evict(worker=W0, context=A)]


def test_evicting_a_shared_context_ends_its_template_too() -> None:
    state = make(workers=1, shared=(A,))
    want(state, A)
    share(state, W0, 1, A)
    state.handle(node.TaskEnded(worker=W0, task=TaskId(1), run_s=1.0), now=4.0)
    actions = state.handle(node.EvictionWanted(context=A), now=5.0)
    assert actions == [EndTemplate(template=(A,)), Evict(worker=W0, context=A)]


def test_a_shared_context_that_is_too_old_is_built_anew_when_it_is_needed() -> None:
    state = make(workers=1, shared=(A,))
    want(state, A)
    share(state, W0, 1, A)
    state.handle(node.TaskEnded(worker=W0, task=TaskId(1), run_s=1.0), now=4.0)
    assert state.handle(node.SharedExpired(context=A), now=5.0) == [
        EndTemplate(template=(A,)),
        Evict(worker=W0, context=A),
    ]
    assert arrive(state, call(2, A), now=6.0) == [GiveBack(tasks=[TaskId(2)])]
