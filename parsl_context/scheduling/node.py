"""Which worker of a node runs which call, and where contexts are built. Pure: see the package's docstring.

The manager feeds it events and carries out its actions. A call is *started* when it is the oldest that its worker
holds and the worker is not building a context for it; only such a call can be lost with its worker.

Cost of an event: O(lanes waiting on this node) for the worker concerned; an arrival looks at the idle workers too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from parsl_context.messages import Digest, TaskId, WorkerId
from parsl_context.scheduling.memory import Holding, Sizes, choose_victims, least_valuable
from parsl_context.scheduling.node_events import (
    Action,
    Assign,
    BlobForgotten,
    BuildWanted,
    ContextDeclared,
    ContextGone,
    DrainBegan,
    EndTemplate,
    Event,
    Evict,
    EvictionWanted,
    GiveBack,
    Lane,
    LimitsSet,
    Load,
    LoadBegan,
    LoadBroke,
    LoadEnded,
    Lose,
    NodeTask,
    Replace,
    StartTemplate,
    TaskEnded,
    TasksArrived,
    TemplateBroke,
    TemplateEnded,
    TemplateKey,
    TemplateLoaded,
    TemplateReady,
    TemplateUnsafe,
    Tick,
    WorkerEnded,
    WorkerReady,
)
from parsl_context.scheduling.placement import (
    FORK_S,
    WORKER_LOOKAHEAD_S,
    Estimate,
    lookahead,
    urgency,
    worth_a_build,
)

# --- state ------------------------------------------------------------------------------------------------------------


@dataclass
class _Worker:
    id: WorkerId
    up: bool = False
    coming_from: TemplateKey | None = None  # the template that the next process is forked from
    used: bool = False  # something ran in this process
    held: deque[NodeTask] = field(default_factory=deque)  # sent, oldest first; the first may be running
    resident: set[Digest] = field(default_factory=set)
    inherited: frozenset[Digest] = frozenset()  # of those, what belongs to a template
    used_at: dict[Digest, float] = field(default_factory=dict)  # when the last call with a context ended
    leaving: set[Digest] = field(default_factory=set)  # contexts that it was told to give up
    building: Digest | None = None
    failed: set[Digest] = field(default_factory=set)  # contexts that could not be built ahead of calls

    @property
    def is_idle(self) -> bool:
        return self.up and not self.held and self.building is None

    def is_warm(self, lane: Lane) -> bool:
        return not lane.fresh and all(c in self.resident and c not in self.leaving for c in lane.contexts)


class NodeState:
    """Workers, their contexts, and the calls waiting on a node. Changed by `handle` alone.

    Parameters
    ----------
    workers
        How many there are; they begin without a process.
    nodes
        Names of the nodes that calls may ask for (MPI). Such calls get nodes in the order in which they came: none is
        overtaken by one that needs fewer.
    """

    def __init__(self, workers: int, nodes: Sequence[str] = ()) -> None:
        self._workers = {WorkerId(i): _Worker(WorkerId(i)) for i in range(workers)}
        self._lanes: dict[Lane, deque[tuple[float, NodeTask]]] = {}  # waiting calls with the time they came
        self._run: dict[Digest | None, Estimate] = {}
        self._build: dict[Digest, Estimate] = {}
        self._limits = LimitsSet()
        self._sizes = Sizes()
        self._shared: set[Digest] = set()  # contexts that templates build
        self._templates: dict[TemplateKey, bool] = {}  # whether it is ready
        self._wanted: dict[Digest, None] = {}  # to build on every worker ahead of calls, in this order
        self._draining = False
        self._free_nodes = list(nodes)
        self._taken_nodes: dict[TaskId, tuple[str, ...]] = {}
        self._nodes_queue: deque[TaskId] = deque()  # calls that wait for nodes, oldest first

    @property
    def waiting(self) -> int:
        """Calls that no worker holds yet."""
        return sum(len(queue) for queue in self._lanes.values())

    @property
    def running(self) -> int:
        """Calls that workers hold."""
        return sum(len(worker.held) for worker in self._workers.values())

    def handle(self, event: Event, *, now: float) -> list[Action]:
        """Take an event into account. Gives what to do about it, in order."""
        match event:
            case TasksArrived():
                return self._arrive(event, now)
            case WorkerReady():
                worker = _Worker(event.worker, up=True, resident=set(event.inherited), inherited=event.inherited)
                self._workers[event.worker] = worker
                return self._feed_all(now)
            case LimitsSet():
                self._limits = event
                return []
            case EvictionWanted():
                return self._evict_everywhere(event.context)
            case Tick():
                return self._evict_idle(now)
            case ContextDeclared():
                if event.is_shared:
                    self._shared.add(event.context)
                if event.size_bytes is not None:
                    self._sizes.declare(event.context, event.size_bytes)
                return []
            case TemplateReady():
                self._templates[event.template] = True
                return self._feed_all(now)
            case TemplateLoaded():
                self._build.setdefault(event.context, Estimate()).add(event.load_s)
                self._sizes.measure(event.context, event.size_bytes)
                return []
            case TemplateBroke():
                self._templates.pop(event.template, None)
                return self._give_back_lanes(event.context, []) + self._feed_all(now)
            case TemplateUnsafe():
                self._templates.pop(event.template, None)
                self._shared.discard(event.context)
                return [EndTemplate(template=event.template), *self._feed_all(now)]
            case TemplateEnded():
                self._templates.pop(event.template, None)
                return self._feed_all(now)
            case TaskEnded():
                return self._end_task(event, now)
            case LoadBegan():
                self._workers[event.worker].building = event.context
                return []
            case LoadEnded():
                return self._end_load(event, now)
            case LoadBroke():
                return self._break_load(event, now)
            case ContextGone():
                return self._lose_context(event, now)
            case WorkerEnded():
                return self._end_worker(event, now)
            case BuildWanted():
                self._wanted[event.context] = None
                return self._feed_all(now)
            case BlobForgotten():
                self._build.pop(event.digest, None)
                self._sizes.forget(event.digest)
                self._shared.discard(event.digest)
                self._run.pop(event.digest, None)
                self._wanted.pop(event.digest, None)
                return self._end_templates(event.digest)
            case DrainBegan():
                self._draining = True
                return self._give_back_waiting()

    def _arrive(self, event: TasksArrived, now: float) -> list[Action]:
        if self._draining:
            return [GiveBack(tasks=[task.id for task in event.tasks])]
        for task in event.tasks:
            self._lanes.setdefault(task.lane, deque()).append((now, task))
            if task.nodes:
                self._nodes_queue.append(task.id)
        return self._feed_all(now)

    def _end_task(self, event: TaskEnded, now: float) -> list[Action]:
        worker = self._workers[event.worker]
        task = worker.held.popleft()
        assert task.id == event.task, f"worker {event.worker} ended task {event.task}, expected {task.id}"
        self._run_estimate(task.code).add(event.run_s)
        worker.used_at.update(dict.fromkeys(task.lane.contexts, now))
        freed = self._release_nodes(task.id)
        actions = [self._replace(worker)] if task.lane.fresh else self._feed(worker, now)
        return actions + (self._feed_all(now) if freed else [])

    def _end_load(self, event: LoadEnded, now: float) -> list[Action]:
        worker = self._workers[event.worker]
        worker.building = None
        worker.resident.add(event.context)
        worker.failed.discard(event.context)
        worker.used_at[event.context] = now
        self._build.setdefault(event.context, Estimate()).add(event.load_s)
        self._sizes.measure(event.context, event.size_bytes)
        return self._feed(worker, now)

    def _break_load(self, event: LoadBroke, now: float) -> list[Action]:
        worker = self._workers[event.worker]
        worker.building = None
        worker.failed.add(event.context)
        returned = [worker.held.popleft().id] if event.task is not None else []
        for task in returned:
            self._release_nodes(task)
        return self._give_back_lanes(event.context, returned) + self._feed(worker, now)

    def _end_worker(self, event: WorkerEnded, now: float) -> list[Action]:
        worker = self._workers[event.worker]
        self._workers[worker.id] = _Worker(worker.id)
        actions: list[Action] = []
        for task in worker.held:
            self._release_nodes(task.id)
        if worker.building is not None:
            returned = [task.id for task in worker.held]
            worker.held.clear()
            return self._give_back_lanes(worker.building, returned)
        if worker.held:
            actions.append(Lose(task=worker.held.popleft().id))
        for task in reversed(worker.held):
            self._lanes.setdefault(task.lane, deque()).appendleft((now, task))
            if task.nodes:
                self._nodes_queue.appendleft(task.id)
        return actions + (self._give_back_waiting() if self._draining else self._feed_all(now))

    def _give_back_lanes(self, broken: Digest, returned: list[TaskId]) -> list[Action]:
        """All calls of this node that wait for a context that could not be built."""
        for lane in [lane for lane in self._lanes if broken in lane.contexts]:
            returned += [task.id for _, task in self._lanes.pop(lane)]
        self._nodes_queue = deque(task for task in self._nodes_queue if task not in returned)
        return [GiveBack(tasks=returned, broken=broken)]

    def _give_back_waiting(self) -> list[Action]:
        tasks = [task.id for queue in self._lanes.values() for _, task in queue]
        self._lanes.clear()
        self._nodes_queue.clear()
        return [GiveBack(tasks=tasks)] if tasks else []

    def _release_nodes(self, task: TaskId) -> bool:
        nodes = self._taken_nodes.pop(task, ())
        self._free_nodes += nodes
        return bool(nodes)

    # --- placement

    def _feed_all(self, now: float) -> list[Action]:
        """Spread waiting calls: one to each idle worker, warm ones first; then ahead to busy workers, in turn."""
        actions = self._start_templates()
        for warm_only in (True, False):
            for worker in self._workers.values():
                if worker.is_idle:
                    actions += self._give_one(worker, now, warm_only=warm_only)
        progress = True
        while self._lanes and progress:
            progress = False
            for worker in self._workers.values():
                given = self._give_one(worker, now, warm_only=True) if worker.held else []
                progress = progress or bool(given)
                actions += given
        return actions

    def _feed(self, worker: _Worker, now: float) -> list[Action]:
        """Give this worker all that it should hold now."""
        actions: list[Action] = []
        while given := self._give_one(worker, now, warm_only=False):
            actions += given
        return actions

    def _give_one(self, worker: _Worker, now: float, *, warm_only: bool) -> list[Action]:
        """At most one thing to do for this worker."""
        if not worker.up or worker.building is not None:
            return []
        lane = self._choose(worker, warm_only=warm_only)
        if lane is None:
            return [] if warm_only else self._load_wanted(worker)
        if lane.fresh and worker.used:
            return [self._replace(worker)]
        if (template := self._missing_template(worker, lane)) is not None:
            return [self._replace(worker, template)]
        evictions, fits = self._make_room(worker, lane.contexts, now)
        return [*evictions, self._assign(worker, lane)] if fits else evictions

    def _load_wanted(self, worker: _Worker) -> list[Action]:
        if not worker.is_idle or self._draining:
            return []
        shared = self._template_key(self._wanted)
        if shared and not worker.resident.issuperset(shared) and self._templates.get(shared):
            return [self._replace(worker, shared)]
        for context in self._wanted:
            if context not in worker.resident and context not in worker.failed and context not in shared:
                worker.building = context
                worker.used = True
                return [Load(worker=worker.id, context=context)]
        return []

    def _replace(self, worker: _Worker, template: TemplateKey | None = None) -> Action:
        worker.up = False
        worker.coming_from = template
        return Replace(worker=worker.id, template=template)

    # --- memory

    def next_deadline(self, now: float) -> float | None:
        """When `Tick` is due next, if ever."""
        if self._limits.idle_s is None:
            return None
        used = [at for worker in self._workers.values() if not worker.held for at in worker.used_at.values()]
        return max(now, min(used) + self._limits.idle_s) if used else None

    def _used_bytes(self) -> int:
        """What instances take, and those that are being built."""
        total = sum(self._sizes.of(context) for key in self._templates for context in key)
        for worker in self._workers.values():
            total += sum(self._sizes.of(context) for context in worker.resident - worker.inherited)
            coming = {worker.building} if worker.building is not None else set()
            coming |= {context for task in worker.held for context in task.lane.contexts}
            total += sum(self._sizes.of(context) for context in coming - worker.resident)
        return total

    def _make_room(self, worker: _Worker, contexts: Iterable[Digest], now: float) -> tuple[list[Action], bool]:
        """What to give up so that a worker may hold these contexts, and whether it may build them right away."""
        missing = [context for context in contexts if context not in worker.resident]
        if not missing:
            return [], True
        actions: list[Action] = []
        limit = self._limits.contexts_per_worker
        own = [h for h in self._holdings(now) if h.worker == worker.id and h.context not in contexts]
        while limit is not None and own and len(worker.resident - worker.leaving) + len(missing) > limit:
            victim = least_valuable(own)
            own.remove(victim)
            actions += self._evict(worker, victim.context)  # done before the build: messages keep their order
        needed = sum(self._sizes.of(context) for context in missing)
        if self._limits.memory_bytes is None:
            return actions, True
        lacking = self._used_bytes() + needed - self._limits.memory_bytes
        if lacking <= 0:
            return actions, True
        leaving = sum(self._sizes.of(c) for w in self._workers.values() for c in w.leaving)
        candidates = [h for h in self._holdings(now) if h.context not in contexts or h.worker != worker.id]
        victims = choose_victims(candidates, lacking - leaving)
        for victim in victims or ():
            actions += self._give_up(victim)
        # Nothing at all is left to give up: go on, or the call would wait for ever.
        return actions, victims is None and not leaving and not self._anything_runs()

    def _anything_runs(self) -> bool:
        return any(worker.held or worker.building is not None for worker in self._workers.values())

    def _holdings(self, now: float) -> list[Holding]:
        """Instances that no call uses now."""
        found = []
        for worker in self._workers.values():
            if worker.is_idle:
                for context in worker.resident - worker.inherited - worker.leaving:
                    found.append(self._holding(context, worker.id, worker.used_at.get(context, 0.0), now))
        in_use = {context for worker in self._workers.values() if worker.held for context in worker.inherited}
        waited_for = {context for lane in self._lanes for context in lane.contexts}
        for key, ready in self._templates.items():
            if ready and not in_use.intersection(key) and not waited_for.intersection(key):
                used = [w.used_at.get(c, 0.0) for w in self._workers.values() for c in key]
                found += [self._holding(context, None, max(used, default=0.0), now) for context in key]
        return found

    def _holding(self, context: Digest, worker: WorkerId | None, used_at: float, now: float) -> Holding:
        return Holding(
            context=context,
            worker=worker,
            size_bytes=self._sizes.of(context),
            idle_s=now - used_at,
            build_s=self._build.get(context, Estimate()).or_prior(1.0),
        )

    def _give_up(self, holding: Holding) -> list[Action]:
        if holding.worker is not None:
            return self._evict(self._workers[holding.worker], holding.context)
        return self._end_templates(holding.context)

    def _evict(self, worker: _Worker, context: Digest) -> list[Action]:
        if context in worker.leaving:
            return []
        worker.leaving.add(context)
        return [Evict(worker=worker.id, context=context)]

    def _end_templates(self, context: Digest) -> list[Action]:
        """End the templates that hold a context, and what their workers have of it."""
        actions: list[Action] = []
        for key in [key for key in self._templates if context in key]:
            del self._templates[key]
            actions.append(EndTemplate(template=key))
        for worker in self._workers.values():
            if worker.up and context in worker.inherited:
                actions += self._evict(worker, context)
        return actions

    def _evict_everywhere(self, context: Digest) -> list[Action]:
        self._wanted.pop(context, None)
        actions = self._end_templates(context)
        for worker in self._workers.values():
            if worker.up and context in worker.resident:
                actions += self._evict(worker, context)
        return actions

    def _evict_idle(self, now: float) -> list[Action]:
        limit_s = self._limits.idle_s
        old = [h for h in self._holdings(now) if limit_s is not None and h.idle_s >= limit_s]
        return [action for holding in old for action in self._give_up(holding)]

    def _lose_context(self, event: ContextGone, now: float) -> list[Action]:
        worker = self._workers[event.worker]
        worker.resident.discard(event.context)
        worker.leaving.discard(event.context)
        worker.used_at.pop(event.context, None)
        worker.inherited -= {event.context}
        actions: list[Action] = []
        if event.kept_bytes > self._sizes.of(event.context) // 2 and worker.is_idle and worker.up:
            actions.append(self._replace(worker))  # its allocator keeps what the instance took
        return actions + self._feed_all(now)

    # --- templates

    def _template_key(self, contexts: Iterable[Digest]) -> TemplateKey:
        """The contexts among these that a template should build."""
        return tuple(sorted(context for context in contexts if context in self._shared))

    def _missing_template(self, worker: _Worker, lane: Lane) -> TemplateKey | None:
        """The template that a worker must come from to run calls of a lane, if it does not have its contexts."""
        wanted = () if lane.fresh else self._template_key(lane.contexts)
        if not wanted or worker.resident.issuperset(wanted):
            return None
        fitting = [key for key, ready in self._templates.items() if ready and set(key).issuperset(wanted)]
        return min(fitting, key=len, default=wanted)

    def _start_templates(self) -> list[Action]:
        """Templates that waiting calls or wanted contexts ask for and that are not there yet."""
        keys = [self._template_key(lane.contexts) for lane in self._lanes if not lane.fresh]
        keys.append(self._template_key(self._wanted))
        actions: list[Action] = []
        for key in keys:
            if key and not any(set(other).issuperset(key) for other in self._templates):
                self._templates[key] = False
                actions.append(StartTemplate(template=key))
        return actions

    def _fork_pays(self, worker: _Worker, lane: Lane, template: TemplateKey) -> bool:
        """Whether this idle worker should be forked anew from a template."""
        if not self._templates.get(template):
            return False
        others = [other for other in self._workers.values() if other is not worker]
        warm = [other for other in others if other.up and other.resident.issuperset(template)]
        if any(other.is_idle for other in warm):
            return False
        coming = sum(1 for other in others if not other.up and other.coming_from == template)
        waiting = len(self._lanes[lane]) - coming
        run = self._run_estimate(self._lanes[lane][0][1].code)
        return worth_a_build(waiting=waiting, holders=len(warm), run=run, build=Estimate(FORK_S))

    def _choose(self, worker: _Worker, *, warm_only: bool) -> Lane | None:
        """The lane whose oldest call this worker should take now, if any."""
        best: Lane | None = None
        best_rank = float("inf")
        for lane, queue in self._lanes.items():
            since, task = queue[0]
            warm = worker.is_warm(lane)
            if not self._may_take(worker, task, warm, warm_only):
                continue
            rank = since if warm else urgency(since_s=since, is_warm=False, build=self._missing_build(worker, lane))
            if rank < best_rank:
                best, best_rank = lane, rank
        return best

    def _may_take(self, worker: _Worker, task: NodeTask, warm: bool, warm_only: bool) -> bool:
        if task.nodes and (task.nodes > len(self._free_nodes) or task.id != self._nodes_queue[0]):
            return False
        if worker.held:
            return warm and not task.nodes and self._has_room(worker, task)
        if warm:
            return True
        if warm_only:
            return False
        if (template := self._missing_template(worker, task.lane)) is not None:
            return self._fork_pays(worker, task.lane, template)
        return task.lane.fresh or self._pays(worker, task.lane)

    def _has_room(self, worker: _Worker, task: NodeTask) -> bool:
        """Whether a busy worker should hold one more call: only short ones behind short ones."""
        first = worker.held[0]
        if not worker.is_warm(first.lane):
            return False
        depths = (lookahead(self._run_estimate(code), WORKER_LOOKAHEAD_S) for code in (first.code, task.code))
        return len(worker.held) <= min(depths)

    def _pays(self, worker: _Worker, lane: Lane) -> bool:
        """Whether this cold worker should build the contexts of the lane."""
        others = [other for other in self._workers.values() if other.up and other is not worker]
        warm = [other for other in others if other.is_warm(lane)]
        if any(other.is_idle for other in warm):
            return False
        # A worker that holds a call of this lane while cold is building its contexts.
        coming = sum(1 for other in others if other not in warm and any(t.lane == lane for t in other.held))
        return worth_a_build(
            waiting=len(self._lanes[lane]),
            holders=len(warm) + coming,
            run=self._run_estimate(self._lanes[lane][0][1].code),
            build=self._missing_build(worker, lane),
        )

    def _missing_build(self, worker: _Worker, lane: Lane) -> Estimate:
        """Time until the worker has what the lane needs and it lacks."""
        if self._missing_template(worker, lane) is not None:
            return Estimate(FORK_S)
        missing = [self._build.get(context, Estimate()) for context in lane.contexts if context not in worker.resident]
        if any(estimate.mean_s is None for estimate in missing):
            return Estimate()
        return Estimate(sum(estimate.mean_s or 0.0 for estimate in missing))

    def _assign(self, worker: _Worker, lane: Lane) -> Action:
        queue = self._lanes[lane]
        _, task = queue.popleft()
        if not queue:
            del self._lanes[lane]
        worker.held.append(task)
        worker.used = True
        if not task.nodes:
            return Assign(task=task.id, worker=worker.id)
        self._nodes_queue.popleft()
        nodes = tuple(self._free_nodes[: task.nodes])
        del self._free_nodes[: task.nodes]
        self._taken_nodes[task.id] = nodes
        return Assign(task=task.id, worker=worker.id, nodes=nodes)

    def _run_estimate(self, code: Digest | None) -> Estimate:
        return self._run.setdefault(code, Estimate())
