"""Which worker of a node runs which call, and where contexts are built. Pure: see the package's docstring.

The manager feeds it events and carries out its actions. A call is *started* when it is the oldest that its worker
holds and the worker is not building a context for it; only such a call can be lost with its worker.

Cost of an event: O(lanes waiting on this node) for the worker concerned; an arrival looks at the idle workers too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from parsl_context.messages import Digest, TaskId, WorkerId
from parsl_context.scheduling.placement import (
    WORKER_LOOKAHEAD_S,
    Estimate,
    lookahead,
    urgency,
    worth_a_build,
)


class Lane(NamedTuple):
    """What a call needs of its worker. Calls of one lane can stand in for each other."""

    contexts: tuple[Digest, ...]
    fresh: bool  # a process in which nothing ran before


# --- events -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class NodeTask:
    """A call as the node sees it."""

    id: TaskId
    lane: Lane
    code: Digest | None  # calls of one code are expected to take the same time
    nodes: int = 0  # nodes of the block that the call needs for itself (MPI)


@dataclass(frozen=True, kw_only=True)
class TasksArrived:
    """Calls to run, in order."""

    tasks: list[NodeTask]


@dataclass(frozen=True, kw_only=True)
class WorkerReady:
    """A new process serves this worker; it holds nothing."""

    worker: WorkerId


@dataclass(frozen=True, kw_only=True)
class TaskEnded:
    """The oldest call of a worker has ended, well or not."""

    worker: WorkerId
    task: TaskId
    run_s: float


@dataclass(frozen=True, kw_only=True)
class LoadBegan:
    """A worker builds a context."""

    worker: WorkerId
    context: Digest


@dataclass(frozen=True, kw_only=True)
class LoadEnded:
    """A worker holds a context from now on."""

    worker: WorkerId
    context: Digest
    load_s: float


@dataclass(frozen=True, kw_only=True)
class LoadBroke:
    """A context function raised; `task`, the call that needed it, has left the worker."""

    worker: WorkerId
    context: Digest
    task: TaskId | None


@dataclass(frozen=True, kw_only=True)
class ContextGone:
    """A worker no longer holds a context."""

    worker: WorkerId
    context: Digest


@dataclass(frozen=True, kw_only=True)
class WorkerEnded:
    """The process of a worker ended. Another will be announced by `WorkerReady`."""

    worker: WorkerId


@dataclass(frozen=True, kw_only=True)
class BuildWanted:
    """Build this context on every worker, when it is idle."""

    context: Digest


@dataclass(frozen=True, kw_only=True)
class BlobForgotten:
    """Nobody will name this code or context again."""

    digest: Digest


@dataclass(frozen=True, kw_only=True)
class DrainBegan:
    """Take no more calls; give back those that have not started."""


Event: TypeAlias = (
    TasksArrived
    | WorkerReady
    | TaskEnded
    | LoadBegan
    | LoadEnded
    | LoadBroke
    | ContextGone
    | WorkerEnded
    | BuildWanted
    | BlobForgotten
    | DrainBegan
)


# --- actions ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Assign:
    """Send the call to the worker, after those sent before."""

    task: TaskId
    worker: WorkerId
    nodes: tuple[str, ...] = ()  # for this call alone


@dataclass(frozen=True, kw_only=True)
class Load:
    """Have the worker build the context."""

    worker: WorkerId
    context: Digest


@dataclass(frozen=True, kw_only=True)
class Replace:
    """End the process of the worker and start another."""

    worker: WorkerId


@dataclass(frozen=True, kw_only=True)
class Lose:
    """The call may have run and has no outcome."""

    task: TaskId


@dataclass(frozen=True, kw_only=True)
class GiveBack:
    """These calls have not started and will not here. With `broken`: because that context could not be built."""

    tasks: list[TaskId]
    broken: Digest | None = None


Action: TypeAlias = Assign | Load | Replace | Lose | GiveBack


# --- state ------------------------------------------------------------------------------------------------------------


@dataclass
class _Worker:
    id: WorkerId
    up: bool = False
    used: bool = False  # something ran in this process
    held: deque[NodeTask] = field(default_factory=deque)  # sent, oldest first; the first may be running
    resident: set[Digest] = field(default_factory=set)
    building: Digest | None = None
    failed: set[Digest] = field(default_factory=set)  # contexts that could not be built ahead of calls

    @property
    def is_idle(self) -> bool:
        return self.up and not self.held and self.building is None

    def is_warm(self, lane: Lane) -> bool:
        return not lane.fresh and all(context in self.resident for context in lane.contexts)


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
                self._workers[event.worker] = worker = _Worker(event.worker, up=True)
                return self._feed(worker)
            case TaskEnded():
                return self._end_task(event)
            case LoadBegan():
                self._workers[event.worker].building = event.context
                return []
            case LoadEnded():
                return self._end_load(event)
            case LoadBroke():
                return self._break_load(event)
            case ContextGone():
                self._workers[event.worker].resident.discard(event.context)
                return []
            case WorkerEnded():
                return self._end_worker(event, now)
            case BuildWanted():
                self._wanted[event.context] = None
                return self._feed_all()
            case BlobForgotten():
                self._build.pop(event.digest, None)
                self._run.pop(event.digest, None)
                self._wanted.pop(event.digest, None)
                return []
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
        return self._feed_all()

    def _end_task(self, event: TaskEnded) -> list[Action]:
        worker = self._workers[event.worker]
        task = worker.held.popleft()
        assert task.id == event.task, f"worker {event.worker} ended task {event.task}, expected {task.id}"
        self._run_estimate(task.code).add(event.run_s)
        freed = self._release_nodes(task.id)
        actions = [self._replace(worker)] if task.lane.fresh else self._feed(worker)
        return actions + (self._feed_all() if freed else [])

    def _end_load(self, event: LoadEnded) -> list[Action]:
        worker = self._workers[event.worker]
        worker.building = None
        worker.resident.add(event.context)
        worker.failed.discard(event.context)
        self._build.setdefault(event.context, Estimate()).add(event.load_s)
        return self._feed(worker)

    def _break_load(self, event: LoadBroke) -> list[Action]:
        worker = self._workers[event.worker]
        worker.building = None
        worker.failed.add(event.context)
        returned = [worker.held.popleft().id] if event.task is not None else []
        for task in returned:
            self._release_nodes(task)
        return self._give_back_lanes(event.context, returned) + self._feed(worker)

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
        return actions + (self._give_back_waiting() if self._draining else self._feed_all())

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

    def _feed_all(self) -> list[Action]:
        """Spread waiting calls: one to each idle worker, warm ones first; then ahead to busy workers, in turn."""
        actions: list[Action] = []
        for warm_only in (True, False):
            for worker in self._workers.values():
                if worker.is_idle:
                    actions += self._give_one(worker, warm_only=warm_only)
        progress = True
        while self._lanes and progress:
            progress = False
            for worker in self._workers.values():
                given = self._give_one(worker, warm_only=True) if worker.held else []
                progress = progress or bool(given)
                actions += given
        return actions

    def _feed(self, worker: _Worker) -> list[Action]:
        """Give this worker all that it should hold now."""
        actions: list[Action] = []
        while given := self._give_one(worker, warm_only=False):
            actions += given
        return actions

    def _give_one(self, worker: _Worker, *, warm_only: bool) -> list[Action]:
        """At most one thing to do for this worker."""
        if not worker.up or worker.building is not None:
            return []
        lane = self._choose(worker, warm_only=warm_only)
        if lane is None:
            return [] if warm_only else self._load_wanted(worker)
        if lane.fresh and worker.used:
            return [self._replace(worker)]
        return [self._assign(worker, lane)]

    def _load_wanted(self, worker: _Worker) -> list[Action]:
        if not worker.is_idle or self._draining:
            return []
        for context in self._wanted:
            if context not in worker.resident and context not in worker.failed:
                worker.building = context
                worker.used = True
                return [Load(worker=worker.id, context=context)]
        return []

    def _replace(self, worker: _Worker) -> Action:
        worker.up = False
        return Replace(worker=worker.id)

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
        return not warm_only and (task.lane.fresh or self._pays(worker, task.lane))

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
        """Time to build what the lane needs and the worker lacks."""
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
