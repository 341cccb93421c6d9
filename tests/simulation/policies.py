"""Other ways to place calls, to compare with: what Parsl and its users do today, over the same simulated nodes.

Each interchange sends a manager at most one call per worker (HTEX's default: nothing is prefetched), in the order in
which the calls were made. `OnDemandNode` is a node as favourable to them as can be: a free worker that has the contexts
is preferred, workers build what they lack for the call they were given and keep it, and the least recently used goes
when room is needed. HTEX with contexts kept in module globals has none of that but the building.
"""

from __future__ import annotations

import math
import random
import zlib
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable

from parsl_context.scheduling.cluster import events as cluster
from parsl_context.scheduling.lines import Lane
from parsl_context.scheduling.node import events as node
from parsl_context.wire.messages import Digest, ManagerId, TaskId, WorkerId
from tests.simulation.simulator import OURS, Policy


class _Pool:
    """Managers that can be chosen from and removed in constant time."""

    def __init__(self, seed: int = 0) -> None:
        self._names: list[ManagerId] = []
        self._index: dict[ManagerId, int] = {}
        self._random = random.Random(seed)

    def add(self, name: ManagerId) -> None:
        if name not in self._index:
            self._index[name] = len(self._names)
            self._names.append(name)

    def remove(self, name: ManagerId) -> None:
        index = self._index.pop(name, None)
        if index is not None:
            last = self._names.pop()
            if last != name:
                self._names[index] = last
                self._index[last] = index

    def choose(self) -> ManagerId | None:
        return self._names[self._random.randrange(len(self._names))] if self._names else None


class Placement:
    """An interchange that keeps calls in one queue and sends each where `_choose` says."""

    def __init__(self) -> None:
        self._waiting: deque[TaskId] = deque()
        self._lanes: dict[TaskId, Lane] = {}
        self._where: dict[TaskId, ManagerId] = {}
        self._free: dict[ManagerId, int] = {}
        self._held: dict[ManagerId, set[TaskId]] = {}

    def handle(self, event: cluster.Event, *, now: float) -> list[cluster.Action]:
        """Take an event into account."""
        match event:
            case cluster.TaskSubmitted():
                self._lanes[event.task] = event.lane
                self._wait(event.task)
                return self._place(None)
            case cluster.ManagerJoined():
                self._held[event.manager] = set()
                self._change(event.manager, event.slots)
                return self._place(event.manager)
            case cluster.ManagerLeft():
                lost = sorted(self._held.pop(event.manager, ()))
                self._remove(event.manager)
                for task in lost:
                    del self._where[task], self._lanes[task]
                reason = event.reason
                failed = [cluster.FailTasks(tasks=lost, manager=event.manager, reason=reason)] if lost else []
                return [*failed, *self._place(None)]
            case cluster.TaskEnded() if self._where.get(event.task) == event.manager:
                del self._where[event.task], self._lanes[event.task]
                self._held[event.manager].discard(event.task)
                self._change(event.manager, 1)
                return self._place(event.manager)
        return []

    def next_deadline(self) -> float:
        """Nothing is ever due."""
        return math.inf

    def knows_task(self, task: TaskId) -> bool:
        """Whether the call waits or runs."""
        return task in self._lanes

    def _wait(self, task: TaskId) -> None:
        self._waiting.append(task)

    def _place(self, _manager: ManagerId | None) -> list[cluster.Action]:
        """Send what can be sent, after this manager got room; None: something else happened."""
        actions: list[cluster.Action] = []
        while self._waiting and (manager := self._choose()) is not None:
            actions.append(self._send(self._waiting.popleft(), manager))
        return actions

    def _send(self, task: TaskId, manager: ManagerId) -> cluster.Action:
        self._where[task] = manager
        self._held[manager].add(task)
        self._change(manager, -1)
        return cluster.SendTask(task=task, manager=manager)

    def _choose(self) -> ManagerId | None:
        raise NotImplementedError

    def _change(self, manager: ManagerId, by: int) -> None:
        """A manager has more or fewer free workers."""
        self._free[manager] = self._free.get(manager, 0) + by

    def _remove(self, manager: ManagerId) -> None:
        self._free.pop(manager, None)


class RandomPlacement(Placement):
    """As HTEX: any manager with a free worker, at random."""

    def __init__(self) -> None:
        super().__init__()
        self._pool = _Pool()

    def _choose(self) -> ManagerId | None:
        return self._pool.choose()

    def _change(self, manager: ManagerId, by: int) -> None:
        super()._change(manager, by)
        if self._free[manager] > 0:
            self._pool.add(manager)
        else:
            self._pool.remove(manager)

    def _remove(self, manager: ManagerId) -> None:
        super()._remove(manager)
        self._pool.remove(manager)


