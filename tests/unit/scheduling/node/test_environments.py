"""Workers change between environments as between builds: for calls and orders that need another one."""

from __future__ import annotations

import random

import pytest

from parsl_context.scheduling.lines import Lane
from parsl_context.scheduling.node import events as node
from parsl_context.scheduling.node.events import (
    MANAGERS_OWN,
    Assign,
    GiveBack,
    Load,
    RefuseOrdinary,
    Replace,
    SettleBuild,
    StartTemplate,
)
from parsl_context.scheduling.node.state import NodeState
from parsl_context.wire.messages import Digest, EnvironmentName, OrderId, TaskId, WorkerId

A, B, C, CODE = Digest("a"), Digest("b"), Digest("c"), Digest("code")
E, F = EnvironmentName("e"), EnvironmentName("f")
W0, W1 = WorkerId(0), WorkerId(1)
ORDER = OrderId(0)


def node_with(
    workers: int = 1, *, is_kept: bool = True, shared: bool = False, home: EnvironmentName = MANAGERS_OWN
) -> NodeState:
    """A node whose contexts A and B need environments, C does not; calls without contexts run in `home`."""
    state = NodeState(workers, home=home)
    for context, environment in ((A, E), (B, F), (C, MANAGERS_OWN)):
        declared = node.ContextDeclared(
            context=context, environment=environment, is_environment_kept=is_kept, is_shared=shared
        )
        state.handle(declared, now=0.0)
    for number in range(workers):
        state.handle(node.WorkerReady(worker=WorkerId(number), environment=home), now=0.0)
    return state


def call(number: int, *contexts: Digest, fresh: bool = False) -> node.NodeTask:
    return node.NodeTask(id=TaskId(number), lane=Lane(contexts, fresh), code=CODE)


def arrive(state: NodeState, *tasks: node.NodeTask, now: float = 1.0) -> list[node.Action]:
    return state.handle(node.TasksArrived(tasks=list(tasks)), now=now)


def order(state: NodeState, *contexts: Digest, number: int = 0) -> list[node.Action]:
    return state.handle(node.InstanceWanted(order=OrderId(number), contexts=contexts), now=1.0)


def ready(state: NodeState, worker: WorkerId, environment: EnvironmentName = MANAGERS_OWN) -> list[node.Action]:
    return state.handle(node.WorkerReady(worker=worker, environment=environment), now=1.0)


def loaded(state: NodeState, worker: WorkerId, context: Digest) -> list[node.Action]:
    return state.handle(node.LoadEnded(worker=worker, context=context, load_s=1.0), now=2.0)


def end(state: NodeState, worker: WorkerId, number: int, now: float = 2.0, run_s: float = 1.0) -> list[node.Action]:
    return state.handle(node.TaskEnded(worker=worker, task=TaskId(number), run_s=run_s), now=now)


def test_a_worker_changes_to_the_environment_before_it_builds() -> None:
    state = node_with()
    assert order(state, A) == [Replace(worker=W0, environment=E)]
    assert ready(state, W0, E) == [Load(worker=W0, context=A)]
    assert loaded(state, W0, A) == [SettleBuild(order=ORDER, contexts=(A,))]
    assert arrive(state, call(1, A)) == [Assign(task=TaskId(1), worker=W0)]


def test_a_worker_that_is_in_the_environment_is_taken_first() -> None:
    state = node_with(2)
    order(state, A)
    ready(state, W0, E)
    loaded(state, W0, A)
    state.handle(node.OrderReleased(order=ORDER), now=2.0)
    state.handle(node.EvictionWanted(context=A), now=3.0)
    state.handle(node.ContextGone(worker=W0, context=A), now=3.0)
    assert order(state, A, number=1) == [Load(worker=W0, context=A)]


def test_calls_without_contexts_run_in_the_manager_s_own() -> None:
    state = node_with()
    order(state, A)
    ready(state, W0, E)
    loaded(state, W0, A)
    state.handle(node.OrderReleased(order=ORDER), now=2.0)
    assert arrive(state, call(1)) == [Replace(worker=W0, environment=MANAGERS_OWN)]
    assert ready(state, W0) == [Assign(task=TaskId(1), worker=W0)]


