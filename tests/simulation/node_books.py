"""What must always hold on a node, slow and by itself: books kept from what its manager was told and then did.

They know nothing of `NodeState` but its events and actions. A worker is seen here as its manager has heard of it so
far: what it has said since may still be on its way.
"""

from __future__ import annotations

import itertools
from collections import Counter, deque
from dataclasses import dataclass, field
from enum import Enum, auto

from typing_extensions import assert_never

from parsl_context.scheduling.node import events as node
from parsl_context.wire.messages import Digest, OrderId, TaskId, WorkerId


class Place(Enum):
    """Where a call is that no worker holds."""

    WAITING = auto()
    DYING = auto()  # its worker has died or could not build for it: lost or given back at once
    RETURNED = auto()
    LOST = auto()
    ENDED = auto()


@dataclass(eq=False)
class Seen:
    """A worker."""

    number: WorkerId
    up: bool = False
    used: bool = False  # something ran in its process
    held: deque[TaskId] = field(default_factory=deque)
    resident: set[Digest] = field(default_factory=set)
    inherited: frozenset[Digest] = frozenset()
    leaving: set[Digest] = field(default_factory=set)
    building: Digest | None = None
    unasked: set[Digest] = field(default_factory=set)  # what it built for calls that build what they lack
    used_at: dict[Digest, float] = field(default_factory=dict)
    # What was known of sizes when the builds began that it is at, and whether room was made as far as that goes.
    began: tuple[dict[Digest, int], bool] | None = None
    again: set[Digest] = field(default_factory=set)  # what its process before held of its own
    kept: tuple[Digest, ...] | None = None  # what it was told to build, and no call that this was for has come yet

    @property
    def is_idle(self) -> bool:
        return self.up and not self.held and self.building is None

    def serves(self, task: node.NodeTask) -> bool:
        """Whether it holds what the call needs, and will when it comes to it."""
        return task.lane.is_anywhere or (self.resident - self.leaving).issuperset(task.lane.contexts)


