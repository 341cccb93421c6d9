"""Decisions on a node about what is shared, what may be held, and what is given up."""

from __future__ import annotations

from parsl_context.messages import Digest, TaskId, WorkerId
from parsl_context.scheduling import node_events as node
from parsl_context.scheduling.node import NodeState
from parsl_context.scheduling.node_events import (
    Assign,
    EndTemplate,
    Evict,
    GiveBack,
    Lane,
    Replace,
    StartTemplate,
)

A, B, C, CODE = Digest("a"), Digest("b"), Digest("c"), Digest("code")
W0, W1 = WorkerId(0), WorkerId(1)


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


def run_through(state: NodeState, worker: WorkerId, number: int, *built: Digest, now: float, size: int = 0) -> None:
    """The worker builds contexts for a call it was given, runs it, and is done."""
    for context in built:
        state.handle(node.LoadBegan(worker=worker, context=context), now=now)
        ended = node.LoadEnded(worker=worker, context=context, load_s=1.0, size_bytes=size)
        state.handle(ended, now=now)
    state.handle(node.TaskEnded(worker=worker, task=TaskId(number), run_s=1.0), now=now)


def test_a_shared_context_is_built_once_and_workers_are_forked_from_there() -> None:
    state = make(shared=(A,))
    assert arrive(state, call(1, A), call(2, A)) == [StartTemplate(template=(A,))]
    forks = state.handle(node.TemplateReady(template=(A,)), now=2.0)
    assert forks == [Replace(worker=W0, template=(A,)), Replace(worker=W1, template=(A,))]
    ready = node.WorkerReady(worker=W0, inherited=frozenset({A}))
    assert state.handle(ready, now=3.0) == [Assign(task=TaskId(1), worker=W0)]


def test_one_waiting_call_has_one_worker_forked() -> None:
    state = make(shared=(A,))
    arrive(state, call(1, A))
    assert state.handle(node.TemplateReady(template=(A,)), now=2.0) == [Replace(worker=W0, template=(A,))]


def test_a_template_with_more_contexts_serves_too() -> None:
    state = make(shared=(A, B))
    assert arrive(state, call(1, A, B)) == [StartTemplate(template=(A, B))]
    state.handle(node.TemplateReady(template=(A, B)), now=2.0)
    state.handle(node.WorkerReady(worker=W0, inherited=frozenset({A, B})), now=3.0)
    assert arrive(state, call(2, A), now=4.0) == [Replace(worker=W1, template=(A, B))]


def test_what_must_not_be_shared_is_built_by_workers() -> None:
    state = make(shared=(A,))
    arrive(state, call(1, A))
    actions = state.handle(node.TemplateUnsafe(template=(A,), context=A), now=2.0)
    assert actions == [EndTemplate(template=(A,)), Assign(task=TaskId(1), worker=W0)]


def test_a_template_that_cannot_build_gives_its_calls_back() -> None:
    state = make(shared=(A,))
    arrive(state, call(1, A))
    actions = state.handle(node.TemplateBroke(template=(A,), context=A), now=2.0)
    assert actions == [GiveBack(tasks=[TaskId(1)], broken=A)]
    assert arrive(state, call(2, A), now=3.0) == [StartTemplate(template=(A,))], "tried anew for later calls"


def test_a_template_that_died_is_started_again_only_when_it_is_needed() -> None:
    state = make(workers=1, shared=(A,))
    arrive(state, call(1, A))
    state.handle(node.TemplateReady(template=(A,)), now=2.0)
    state.handle(node.WorkerReady(worker=W0, inherited=frozenset({A})), now=3.0)
    assert state.handle(node.TemplateEnded(template=(A,)), now=4.0) == []
    run_through(state, W0, 1, now=5.0)
    assert Assign(task=TaskId(2), worker=W0) in arrive(state, call(2, A), now=6.0)


def test_room_is_made_before_a_build_and_the_call_waits_for_it() -> None:
    state = make(workers=1, memory_bytes=100)
    assert arrive(state, call(1, A)) == [Assign(task=TaskId(1), worker=W0)]
    run_through(state, W0, 1, A, now=2.0, size=60)
    assert arrive(state, call(2, B), now=3.0) == [Evict(worker=W0, context=A)]
    assert arrive(state, call(3, B), now=4.0) == [], "asked for once"
    gone = node.ContextGone(worker=W0, context=A)
    assert state.handle(gone, now=5.0) == [Assign(task=TaskId(2), worker=W0)]


def test_a_process_whose_allocator_keeps_the_memory_is_replaced() -> None:
    state = make(workers=1, memory_bytes=100)
    arrive(state, call(1, A))
    run_through(state, W0, 1, A, now=2.0, size=60)
    state.handle(node.EvictionWanted(context=A), now=3.0)
    assert state.handle(node.ContextGone(worker=W0, context=A, kept_bytes=50), now=4.0) == [Replace(worker=W0)]


def test_instances_in_use_are_not_given_up() -> None:
    state = make(workers=2, memory_bytes=100)
    arrive(state, call(1, A))
    run_through(state, W0, 1, A, now=2.0, size=60)
    arrive(state, call(2, A), now=3.0)
    assert arrive(state, call(3, B), now=4.0) == []
    ended = node.TaskEnded(worker=W0, task=TaskId(2), run_s=1.0)
    assert state.handle(ended, now=5.0) == [Evict(worker=W0, context=A)]


def test_a_context_larger_than_the_budget_is_built_when_nothing_else_runs() -> None:
    state = make(workers=1, memory_bytes=100)
    state.handle(node.ContextDeclared(context=A, size_bytes=500), now=0.0)
    assert arrive(state, call(1, A)) == [Assign(task=TaskId(1), worker=W0)]


def test_a_worker_keeps_only_so_many_contexts() -> None:
    state = make(workers=1, contexts_per_worker=1)
    arrive(state, call(1, A))
    run_through(state, W0, 1, A, now=2.0)
    assert arrive(state, call(2, B), now=3.0) == [
        Evict(worker=W0, context=A),
        Assign(task=TaskId(2), worker=W0),
    ]


def test_instances_that_lie_idle_are_given_up_in_time() -> None:
    state = make(workers=1, idle_s=10.0)
    assert state.next_deadline(0.0) is None
    arrive(state, call(1, A))
    run_through(state, W0, 1, A, now=2.0)
    assert state.next_deadline(3.0) == 12.0
    assert state.handle(node.Tick(), now=11.0) == []
    assert state.handle(node.Tick(), now=12.0) == [Evict(worker=W0, context=A)]


def test_evicting_a_shared_context_ends_its_template_too() -> None:
    state = make(workers=1, shared=(A,))
    arrive(state, call(1, A))
    state.handle(node.TemplateReady(template=(A,)), now=2.0)
    state.handle(node.WorkerReady(worker=W0, inherited=frozenset({A})), now=3.0)
    run_through(state, W0, 1, now=4.0)
    actions = state.handle(node.EvictionWanted(context=A), now=5.0)
    assert actions == [EndTemplate(template=(A,)), Evict(worker=W0, context=A)]