def test_calls_that_wait_for_the_other_environment_are_not_overtaken_for_ever() -> None:
    state = node_with()
    order(state, A)
    ready(state, W0, E)
    loaded(state, W0, A)
    arrive(state, call(1, A))
    assert arrive(state, call(100)) == [], "the only worker is busy"
    arrive(state, *(call(number, A) for number in range(2, 50)), now=3.0)
    for number in range(1, 40):
        actions = end(state, W0, number, now=3.0 + number)
        if Replace(worker=W0, environment=MANAGERS_OWN) in actions:
            break
    else:
        pytest.fail("it was overtaken by nearly all")
    assert Assign(task=TaskId(100), worker=W0) in ready(state, W0)


def test_a_fresh_process_is_one_of_the_environment() -> None:
    """Levels none and disk."""
    state = node_with()
    assert arrive(state, call(1, A, fresh=True)) == [Replace(worker=W0, environment=E)]
    assert ready(state, W0, E) == [Assign(task=TaskId(1), worker=W0)]
    assert end(state, W0, 1) == [Replace(worker=W0, environment=E)], "the next one is likely to need it, too"


def test_an_environment_for_one_call_is_made_for_no_other() -> None:
    state = node_with(is_kept=False)
    arrive(state, call(1, A, fresh=True))
    ready(state, W0, E)
    arrive(state, call(2, A, fresh=True))
    assert end(state, W0, 1) == [Replace(worker=W0, environment=E)], "for the call that waits"
    assert ready(state, W0, E) == [Assign(task=TaskId(2), worker=W0)]
    assert end(state, W0, 2) == [Replace(worker=W0, environment=MANAGERS_OWN)], "none waits"


def test_a_template_starts_in_the_environment_and_its_forks_are_there() -> None:
    state = node_with(shared=True)
    assert order(state, A) == [StartTemplate(template=(A,), environment=E)]
    state.handle(node.TemplateReady(template=(A,)), now=2.0)
    assert arrive(state, call(1, A)) == [Replace(worker=W0, template=(A,), environment=E)]
    up = node.WorkerReady(worker=W0, inherited=frozenset({A}), environment=E)
    assert state.handle(up, now=2.0) == [Assign(task=TaskId(1), worker=W0)]


def test_what_waits_for_an_environment_that_is_broken_goes_back_with_the_reason() -> None:
    state = node_with(2)
    order(state, A)
    broke = state.handle(node.EnvironmentBroke(environment=E), now=2.0)
    assert broke == [GiveBack(tasks=[], broken=A), SettleBuild(order=ORDER, contexts=(A,))]
    ready(state, W0)
    assert order(state, C, number=1) == [Load(worker=W0, context=C)], "the worker is of use"


def test_fresh_calls_of_an_environment_that_is_broken_go_back() -> None:
    state = node_with()
    arrive(state, call(1, A, fresh=True), call(2, A, fresh=True))
    broke = state.handle(node.EnvironmentBroke(environment=E), now=2.0)
    assert broke == [GiveBack(tasks=[TaskId(1), TaskId(2)], broken=A)]


def test_templates_of_an_environment_that_is_broken_are_not_waited_for() -> None:
    state = node_with(shared=True)
    order(state, A)
    broke = state.handle(node.EnvironmentBroke(environment=E), now=2.0)
    assert GiveBack(tasks=[], broken=A) in broke
    assert order(state, A, number=1) == [StartTemplate(template=(A,), environment=E)], "it is tried again"


def test_what_is_built_ahead_is_built_by_workers_of_its_environment() -> None:
    state = node_with(2)
    wanted = [action for context in (A, C) for action in state.handle(node.BuildWanted(context=context), now=1.0)]
    assert wanted == [Replace(worker=W0, environment=E), Replace(worker=W1, environment=E)]
    assert ready(state, W0, E) == [Load(worker=W0, context=A)]
    assert loaded(state, W0, A) == [], "the other one is of another environment"


def test_a_new_session_knows_which_environment_processes_are_in() -> None:
    state = node_with()
    order(state, A)
    ready(state, W0, E)
    loaded(state, W0, A)
    after = NodeState(1)
    after.handle(node.ContextDeclared(context=A, environment=E), now=3.0)
    for event in state.kept({W0: {A}}, []):
        after.handle(event, now=3.0)
    assert arrive(after, call(1, A)) == [Assign(task=TaskId(1), worker=W0)]
    assert arrive(node_with(), call(1)) == [Assign(task=TaskId(1), worker=W0)]


