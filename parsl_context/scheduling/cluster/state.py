"""Which manager gets which call, and where contexts are built. Pure: see the package's docstring.

Calls wait in *lines*, one for each set of contexts that calls need together, and are sent only where workers hold
those contexts: a build is ordered first, and the calls that made it worth while go wherever a worker is free
meanwhile. So no call waits for a build that a warm worker made unnecessary, and a node that is lost during a build
takes no call with it.

What a manager may hold at a time is what its warm workers can run, and for short calls a look-ahead computed from
measured times. What waits behind a slow call is taken back when a worker elsewhere has nothing to do. Calls that were
in the hands of a manager that is lost may have run: they fail. Calls that come back unstarted wait again, before the
others.

Cost of an event: it grows with none of managers, workers, contexts and calls, but that a manager joining or leaving
looks at the lines it serves, and a context that is declared or forgotten at its managers.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable

from typing_extensions import assert_never

from parsl_context.scheduling.cluster import views
from parsl_context.scheduling.cluster.books import ClusterBooks
from parsl_context.scheduling.cluster.builds import Builds
from parsl_context.scheduling.cluster.events import (
    Action,
    BlobForgotten,
    BlockEnded,
    BuildBegan,
    BuildBroke,
    BuildEnded,
    BuildRefused,
    BuildSettled,
    ConfirmCancelled,
    ContextDeclared,
    ContextGone,
    ContextHeld,
    ContextNoted,
    ContextWanted,
    DrainManager,
    Event,
    EvictionWanted,
    FailBuild,
    FailTasks,
    ManagerContact,
    ManagerHeld,
    ManagerJoined,
    ManagerLeaving,
    ManagerLeft,
    RefuseCancel,
    ReleaseBuild,
    SendBuild,
    SendEviction,
    TakeBack,
    TaskCancelled,
    TaskEnded,
    TaskLost,
    TasksKept,
    TasksReturned,
    TaskSubmitted,
    TemplateGone,
    TemplateHeld,
    Tick,
)
from parsl_context.scheduling.cluster.managers import Call, ClusterLine, Manager, Phase
from parsl_context.scheduling.cluster.placement import ClusterPlacement
from parsl_context.scheduling.cluster.registry import Record
from parsl_context.scheduling.lines import Lane
from parsl_context.wire.messages import Digest, ManagerId, TaskId, WorkerId
from parsl_context.wire.rows import ContextRow


class ClusterState:
    """Managers, calls and contexts that the interchange knows. Changed by `handle` alone.

    Parameters
    ----------
    heartbeat_threshold_s
        A manager that was silent for longer is lost. [s]
    preference
        Puts managers into the order in which they are considered for calls without contexts; None: in turn.
    """

    def __init__(
        self,
        *,
        heartbeat_threshold_s: float,
        preference: Callable[[list[Manager]], list[Manager]] | None = None,
    ) -> None:
        self._threshold_s = heartbeat_threshold_s
        self._books = ClusterBooks()
        self._builds = Builds(self._books.records)
        self._placement = ClusterPlacement(self._books, self._builds, preference)
        self.managers = self._books.managers
        self.blocks = self._books.blocks
        self._over: dict[str, tuple[float, str]] = {}  # blocks whose jobs are over, since when, as the provider says

    @property
    def waiting(self) -> int:
        """Calls that no manager holds."""
        return self._books.waiting

    def next_deadline(self) -> float:
        """When `Tick` is due next; infinity if never."""
        return self._books.next_deadline()

    # --- events

    def handle(self, event: Event, *, now: float) -> list[Action]:
        """Take an event into account. Gives what to do about it, in order."""
        match event:
            case TaskSubmitted():
                return self._submit(event, now)
            case TaskEnded():
                return self._end_task(event, now)
            case ManagerContact():
                self._books.managers[event.manager].contact_at = now
                return []
            case TaskLost():
                return self._lose_task(event, now)
            case TasksReturned():
                return self._take_back(event.manager, event.tasks, now, is_busy=True)
            case TaskCancelled():
                return self._cancel(event.task)
            case TasksKept():
                return self._refuse_cancel(event)
            case ManagerJoined():
                return self._join(event, now)
            case ManagerHeld():
                return self._close(event.manager, Phase.HELD, now)
            case ManagerLeaving():
                return self._close(event.manager, Phase.DRAINING, now)
            case ManagerLeft():
                return self._lose(event.manager, event.reason, now)
            case BlockEnded():
                return self._end_block(event, now)
            case _:
                return self._handle_context(event, now)

    def _handle_context(self, event: Event, now: float) -> list[Action]:
        match event:
            case BuildBegan():
                building = self._books.managers[event.manager].building
                building[event.context] = building.get(event.context, 0) + 1
                return []
            case ContextHeld():
                return self._hold(event, now)
            case ContextNoted():
                return self._note(event, now)
            case BuildEnded():
                return self._end_build(event, now)
            case BuildBroke():
                return self._break_build(event, now)
            case BuildSettled():
                return self._settle(event, now)
            case TemplateHeld():
                return self._hold_template(event, now)
            case TemplateGone():
                return self._drop_template(event, now)
            case BuildRefused():
                return self._refuse(event, now)
            case ContextGone():
                return self._drop_instance(event, now)
            case ContextDeclared():
                return self._declare(event)
            case ContextWanted():
                self._books.records[event.context].wanted = True
                open_managers = [m for m in self._books.managers.values() if m.phase is Phase.OPEN]
                return [SendBuild(context=event.context, manager=manager.id) for manager in open_managers]
            case EvictionWanted():
                return self._evict(event.context)
            case BlobForgotten():
                self._forget(event.digest)
                return []
            case Tick():
                return self._tick(now)
            case _:
                assert_never(event)  # type: ignore[arg-type]

    def knows_task(self, task: TaskId) -> bool:
        """Whether the call waits or runs."""
        return task in self._books.calls

    def knows_context(self, context: Digest) -> bool:
        """Whether the context was declared."""
        return context in self._books.records

    # --- calls

    def _submit(self, event: TaskSubmitted, now: float) -> list[Action]:
        line = self._books.lines.get(event.lane) or self._placement.open_line(event.lane)
        call = Call(event.task, line, event.code, event.priority, now)
        self._books.calls[event.task] = call
        line.append(call)
        self._builds.reckon(line)
        for context in event.lane.contexts:
            record = self._books.records[context]
            if record.given_up and now < record.pause_until:
                return self._fail_line(line, context)
        return self._placement.place(line, now)

    def _end_task(self, event: TaskEnded, now: float) -> list[Action]:
        call = self._books.held_by(event.task, event.manager)
        if call is None or call.pair is None:
            return []
        pair, line, manager = call.pair, call.line, call.pair.holder
        self._books.run_of(call.code).add(event.run_s)
        line.run.add(event.run_s)
        line.shortest.add(event.run_s)
        self._books.shortest.add(event.run_s)
        self._builds.reckon(line)
        line.progress_at = now
        if not call.ahead:
            manager.transit.add(max(0.0, now - call.sent_at - event.run_s))
        pair.calls += event.calls
        pair.used_at = now
        self._placement.release(call, now)
        manager.resume(max(1, manager.free))
        del self._books.calls[event.task]
        return self._placement.serve(manager, now, line)

    def _lose_task(self, event: TaskLost, now: float) -> list[Action]:
        call = self._books.held_by(event.task, event.manager)
        if call is None or call.pair is None:
            return []
        manager = call.pair.holder
        self._placement.release(call, now)
        manager.resume(max(1, manager.free))
        del self._books.calls[event.task]
        return self._placement.serve(manager, now)

    def _cancel(self, task: TaskId) -> list[Action]:
        call = self._books.calls.get(task)
        if call is None:
            return [RefuseCancel(tasks=[task])]
        if call.pair is not None:
            call.unwanted = True
            return [TakeBack(tasks=[task], manager=call.pair.holder.id, answers=True)]
        call.line.forget(call)
        self._builds.reckon(call.line)
        del self._books.calls[task]
        return [ConfirmCancelled(tasks=[task])]

    def _refuse_cancel(self, event: TasksKept) -> list[Action]:
        found = (self._books.held_by(task, event.manager) for task in event.tasks)
        kept = [call for call in found if call is not None and call.unwanted]
        for call in kept:
            call.unwanted = False
        return [RefuseCancel(tasks=[call.id for call in kept])] if kept else []

    def _take_back(self, manager_id: ManagerId, tasks: Iterable[TaskId], now: float, *, is_busy: bool) -> list[Action]:
        """Calls come back unstarted, if `is_busy` because their workers there are busy with others."""
        manager = self._books.managers[manager_id]
        lines: dict[ClusterLine, None] = {}
        unwanted: list[TaskId] = []
        for task in sorted(tasks, reverse=True):
            call = manager.held.get(task)
            if call is not None and call.pair is not None:
                pair = call.pair
                self._placement.release(call, now)
                if call.unwanted:
                    unwanted.append(task)
                    del self._books.calls[task]
                    continue
                call.line.put_back(call)
                self._builds.reckon(call.line)
                if is_busy and not call.reclaimed and not call.line.is_anywhere:
                    pair.pause()
                call.reclaimed = False
                lines[call.line] = None
        actions: list[Action] = [ConfirmCancelled(tasks=unwanted)] if unwanted else []
        for line in lines:
            actions += self._placement.place_all(line, now)
        return actions + self._placement.serve(manager, now)

    # --- managers

    def _join(self, event: ManagerJoined, now: float) -> list[Action]:
        actions: list[Action] = []
        if (other := self._books.nodes.get(event.node)) is not None:
            actions += self._lose(other.id, "it joined anew after its link broke", now)
        manager = Manager(
            event.manager,
            node=event.node,
            block=event.block,
            slots=event.slots,
            prefetch=event.prefetch,
            drain_at=math.inf if event.drain_in_s is None else now + event.drain_in_s,
            ends_at=math.inf if event.ends_in_s is None else now + event.ends_in_s,
            walltime_s=event.walltime_s or 0.0,
            memory_bytes=event.memory_bytes,
            contexts_per_worker=event.contexts_per_worker,
            now=now,
        )
        self._books.managers[manager.id] = self._books.nodes[event.node] = manager
        self._books.blocks.append(event.block)
        self._books.at(now + self._threshold_s, lambda now: self._check_contact(manager, now))
        if manager.drain_at < math.inf:
            self._books.at(manager.drain_at, lambda now: self._close(manager.id, Phase.DRAINING, now))
        for line in self._books.lines.values():
            if line.is_anywhere:
                self._placement.count(line, manager)
        self._builds.free.update(manager)
        for worker, contexts in event.held.items():
            for context in contexts:
                self._enter_held(manager, worker, context)
        for template in event.templates:
            self._enter_template(manager, template)
        over_at, reason = self._over.get(event.block, (-math.inf, ""))
        if now - event.up_s < over_at:  # one that began later shows that the provider was wrong
            return actions + self._close(manager.id, Phase.DRAINING, now, reason)
        wanted = (context for context, record in self._books.records.items() if record.wanted)
        actions += [SendBuild(context=context, manager=manager.id) for context in wanted]
        return actions + self._placement.serve(manager, now)

    def _end_block(self, event: BlockEnded, now: float) -> list[Action]:
        self._over[event.block] = now, event.reason
        actions: list[Action] = []
        for manager in [manager for manager in self.managers.values() if manager.block == event.block]:
            if manager.held:
                actions.append(DrainManager(manager=manager.id, reason=event.reason))
            actions += self._close(manager.id, Phase.DRAINING, now, event.reason)
        return actions

    def _close(self, manager_id: ManagerId, phase: Phase, now: float, reason: str = "it has drained") -> list[Action]:
        manager = self._books.managers.get(manager_id)
        if manager is None:
            return []
        if manager.phase is not Phase.DRAINING:
            manager.phase = phase
        lines = [pair.line for pair in manager.pairs.values() if pair.serves]
        for line in lines:
            line.set_capacity(manager, 0)
        return self._retire(manager, lines, now) + self._placement.stop_if_drained(manager, reason)

    def _retire(self, manager: Manager, lines: Iterable[ClusterLine], now: float) -> list[Action]:
        """Lines must do without it."""
        self._placement.forget(manager)
        lines = dict.fromkeys([*lines, *manager.orders])
        for line in lines:
            while manager.orders[line]:
                self._builds.settle(line, manager)
        return [action for line in lines if line.waiting for action in self._placement.consider(line, now)]

    def _lose(self, manager_id: ManagerId, reason: str, now: float) -> list[Action]:
        manager = self._books.managers.pop(manager_id, None)
        if manager is None:
            return []
        if self._books.nodes.get(manager.node) is manager:
            del self._books.nodes[manager.node]
        manager.phase = Phase.DRAINING
        lost = sorted(manager.held)
        for task in lost:
            del self._books.calls[task]
        lines = [pair.line for pair in manager.pairs.values()]
        manager.leave()
        for record in self._books.records.values():
            record.lose(manager_id)
        actions: list[Action] = []
        if lost:
            actions.append(FailTasks(tasks=lost, manager=manager_id, reason=reason))
        for line in self._books.lines.values():
            line.refused.pop(manager_id, None)
        return actions + self._retire(manager, lines, now)

    def _check_contact(self, manager: Manager, now: float) -> list[Action]:
        if self._books.managers.get(manager.id) is not manager:
            return []
        if now >= manager.contact_at + self._threshold_s:
            reason = f"nothing was heard of it for {self._threshold_s:g} s (heartbeat_threshold)"
            return self._lose(manager.id, reason, now)
        self._books.at(manager.contact_at + self._threshold_s, lambda now: self._check_contact(manager, now))
        return []

    def _tick(self, now: float) -> list[Action]:
        actions: list[Action] = []
        while self._books.deadlines and self._books.deadlines[0][0] <= now:
            actions += heapq.heappop(self._books.deadlines)[2](now)
        return actions

    # --- contexts

    def _declare(self, event: ContextDeclared) -> list[Action]:
        record = self._books.records.get(event.context)
        if record is None:
            self._books.records[event.context] = Record(event.options)
        else:
            record.declare(event.options)
        self._builds.resize()
        return []

    def _hold(self, event: ContextHeld, now: float) -> list[Action]:
        manager = self._books.managers[event.manager]
        if not self._enter_held(manager, event.worker, event.context):
            return []
        if manager.ordered:
            return []  # the worker may be busy until its order is settled
        manager.resume(max(1, manager.free))  # it was built ahead of calls: they may have come back because of that
        return self._placement.serve(manager, now)

    def _enter_held(self, manager: Manager, worker: WorkerId, context: Digest) -> bool:
        """Enter that a worker holds a context. False if that was known."""
        if (record := self._books.records.get(context)) is not None:
            record.prove(manager.id)
        held = manager.hold(worker, context)
        if held is None:
            return False
        for line in self._books.lines_of.get(context, ()):
            if not line.is_anywhere and held.issuperset(line.lane.contexts):
                line.pair(manager).warm += 1
                self._placement.count(line, manager)
        return True

    def _drop_instance(self, event: ContextGone, now: float) -> list[Action]:
        manager = self._books.managers[event.manager]
        held = manager.workers.get(event.worker, set())
        record = self._books.records.get(event.context)
        if record is not None and event.was_evicted:
            record.on(event.manager).evictions += 1
        if event.context not in held:
            return []
        actions: list[Action] = []
        for line in self._books.lines_of.get(event.context, ()):
            if not line.is_anywhere and held.issuperset(line.lane.contexts):
                line.pair(manager).warm -= 1
                self._placement.count(line, manager)
                if line.waiting:
                    actions += self._placement.consider(line, now)
        manager.drop(event.worker, event.context)
        return actions

    def _hold_template(self, event: TemplateHeld, now: float) -> list[Action]:
        manager = self._books.managers[event.manager]
        if not self._enter_template(manager, event.contexts) or manager.ordered:
            return []
        return self._placement.serve(manager, now)

    def _enter_template(self, manager: Manager, contexts: tuple[Digest, ...]) -> bool:
        """Enter that workers can be forked with some contexts. False if that was known."""
        if contexts in manager.templates:
            return False
        manager.templates[contexts] = None
        manager.taken = None
        self._builds.follow_template(contexts, manager)
        for line in self._lines_within(contexts):
            line.pair(manager).templates += 1
            self._placement.count(line, manager)
        return True

    def _drop_template(self, event: TemplateGone, now: float) -> list[Action]:
        manager = self._books.managers[event.manager]
        if event.contexts not in manager.templates:
            return []
        del manager.templates[event.contexts]
        manager.taken = None
        actions: list[Action] = []
        for line in self._lines_within(event.contexts):
            line.pair(manager).templates -= 1
            self._placement.count(line, manager)
            if line.waiting:
                actions += self._placement.consider(line, now)
        return actions

    def _lines_within(self, contexts: tuple[Digest, ...]) -> list[ClusterLine]:
        """Lines whose calls need some of these contexts, and no others."""
        lines = dict.fromkeys(line for context in contexts for line in self._books.lines_of.get(context, ()))
        return [line for line in lines if not line.is_anywhere and set(contexts).issuperset(line.lane.contexts)]

    def _note(self, event: ContextNoted, now: float) -> list[Action]:
        record = self._books.records.get(event.context)
        if record is None:
            return []
        record.on(event.manager).note = event.note
        actions: list[Action] = []
        if not event.is_shared:
            record.unshared.add(event.manager)
            self._builds.resize()
            for line in self._books.lines_of.get(event.context, ()):
                manager = self._books.managers[event.manager]
                if not line.is_anywhere:
                    self._builds.unshare(line, manager)
                    self._placement.count(line, manager)
                    actions += self._placement.consider(line, now)
        return actions

    def _settle(self, event: BuildSettled, now: float) -> list[Action]:
        """An order has ended. What it built serves one of the calls it was built for, before anything else."""
        manager = self._books.managers[event.manager]
        line = self._books.lines.get(Lane(event.contexts, False))
        manager.resume(max(1, manager.free))
        actions: list[Action] = []
        if line is not None:
            has_worker = not manager.slotless[line] or manager.free > 0
            self._builds.settle(line, manager)
            if has_worker:
                actions += self._placement.send_first(line, manager, now)
        actions.append(ReleaseBuild(order=event.order, manager=manager.id))
        actions += self._placement.serve(manager, now, line)
        return actions if line is None or not line.waiting else actions + self._placement.consider(line, now)

    def _end_build(self, event: BuildEnded, now: float) -> list[Action]:
        manager = self._books.managers[event.manager]
        _stop_building(manager, event.context)
        if (record := self._books.records.get(event.context)) is not None:
            record.succeed(event.manager, event.load_s, event.size_bytes, now)
            self._builds.resize()
        return []

    def _break_build(self, event: BuildBroke, now: float) -> list[Action]:
        manager = self._books.managers[event.manager]
        _stop_building(manager, event.context)
        record = self._books.records.get(event.context)
        if record is not None:
            record.fail(event.manager, now, event.kinds)
            self._books.at(record.pause_until, lambda now: self._end_pause(event.context, now))
        manager.resume(max(1, manager.free))
        actions = self._take_back(event.manager, event.tasks, now, is_busy=False)
        if record is not None and record.given_up:
            for line in list(self._books.lines_of.get(event.context, ())):
                actions += self._fail_line(line, event.context)
        return actions

    def _end_pause(self, context: Digest, now: float) -> list[Action]:
        record = self._books.records.get(context)
        if record is None or now < record.pause_until:
            return []
        record.end_pause()
        actions: list[Action] = []
        for line in self._books.lines_of.get(context, ()):
            actions += self._placement.place_all(line, now)
        return actions

    def _refuse(self, event: BuildRefused, now: float) -> list[Action]:
        line = self._books.lines.get(Lane(event.contexts, False))
        if line is None:
            return []
        line.refused[event.manager] = event.reason
        return self._placement.consider(line, now)

    def _evict(self, context: Digest) -> list[Action]:
        if (record := self._books.records.get(context)) is not None:
            record.wanted = False
        return [
            SendEviction(context=context, manager=manager.id)
            for manager in self._books.managers.values()
            if manager.holds(context) or context in manager.building
        ]

    def _forget(self, digest: Digest) -> None:
        self._books.run.pop(digest, None)
        if self._books.records.pop(digest, None) is None:
            return
        self._builds.resize()
        for line in self._books.lines_of.pop(digest, []):
            self._books.lines.pop(line.lane, None)
            line.take_all()
            self._builds.reckon(line)
            for other in line.lane.contexts:
                if other != digest and line in self._books.lines_of.get(other, ()):
                    self._books.lines_of[other].remove(line)
                    for pair in line.pairs.values():
                        self._books.records[other].keep(pair.holder.id, pair.calls, pair.used_at)
            for manager in list(line.pairs):
                line.part(manager)

    def _fail_line(self, line: ClusterLine, context: Digest) -> list[Action]:
        """A context was given up: the calls that wait for it cannot run."""
        tasks = self._placement.drop_waiting(line)
        attempts = self._books.records[context].failures
        return [FailBuild(tasks=tasks, context=context, attempts=attempts)] if tasks else []

    # --- what people look at

    def rebuild_s(self, manager: Manager) -> float:
        """Time that one worker would take to build what the manager's workers hold. [s]"""
        return views.rebuild_s(manager, self._books.records)

    def context_rows(self, now: float) -> list[ContextRow]:
        """A row for each context on each manager that has, builds or served it; one row if there is none."""
        return [
            row
            for digest, record in self._books.records.items()
            for row in views.rows(digest, record, self._books.lines_of.get(digest, ()), self._books.managers, now)
        ]


def _stop_building(manager: Manager, context: Digest) -> None:
    left = manager.building.pop(context, 0) - 1
    if left > 0:
        manager.building[context] = left
