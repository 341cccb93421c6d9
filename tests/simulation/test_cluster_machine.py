"""`ClusterState` under sequences of events that hypothesis makes up, against books of our own."""

from __future__ import annotations

import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from parsl_context.scheduling.cluster import events as cluster
from parsl_context.scheduling.cluster.state import ClusterState
from parsl_context.scheduling.lines import Lane
from parsl_context.wire.messages import ContextOptions, Digest, ManagerId, OrderId, TaskId, WorkerId

RUN_S = 1.0
LINES = 7  # no context, one of three, two of three
# A line that waits is looked at again after its build time (2 s a context), or ten run times if calls wait at managers.
LOOK_S = 10
SETTLINGS = 200  # more orders than all workers can take for all lines

contexts = st.sets(st.sampled_from("abc"), max_size=2).map(lambda names: tuple(Digest(n) for n in sorted(names)))


class Books:
    """What one manager was told and has said."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.holds: list[set[Digest]] = [set() for _ in range(slots)]
        self.running: list[TaskId] = []
        self.orders: list[tuple[OrderId, tuple[Digest, ...]]] = []
        self.templates: set[tuple[Digest, ...]] = set()

    def could_run(self, needs: dict[TaskId, tuple[Digest, ...]], task: TaskId) -> bool:
        """Whether a worker would be free for this call beside those that run, however these are spread."""
        calls = [needs[other] for other in [*self.running, task]]
        return (
            _spread([call for call in calls if not self.can_fork(call)], list(self.holds)) and len(calls) <= self.slots
        )

    def can_build(self, shared: set[Digest]) -> bool:
        """Whether its first order can go on: what no template can do needs a worker that runs no call."""
        if not self.orders:
            return False
        mine = self.shared_of(self.orders[0][1], shared)
        waits_for_template = bool(mine) and not self.can_fork(mine)
        return waits_for_template or mine == self.orders[0][1] or len(self.running) < self.slots

    @staticmethod
    def shared_of(order: tuple[Digest, ...], shared: set[Digest]) -> tuple[Digest, ...]:
        """What a template builds of an order."""
        return tuple(context for context in order if context in shared)

    def can_fork(self, call: tuple[Digest, ...]) -> bool:
        """Whether any worker there can be forked for a call."""
        return bool(call) and any(set(key).issuperset(call) for key in self.templates)


def _spread(calls: list[tuple[Digest, ...]], holds: list[set[Digest]]) -> bool:
    """Whether each of these calls can have a worker of its own that holds what it needs."""
    if not calls:
        return True
    first, rest = calls[0], calls[1:]
    fitting = [i for i, held in enumerate(holds) if held.issuperset(first)]
    return any(_spread(rest, holds[:i] + holds[i + 1 :]) for i in fitting)


class ClusterMachine(RuleBasedStateMachine):
    """Managers come and go, build what they are told to, end calls and give them back."""

    def __init__(self) -> None:
        super().__init__()
        self.state = ClusterState(heartbeat_threshold_s=math.inf)
        self.now = 0.0
        self.log: list[tuple[float, cluster.Event, list[cluster.Action]]] = []
        self.needs: dict[TaskId, tuple[Digest, ...]] = {}
        self.waiting: set[TaskId] = set()
        self.unwanted: set[TaskId] = set()
        self.managers: dict[ManagerId, Books] = {}
        self.calls = self.joined = 0
        self.shared: set[Digest] = set()

    @initialize(shared=st.sampled_from(["", "", "a", "ab", "abc"]))
    def declare(self, shared: str) -> None:
        self.shared = {Digest(name) for name in shared}
        for name in "abc":
            options = ContextOptions(name=name, reuse="node" if name in shared else "memory")
            self.decide(cluster.ContextDeclared(context=Digest(name), options=options))

    def decide(self, event: cluster.Event) -> None:
        actions = self.state.handle(event, now=self.now)
        self.log.append((self.now, event, actions))
        for action in actions:
            match action:
                case cluster.SendTask():
                    self.check_sent(action)
                case cluster.OrderBuild():
                    books = self.managers[action.manager]
                    books.orders.append((action.order, action.contexts))
                    assert len(books.orders) <= books.slots, "more builds than workers"
                case cluster.ReleaseBuild():
                    assert event == cluster.BuildSettled(
                        manager=action.manager, order=action.order, contexts=event.contexts
                    ), "each order that has ended is answered, and nothing else"
                case cluster.ConfirmCancelled():
                    assert set(action.tasks) <= self.unwanted, "nobody asked"
                    self.unwanted.difference_update(action.tasks)
                case cluster.RefuseCancel():
                    assert isinstance(event, cluster.TasksKept)
                    assert action.tasks == event.tasks
                case cluster.TakeBack():
                    assert action.answers
                    assert action.tasks[0] in self.managers[action.manager].running
                case cluster.FailTasks():
                    assert action.manager not in self.managers, "its calls may still run"
                case _:
                    raise AssertionError(f"nothing here asks for {action}")

    def check_sent(self, action: cluster.SendTask) -> None:
        assert action.task in self.waiting, "it was sent before, or cancelled"
        self.waiting.remove(action.task)
        books, needs = self.managers[action.manager], self.needs[action.task]
        assert books.can_fork(needs) or any(held.issuperset(needs) for held in books.holds), "nobody has its contexts"
        books.running.append(action.task)
        assert len(books.running) <= books.slots, "more long calls than workers"

    @rule(needs=contexts, count=st.integers(1, 8), priority=st.sampled_from([math.inf, math.inf, 1.0]))
    def submit(self, needs: tuple[Digest, ...], count: int, priority: float) -> None:
        for _ in range(count):
            self.calls += 1
            task = TaskId(self.calls)
            self.needs[task] = needs
            self.waiting.add(task)
            lane = Lane(needs, False)
            self.decide(cluster.TaskSubmitted(task=task, lane=lane, code=Digest("f"), priority=priority))

    @rule(slots=st.integers(1, 3))
    def join(self, slots: int) -> None:
        self.joined += 1
        name = ManagerId(f"m{self.joined}")
        self.managers[name] = Books(slots)
        self.decide(cluster.ManagerJoined(manager=name, node=str(name), block="0", slots=slots, prefetch=0))

    @precondition(lambda self: self.managers)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.managers)))
        books = self.managers.pop(name)
        for task in books.running:
            del self.needs[task]
        self.decide(cluster.ManagerLeft(manager=name, reason="it died"))

    @precondition(lambda self: any(books.can_build(self.shared) for books in self.managers.values()))
    @rule(data=st.data())
    def build(self, data: st.DataObject) -> None:
        self.settle(data.draw(st.sampled_from(sorted(n for n, b in self.managers.items() if b.can_build(self.shared)))))

    def settle(self, name: ManagerId) -> None:
        """The first order of a manager goes on: its template comes up, or it ends."""
        books = self.managers[name]
        number, order = books.orders[0]
        shared = books.shared_of(order, self.shared)
        if shared == order:
            self.build_template(name, order)
        elif shared and not books.can_fork(shared):
            self.build_template(name, shared)
            return
        books.orders.pop(0)
        if shared == order:
            self.decide(cluster.BuildSettled(manager=name, order=number, contexts=order))
            return
        lacking = [i for i, held in enumerate(books.holds) if not held.issuperset(order)]
        for context in order if lacking else ():
            if context not in books.holds[lacking[0]]:
                books.holds[lacking[0]].add(context)
                self.decide(cluster.BuildBegan(manager=name, context=context))
                self.decide(cluster.BuildEnded(manager=name, context=context, load_s=2.0, size_bytes=1))
                self.decide(cluster.ContextHeld(manager=name, worker=WorkerId(lacking[0]), context=context))
        self.decide(cluster.BuildSettled(manager=name, order=number, contexts=order))

    def build_template(self, name: ManagerId, key: tuple[Digest, ...]) -> None:
        for context in key:
            self.decide(cluster.BuildBegan(manager=name, context=context))
            self.decide(cluster.BuildEnded(manager=name, context=context, load_s=2.0, size_bytes=1))
        self.managers[name].templates.add(key)
        self.decide(cluster.TemplateHeld(manager=name, contexts=key))

    @precondition(lambda self: any(books.templates for books in self.managers.values()))
    @rule(data=st.data())
    def end_template(self, data: st.DataObject) -> None:
        """It goes to make room; calls that it was to serve come back but those that run."""
        name = data.draw(st.sampled_from(sorted(n for n, b in self.managers.items() if b.templates)))
        books = self.managers[name]
        key = data.draw(st.sampled_from(sorted(books.templates)))
        books.templates.remove(key)
        self.decide(cluster.TemplateGone(manager=name, contexts=key))

    @precondition(lambda self: any(books.running for books in self.managers.values()))
    @rule(data=st.data(), returned=st.booleans())
    def end(self, data: st.DataObject, returned: bool) -> None:
        name = data.draw(st.sampled_from(sorted(n for n, b in self.managers.items() if b.running)))
        task = data.draw(st.sampled_from(self.managers[name].running))
        books = self.managers[name]
        books.running.remove(task)
        if returned and not books.could_run(self.needs, task):  # a node gives back calls whose workers are busy
            self.waiting.add(task)
            self.decide(cluster.TasksReturned(manager=name, tasks=[task]))
        else:
            self.finish(name, task)

    def finish(self, name: ManagerId, task: TaskId) -> None:
        del self.needs[task]
        self.decide(cluster.TaskEnded(manager=name, task=task, run_s=RUN_S))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(sorted(self.waiting)))
        self.waiting.remove(task)
        del self.needs[task]
        self.unwanted.add(task)
        self.decide(cluster.TaskCancelled(task=task))
        assert not self.unwanted, "it is cancelled at once"

    @precondition(lambda self: any(books.running for books in self.managers.values()))
    @rule(data=st.data(), has_begun=st.booleans())
    def cancel_held(self, data: st.DataObject, has_begun: bool) -> None:
        """A manager gives it back, or says that it has begun; nobody gets it again."""
        name = data.draw(st.sampled_from([name for name, books in self.managers.items() if books.running]))
        task = data.draw(st.sampled_from(sorted(self.managers[name].running)))
        self.unwanted.add(task)
        self.decide(cluster.TaskCancelled(task=task))
        if has_begun:
            self.unwanted.discard(task)
            self.decide(cluster.TasksKept(manager=name, tasks=[task]))
        else:
            self.managers[name].running.remove(task)
            del self.needs[task]
            self.decide(cluster.TasksReturned(manager=name, tasks=[task]))
            assert not self.unwanted, "it is cancelled"

    @rule(seconds=st.sampled_from([0.01, 1.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        if self.state.next_deadline() <= self.now:
            self.decide(cluster.Tick())

    @rule()
    def no_warm_worker_is_free_beside_a_call_for_it(self) -> None:
        """Once all orders have ended. Calls that run go on as they like; what was ordered next is settled too."""
        for _ in range(SETTLINGS):
            ordered = [name for name, books in self.managers.items() if books.can_build(self.shared)]
            if not ordered:
                break
            self.settle(ordered[0])
        assert not any(b.can_build(self.shared) for b in self.managers.values()), "builds are ordered without end"
        idle = [(t, n) for t in self.waiting for n, books in self.managers.items() if books.could_run(self.needs, t)]
        assert not idle, f"free warm workers beside calls: {idle[:3]}"

    def teardown(self) -> None:
        """With a manager that stays no call starves, and the same events give the same actions again.

        No instance is given up here, so each worker is built for once for each line. In each second a call ends, or an
        order does, or a line waits to be looked at, which is followed by one of the former. So even the call that is
        served last waits no longer than there are calls, and builds with a look before each.
        """
        self.join(2)
        workers = sum(books.slots for books in self.managers.values())
        for _ in range(len(self.needs) + (1 + LOOK_S) * (1 + LINES * workers)):
            if not self.needs:
                break
            self.wait(1.0)
            for name, books in self.managers.items():
                while books.can_build(self.shared):
                    self.settle(name)
                for task in list(books.running):
                    books.running.remove(task)
                    self.finish(name, task)
        assert not self.needs, f"never ended: {sorted(self.needs)[:5]}"
        again = ClusterState(heartbeat_threshold_s=math.inf)
        for now, event, actions in self.log:
            assert again.handle(event, now=now) == actions


TestCluster = ClusterMachine.TestCase
TestCluster.settings = settings(max_examples=120, stateful_step_count=30, derandomize=True, deadline=None)