class Books:
    """Calls, workers, templates and orders of a node."""

    def __init__(self, workers: int, nodes: list[str], limits: node.LimitsSet) -> None:
        self.workers = {WorkerId(number): Seen(WorkerId(number)) for number in range(workers)}
        self.limits = limits
        self.now = 0.0
        self.tasks: dict[TaskId, node.NodeTask] = {}
        self.place: dict[TaskId, Place | Seen] = {}
        self.arrived: dict[TaskId, int] = {}  # in this order
        self.came_back: set[TaskId] = set()  # from a worker, to wait again
        self.nodes = set(nodes)
        self.taken: dict[TaskId, tuple[str, ...]] = {}
        self.templates: dict[node.TemplateKey, bool] = {}  # whether it is ready
        self.kept: dict[OrderId, node.TemplateKey | Seen] = {}  # what was built and not released yet
        self.orders: Counter[tuple[Digest, ...]] = Counter()
        self.refused: set[tuple[Digest, ...]] = set()
        self.wanted: set[Digest] = set()  # built ahead of calls, at some time
        self.declared: dict[Digest, int] = {}
        self.measured: dict[Digest, int] = {}
        self.shared: set[Digest] = set()
        self.pinned: set[Digest] = set()
        self.isolated: set[Digest] = set()
        self.draining = False
        self._count = itertools.count()

    def at(self, place: Place) -> list[TaskId]:
        """Calls there, in the order in which they came."""
        return sorted((t for t, p in self.place.items() if p is place), key=self.arrived.__getitem__)

    # --- what the manager hears

    def hear(self, event: node.Event) -> None:
        """An event, before anything is decided on it."""
        match event:
            case node.TasksArrived(tasks=tasks):
                for task in tasks:
                    assert self.place.get(task.id, Place.RETURNED) is Place.RETURNED
                    self.tasks[task.id], self.place[task.id] = task, Place.WAITING
                    self.arrived[task.id] = next(self._count)
                    self.came_back.discard(task.id)
            case node.ContextDeclared():
                if event.size_bytes is not None:
                    self.declared[event.context] = event.size_bytes
                (self.shared.add if event.is_shared else self.shared.discard)(event.context)
                if event.is_pinned:
                    self.pinned.add(event.context)
                if event.is_isolated:
                    self.isolated.add(event.context)
            case node.InstanceWanted(contexts=contexts):
                self.orders[contexts] += 1
            case node.BuildWanted(context=context):
                self.wanted.add(context)
            case node.OrderReleased(order=order):
                built = self.kept.pop(order, None)
                if isinstance(built, Seen):
                    built.kept = None
            case node.DrainBegan():
                self.draining = True
            case node.BlobForgotten(digest=context):
                self.declared.pop(context, None)
                self.measured.pop(context, None)
                self.shared.discard(context)
                self.pinned.discard(context)
                self.isolated.discard(context)
            case node.TemplateLoaded():
                self._measure(event.context, event.size_bytes)
            case node.TemplateReady(template=key):
                self.templates[key] = True
            case node.TemplateBroke(template=key) | node.TemplateEnded(template=key):
                del self.templates[key]
            case node.TemplateUnsafe(context=context):
                self.shared.discard(context)
            case node.TasksRevoked(worker=number, count=count):
                for _ in range(count):
                    self.came_back.add(self._return(self.workers[number].held.pop()))
            case _:
                self._hear_worker(event)

    def _hear_worker(self, event: node.Event) -> None:
        match event:
            case node.WorkerReady():
                seen = self.workers[event.worker]
                seen.up, seen.inherited = True, event.inherited
                seen.resident = set(event.inherited)
            case node.LoadBegan():
                seen = self.workers[event.worker]
                if seen.building is None:
                    seen.unasked.add(event.context)
                seen.building, seen.used = event.context, True
            case node.LoadEnded():
                seen = self.workers[event.worker]
                seen.building = None
                seen.resident.add(event.context)
                seen.leaving.discard(event.context)
                seen.used_at[event.context] = self.now
                self._measure(event.context, event.size_bytes)
            case node.LoadBroke():
                seen = self.workers[event.worker]
                seen.building = seen.began = None
                if event.task is not None:
                    assert seen.held.popleft() == event.task
                    self._free(event.task)
                    self.place[event.task] = Place.DYING
            case node.ContextsWorn():
                seen = self.workers[event.worker]
                assert seen.inherited.issuperset(event.contexts)
                seen.leaving.update(c for c in event.contexts if any(c in key for key in self.templates))
            case node.ContextGone():
                seen = self.workers[event.worker]
                seen.resident.discard(event.context)
                seen.leaving.discard(event.context)
                seen.inherited -= {event.context}
                seen.kept = None
                seen.unasked.discard(event.context)
                seen.used_at.pop(event.context, None)
            case node.TaskEnded() | node.TaskStopped():
                seen = self.workers[event.worker]
                assert seen.held.popleft() == event.task
                self._free(event.task)
                self.place[event.task] = Place.ENDED if isinstance(event, node.TaskEnded) else Place.DYING
                seen.used_at.update(dict.fromkeys(self.tasks[event.task].lane.contexts, self.now))
            case node.WorkerEnded():
                held = self.workers[event.worker].held
                self.workers[event.worker] = Seen(event.worker)
                for task in held:
                    self._free(task)
                    self.came_back.add(self._return(task))
                if held:
                    self.place[held[0]] = Place.DYING

    def _return(self, task: TaskId) -> TaskId:
        self.place[task] = Place.WAITING
        return task

    def _free(self, task: TaskId) -> None:
        self.nodes.update(self.taken.pop(task, ()))

    def _measure(self, context: Digest, size_bytes: int) -> None:
        self.measured[context] = max(size_bytes, self.measured.get(context, 0))

    # --- what it does

    def check(self, action: node.Action, event: node.Event) -> None:
        """What the manager is told to do about an event; raises if it must not."""
        match action:
            case node.Assign():
                self._check_assign(action)
            case node.Load():
                self._check_load(action, event)
            case node.Evict():
                self._check_evict(action, event)
            case node.Replace():
                self._check_replace(action)
            case node.StartTemplate(template=key):
                assert not self.draining, "a node that drains builds for nobody"
                assert key not in self.templates, "it is there, or begun"
                assert self.shared.issuperset(key), "workers do not share this"
                self._check_room(set(key), self._known(), is_stuck=self._is_stuck(None, set(key)))
                self.templates[key] = False
            case node.EndTemplate(template=key):
                assert key in self.templates, "there is no such template"
                assert not self.pinned.intersection(key) or _is_asked_for(event), "it is pinned"
                assert key not in self.kept.values() or _is_asked_for(event), "calls are about to come for it"
                del self.templates[key]
            case node.Revoke(worker=number):
                assert self.workers[number].up, "nobody is there to skip calls"
            case node.Stop(worker=number, task=task):
                assert isinstance(event, node.TasksReclaimed), "it was not asked for"
                assert event.ends, "others wait for its outcome"
                assert task in event.tasks, "it was not asked for"
                assert task in self.workers[number].held or task in self.came_back, "it is not there"
                lane = self.tasks[task].lane
                assert self.isolated.intersection(lane.contexts), "its process is that of later calls"
                assert not lane.fresh, "its process is the worker's"
            case node.SettleBuild(order=order, contexts=contexts):
                assert self.orders[contexts] > 0, "it was not ordered, or settled before"
                self.orders[contexts] -= 1
                self._keep(order, contexts, event)
            case node.RefuseBuild(contexts=contexts):
                assert self.limits.memory_bytes is not None
                assert sum(self.declared.get(c, 0) for c in contexts) > self.limits.memory_bytes, "it would fit"
                self.refused.add(contexts)
            case node.Lose(task=task):
                assert self.place[task] is Place.DYING, "only a call that may have run is lost"
                self.place[task] = Place.LOST
            case node.GiveBack(tasks=tasks):
                for task in tasks:
                    assert self.place[task] in (Place.WAITING, Place.DYING), "it may run, or is not here"
                    self.place[task] = Place.RETURNED
            case _:
                assert_never(action)

    def _check_assign(self, action: node.Assign) -> None:
        seen, task = self.workers[action.worker], self.tasks[action.task]
        assert self.place[task.id] is Place.WAITING, "it runs, has ended, or is not here"
        assert not self.draining, "a node that drains takes nothing on"
        assert seen.up, "there is no such process"
        assert action.is_ahead == bool(seen.held), "it starts at once exactly if nothing is before it"
        assert seen.building is None, "it is given nothing while it builds"
        assert seen.serves(task), "it does not hold what the call needs"
        if task.lane.fresh:
            assert not seen.used, "something ran in that process before"
        assert not any(self.tasks[other].lane.fresh for other in seen.held), "that process is for one call"
        for other in self.at(Place.WAITING)[: self.at(Place.WAITING).index(task.id)]:
            if task.nodes:
                assert not self.tasks[other].nodes, "calls that need nodes get them in the order in which they came"
            if task.id not in self.came_back and other not in self.came_back:
                assert self.tasks[other].lane != task.lane, "calls of a lane are begun in the order in which they came"
        assert len(action.nodes) == len(set(action.nodes)) == task.nodes, "it asked for other nodes"
        assert self.nodes.issuperset(action.nodes), "nodes are one call's at a time"
        self.nodes.difference_update(action.nodes)
        self.taken[task.id] = action.nodes
        self.place[task.id] = seen
        seen.held.append(task.id)
        seen.used = True
        if seen.kept == task.lane.contexts:
            seen.kept = None
        assert seen.kept is None or not task.lane.fresh, "that process would end with what calls are about to come for"

    def _check_load(self, action: node.Load, event: node.Event) -> None:
        seen, context = self.workers[action.worker], action.context
        assert seen.is_idle, "it has something to do, or is not there"
        assert seen.kept is None, "a call that it was made ready for comes first"
        assert context not in seen.resident, "it has that"
        goes_on = self._goes_on(seen, event)
        if not goes_on:
            assert not self.draining, "a node that drains builds for nobody"
            seen.began = self._known(), self._is_stuck(seen, {context})
            self._check_number(seen, context)
        assert seen.began is not None
        sizes, is_stuck = seen.began
        is_stuck = is_stuck or context in seen.again or self._is_stuck(seen, {context})
        self._check_room({context}, sizes, is_stuck=is_stuck, counts_unasked=not goes_on)
        seen.building, seen.used = context, True

    def _check_number(self, seen: Seen, context: Digest) -> None:
        most = self.limits.contexts_per_worker
        if most is None:
            return
        together = max((len(order) for order in +self.orders if context in order), default=1)
        kept = seen.resident - seen.inherited - seen.leaving - self.pinned
        assert len(kept | {context}) <= max(most, together), "a worker holds more contexts than it may"

    def _check_evict(self, action: node.Evict, event: node.Event) -> None:
        seen, context = self.workers[action.worker], action.context
        assert seen.up, "there is no such process"
        assert context in seen.resident - seen.leaving, "it has not got it, or gives it up already"
        if not _is_asked_for(event):
            assert context not in self.pinned, "it is pinned"
            assert not any(context in self.tasks[task].lane.contexts for task in seen.held), "a call uses it"
            assert context not in (seen.kept or ()), "calls are about to come for it"
        if isinstance(event, node.Tick) and not +self.orders:
            assert self.limits.idle_s is not None
            assert self.now - seen.used_at.get(context, 0.0) >= self.limits.idle_s, "it was used not long ago"
        seen.leaving.add(context)

    def _check_replace(self, action: node.Replace) -> None:
        seen = self.workers[action.worker]
        assert seen.is_idle, "calls would be lost with it, or it is not there"
        assert seen.kept is None, "a call that it was made ready for comes first"
        assert action.template is None or self.templates.get(action.template), "it cannot be forked from that"
        began = (
            (self._known(), self._is_stuck(seen, set(action.template), forks=True))
            if action.template is not None
            else None
        )
        self.workers[action.worker] = Seen(action.worker, began=began, again=seen.resident - seen.inherited)

    def _keep(self, order: OrderId, contexts: tuple[Digest, ...], event: node.Event) -> None:
        """What was built for an order is for its calls first."""
        if isinstance(event, node.LoadEnded) and event.context in set(contexts) - self.wanted:
            seen = self.workers[event.worker]
            if seen.resident.issuperset(contexts):
                self.kept[order], seen.kept = seen, contexts
        if self.shared.issuperset(contexts):
            fitting = [key for key, ready in self.templates.items() if ready and set(key).issuperset(contexts)]
            if fitting:
                self.kept[order] = min(fitting, key=len)

    def after(self, event: node.Event) -> None:
        """All that follows from an event was done."""
        assert not self.at(Place.DYING), "their workers are gone, and nothing was said of them"
        if self.draining:
            assert not self.at(Place.WAITING), "a node that drains keeps nothing waiting"
        if isinstance(event, node.LoadEnded | node.WorkerReady) and self.workers[event.worker].is_idle:
            self.workers[event.worker].began = None
            self.workers[event.worker].again = set()

    # --- memory

    def _known(self) -> dict[Digest, int]:
        return {**self.declared, **self.measured}

    def _check_room(
        self, more: set[Digest], then: dict[Digest, int], *, is_stuck: bool, counts_unasked: bool = True
    ) -> None:
        """Within the budget by all that was known when the build was decided on, and is still true."""
        if self.limits.memory_bytes is None or is_stuck:
            return
        now = self._known()
        taken = Counter(context for key in self.templates for context in key)
        for seen in self.workers.values():
            coming = set() if seen.building is None else {seen.building} - seen.resident
            taken.update((seen.resident - seen.inherited | coming) - (set() if counts_unasked else seen.unasked))
        taken.update(more)
        total = sum(min(now.get(c, 0), then.get(c, 0)) * count for c, count in taken.items())
        assert total <= self.limits.memory_bytes, f"{total} bytes are in use: {taken}"

    def _is_stuck(self, builder: Seen | None, more: set[Digest], *, forks: bool = False) -> bool:
        """Whether nothing that anybody could give up is left, and nothing runs that would change that."""
        if any(seen.held or seen.building for seen in self.workers.values()) or not all(self.templates.values()):
            return False
        wanted = more.union(*(order for order in +self.orders if more.intersection(order)))
        awaited = {context for task in self.at(Place.WAITING) for context in self.tasks[task].lane.contexts}
        for seen in self.workers.values():
            if forks and seen is builder:
                continue  # all that it holds goes
            for context in seen.resident - seen.inherited - self.pinned:
                if not (seen is builder and context in wanted):
                    return False
        return all(self.pinned.union(awaited, wanted).intersection(key) for key in self.templates)

    @staticmethod
    def _goes_on(seen: Seen, event: node.Event) -> bool:
        """Whether a build is the next of those that were decided on together."""
        is_step = isinstance(event, node.LoadEnded | node.WorkerReady)
        return is_step and event.worker == seen.number and seen.began is not None

    # --- rest

    def idle_beside_work(self) -> list[tuple[TaskId, WorkerId]]:
        """Calls that have not started, each with an idle worker that could take it."""
        idle = [seen for seen in self.workers.values() if seen.is_idle]
        behind = [task for seen in self.workers.values() for task in list(seen.held)[1:]]
        return [(t, seen.number) for t in self.at(Place.WAITING) + behind for seen in idle if self._could(seen, t)]

    def can_fork(self, task: node.NodeTask) -> bool:
        """Whether workers can be forked from what has all that a call needs."""
        contexts = task.lane.contexts
        if task.lane.is_anywhere or not self.shared.issuperset(contexts):
            return False
        return any(ready and set(key).issuperset(contexts) for key, ready in self.templates.items())

    def _is_unheld(self, task: node.NodeTask) -> bool:
        """Whether no worker has what a call needs, although one could be forked."""
        return self.can_fork(task) and not any(seen.serves(task) for seen in self.workers.values())

    def _could(self, seen: Seen, name: TaskId) -> bool:
        task = self.tasks[name]
        if self._is_unheld(task):
            return not seen.kept
        if task.nodes:
            first = next(t for t in self.at(Place.WAITING) if self.tasks[t].nodes)
            return name == first and task.nodes <= len(self.nodes)
        return seen.serves(task)


def _is_asked_for(event: node.Event) -> bool:
    """Whether the user has asked for instances to be given up, or never names them again."""
    return isinstance(event, node.EvictionWanted | node.SharedExpired | node.BlobForgotten | node.TemplateUnsafe)
