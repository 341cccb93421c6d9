"""Scheduling, managers and workers in one thread on a fake clock.

The real `ClusterState` decides for the interchange and a real `NodeState` for each manager; around them stands what
`interchange/driver.py` and `pool/driver.py` do with each action, without sockets, processes and payloads::

    calls ─▶ Simulation ─▶ ClusterState ─ link ─▶ SimManager ─▶ NodeState ─▶ SimWorker
                 ▲──────────────────────── link ◀──────┘◀──────────────────────┘

Assumptions: messages take a fixed time on a link and keep their order; what the processes themselves compute takes no
time; a lost manager is noticed one way of the link later, as a broken connection is; the executor makes a lost call
again at once, as with `retries`. So a simulation shows what decisions cost, not what the code costs that makes them
(`benchmarks/scheduler_cost.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from typing_extensions import assert_never

from parsl_context.scheduling.cluster import events as cluster
from parsl_context.scheduling.cluster.state import ClusterState
from parsl_context.scheduling.node import events as node
from parsl_context.scheduling.node.state import NodeState
from parsl_context.wire.messages import (
    AUTO_BATCH,
    ContextOptions,
    Digest,
    Environment,
    EnvironmentName,
    ManagerId,
    TaskId,
    WorkerId,
)
from tests.simulation.clock import Clock
from tests.simulation.manager import NodeScheduler, SimManager
from tests.simulation.worker import SimWorker
from tests.simulation.world import Builds, Call, Member, World


def _environment(name: str) -> Environment:
    return Environment(digest=Digest(name), source=name, form="pack", is_kept=True)


class ClusterScheduler(Protocol):
    """`ClusterState`, or another policy for the interchange."""

    def handle(self, event: cluster.Event, *, now: float) -> list[cluster.Action]: ...
    def next_deadline(self) -> float: ...
    def knows_task(self, task: TaskId) -> bool: ...


@dataclass(frozen=True)
class Policy:
    """How calls are placed."""

    name: str
    cluster: Callable[[], ClusterScheduler]
    node: Callable[[int], NodeScheduler]


OURS = Policy("parsl-context", lambda: ClusterState(heartbeat_threshold_s=math.inf), NodeState)


@dataclass
class Tally:
    """What happened."""

    ended: int = 0  # calls whose results were accepted
    failed: int = 0  # calls that the executor was told cannot run
    lost: int = 0  # calls that were made again
    builds: int = 0
    reloads: int = 0  # builds where the context had been given up before
    run_s: float = 0.0  # of accepted calls, together
    waits_s: list[float] = field(default_factory=list)  # from the call until its body began
    makespan_s: float = 0.0
    returned: int = 0  # calls that managers gave back unstarted
    events: int = 0
    requeued: int = 0  # calls that were lost with a manager and waited again
    batched: int = 0  # calls that were sent with another


class Simulation:
    """One world under one policy.

    Parameters
    ----------
    world
        What there is to do, and with what.
    policy
        Who decides.
    """

    def __init__(self, world: World, policy: Policy = OURS) -> None:
        self.world = world
        self.policy = policy
        self.clock = Clock()
        self.tally = Tally()
        self.state = policy.cluster()
        self.managers: dict[ManagerId, SimManager] = {}
        self.calls: dict[TaskId, Call] = {}  # made and not ended
        self.cancelled = 0
        self.begun: set[TaskId] = set()  # of these, calls whose bodies have begun
        self.missing = 0  # calls that have not ended, made or not
        self.on_end: Callable[[], None] = lambda: None  # called when a result is accepted
        # Called when a build was for nothing, or the first manager is there that takes calls.
        self.on_fresh_start: Callable[[], None] = lambda: None
        self._builds = Builds(world)
        self._outbox: dict[ManagerId, list[node.NodeTask]] = {}  # calls to be sent when the turn ends
        self._declared: dict[ManagerId, set[Digest]] = {}
        self._given_up: set[tuple[ManagerId, WorkerId | None, Digest]] = set()
        self._made_at: dict[TaskId, float] = {}
        self._mates: dict[TaskId, tuple[TaskId, ...]] = {}  # calls that were sent to run with another
        self._next_id = 0
        self._tick_at = math.inf
        for content in world.contents:
            self.declare(content.digest)
        for member in world.members:
            self.clock.at(member.joins_s, self.join, member)
        self._plan_calls()

    def run(self, until: float = math.inf) -> Tally:
        """Until all calls have ended, or nothing is left to happen."""
        self.clock.run(until)
        self.tally.events = self.clock.happened
        return self.tally

    # --- executor

    def _plan_calls(self) -> None:
        together: dict[float, list[Call]] = {}
        for call in self.world.calls:
            together.setdefault(call.at_s, []).append(call)
        for at, calls in together.items():
            self.clock.at(at, self.submit, calls)
        self.missing = len(self.world.calls)

    def declare(self, context: Digest) -> None:
        """The executor declares a context."""
        content = self._builds.contents[context]
        options = ContextOptions(
            name=context,
            reuse="node" if content.shared else "memory",
            memory_gb=content.size_bytes / 1e9 if content.declared and content.size_bytes else None,
            environment=_environment(content.environment) if content.environment else None,
        )
        self.decide(cluster.ContextDeclared(context=context, options=options))

    def submit(self, calls: list[Call]) -> list[TaskId]:
        """The executor makes calls. Gives their numbers."""
        made = []
        for call in calls:
            self._next_id += 1
            task = TaskId(self._next_id)
            self.calls[task] = call
            self._made_at[task] = self.clock.now
            made.append(task)
            self.decide(cluster.TaskSubmitted(task=task, lane=call.lane, code=call.code, priority=call.priority))
        if any(call.joint is not None for call in calls):
            self.decide(cluster.BatchesDue())
        self._flush()
        return made

    def cancel(self, task: TaskId) -> None:
        """The executor cancels a call. It is dropped if it has not begun anywhere."""
        self.decide(cluster.TaskCancelled(task=task))
        self._flush()

    def _run_s(self, task: TaskId) -> float:
        call = self.calls[task]
        return call.fixed_s + call.run_s * (1 + len(self._mates.get(task, ())))

    def _accept(self, task: TaskId, run_s: float) -> bool:
        if task not in self.calls:
            return False
        self.on_end()
        self._forget(task)
        self.tally.ended += 1
        self.tally.run_s += run_s
        self.tally.makespan_s = self.clock.now
        return True

    def _fail(self, tasks: list[TaskId]) -> None:
        for task in tasks:
            self._forget(task)
            self.tally.failed += 1

    def _lose(self, tasks: list[TaskId]) -> None:
        again = [self.calls[task] for task in tasks]
        self.missing += len(again)
        for task in tasks:
            self._forget(task)
            self.tally.lost += 1
        self.clock.after(0.0, self.submit, again)

    def _forget(self, task: TaskId) -> None:
        del self.calls[task]
        del self._made_at[task]
        self.begun.discard(task)
        self.missing -= 1
        if not self.missing:
            self.clock.stop()

    # --- managers

    def join(self, member: Member) -> SimManager:
        """A manager joins, and is gone when its time is over."""
        manager = SimManager(
            self.clock,
            member,
            self.world,
            self._builds,
            self.policy.node(member.slots),
            self._tell,
            self._run_s,
            self,
        )
        if not any(other.takes_calls for other in self.managers.values()):
            self.on_fresh_start()
        self.managers[member.manager] = manager
        self._declared[member.manager] = set()
        manager.start()
        lives_s = member.leaves_s - self.clock.now
        self.decide(
            cluster.ManagerJoined(
                manager=member.manager,
                node=str(member.manager),
                block=str(member.manager),
                slots=member.slots,
                prefetch=self.world.prefetch,
                ends_in_s=lives_s if member.knows_end else None,
                walltime_s=lives_s if member.knows_end else None,
                memory_bytes=self.world.memory_bytes,
                contexts_per_worker=self.world.contexts_per_worker,
            )
        )
        self._flush()
        if math.isfinite(member.leaves_s):
            self.clock.at(member.leaves_s, self.lose, manager)
        return manager

    def lose(self, manager: SimManager) -> None:
        """A manager is suddenly gone, which the interchange notices when the link's end reaches it."""
        if manager.alive:
            manager.end()
            reason = "its connection broke"
            self._tell(manager, cluster.ManagerLeft(manager=manager.id, reason=reason))

    def _tell(self, manager: SimManager, event: cluster.Event) -> None:
        self.clock.after(self.world.delays.link_s, self._receive, manager, event)

    def _receive(self, manager: SimManager, event: cluster.Event) -> None:
        """`_from_manager`: messages of a manager that was given up count for nothing."""
        if self.managers.get(manager.id) is not manager:
            return
        if isinstance(event, cluster.ManagerLeft):
            self._gone(manager, event.reason)
        else:
            self.decide(cluster.ManagerContact(manager=manager.id))
            match event:
                case cluster.TaskEnded():
                    for mate in reversed(self._mates.pop(event.task, ())):
                        if self._accept(mate, 0.0):
                            self.decide(cluster.TaskEnded(manager=manager.id, task=mate, run_s=0.0))
                    if self._accept(event.task, event.run_s):
                        self.decide(event)
                case cluster.TaskLost():
                    self._lose([event.task, *self._mates.pop(event.task, ())])
                    self.decide(event)
                case cluster.TasksReturned():
                    self.tally.returned += len(event.tasks)
                    self.decide(event)
                case _:
                    self.decide(event)
        self._flush()

    def _gone(self, manager: SimManager, reason: str) -> None:
        if self.managers.pop(manager.id, None) is not None:
            manager.end()
            self._outbox.pop(manager.id, None)
            self.decide(cluster.ManagerLeft(manager=manager.id, reason=reason))

    # --- interchange

    def decide(self, event: cluster.Event) -> None:
        """Have the state take an event into account; carry out what it says."""
        for action in self.state.handle(event, now=self.clock.now):
            self._carry_out(action)
        self._arm_tick()

    def _arm_tick(self) -> None:
        due = self.state.next_deadline()
        if due < self._tick_at:
            self._tick_at = due
            self.clock.at(max(due, self.clock.now), self._on_tick, due)

    def _on_tick(self, due: float) -> None:
        if due == self._tick_at:
            self._tick_at = math.inf
            self.decide(cluster.Tick())
            self._flush()

    def _carry_out(self, action: cluster.Action) -> None:
        match action:
            case cluster.SendTask():
                self._send_task(action)
            case cluster.OrderBuild():
                self._flush()
                wanted = node.InstanceWanted(order=action.order, contexts=action.contexts)
                self._send(action.manager, wanted, action.contexts)
            case cluster.ReleaseBuild():
                self._flush()
                self._send(action.manager, node.OrderReleased(order=action.order))
            case cluster.TakeBack():
                self._flush()
                event = node.TasksReclaimed(tasks=action.tasks, ends=action.ends)
                if action.manager in self.managers:
                    receive = self.managers[action.manager].receive
                    self.clock.after(self.world.delays.link_s, receive, event, action.answers)
            case cluster.ConfirmCancelled():
                for task in action.tasks:
                    assert task in self.calls, "a call that has ended is not cancelled"
                    isolated = any(self._builds.contents[c].isolated for c in self.calls[task].contexts)
                    assert task not in self.begun or isolated, "it has begun"
                    self.cancelled += 1
                    self._forget(task)
            case cluster.RefuseCancel():
                pass
            case cluster.SendBuild():
                self._send(action.manager, node.BuildWanted(context=action.context), (action.context,))
            case cluster.SendEviction():
                self._send(action.manager, node.EvictionWanted(context=action.context))
            case cluster.DrainManager():
                self._flush()
                self.clock.after(self.world.delays.link_s, self.managers[action.manager].drain)
            case cluster.StopManager():
                if (manager := self.managers.get(action.manager)) is not None:
                    self._gone(manager, action.reason)
            case cluster.NoteRequeued():
                self.tally.requeued += len(action.tasks)
                for task in action.tasks:
                    self._mates.pop(task, None)
                    self.begun.discard(task)
            case cluster.FailTasks():
                self._lose(action.tasks)
            case cluster.FailBuild() | cluster.FailUnservable():
                self._fail(action.tasks)
            case _:
                assert_never(action)

    def _send_task(self, action: cluster.SendTask) -> None:
        call = self.calls.get(action.task)
        if call is not None and action.manager in self.managers:
            self._provide(action.manager, call.lane.contexts)
            self._mates.pop(action.task, None)
            if action.mates:
                assert call.joint is not None
                assert len(action.mates) < (call.joint.size or AUTO_BATCH), "the batch is too large"
                others = [self.calls[mate] for mate in action.mates]
                assert all((other.lane, other.priority) == (call.lane, call.priority) for other in others)
                self._mates[action.task] = action.mates
                self.tally.batched += len(action.mates)
            task = node.NodeTask(id=action.task, lane=call.lane._replace(joint=None), code=call.code)
            self._outbox.setdefault(action.manager, []).append(task)

    def _provide(self, manager: ManagerId, contexts: tuple[Digest, ...]) -> None:
        known = self._declared[manager]
        for context in contexts:
            if context not in known:
                known.add(context)
                content = self._builds.contents[context]
                size = content.size_bytes if content.declared else None
                declared = node.ContextDeclared(
                    context=context,
                    is_shared=content.shared,
                    size_bytes=size,
                    is_isolated=content.isolated,
                    environment=EnvironmentName(content.environment),
                )
                self._deliver(manager, declared)

    def _send(self, manager: ManagerId, event: node.Event, contexts: tuple[Digest, ...] = ()) -> None:
        if manager in self.managers:
            self._provide(manager, contexts)
            self._deliver(manager, event)

    def _flush(self) -> None:
        """The turn of the loop ends: send the calls gathered."""
        while self._outbox:
            manager, tasks = self._outbox.popitem()
            self._deliver(manager, node.TasksArrived(tasks=tasks))

    def _deliver(self, manager: ManagerId, event: node.Event) -> None:
        self.clock.after(self.world.delays.link_s, self.managers[manager].receive, event)

    # --- what happens on nodes

    def began(self, manager: SimManager, worker: SimWorker, task: TaskId, at: float) -> None:
        """A body begins."""
        for each in (task, *self._mates.get(task, ())):
            self.begun.add(each)
            self.tally.waits_s.append(at - self._made_at[each])

    def undone(self) -> None:
        """A build was for nothing, by no fault of whoever decides."""
        self.on_fresh_start()

    def load_began(self, manager: SimManager, worker: WorkerId | None, context: Digest) -> None:
        """A build begins."""
        self.tally.builds += 1
        if (manager.id, worker, context) in self._given_up:
            self.tally.reloads += 1

    def evicted(self, manager: SimManager, worker: WorkerId | None, context: Digest) -> None:
        """An instance was given up."""
        self._given_up.add((manager.id, worker, context))
