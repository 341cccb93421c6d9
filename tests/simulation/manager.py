"""A simulated manager: `pool/` with the real `NodeState`, simulated workers and no process.

What it tells the interchange is written down as the events that `interchange/reports.py` makes of its messages.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Protocol

from typing_extensions import assert_never

from parsl_context.scheduling.cluster import events as cluster
from parsl_context.scheduling.node import events as node
from parsl_context.scheduling.node.events import TemplateKey
from parsl_context.wire.messages import Digest, EnvironmentName, TaskId, WorkerId
from tests.simulation.clock import Clock
from tests.simulation.worker import Build, Drop, SimWorker
from tests.simulation.world import Builds, Member, World


class NodeScheduler(Protocol):
    """`NodeState`, or another policy for a node."""

    def handle(self, event: node.Event, *, now: float) -> list[node.Action]: ...
    def next_deadline(self, now: float) -> float | None: ...


class Watch(Protocol):
    """Who wants to know what happens on nodes."""

    def began(self, manager: SimManager, worker: SimWorker, task: TaskId, at: float) -> None: ...
    def load_began(self, manager: SimManager, worker: WorkerId | None, context: Digest) -> None: ...
    def evicted(self, manager: SimManager, worker: WorkerId | None, context: Digest) -> None: ...
    def undone(self) -> None: ...


class SimTemplate:
    """A process that builds contexts in turn, for workers to be forked from."""

    def __init__(self, key: TemplateKey) -> None:
        self.key = key
        self.resident: list[Digest] = []
        self.building: Digest | None = None
        self.alive = True
        self.ready = False


class SimManager:
    """One node."""

    def __init__(
        self,
        clock: Clock,
        member: Member,
        world: World,
        builds: Builds,
        state: NodeScheduler,
        tell: Callable[[SimManager, cluster.Event], None],
        run_s: Callable[[TaskId], float],
        watch: Watch,
    ) -> None:
        self.id = member.manager
        self.member = member
        self._clock = clock
        self._world = world
        self._builds = builds
        self.state = state
        self._tell_interchange = tell
        self._run_s = run_s
        self._watch = watch
        self.tasks: dict[TaskId, node.NodeTask] = {}
        self.stopping: set[TaskId] = set()  # calls that workers were told to end
        self.workers: dict[WorkerId, SimWorker] = {}
        self.templates: dict[TemplateKey, SimTemplate] = {}
        self.environments: set[EnvironmentName] = set()  # that were started
        self.coming: dict[EnvironmentName, list[Callable[[], None]]] = {}  # starts, and what waits
        self.alive = True
        self._tick_at = math.inf
        self._ending = False

    @property
    def takes_calls(self) -> bool:
        """Whether it is there and does not drain."""
        return self.alive and not self._ending

    # --- life

    def start(self) -> None:
        """The interchange accepted it (`_set_limits`), and its workers start."""
        self._decide(
            node.LimitsSet(
                memory_bytes=self._world.memory_bytes,
                contexts_per_worker=self._world.contexts_per_worker,
                idle_s=self._world.idle_s,
            )
        )
        for number in range(self.member.slots):
            self._start_worker(WorkerId(number), frozenset(), self._home)

    def end(self) -> None:
        """The node is gone, with all that runs there."""
        self.alive = False
        for worker in self.workers.values():
            worker.end()
        for template in self.templates.values():
            template.alive = False

    def drain(self) -> None:
        """Told to terminate: hand back what has not started, let running calls finish."""
        if not self._ending:
            self._ending = True
            self._tell(cluster.ManagerLeaving(manager=self.id))
            self._decide(node.DrainBegan())

    def kill_worker(self, number: WorkerId) -> None:
        """A worker's process dies (`_worker_died`)."""
        worker = self.workers.get(number)
        if worker is None or not self.alive:
            return
        worker.end()
        del self.workers[number]
        self._forget_residents(worker)
        for action in self.state.handle(node.WorkerEnded(worker=number), now=self._clock.now):
            self._settle_death(action)
        self._arm_tick()
        self._start_worker(number, frozenset(), self._home)

    def _settle_death(self, action: node.Action) -> None:
        match action:
            case node.GiveBack() if action.broken is not None:
                self._tell(cluster.BuildBroke(manager=self.id, context=action.broken, tasks=action.tasks))
                self._drop(action.tasks)
            case node.Lose():
                self._tell(cluster.TaskLost(manager=self.id, task=action.task))
                self._drop([action.task])
            case _:
                self._carry_out(action)

    @property
    def _home(self) -> EnvironmentName:
        return EnvironmentName(self._world.home)

    def _start_worker(self, number: WorkerId, inherited: frozenset[Digest], environment: EnvironmentName) -> None:
        up = functools.partial(self._worker_up, number, inherited, environment)
        self._want(environment, lambda: self._clock.after(self._world.delays.fork_s, up))

    def _want(self, environment: EnvironmentName, ready: Callable[[], None]) -> None:
        """Have this called once an environment has started."""
        if environment == node.MANAGERS_OWN or environment in self.environments:
            ready()
        elif environment in self.coming:
            self.coming[environment].append(ready)
        else:
            self.coming[environment] = [ready]
            self._tell(cluster.EnvironmentBegan(manager=self.id, environment=environment, source=environment))
            self._decide(node.EnvironmentBegan(environment=environment))
            self._clock.after(self._world.environments[environment], self._environment_ready, environment)

    def _environment_ready(self, environment: EnvironmentName) -> None:
        if not self.alive:
            return
        start_s = self._world.environments[environment]
        self.environments.add(environment)
        for ready in self.coming.pop(environment):
            ready()
        self._tell(cluster.EnvironmentReady(manager=self.id, environment=environment, start_s=start_s))
        self._decide(node.EnvironmentReady(environment=environment, start_s=start_s))

    def _worker_up(self, number: WorkerId, inherited: frozenset[Digest], environment: EnvironmentName) -> None:
        if not self.alive:
            return
        round_trip_s = 2 * self._world.delays.worker_s
        self.workers[number] = SimWorker(self._clock, number, self, self._builds, self._run_s, round_trip_s, inherited)
        self.workers[number].environment = environment
        for context in sorted(inherited):
            self._tell(cluster.ContextHeld(manager=self.id, worker=number, context=context))
        self._decide(node.WorkerReady(worker=number, inherited=inherited, environment=environment))

    def _replace(self, number: WorkerId, template: TemplateKey | None, environment: EnvironmentName) -> None:
        worker = self.workers.pop(number)
        worker.end()
        self._forget_residents(worker)
        parent = self.templates.get(template) if template is not None else None
        self._start_worker(number, frozenset() if parent is None else frozenset(parent.resident), environment)

    def _forget_residents(self, worker: SimWorker) -> None:
        for context in sorted(worker.resident):
            self._tell(cluster.ContextGone(manager=self.id, worker=worker.number, context=context))

    # --- from the interchange

    def receive(self, event: node.Event, answers: bool = False) -> None:
        """A message of the interchange, as the event that it becomes."""
        if not self.alive:
            return
        if answers and isinstance(event, node.TasksReclaimed):
            self._decide(event)
            left = self.tasks.keys() - self.stopping
            self._tell(cluster.TasksKept(manager=self.id, tasks=[task for task in event.tasks if task in left]))
            return
        if isinstance(event, node.TasksArrived):
            self.tasks.update((task.id, task) for task in event.tasks)
        self._decide(event)

    # --- from workers

    def began(self, worker: SimWorker, task: TaskId, at: float) -> None:
        contexts = self.tasks[task].lane.contexts
        needed = self._builds.environment_of(contexts) if contexts else self._home
        assert worker.environment == needed, "it runs in another environment"
        self._watch.began(self, worker, task, at)

    def done(self, worker: SimWorker, task: TaskId, run_s: float) -> None:
        self._drop([task])
        self._decide(node.TaskEnded(worker=worker.number, task=task, run_s=run_s))
        self._tell(cluster.TaskEnded(manager=self.id, task=task, run_s=run_s))

    def stopped(self, worker: SimWorker, task: TaskId) -> None:
        self._decide(node.TaskStopped(worker=worker.number, task=task))

    def skipped(self, worker: SimWorker, task: TaskId) -> None:
        self._decide(node.TaskSkipped(worker=worker.number, task=task))

    def load_began(self, worker: SimWorker, context: Digest) -> None:
        self._watch.load_began(self, worker.number, context)
        self._tell(cluster.BuildBegan(manager=self.id, context=context))
        self._decide(node.LoadBegan(worker=worker.number, context=context))

    def loaded(self, worker: SimWorker, context: Digest, load_s: float | None) -> None:
        size = self._builds.size_of(context) if load_s is not None else 0
        if load_s is not None:
            self._tell(cluster.BuildEnded(manager=self.id, context=context, load_s=load_s, size_bytes=size))
            self._tell(cluster.ContextHeld(manager=self.id, worker=worker.number, context=context))
        self._decide(node.LoadEnded(worker=worker.number, context=context, load_s=load_s, size_bytes=size))

    def load_broke(self, worker: SimWorker, context: Digest, task: TaskId | None) -> None:
        event = node.LoadBroke(worker=worker.number, context=context, task=task)
        for action in self.state.handle(event, now=self._clock.now):
            self._settle_death(action)
        self._arm_tick()

    def dropped(self, worker: SimWorker, context: Digest) -> None:
        self._watch.evicted(self, worker.number, context)
        self._tell(cluster.ContextGone(manager=self.id, worker=worker.number, context=context, was_evicted=True))
        self._decide(node.ContextGone(worker=worker.number, context=context))

    # --- templates

    def _start_template(self, key: TemplateKey, environment: EnvironmentName) -> None:
        template = self.templates[key] = SimTemplate(key)
        builds = functools.partial(self._template_builds, template)
        self._want(environment, lambda: self._clock.after(self._world.delays.fork_s, builds))

    def _template_builds(self, template: SimTemplate) -> None:
        if not self.alive or not template.alive:
            return
        missing = [context for context in template.key if context not in template.resident]
        if not missing:
            unsafe = [context for context in template.key if self._builds.contents[context].unsafe]
            if unsafe:
                self._watch.undone()
                note = cluster.ContextNoted(manager=self.id, context=unsafe[0], note="not shared", is_shared=False)
                self._tell(note)
                self._decide(node.TemplateUnsafe(template=template.key, context=unsafe[0]))
            else:
                template.ready = True
                self._tell(cluster.TemplateHeld(manager=self.id, contexts=template.key))
                self._decide(node.TemplateReady(template=template.key))
            return
        template.building = missing[0]
        self._watch.load_began(self, None, missing[0])
        self._tell(cluster.BuildBegan(manager=self.id, context=missing[0]))
        load_s, works = self._builds.draw(missing[0])
        self._clock.after(load_s, self._template_built, template, missing[0], load_s, works)

    def _template_built(self, template: SimTemplate, context: Digest, load_s: float, works: bool) -> None:
        if not self.alive or not template.alive:
            return
        template.building = None
        if not works:
            self._end_template(template.key)
            event = node.TemplateBroke(template=template.key, context=context)
            for action in self.state.handle(event, now=self._clock.now):
                self._settle_death(action)
            self._arm_tick()
            return
        template.resident.append(context)
        size = self._builds.size_of(context)
        self._tell(cluster.BuildEnded(manager=self.id, context=context, load_s=load_s, size_bytes=size))
        self._decide(node.TemplateLoaded(context=context, load_s=load_s, size_bytes=size))
        self._template_builds(template)

    def _end_template(self, key: TemplateKey) -> None:
        template = self.templates.pop(key, None)
        if template is not None:
            template.alive = False
            if template.ready:
                self._tell(cluster.TemplateGone(manager=self.id, contexts=template.key))
            for context in template.resident:
                self._watch.evicted(self, None, context)

    # --- decisions

    def _tell(self, event: cluster.Event) -> None:
        self._tell_interchange(self, event)

    def _decide(self, event: node.Event) -> None:
        for action in self.state.handle(event, now=self._clock.now):
            self._carry_out(action)
        if self._tick_at == math.inf:
            self._arm_tick()

    def _arm_tick(self) -> None:
        due = self.state.next_deadline(self._clock.now)
        if due is not None and due < self._tick_at:
            self._tick_at = due
            self._clock.at(max(due, self._clock.now), self._on_tick, due)

    def _on_tick(self, due: float) -> None:
        if self.alive and due == self._tick_at:
            self._tick_at = math.inf
            self._decide(node.Tick())

    def _carry_out(self, action: node.Action) -> None:
        match action:
            case node.Assign():
                self.workers[action.worker].send(self.tasks[action.task])
            case node.Load():
                self.workers[action.worker].send(Build(action.context))
            case node.Evict():
                self.workers[action.worker].send(Drop(action.context))
            case node.Revoke():
                taken = self.workers[action.worker].revoke(action.count)
                self._decide(node.TasksRevoked(worker=action.worker, count=len(taken)))
            case node.Stop():
                if action.task in self.tasks:  # it was not taken back just before
                    self.stopping.add(action.task)
                    self.workers[action.worker].stop(action.task)
            case node.Replace():
                self._replace(action.worker, action.template, action.environment)
            case node.StartTemplate():
                self._start_template(action.template, action.environment)
            case node.EndTemplate():
                self._end_template(action.template)
            case node.GiveBack():
                self._tell(cluster.TasksReturned(manager=self.id, tasks=action.tasks, were_ended=action.were_ended))
                self._drop(action.tasks)
            case node.SettleBuild():
                self._tell(cluster.BuildSettled(manager=self.id, order=action.order, contexts=action.contexts))
            case node.RefuseBuild():
                refused = cluster.BuildRefused(manager=self.id, contexts=action.contexts, reason=action.reason)
                self._tell(refused)
            case node.Lose() | node.RefuseOrdinary():
                raise AssertionError("only the death of a worker loses a call; environments are never broken")
            case _:
                assert_never(action)

    def _drop(self, tasks: list[TaskId]) -> None:
        for task in tasks:
            self.tasks.pop(task, None)
            self.stopping.discard(task)
