"""`NodeState` under sequences of events that hypothesis makes up, with stepwise processes and books of our own."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from parsl_context.scheduling.node import events as node
from parsl_context.scheduling.node.state import NodeState
from parsl_context.wire.messages import Digest, OrderId, TaskId, WorkerId
from tests.simulation.members import Forget, Member, Run, TemplateProcess, WorkerProcess
from tests.simulation.node_books import Books, Place

NAMES = [Digest(name) for name in "abcd"]
QUICK, SLOW = Digest("quick"), Digest("slow")
RUN_S = {QUICK: 0.002, SLOW: 2.0}
# With all that is on its way heard, a manager looks around so often at the most before it is at rest.
LOOKS = 20
# Without anything new and without time passing, so much at the most is done and said.
STEPS = 5_000
# In each round at the end every member ends what it is at, and time goes on by a second. A call takes one round to be
# built for, one to run, and may wait for each other call and for orders to make room for each other in turn.
ROUNDS = 400

contexts = st.sets(st.sampled_from(NAMES), max_size=2).map(lambda names: tuple(sorted(names)))
some_contexts = st.sets(st.sampled_from(NAMES), min_size=1, max_size=2).map(lambda names: tuple(sorted(names)))
lanes = st.tuples(contexts, st.sampled_from([False, False, True])).map(lambda needs: node.Lane(*needs))
choices = st.lists(st.integers(0, 30), min_size=1, max_size=8)


class NodeMachine(RuleBasedStateMachine):
    """A manager, with all that it can hear of its workers, its templates and its interchange."""

    @initialize(
        workers=st.integers(1, 3),
        nodes=st.sampled_from([0, 0, 3]),
        memory=st.sampled_from([None, 3, 5]),
        number=st.sampled_from([None, None, 1, 2]),
        idle_s=st.sampled_from([None, None, 5.0]),
        sizes=st.lists(st.integers(1, 2), min_size=4, max_size=4),
        declared=st.lists(st.sampled_from([None, 1, 2]), min_size=4, max_size=4),
        shared=st.sets(st.sampled_from(NAMES), max_size=3),
        unsafe=st.sets(st.sampled_from(NAMES), max_size=1),
        is_pinned=st.booleans(),
        isolated=st.sampled_from([set(), set(NAMES), set(NAMES[:2])]),
    )
    def begin(
        self,
        workers: int,
        nodes: int,
        memory: int | None,
        number: int | None,
        idle_s: float | None,
        sizes: list[int],
        declared: list[int | None],
        shared: set[Digest],
        unsafe: set[Digest],
        is_pinned: bool,
        isolated: set[Digest],
    ) -> None:
        limits = node.LimitsSet(memory_bytes=memory, contexts_per_worker=number, idle_s=idle_s)
        names = [f"n{i}" for i in range(nodes)]
        self.nodes = nodes
        self.state = NodeState(workers, names)
        self.books = Books(workers, names, limits)
        self.log: list[tuple[float, node.Event, list[node.Action]]] = []
        self.sizes = dict(zip(NAMES, sizes, strict=True))
        self.unsafe = frozenset(unsafe)
        self.workers: dict[WorkerId, WorkerProcess] = {}
        self.templates: dict[node.TemplateKey, TemplateProcess] = {}
        self.calls = self.depth = 0
        self.orders = 0
        self.settled: deque[node.SettleBuild] = deque()  # orders that the interchange has not answered
        self.decide(limits)
        self.options = {
            name: node.ContextDeclared(
                context=name,
                is_shared=name in shared,
                size_bytes=size,
                is_pinned=is_pinned and name == NAMES[0],
                is_isolated=name in isolated,
            )
            for name, size in zip(NAMES, declared, strict=True)
        }
        for option in self.options.values():
            self.decide(option)
        for worker in range(workers):
            self.start_worker(WorkerId(worker), [])

    # --- the manager

    def decide(self, event: node.Event) -> None:
        """`Manager._decide`: what follows from an event is done in order, and what follows from that in between."""
        self.books.hear(event)
        actions = self.state.handle(event, now=self.books.now)
        self.log.append((self.books.now, event, actions))
        self.depth += 1
        for action in actions:
            self.books.check(action, event)
            self.carry_out(action)
        self.depth -= 1
        self.books.after(event)

    def carry_out(self, action: node.Action) -> None:
        match action:
            case node.Assign():
                worker = self.workers[action.worker]
                worker.claims += action.is_ahead
                worker.inbox.append(Run(self.books.tasks[action.task], action.is_ahead))
            case node.Load() | node.Evict():
                self.workers[action.worker].inbox.append(action)
            case node.Revoke():
                count = self.workers[action.worker].revoke(action.count)
                self.decide(node.TasksRevoked(worker=action.worker, count=count))
            case node.Stop():
                if action.task in self.books.workers[action.worker].held:  # it was not taken back just before
                    self.workers[action.worker].stop(action.task)
            case node.Replace():
                parent = self.templates.get(action.template) if action.template is not None else None
                inherits = parent.resident if parent is not None and parent.alive else []
                self.start_worker(action.worker, inherits)
            case node.StartTemplate(template=key):
                self.templates[key] = TemplateProcess(sizes=self.sizes, key=key, unsafe=self.unsafe)
            case node.EndTemplate(template=key):
                del self.templates[key]
            case node.SettleBuild():
                self.settled.append(action)

    def start_worker(self, number: WorkerId, inherits: list[Digest]) -> None:
        """Another process serves a worker; what the one before still says is not heard."""
        self.workers[number] = WorkerProcess(
            sizes=self.sizes, resident=list(inherits), number=number, starts=self.check_start, run_s=RUN_S
        )

    def check_start(self, task: TaskId) -> None:
        holders = [worker for worker in self.books.workers.values() if task in worker.held]
        assert len(holders) == 1, "it was taken back, or is with several workers"

    def listen(self, member: Member) -> None:
        """The manager takes the next of a member's messages, or its death."""
        event = member.said.popleft()
        if isinstance(event, node.TemplateBroke | node.TemplateEnded):
            del self.templates[event.template]
        self.decide(event)
        if isinstance(event, node.ContextsWorn):
            self.workers[event.worker].paused = False
        if isinstance(event, node.WorkerEnded):
            self.start_worker(event.worker, [])

    def members(self) -> list[Member]:
        return [*self.workers.values(), *self.templates.values()]

    def steps(self, *, ends: bool) -> list[Callable[[], None]]:
        """All that could happen next, but the ends of calls if they are not wanted."""
        found: list[Callable[[], None]] = [self.answer] if self.settled else []
        for member in self.members():
            if member.said:
                found.append(lambda member=member: self.listen(member))  # type: ignore[misc]
            assert isinstance(member, WorkerProcess | TemplateProcess)
            if member.can_step or (ends and isinstance(member, WorkerProcess) and member.runs):
                found.append(member.step)
        return found

    def answer(self) -> None:
        """The interchange hears that an order has ended: it sends a call that waits for that, and then says so."""
        settled = self.settled.popleft()
        waiting = [self.books.tasks[task] for task in self.books.at(Place.RETURNED)]
        calls = [task for task in waiting if task.lane.contexts == settled.contexts and not task.lane.is_anywhere]
        if calls:
            self.decide(node.TasksArrived(tasks=calls[:1]))
        self.decide(node.OrderReleased(order=settled.order))

    def want(self, needs: tuple[Digest, ...]) -> None:
        self.orders += 1
        self.decide(node.InstanceWanted(order=OrderId(self.orders), contexts=needs))

    # --- what happens

    @rule(lane=lanes, code=st.sampled_from([QUICK, QUICK, SLOW]), count=st.integers(1, 6))
    def arrive(self, lane: node.Lane, code: Digest, count: int) -> None:
        self.send(lane, code, count, 0)

    @precondition(lambda self: self.nodes)
    @rule(lane=lanes, count=st.integers(1, 3), nodes=st.integers(1, 3))
    def arrive_for_nodes(self, lane: node.Lane, count: int, nodes: int) -> None:
        self.send(lane._replace(in_order=True), SLOW, count, nodes)

    def send(self, lane: node.Lane, code: Digest, count: int, nodes: int) -> None:
        numbers = range(self.calls, self.calls + count)
        self.calls += count
        self.decide(
            node.TasksArrived(tasks=[node.NodeTask(id=TaskId(i), lane=lane, code=code, nodes=nodes) for i in numbers])
        )

    @precondition(lambda self: self.books.at(Place.RETURNED))
    @rule()
    def send_again(self) -> None:
        self.decide(node.TasksArrived(tasks=[self.books.tasks[task] for task in self.books.at(Place.RETURNED)]))

    @rule(choices=choices)
    def go_on(self, choices: list[int]) -> None:
        for choice in choices:
            if steps := self.steps(ends=True):
                steps[choice % len(steps)]()

    @rule(seconds=st.sampled_from([0.001, 0.02, 1.0, 6.0]))
    def wait(self, seconds: float) -> None:
        self.books.now += seconds
        due = self.state.next_deadline(self.books.now)
        if due is not None and due <= self.books.now:
            self.decide(node.Tick())

    @rule(needs=some_contexts)
    def order(self, needs: tuple[Digest, ...]) -> None:
        if self.books.orders.total() < len(self.workers):  # as the interchange keeps it
            self.want(needs)

    @rule(context=st.sampled_from(NAMES))
    def preload(self, context: Digest) -> None:
        self.decide(node.BuildWanted(context=context))

    @rule(context=st.sampled_from(NAMES))
    def evict(self, context: Digest) -> None:
        self.decide(node.EvictionWanted(context=context))

    @rule(context=st.sampled_from(NAMES))
    def expire(self, context: Digest) -> None:
        if any(context in template.resident for template in self.templates.values()):
            self.decide(node.SharedExpired(context=context))

    @rule(context=st.sampled_from(NAMES))
    def forget(self, context: Digest) -> None:
        """The interchange forgets what no call and no order names; it may be declared again."""
        over = (Place.ENDED, Place.LOST)
        needed = {c for t, p in self.books.place.items() if p not in over for c in self.books.tasks[t].lane.contexts}
        if context not in needed.union(*+self.books.orders):
            for worker in self.workers.values():
                worker.inbox.append(Forget(context))
            self.decide(node.BlobForgotten(digest=context))
            self.decide(self.options[context])

    @rule(data=st.data())
    def reclaim(self, data: st.DataObject) -> None:
        here = [task for task, place in self.books.place.items() if place is not Place.RETURNED]
        if here:
            tasks = data.draw(st.lists(st.sampled_from(here), min_size=1, max_size=3, unique=True))
            self.decide(node.TasksReclaimed(tasks=tasks, ends=data.draw(st.booleans())))

    @rule(context=st.sampled_from(NAMES), count=st.integers(1, 3))
    def begin_calls(self, context: Digest, count: int) -> None:
        """Calls come, what they need is built, and they are begun as far as they can be."""
        if not self.books.draining:
            self.send(node.Lane((context,), False), SLOW, count, 0)
            self.act_for_the_interchange()
            self.take_steps(ends=False)
            self.act_for_the_interchange()
            self.take_steps(ends=False)

    @precondition(lambda self: self.endable())
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        """Nobody waits for a call that a worker holds, and that runs in a fork once it runs."""
        task = data.draw(st.sampled_from(self.endable()))
        self.decide(node.TasksReclaimed(tasks=[task], ends=True))
        if any(worker.task is not None and worker.task.id == task and worker.runs for worker in self.workers.values()):
            assert self.books.place[task] is not Place.RETURNED, "it is given back once it has ended"

    def endable(self) -> list[TaskId]:
        held = [task for worker in self.books.workers.values() for task in worker.held]
        return [task for task in held if self.books.isolated.intersection(self.books.tasks[task].lane.contexts)]

    @rule(number=st.integers(0, 2))
    def kill_worker(self, number: int) -> None:
        worker = self.workers.get(WorkerId(number))
        if worker is not None and worker.alive:
            worker.die(node.WorkerEnded(worker=worker.number))

    @precondition(lambda self: any(template.alive for template in self.templates.values()))
    @rule()
    def kill_template(self) -> None:
        next(template for template in self.templates.values() if template.alive).kill()

    @rule()
    def break_builds(self) -> None:
        for member in self.members():
            assert isinstance(member, WorkerProcess | TemplateProcess)
            if member.can_step and (isinstance(member, TemplateProcess) or member.building is not None):
                member.step(works=False)

    @rule(number=st.integers(0, 2), context=st.sampled_from(NAMES), in_use=st.booleans(), keeps_memory=st.booleans())
    def wear_out(self, number: int, context: Digest, in_use: bool, keeps_memory: bool) -> None:
        worker = self.workers.get(WorkerId(number))
        if worker is not None:
            (worker.spoilt if in_use else worker.worn).add(context)
            worker.keeps_memory = keeps_memory

    @rule(doubt=st.integers(0, 3))
    def drain(self, doubt: int) -> None:
        if not doubt and not self.books.draining:
            self.decide(node.DrainBegan())

    # --- what must hold

    @invariant()
    def counts_are_right(self) -> None:
        if hasattr(self, "books"):
            assert self.state.waiting == len(self.books.at(Place.WAITING))
            assert self.state.running == sum(len(worker.held) for worker in self.books.workers.values())

    @rule()
    def no_worker_is_idle_beside_work_for_it(self) -> None:
        """Once all was heard and looked at, while calls that run go on as they like."""
        for _ in range(LOOKS):
            self.take_steps(ends=False)
            due = self.state.next_deadline(self.books.now)
            if due is None or due > self.books.now + 1.0:
                break
            self.books.now = due
            self.decide(node.Tick())
        idle = self.books.idle_beside_work()
        assert not idle, f"idle beside work: {idle}"

    def teardown(self) -> None:
        """Builds work from now on: every call and every order ends, and the same events give the same actions again."""
        if not hasattr(self, "books") or self.depth:  # nothing happened yet, or what did is at fault
            return
        for _ in range(ROUNDS):
            if self.is_over():
                break
            self.act_for_the_interchange()
            self.take_steps(ends=True)
            self.act_for_the_interchange()
            self.wait(1.0)
        assert self.is_over(), f"never ended: {self.books.place} {+self.books.orders}"
        again = NodeState(len(self.workers), [f"n{i}" for i in range(self.nodes)])
        for now, event, actions in self.log:
            assert again.handle(event, now=now) == actions

    def take_steps(self, *, ends: bool) -> None:
        """Everybody in turn, until nobody has anything to do or to say."""
        for turn in range(STEPS):
            if not (steps := self.steps(ends=ends)):
                return
            steps[turn % len(steps)]()
        raise AssertionError("it goes on for ever")

    def is_over(self) -> bool:
        done = {Place.ENDED, Place.LOST} | ({Place.RETURNED} if self.books.draining else set())
        ended = all(place in done or self.is_refused(task) for task, place in self.books.place.items())
        return ended and not +self.books.orders

    def is_refused(self, task: TaskId) -> bool:
        return self.books.place[task] is Place.RETURNED and self.books.tasks[task].lane.contexts in self.books.refused

    def act_for_the_interchange(self) -> None:
        """Order builds for calls that came back; send them again once these have ended."""
        if self.books.draining:
            return
        back = [self.books.tasks[task] for task in self.books.at(Place.RETURNED) if not self.is_refused(task)]
        for lane in dict.fromkeys(task.lane for task in back):
            calls = [task for task in back if task.lane == lane]
            if any(seen.serves(calls[0]) for seen in self.books.workers.values()) or self.books.can_fork(calls[0]):
                self.decide(node.TasksArrived(tasks=calls))
            elif not self.books.orders[lane.contexts] and self.books.orders.total() < len(self.workers):
                self.want(lane.contexts)


# HYPOTHESIS_EXAMPLES asks for a long search; what is run otherwise is always the same.
EXAMPLES = int(os.environ.get("HYPOTHESIS_EXAMPLES", "0"))
TestNode = NodeMachine.TestCase
TestNode.settings = settings(
    max_examples=EXAMPLES or 120,
    stateful_step_count=40,
    derandomize=not EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