def test_ordinary_calls_run_in_their_environment_whatever_a_worker_did_before() -> None:
    state = node_with(home=E)
    order(state, B)
    ready(state, W0, F)
    loaded(state, W0, B)
    state.handle(node.OrderReleased(order=ORDER), now=2.0)
    assert arrive(state, call(1)) == [Replace(worker=W0, environment=E)]
    assert ready(state, W0, E) == [Assign(task=TaskId(1), worker=W0)]


def test_workers_begin_in_the_environment_of_ordinary_calls() -> None:
    state = NodeState(1, home=E)
    assert arrive(state, call(1)) == []
    assert ready(state, W0) == [Replace(worker=W0, environment=E)], "it came up in the manager's own"
    assert ready(state, W0, E) == [Assign(task=TaskId(1), worker=W0)]


def test_a_process_that_a_call_had_for_itself_is_followed_by_one_for_ordinary_calls() -> None:
    state = node_with(is_kept=False, home=F)
    arrive(state, call(1, A, fresh=True))
    ready(state, W0, E)
    assert end(state, W0, 1) == [Replace(worker=W0, environment=F)]


def test_workers_that_begin_in_the_manager_s_own_change_for_ordinary_calls() -> None:
    state = NodeState(1, home=E, begins_at_home=False)
    state.handle(node.ContextDeclared(context=B, environment=F, is_environment_kept=False), now=0.0)
    ready(state, W0)
    arrive(state, call(1, B, fresh=True))
    ready(state, W0, F)
    assert end(state, W0, 1) == [Replace(worker=W0, environment=MANAGERS_OWN)]
    ready(state, W0)
    assert arrive(state, call(2)) == [Replace(worker=W0, environment=E)]


def test_ordinary_calls_go_back_when_their_environment_is_broken() -> None:
    state = NodeState(1, home=E)
    arrive(state, call(1), call(2))
    broke = state.handle(node.EnvironmentBroke(environment=E), now=2.0)
    assert broke == [RefuseOrdinary(tasks=[TaskId(1), TaskId(2)])]
    assert ready(state, W0) == [], "the node goes on in the manager's own"
    assert arrive(state, call(3)) == [Replace(worker=W0, environment=E)], "it is tried again"


def test_ordinary_calls_stay_where_a_worker_is_left_that_runs_them() -> None:
    state = node_with(2, home=E)
    arrive(state, call(1))
    state.handle(node.WorkerEnded(worker=W1), now=1.0)
    arrive(state, call(2))
    assert state.handle(node.EnvironmentBroke(environment=E), now=2.0) == []
    assert Assign(task=TaskId(2), worker=W0) in end(state, W0, 1)


def began(state: NodeState, environment: EnvironmentName, now: float) -> list[node.Action]:
    return state.handle(node.EnvironmentBegan(environment=environment), now=now)


def started(state: NodeState, environment: EnvironmentName, now: float, start_s: float = 20.0) -> list[node.Action]:
    return state.handle(node.EnvironmentReady(environment=environment, start_s=start_s), now=now)


def test_a_second_worker_changes_only_if_that_is_worth_the_start_of_the_environment() -> None:
    """A call of 1 s waits for a worker that is on its way; it would wait longer for another."""
    state = node_with(2, home=E)
    started(state, F, now=0.0)
    state.handle(node.EnvironmentGone(environment=F), now=0.0)
    state.handle(node.ContextDeclared(context=B, environment=F, is_shared=True), now=0.0)
    order(state, B)
    state.handle(node.TemplateReady(template=(B,)), now=1.0)
    assert len(arrive(state, call(1, B), call(2, B))) == 1, "20 s for 1 s of work"
    state = node_with(2, home=E)
    started(state, F, now=0.0)
    state.handle(node.ContextDeclared(context=B, environment=F, is_shared=True), now=0.0)
    order(state, B)
    state.handle(node.TemplateReady(template=(B,)), now=1.0)
    assert len(arrive(state, call(1, B), call(2, B))) == 2