class LeastLoaded(Placement):
    """The manager with most free workers."""

    def __init__(self) -> None:
        super().__init__()
        self._buckets: dict[int, OrderedDict[ManagerId, None]] = {}
        self._most = 0

    def _choose(self) -> ManagerId | None:
        while self._most > 0 and not self._buckets.get(self._most):
            self._most -= 1
        return next(iter(self._buckets[self._most])) if self._most > 0 else None

    def _change(self, manager: ManagerId, by: int) -> None:
        self._buckets.get(self._free.get(manager, 0), OrderedDict()).pop(manager, None)
        super()._change(manager, by)
        free = self._free[manager]
        self._buckets.setdefault(free, OrderedDict())[manager] = None
        self._most = max(self._most, free)

    def _remove(self, manager: ManagerId) -> None:
        self._buckets.get(self._free.get(manager, 0), OrderedDict()).pop(manager, None)
        super()._remove(manager)


class Affinity(RandomPlacement):
    """A hard key: the contexts of a call decide its manager, as a hash does; calls without contexts go anywhere.

    When managers come and go, as few keys as possible move (rendezvous hashing).
    """

    def __init__(self) -> None:
        super().__init__()
        self._queues: dict[Lane, deque[TaskId]] = {}
        self._homes: dict[Lane, ManagerId] = {}
        self._keyed: dict[ManagerId, OrderedDict[Lane, None]] = {}  # lanes of a manager with waiting calls, in turn

    def handle(self, event: cluster.Event, *, now: float) -> list[cluster.Action]:
        """Take an event into account."""
        if isinstance(event, cluster.ManagerJoined | cluster.ManagerLeft):
            self._homes.clear()
        actions = super().handle(event, now=now)
        if isinstance(event, cluster.ManagerJoined | cluster.ManagerLeft):
            actions += self._rehome()
        return actions

    def _wait(self, task: TaskId) -> None:
        lane = self._lanes[task]
        if not lane.contexts:
            self._waiting.append(task)
            return
        self._queues.setdefault(lane, deque()).append(task)
        home = self._home(lane)
        if home is not None:
            self._keyed.setdefault(home, OrderedDict()).setdefault(lane)
            self._dirty = home

    _dirty: ManagerId | None = None

    def _place(self, manager: ManagerId | None) -> list[cluster.Action]:
        manager, self._dirty = manager or self._dirty, None
        keyed = self._serve(manager) if manager is not None else []
        return keyed + super()._place(manager)

    def _serve(self, manager: ManagerId) -> list[cluster.Action]:
        actions: list[cluster.Action] = []
        lanes = self._keyed.get(manager)
        while lanes and self._free.get(manager, 0) > 0:
            lane, _ = lanes.popitem(last=False)
            actions.append(self._send(self._queues[lane].popleft(), manager))
            if self._queues[lane]:
                lanes[lane] = None
            else:
                del self._queues[lane]
        return actions

    def _rehome(self) -> list[cluster.Action]:
        self._keyed = {}
        for lane in self._queues:
            if (home := self._home(lane)) is not None:
                self._keyed.setdefault(home, OrderedDict())[lane] = None
        return [action for manager in list(self._keyed) for action in self._serve(manager)]

    def _home(self, lane: Lane) -> ManagerId | None:
        if lane not in self._homes and self._free:
            key = "".join(lane.contexts)
            self._homes[lane] = max(self._free, key=lambda m: (zlib.crc32(f"{key}{m}".encode()), m))
        return self._homes.get(lane)


