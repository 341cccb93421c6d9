"""Which manager gets which call. Pure: see the package's docstring. The interchange feeds it and acts on its actions.

Calls wait in *lanes*, one for each set of contexts that calls need together. A manager with room is given calls first
of lanes whose contexts it holds, then of others where a build pays. What a manager may hold at a time is its slots
and a look-ahead computed from measured run times, so the first manager that is ready does not swallow the queue.

Calls that were in the hands of a manager that is lost may have run: they fail. Calls that come back unstarted wait
again, with their old rank.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum, auto

from parsl_context.messages import ContextOptions, ContextRow, Digest, ManagerId, TaskId, WorkerId
from parsl_context.scheduling.cluster_events import (
    Action,
    BlobForgotten,
    BuildBegan,
    BuildBroke,
    BuildEnded,
    ContextDeclared,
    ContextGone,
    ContextHeld,
    ContextNoted,
    ContextWanted,
    Event,
    EvictionWanted,
    FailBuild,
    FailTasks,
    ManagerContact,
    ManagerHeld,
    ManagerJoined,
    ManagerLeaving,
    ManagerLeft,
    SendBuild,
    SendEviction,
    SendTask,
    StopManager,
    TaskCancelled,
    TaskEnded,
    TaskLost,
    TasksReturned,
    TaskSubmitted,
    Tick,
)
from parsl_context.scheduling.node_events import Lane
from parsl_context.scheduling.placement import (
    MANAGER_LOOKAHEAD_S,
    Estimate,
    lookahead,
    urgency,
    worth_a_build,
)

BUILD_ATTEMPTS = 3  # builds of a context that may fail in a row before its calls fail
_FIRST_PAUSE_S = 0.2  # before the second attempt; doubles with each one
_LONGEST_PAUSE_S = 60.0


# --- state ------------------------------------------------------------------------------------------------------------


class Phase(Enum):
    """What a manager may be sent. A manager only ever moves down this list."""

    OPEN = auto()  # takes calls
    HELD = auto()  # takes no more; the executor is about to end its block
    DRAINING = auto()  # takes no more; ends when it holds none


@dataclass
class Manager:
    """A manager as the interchange knows it."""

    id: ManagerId
    node: str
    block: str
    slots: int
    prefetch: int | None
    drain_at: float
    contact_at: float
    idle_since: float | None
    phase: Phase = Phase.OPEN
    held: set[TaskId] = field(default_factory=set)
    resident: dict[Digest, set[WorkerId]] = field(default_factory=dict)
    building: dict[Digest, int] = field(default_factory=dict)  # builds that are going on
    stopping: bool = False

    def holds(self, lane: Lane) -> bool:
        """Whether some worker there has all contexts of the lane."""
        return not lane.fresh and all(context in self.resident for context in lane.contexts)


@dataclass
class _Queued:
    """A call that waits or runs."""

    lane: Lane
    code: Digest | None
    priority: float
    since: float
    in_order: bool = False  # not overtaken by calls whose contexts are warm
    manager: ManagerId | None = None


@dataclass
class _Queue:
    """The waiting calls of one lane, by priority, then by age."""

    heap: list[tuple[float, TaskId]] = field(default_factory=list)


@dataclass
class _OnNode:
    """What happened with a context on one manager."""

    loads: int = 0
    calls: int = 0
    load_s: float = 0.0  # total
    size_bytes: int = 0
    used_at: float | None = None
    evictions: int = 0
    note: str = ""


@dataclass
class _Record:
    """A context in the registry."""

    options: ContextOptions
    build: Estimate = field(default_factory=Estimate)
    failures: int = 0  # builds that failed since the last that did not
    pause_until: float = 0.0  # no build before this time
    given_up: bool = False  # calls fail at once until the pause is over
    wanted: bool = False
    avoid: set[ManagerId] = field(default_factory=set)  # where the last builds failed
    nodes: dict[ManagerId, _OnNode] = field(default_factory=dict)


class ClusterState:
    """Managers, calls and contexts that the interchange knows. Changed by `handle` alone.

    Parameters
    ----------
    heartbeat_threshold_s
        A manager that was silent for longer is lost. [s]
    preference
        Puts managers into the order in which they are considered for calls without contexts; None: as they joined.
    """

    def __init__(
        self,
        *,
        heartbeat_threshold_s: float,
        preference: Callable[[list[Manager]], list[Manager]] | None = None,
    ) -> None:
        self._threshold_s = heartbeat_threshold_s
        self._preference = preference
        self.managers: dict[ManagerId, Manager] = {}
        self.blocks: list[str] = []  # every block that connected, in order
        self._tasks: dict[TaskId, _Queued] = {}
        self._lanes: dict[Lane, _Queue] = {}  # lanes with waiting calls
        self._open: dict[ManagerId, Manager] = {}  # managers that may have room
        self._contexts: dict[Digest, _Record] = {}
        self._run: dict[Digest | None, Estimate] = {}

    # --- events

    def handle(self, event: Event, *, now: float) -> list[Action]:
        """Take an event into account. Gives what to do about it, in order."""
        match event:
            case TaskSubmitted():
                return self._submit(event, now)
            case TaskEnded():
                return self._end_task(event, now)
            case ManagerContact():
                self.managers[event.manager].contact_at = now
                return []
            case TaskLost():
                return self._release(event.manager, [event.task], now) + self._fill(event.manager, now)
            case TasksReturned():
                return self._take_back(event.manager, event.tasks, now) + self._fill_all(now)
            case TaskCancelled():
                return self._cancel(event.task)
            case ManagerJoined():
                return self._join(event, now)
            case ManagerHeld():
                return self._close(event.manager, Phase.HELD)
            case ManagerLeaving():
                return self._close(event.manager, Phase.DRAINING)
            case ManagerLeft():
                return self._lose(event.manager, event.reason, now)
            case BuildBegan():
                building = self.managers[event.manager].building
                building[event.context] = building.get(event.context, 0) + 1
                return []
            case ContextHeld():
                self.managers[event.manager].resident.setdefault(event.context, set()).add(event.worker)
                return self._fill(event.manager, now)
            case ContextNoted():
                if (record := self._contexts.get(event.context)) is not None:
                    record.nodes.setdefault(event.manager, _OnNode()).note = event.note
                return []
            case BuildEnded():
                return self._end_build(event, now)
            case BuildBroke():
                return self._break_build(event, now)
            case ContextGone():
                return self._drop_instance(event)
            case ContextDeclared():
                self._contexts.setdefault(event.context, _Record(event.options)).options = event.options
                return []
            case ContextWanted():
                self._contexts[event.context].wanted = True
                return [SendBuild(context=event.context, manager=manager) for manager in self._open]
            case EvictionWanted():
                if (record := self._contexts.get(event.context)) is not None:
                    record.wanted = False
                return [
                    SendEviction(context=event.context, manager=manager.id)
                    for manager in self.managers.values()
                    if event.context in manager.resident or event.context in manager.building
                ]
            case BlobForgotten():
                self._run.pop(event.digest, None)
                self._contexts.pop(event.digest, None)
                return []
            case Tick():
                return self._tick(now)

    def next_deadline(self) -> float:
        """When `Tick` is due next; infinity if never."""
        times = [manager.contact_at + self._threshold_s for manager in self.managers.values()]
        times += [manager.drain_at for manager in self.managers.values() if manager.phase is not Phase.DRAINING]
        times += [record.pause_until for record in self._contexts.values() if record.failures]
        return min(times, default=math.inf)

    @property
    def waiting(self) -> int:
        """Calls that no manager holds."""
        return sum(1 for task in self._tasks.values() if task.manager is None)

    def knows_task(self, task: TaskId) -> bool:
        """Whether the call waits or runs."""
        return task in self._tasks

    def knows_context(self, context: Digest) -> bool:
        """Whether the context was declared."""
        return context in self._contexts

    def _submit(self, event: TaskSubmitted, now: float) -> list[Action]:
        self._tasks[event.task] = _Queued(event.lane, event.code, event.priority, now, event.in_order)
        broken = self._given_up(event.lane, now)
        if broken is not None:
            return self._fail_build([event.task], broken)
        self._enqueue(event.task)
        return self._place_lane(event.lane, now)

    def _end_task(self, event: TaskEnded, now: float) -> list[Action]:
        task = self._tasks.get(event.task)
        if task is None or task.manager != event.manager:
            return []
        self._run.setdefault(task.code, Estimate()).add(event.run_s)
        for context in task.lane.contexts:
            if (record := self._contexts.get(context)) is not None:
                on_node = record.nodes.setdefault(event.manager, _OnNode())
                on_node.calls += event.calls
                on_node.used_at = now
        return self._release(event.manager, [event.task], now) + self._fill(event.manager, now)

    def _cancel(self, task_id: TaskId) -> list[Action]:
        task = self._tasks.get(task_id)
        if task is not None and task.manager is None:
            del self._tasks[task_id]  # its entry in the lane is skipped when its turn comes
        return []

    def _join(self, event: ManagerJoined, now: float) -> list[Action]:
        actions: list[Action] = []
        for other in [m for m in self.managers.values() if m.node == event.node]:
            actions += self._lose(other.id, "it joined anew after its link broke", now)
        manager = Manager(
            id=event.manager,
            node=event.node,
            block=event.block,
            slots=event.slots,
            prefetch=event.prefetch,
            drain_at=math.inf if event.drain_in_s is None else now + event.drain_in_s,
            contact_at=now,
            idle_since=now,
        )
        self.managers[manager.id] = manager
        self._open[manager.id] = manager
        self.blocks.append(event.block)
        actions += [
            SendBuild(context=context, manager=manager.id)
            for context, record in self._contexts.items()
            if record.wanted
        ]
        return actions + self._fill(manager.id, now)

    def _close(self, manager_id: ManagerId, phase: Phase) -> list[Action]:
        manager = self.managers.get(manager_id)
        if manager is None:
            return []
        if manager.phase is not Phase.DRAINING:
            manager.phase = phase
        self._open.pop(manager_id, None)
        return self._stop_if_drained(manager)

    def _stop_if_drained(self, manager: Manager) -> list[Action]:
        if manager.phase is Phase.DRAINING and not manager.held and not manager.stopping:
            manager.stopping = True
            return [StopManager(manager=manager.id, reason="it has drained")]
        return []

    def _lose(self, manager_id: ManagerId, reason: str, now: float) -> list[Action]:
        manager = self.managers.pop(manager_id, None)
        if manager is None:
            return []
        self._open.pop(manager_id, None)
        for record in self._contexts.values():
            record.nodes.pop(manager_id, None)
            record.avoid.discard(manager_id)
        lost = sorted(manager.held)
        for task in lost:
            del self._tasks[task]
        return [FailTasks(tasks=lost, manager=manager_id, reason=reason)] if lost else []

    def _tick(self, now: float) -> list[Action]:
        actions: list[Action] = []
        for manager in list(self.managers.values()):
            if now >= manager.contact_at + self._threshold_s:
                reason = f"nothing was heard of it for {self._threshold_s:g} s (heartbeat_threshold)"
                actions += self._lose(manager.id, reason, now)
            elif now >= manager.drain_at and manager.phase is not Phase.DRAINING:
                actions += self._close(manager.id, Phase.DRAINING)
        for record in self._contexts.values():
            if record.failures and now >= record.pause_until:
                record.pause_until = math.inf  # until the next failure
                if record.given_up:
                    record.given_up = False
                    record.failures = 0
                    record.avoid.clear()
        return actions + self._fill_all(now)

    # --- contexts

    def _end_build(self, event: BuildEnded, now: float) -> list[Action]:
        manager = self.managers[event.manager]
        self._stop_building(manager, event.context)
        record = self._contexts.get(event.context)
        if record is None:
            return []
        record.build.add(event.load_s)
        record.failures = 0
        record.avoid.discard(event.manager)
        on_node = record.nodes.setdefault(event.manager, _OnNode())
        on_node.loads += 1
        on_node.load_s += event.load_s
        on_node.size_bytes = event.size_bytes
        return []

    def _break_build(self, event: BuildBroke, now: float) -> list[Action]:
        manager = self.managers[event.manager]
        self._stop_building(manager, event.context)
        actions = self._take_back(event.manager, event.tasks, now)
        record = self._contexts.get(event.context)
        if record is None:
            return actions
        record.failures += 1
        record.avoid.add(event.manager)
        pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** (record.failures - 1))
        record.pause_until = now + pause_s
        if record.failures >= BUILD_ATTEMPTS:
            record.given_up = True
            actions += self._fail_build(self._waiting_for(event.context), event.context)
        return actions + self._fill_all(now)

    def _drop_instance(self, event: ContextGone) -> list[Action]:
        manager = self.managers[event.manager]
        workers = manager.resident.get(event.context, set())
        workers.discard(event.worker)
        if not workers:
            manager.resident.pop(event.context, None)
        record = self._contexts.get(event.context)
        if record is not None and event.was_evicted:
            record.nodes.setdefault(event.manager, _OnNode()).evictions += 1
        return []

    @staticmethod
    def _stop_building(manager: Manager, context: Digest) -> None:
        left = manager.building.pop(context, 0) - 1
        if left > 0:
            manager.building[context] = left

    def _waiting_for(self, context: Digest) -> list[TaskId]:
        found: list[TaskId] = []
        for lane in [lane for lane in self._lanes if context in lane.contexts]:
            entries = sorted(self._lanes.pop(lane).heap)
            found += [task for _, task in entries if task in self._tasks]
        return found

    def _fail_build(self, tasks: list[TaskId], context: Digest) -> list[Action]:
        for task in tasks:
            del self._tasks[task]
        attempts = self._contexts[context].failures
        return [FailBuild(tasks=tasks, context=context, attempts=attempts)] if tasks else []

    def _given_up(self, lane: Lane, now: float) -> Digest | None:
        for context in lane.contexts:
            record = self._contexts[context]
            if record.given_up and now < record.pause_until:
                return context
        return None

    def _may_build(self, lane: Lane, manager: Manager, now: float) -> bool:
        """Whether no pause forbids to build the lane's missing contexts there now."""
        for context in lane.contexts:
            record = self._contexts[context]
            if not record.failures or context in manager.resident:
                continue
            if record.pause_until != math.inf and now < record.pause_until:
                return False
            if manager.id in record.avoid and len(record.avoid) < len(self._open):
                return False
        return True

    # --- calls

    def _enqueue(self, task_id: TaskId) -> None:
        task = self._tasks[task_id]
        queue = self._lanes.setdefault(task.lane, _Queue())
        heapq.heappush(queue.heap, (task.priority, task_id))

    def _release(self, manager_id: ManagerId, tasks: Iterable[TaskId], now: float) -> list[Action]:
        manager = self.managers[manager_id]
        for task in tasks:
            manager.held.discard(task)
            self._tasks.pop(task, None)
        if not manager.held and manager.idle_since is None:
            manager.idle_since = now
        return self._stop_if_drained(manager)

    def _take_back(self, manager_id: ManagerId, tasks: Iterable[TaskId], now: float) -> list[Action]:
        manager = self.managers[manager_id]
        for task_id in tasks:
            if task_id in manager.held:
                manager.held.discard(task_id)
                self._tasks[task_id].manager = None
                self._enqueue(task_id)
        if not manager.held and manager.idle_since is None:
            manager.idle_since = now
        return self._stop_if_drained(manager)

    # --- placement

    def _fill_all(self, now: float) -> list[Action]:
        actions: list[Action] = []
        for manager in list(self._candidates(Lane((), False))):
            if not self._lanes:
                break
            actions += self._fill(manager.id, now)
        return actions

    def _place_lane(self, lane: Lane, now: float) -> list[Action]:
        """Send the newest arrival somewhere, if any manager has room for it."""
        cold: Manager | None = None
        for manager in self._candidates(lane):
            if not self._has_room(manager, lane):
                continue
            if manager.holds(lane):
                return [self._send(lane, manager)]
            if cold is None and self._may_build(lane, manager, now) and self._pays(lane, manager):
                cold = manager
        return [self._send(lane, cold)] if cold is not None and lane in self._lanes else []

    def _candidates(self, lane: Lane) -> Iterable[Manager]:
        if self._preference is None or lane.contexts:
            return self._open.values()
        return self._preference(list(self._open.values()))

    def _fill(self, manager_id: ManagerId, now: float) -> list[Action]:
        """Send a manager what it has room for."""
        manager = self._open.get(manager_id)
        actions: list[Action] = []
        while manager is not None and (lane := self._choose(manager, now)) is not None:
            actions.append(self._send(lane, manager))
        return actions

    def _choose(self, manager: Manager, now: float) -> Lane | None:
        best: Lane | None = None
        best_rank = (math.inf, math.inf)
        for lane in list(self._lanes):
            head = self._head(lane)
            if head is None or not self._has_room(manager, lane):
                continue
            warm = manager.holds(lane)
            if not warm and not (self._may_build(lane, manager, now) and self._pays(lane, manager)):
                continue
            task = self._tasks[head]
            build = Estimate(0.0) if warm else self._missing_build(lane, manager)
            rank = (task.priority, urgency(since_s=task.since, is_warm=warm or task.in_order, build=build))
            if rank < best_rank:
                best, best_rank = lane, rank
        return best

    def _head(self, lane: Lane) -> TaskId | None:
        """The call of this lane whose turn it is; drops entries of cancelled calls."""
        heap = self._lanes[lane].heap
        while heap and heap[0][1] not in self._tasks:
            heapq.heappop(heap)
        if not heap:
            del self._lanes[lane]
            return None
        return heap[0][1]

    def _has_room(self, manager: Manager, lane: Lane) -> bool:
        if manager.prefetch is not None:
            return len(manager.held) < manager.slots + manager.prefetch
        head = self._head(lane) if lane in self._lanes else None
        if head is None or lane.fresh:
            return len(manager.held) < manager.slots
        run = self._run.get(self._tasks[head].code, Estimate())
        return len(manager.held) < manager.slots * (1 + lookahead(run, MANAGER_LOOKAHEAD_S))

    def _pays(self, lane: Lane, manager: Manager) -> bool:
        """Whether this cold manager should build the lane's contexts."""
        if lane.fresh:
            return True
        if len(manager.held) >= manager.slots:
            return False
        holders = 0
        for other in self.managers.values():
            if other.holds(lane):
                holders += min(len(other.resident[context]) for context in lane.contexts)
            elif any(context in other.building for context in lane.contexts):
                holders += 1
        head = self._head(lane)
        code = self._tasks[head].code if head is not None else None
        return worth_a_build(
            waiting=len(self._lanes[lane].heap) if lane in self._lanes else 0,
            holders=holders,
            run=self._run.get(code, Estimate()),
            build=self._missing_build(lane, manager),
        )

    def _missing_build(self, lane: Lane, manager: Manager) -> Estimate:
        missing = [self._contexts[c].build for c in lane.contexts if c not in manager.resident]
        if any(estimate.mean_s is None for estimate in missing):
            return Estimate()
        return Estimate(sum(estimate.mean_s or 0.0 for estimate in missing))

    def _send(self, lane: Lane, manager: Manager) -> Action:
        heap = self._lanes[lane].heap
        _, task_id = heapq.heappop(heap)
        if not heap:
            del self._lanes[lane]
        self._tasks[task_id].manager = manager.id
        manager.held.add(task_id)
        manager.idle_since = None
        return SendTask(task=task_id, manager=manager.id)

    # --- what people look at

    def context_rows(self, now: float) -> list[ContextRow]:
        """A row for each context on each manager that has, builds or served it; one row if there is none."""
        rows = []
        for digest, record in self._contexts.items():
            where = [
                manager
                for manager in self.managers.values()
                if manager.id in record.nodes or digest in manager.building or digest in manager.resident
            ]
            rows += [self._row(digest, record, manager, now) for manager in where]
            if not where:
                rows.append(self._row(digest, record, None, now))
        return rows

    def _row(self, digest: Digest, record: _Record, manager: Manager | None, now: float) -> ContextRow:
        on_node = record.nodes.get(manager.id, _OnNode()) if manager is not None else _OnNode()
        workers = len(manager.resident.get(digest, ())) if manager is not None else 0
        if workers:
            state = "ready"
        elif manager is not None and digest in manager.building:
            state = "building"
        else:
            state = "failed" if record.given_up else "cold"
        return ContextRow(
            name=record.options.name,
            digest=digest,
            state=state,
            where=None if manager is None else manager.id,
            workers=workers,
            loads=on_node.loads,
            calls=on_node.calls,
            load_s=on_node.load_s / on_node.loads if on_node.loads else 0.0,
            bytes=on_node.size_bytes,
            last_used_s=None if on_node.used_at is None else now - on_node.used_at,
            evictions=on_node.evictions,
            note=on_node.note,
        )