def test_workers_go_on_with_calls_for_as_long_as_an_environment_takes_to_start() -> None:
    """An ordinary call waits that needs another process than the calls of the worker that come after it."""
    state = node_with(home=E)
    order(state, B)
    ready(state, W0, F)
    loaded(state, W0, B)
    state.handle(node.OrderReleased(order=ORDER), now=2.0)
    state.handle(node.EnvironmentGone(environment=E), now=2.0)
    arrive(state, call(1, B), now=2.0)
    arrive(state, call(2), now=2.1)
    arrive(state, call(3, B), now=4.0)
    assert end(state, W0, 1, now=4.1) == [Assign(task=TaskId(3), worker=W0)], "3 s, and it was 2 s later"
    arrive(state, call(4, B), now=6.0)
    assert Replace(worker=W0, environment=E) in end(state, W0, 3, now=6.1), "it was 4 s later"


def test_a_new_session_knows_which_environments_are_ready() -> None:
    state = node_with()
    started(state, E, now=0.0)
    started(state, F, now=0.0)
    state.handle(node.EnvironmentGone(environment=F), now=0.0)
    told = [event for event in state.kept({}, []) if isinstance(event, node.EnvironmentReady)]
    assert told == [node.EnvironmentReady(environment=E, start_s=20.0)]


@pytest.mark.parametrize(
    ("seed", "home"), [*((seed, MANAGERS_OWN) for seed in range(24)), *((seed, E) for seed in range(12))]
)
def test_whatever_comes_every_call_ends_where_it_may_run(seed: int, home: EnvironmentName) -> None:
    """Calls of all kinds, at random; processes come up and builds end at random times."""
    chance = random.Random(seed)
    state = node_with(2, home=home)
    environments = {W0: home, W1: home}
    needed = {A: E, B: F, C: MANAGERS_OWN}
    due: list[node.Event] = []
    lanes: dict[TaskId, Lane] = {}
    queues: dict[WorkerId, list[TaskId]] = {W0: [], W1: []}
    left = set()
    orders = 0
    now = 0.0

    def carry_out(actions: list[node.Action]) -> None:
        nonlocal orders
        for action in actions:
            if isinstance(action, Replace):
                environments[action.worker] = action.environment
                due.append(node.WorkerReady(worker=action.worker, environment=action.environment))
            elif isinstance(action, Load):
                assert environments[action.worker] == needed[action.context]
                due.append(node.LoadEnded(worker=action.worker, context=action.context, load_s=0.1))
            elif isinstance(action, Assign):
                contexts = lanes[action.task].contexts
                assert environments[action.worker] == (needed[contexts[0]] if contexts else home)
                queues[action.worker].append(action.task)
            elif isinstance(action, node.Evict):
                due.append(node.ContextGone(worker=action.worker, context=action.context))
            elif isinstance(action, node.Revoke):
                count = min(action.count, len(queues[action.worker]) - 1)
                del queues[action.worker][len(queues[action.worker]) - count :]
                due.insert(0, node.TasksRevoked(worker=action.worker, count=count))
            elif isinstance(action, GiveBack):
                for task in action.tasks:  # the interchange has an instance built, and sends it again
                    orders += 1
                    due.append(node.InstanceWanted(order=OrderId(orders), contexts=lanes[task].contexts))
                    due.append(node.TasksArrived(tasks=[node.NodeTask(id=task, lane=lanes[task], code=CODE)]))
            elif isinstance(action, SettleBuild):
                due.append(node.OrderReleased(order=action.order))

    for number in range(1, 60):
        contexts = chance.choice(((), (A,), (B,), (C,)))
        lanes[TaskId(number)] = Lane(contexts, bool(contexts) and chance.random() < 0.3)
        left.add(TaskId(number))
        due.append(node.TasksArrived(tasks=[node.NodeTask(id=TaskId(number), lane=lanes[TaskId(number)], code=CODE)]))
    for _ in range(4000):
        now += 0.05
        revoked = next((event for event in due if isinstance(event, node.TasksRevoked)), None)
        running = [worker for worker, queue in queues.items() if queue]
        if revoked is not None:
            due.remove(revoked)
            carry_out(state.handle(revoked, now=now))
        elif due and (not running or chance.random() < 0.6):
            carry_out(state.handle(due.pop(chance.randrange(min(3, len(due)))), now=now))
        elif running:
            worker = chance.choice(running)
            task = queues[worker].pop(0)
            left.remove(task)
            carry_out(state.handle(node.TaskEnded(worker=worker, task=task, run_s=0.05), now=now))
        elif not left:
            break
        else:
            carry_out(state.handle(node.Tick(), now=now))
    assert not left, f"{len(left)} calls wait for ever"