class OnDemandNode:
    """A node that builds what a call lacks when it comes, and keeps it until room is needed."""

    def __init__(self, workers: int) -> None:
        self._idle: OrderedDict[WorkerId, None] = OrderedDict()
        self._running: dict[WorkerId, node.NodeTask] = {}
        self._waiting: deque[node.NodeTask] = deque()
        self._resident: dict[WorkerId, OrderedDict[Digest, None]] = {}  # least recently used first
        self._warm: dict[Digest, OrderedDict[WorkerId, None]] = {}  # idle workers that have a context
        self._used: OrderedDict[tuple[WorkerId, Digest], None] = OrderedDict()  # instances, least recently used first
        self._leaving: set[tuple[WorkerId, Digest]] = set()
        self._sizes: dict[Digest, int] = {}
        self._limits = node.LimitsSet()
        self._taken = 0  # by instances and by those that are to be built. [bytes]

    def handle(self, event: node.Event, *, now: float) -> list[node.Action]:
        """Take an event into account."""
        match event:
            case node.LimitsSet():
                self._limits = event
            case node.ContextDeclared():
                self._sizes[event.context] = event.size_bytes or 0
            case node.WorkerReady():
                self._resident[event.worker] = OrderedDict()
                self._rest(event.worker)
                return self._feed()
            case node.TasksArrived():
                self._waiting.extend(event.tasks)
                return self._feed()
            case node.TaskEnded():
                self._rest(event.worker, self._running.pop(event.worker).lane.contexts)
                return self._feed()
            case node.ContextGone():
                self._taken -= self._sizes.get(event.context, 0)
                self._leaving.discard((event.worker, event.context))
                return self._feed()
        return []

    def next_deadline(self, now: float) -> float | None:
        """Nothing is ever due."""
        return None

    def _rest(self, worker: WorkerId, used: Iterable[Digest] = ()) -> None:
        self._idle[worker] = None
        for context in used:
            self._used[(worker, context)] = None
            self._used.move_to_end((worker, context))
        for context in self._resident[worker]:
            self._warm.setdefault(context, OrderedDict())[worker] = None

    def _feed(self) -> list[node.Action]:
        actions: list[node.Action] = []
        while self._waiting and self._idle:
            task = self._waiting[0]
            worker = self._best(task.lane.contexts)
            missing = [c for c in task.lane.contexts if c not in self._resident[worker]]
            evictions, fits = self._make_room(missing, worker)
            actions += evictions
            if not fits:
                break  # until instances are gone, or a call ends
            self._waiting.popleft()
            actions += self._keep_few(worker, task.lane.contexts, missing)
            actions.append(self._assign(task, worker, missing))
        return actions

    def _best(self, contexts: tuple[Digest, ...]) -> WorkerId:
        for context in contexts:
            for worker in self._warm.get(context, ()):
                if all(other in self._resident[worker] for other in contexts):
                    return worker
        return next(iter(self._idle))

    def _assign(self, task: node.NodeTask, worker: WorkerId, missing: list[Digest]) -> node.Action:
        del self._idle[worker]
        for context in self._resident[worker]:
            self._warm[context].pop(worker, None)
        for context in missing:
            self._resident[worker][context] = None
            self._used[(worker, context)] = None
            self._taken += self._sizes.get(context, 0)
        self._running[worker] = task
        return node.Assign(task=task.id, worker=worker)

    def _keep_few(self, worker: WorkerId, contexts: tuple[Digest, ...], missing: list[Digest]) -> list[node.Action]:
        """Give up what the worker may not keep beside what it is about to build."""
        limit = self._limits.contexts_per_worker
        if limit is None or not missing:
            return []
        others = [context for holder, context in self._used if holder == worker and context not in contexts]
        beyond = len(self._resident[worker]) + len(missing) - limit
        return [self._evict(worker, context) for context in others[: max(0, beyond)]]

    def _make_room(self, missing: list[Digest], worker: WorkerId) -> tuple[list[node.Action], bool]:
        budget = self._limits.memory_bytes
        needed = sum(self._sizes.get(context, 0) for context in missing)
        if budget is None or not needed:
            return [], True
        leaving = sum(self._sizes.get(context, 0) for _, context in self._leaving)
        lacking = self._taken - leaving + needed - budget
        actions: list[node.Action] = []
        for holder, context in list(self._used) if lacking > 0 else ():
            if lacking <= 0:
                break
            if holder in self._idle:
                actions.append(self._evict(holder, context))
                lacking -= self._sizes.get(context, 0)
        return actions, self._taken + needed <= budget

    def _evict(self, worker: WorkerId, context: Digest) -> node.Action:
        del self._used[(worker, context)], self._resident[worker][context]
        self._warm.get(context, OrderedDict()).pop(worker, None)
        self._leaving.add((worker, context))
        return node.Evict(worker=worker, context=context)


def _policy(name: str, kind: Callable[[], Placement]) -> Policy:
    return Policy(name, kind, OnDemandNode)


RANDOM = _policy("random", RandomPlacement)
AFFINITY = _policy("hard key", Affinity)
LEAST_LOADED = _policy("least loaded", LeastLoaded)
OTHERS = (RANDOM, AFFINITY, LEAST_LOADED)
ALL = (OURS, *OTHERS)
