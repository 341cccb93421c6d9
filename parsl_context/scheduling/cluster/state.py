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
from collections.abc import Callable, Iterable, Sequence

from parsl_context.scheduling.cluster import views
from parsl_context.scheduling.cluster.blocks import ClusterBlocks
from parsl_context.scheduling.cluster.books import ClusterBooks
from parsl_context.scheduling.cluster.builds import Builds
from parsl_context.scheduling.cluster.contexts import Contexts
from parsl_context.scheduling.cluster.endings import is_spent, look_again_at
from parsl_context.scheduling.cluster.events import (
    Action,
    BatchesDue,
    BlockEnded,
    BlockLaunched,
    ConfirmCancelled,
    DrainManager,
    EnvironmentBegan,
    EnvironmentGone,
    EnvironmentReady,
    Event,
    FailTasks,
    ManagerContact,
    ManagerEnded,
    ManagerHeld,
    ManagerJoined,
    ManagerLeaving,
    ManagerLeft,
    NoteRequeued,
    OrdinaryRefused,
    RefuseCancel,
    SendBuild,
    TakeBack,
    TaskCancelled,
    TaskEnded,
    TaskLost,
    TasksKept,
    TasksReturned,
    TaskSubmitted,
    Tick,
)
from parsl_context.scheduling.cluster.limits import BlockLimits
from parsl_context.scheduling.cluster.managers import Call, ClusterLine, Manager, Phase
from parsl_context.scheduling.cluster.placement import ClusterPlacement
from parsl_context.scheduling.cluster.starts import Starts
from parsl_context.wire.messages import Digest, EnvironmentName, ManagerId, TaskId
from parsl_context.wire.rows import ContextRow


class ClusterState:
    """Managers, calls and contexts that the interchange knows. Changed by `handle` alone.

    Parameters
    ----------
    heartbeat_threshold_s
        A manager that was silent for longer is lost. [s]
    preference
        Puts managers into the order in which they are considered for calls without contexts; None: in turn.
    requeue_lost
        How often a call that may have run on a manager that is gone waits again; then it fails.
    limits
        Of blocks; None: there are none.
    home
        Environment of calls without contexts; None: the managers' own.
    begins_at_home
        Whether managers start that as they join, rather than for the first of these calls.
    """

    def __init__(
        self,
        *,
        heartbeat_threshold_s: float,
        requeue_lost: int = 0,
        preference: Callable[[list[Manager]], list[Manager]] | None = None,
        limits: BlockLimits | None = None,
        home: EnvironmentName | None = None,
        begins_at_home: bool = True,
    ) -> None:
        self._threshold_s = heartbeat_threshold_s
        self._requeue_lost = requeue_lost
        self._books = ClusterBooks(home, begins_at_home=begins_at_home)
        self._builds = Builds(self._books.records, self._books.environments)
        self._placement = ClusterPlacement(self._books, self._builds, preference)
        self._contexts = Contexts(self._books, self._builds, self._placement, self._take_back_broken)
        self._starts = Starts(self._books, self._placement, self._take_back_broken)
        self._blocks = ClusterBlocks(self._books, self._builds, limits or BlockLimits())
        self.managers = self._books.managers
        self.lines = self._books.lines
        self.calls = self._books.calls
        self.records = self._books.records
        self.blocks = self._books.blocks
        self._gathered: dict[ClusterLine, None] = {}  # lines of calls that came and may run in batches
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
            case BatchesDue():
                return self._place_gathered(now)
            case ManagerContact():
                self._books.managers[event.manager].contact_at = now
                return []
            case TaskLost():
                return self._lose_task(event, now)
            case TasksReturned():
                return self._take_back(
                    event.manager, event.tasks, now, is_busy=not event.were_ended, were_ended=event.were_ended
                )
            case EnvironmentBegan() | EnvironmentReady() | EnvironmentGone() | OrdinaryRefused():
                return self._starts.handle(event, now)
            case TaskCancelled():
                return self._cancel(event.task, ends=not event.only_waiting)
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
            case BlockLaunched():
                self._blocks.launched(event.block, now)
                return []
            case ManagerEnded():
                self._blocks.left(event.manager, now)
                return []
            case Tick():
                return self._tick(now)
            case _:
                return self._contexts.handle(event, now)

    def knows_task(self, task: TaskId) -> bool:
        """Whether the call waits or runs."""
        return task in self._books.calls

    def knows_context(self, context: Digest) -> bool:
        """Whether the context was declared."""
        return context in self._books.records

    def holds(self, manager: ManagerId, task: TaskId) -> bool:
        """Whether a call is in the hands of a manager."""
        held = self._books.managers[manager].held
        if task in held:
            return True
        call = self._books.calls.get(task)
        return call is not None and call.leader is not None and call.leader.id in held

    def batch_of(self, task: TaskId) -> list[TaskId]:
        """A call and those that run with it."""
        return [call.id for call in self._books.calls[task].batch]

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
                return self._contexts.fail_line(line, context)
        if line.batches is not None:
            self._gathered[line] = None
            return []
        return self._placement.place(line, now)

    def _place_gathered(self, now: float) -> list[Action]:
        lines, self._gathered = self._gathered, {}
        return [action for line in lines if line.waiting for action in self._placement.place_all(line, now)]

    def _end_task(self, event: TaskEnded, now: float) -> list[Action]:
        call = self._books.held_by(event.task, event.manager)
        if call is None or call.pair is None:
            self._end_mate(event)
            return []
        pair, line, manager = call.pair, call.line, call.pair.holder
        self._books.run_of(call.code).add(event.run_s)
        line.run.add(event.run_s / call.size)
        if line.batches is not None:
            line.batches.ended(call.size, event.run_s)
        line.shortest.add(event.run_s)
        line.longest.add(event.run_s)
        self._books.shortest.add(event.run_s)
        self._builds.reckon(line)
        line.progress_at = pair.quiet_since = now
        line.quiet_since = None
        if not call.ahead:
            manager.transit.add(max(0.0, now - call.sent_at - event.run_s))
        pair.calls += event.calls * call.size
        pair.used_at = now
        self._placement.release(call, now)
        manager.resume(max(1, manager.free))
        del self._books.calls[event.task]
        actions = self._placement.serve(manager, now, line)
        if not manager.has_served:
            manager.has_served = True
            actions += self._blocks.served(manager)
        if manager.held:
            return actions + self._placement.relieve(pair, event.run_s)
        return actions + self._end_if_spent(manager, now)

    def _end_mate(self, event: TaskEnded) -> None:
        """A call of a batch has ended, the first of which follows."""
        call = self._books.calls.get(event.task)
        if call is not None and call.leader is not None and self.holds(event.manager, event.task):
            mates = call.leader.mates
            assert isinstance(mates, list)
            if mates[-1] is call:  # they end in this order
                mates.pop()
            else:
                mates.remove(call)
            del self._books.calls[event.task]

    def _lose_task(self, event: TaskLost, now: float) -> list[Action]:
        call = self._books.held_by(event.task, event.manager)
        if call is None or call.pair is None:
            return []
        manager = call.pair.holder
        self._placement.release(call, now)
        manager.resume(max(1, manager.free))
        for each in call.batch:
            del self._books.calls[each.id]
        return self._placement.serve(manager, now)

    def _cancel(self, task: TaskId, *, ends: bool) -> list[Action]:
        call = self._books.calls.get(task)
        if call is None:
            return [RefuseCancel(tasks=[task])]
        sent = call.leader or call
        if sent.pair is not None:
            call.unwanted = True
            ends &= all(each.unwanted for each in sent.batch)  # those that run with it would end as well
            return [TakeBack(tasks=[sent.id], manager=sent.pair.holder.id, answers=True, ends=ends)]
        call.line.forget(call)
        self._builds.reckon(call.line)
        del self._books.calls[task]
        return [ConfirmCancelled(tasks=[task])]

    def _refuse_cancel(self, event: TasksKept) -> list[Action]:
        found = (self._books.held_by(task, event.manager) for task in event.tasks)
        kept = [call for first in found if first is not None for call in first.batch if call.unwanted]
        for call in kept:
            call.unwanted = False
        return [RefuseCancel(tasks=[call.id for call in kept])] if kept else []

    def _take_back(
        self, manager_id: ManagerId, tasks: Iterable[TaskId], now: float, *, is_busy: bool, were_ended: bool = False
    ) -> list[Action]:
        """Calls come back unstarted, if `is_busy` because their workers there are busy with others, or were ended."""
        manager = self._books.managers[manager_id]
        lines: dict[ClusterLine, None] = {}
        unwanted: list[TaskId] = []
        for task in sorted(tasks, reverse=True):
            call = manager.held.get(task)
            if call is not None and call.pair is not None:
                pair = call.pair
                self._placement.release(call, now)
                wanted = [each for each in call.batch if not (each.unwanted or were_ended)]
                for each in (each for each in call.batch if each.unwanted or were_ended):
                    unwanted.append(each.id)
                    del self._books.calls[each.id]
                if not wanted:
                    continue
                for each in reversed(wanted):
                    each.leader, each.mates = None, ()
                    each.size = 1
                    call.line.put_back(each)
                self._builds.reckon(call.line)
                if is_busy and not call.reclaimed and not call.line.is_anywhere:
                    pair.pause()
                call.reclaimed = False
                lines[call.line] = None
        actions: list[Action] = [ConfirmCancelled(tasks=unwanted)] if unwanted else []
        for line in lines:
            actions += self._placement.place_all(line, now)
        return actions + self._placement.serve(manager, now)

    def _take_back_broken(self, manager: ManagerId, tasks: Sequence[TaskId], now: float) -> list[Action]:
        """Calls come back unstarted whose context, or whose environment, could not be made there."""
        return self._take_back(manager, tasks, now, is_busy=False)

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
        self._books.environments.joined(manager)
        self._books.blocks.append(event.block)
        self._blocks.joined(manager, now)
        self._books.at(now + self._threshold_s, lambda now: self._check_contact(manager, now))
        if manager.drain_at < math.inf:
            self._books.at(manager.drain_at, lambda now: self._close(manager.id, Phase.DRAINING, now))
        if manager.ends_at < math.inf:
            self._books.at(look_again_at(manager, now), lambda now: self._watch_end(manager, now))
        for line in self._books.lines.values():
            if line.is_anywhere:
                self._placement.count(line, manager)
        self._builds.free.update(manager)
        for worker, contexts in event.held.items():
            for context in contexts:
                self._contexts.enter_held(manager, worker, context)
        for template in event.templates:
            self._contexts.enter_template(manager, template)
        over_at, reason = self._over.get(event.block, (-math.inf, ""))
        if now - event.up_s < over_at:  # one that began later shows that the provider was wrong
            return actions + self._close(manager.id, Phase.DRAINING, now, reason)
        wanted = (context for context, record in self._books.records.items() if record.wanted)
        actions += [SendBuild(context=context, manager=manager.id) for context in wanted]
        return actions + self._placement.serve(manager, now)

    def _watch_end(self, manager: Manager, now: float) -> list[Action]:
        """Look at times whether a block that ends is still of use."""
        if self._books.managers.get(manager.id) is not manager or now >= manager.ends_at:
            return []
        self._books.at(look_again_at(manager, now), lambda now: self._watch_end(manager, now))
        for pair in manager.pairs.values():
            if pair.serves and not pair.is_paused:
                pair.bring_back()  # its calls may take less time than they seemed to
        return self._placement.serve(manager, now) + self._end_if_spent(manager, now)

    def _end_if_spent(self, manager: Manager, now: float) -> list[Action]:
        if manager.phase is not Phase.OPEN or not is_spent(manager, self._books.lines.values(), self._builds, now):
            return []
        left_s = manager.ends_at - now
        reason = f"no call that waits could end in the {left_s:.3g} s that its block has left"
        manager.is_spent = True
        return self._close(manager.id, Phase.DRAINING, now, reason)

    def _end_block(self, event: BlockEnded, now: float) -> list[Action]:
        self._over[event.block] = now, event.reason
        actions: list[Action] = []
        for manager in [manager for manager in self.managers.values() if manager.block == event.block]:
            if manager.held:
                actions.append(DrainManager(manager=manager.id, reason=event.reason))
            actions += self._close(manager.id, Phase.DRAINING, now, event.reason)
        self._blocks.over(event.block)
        return actions

    def _close(self, manager_id: ManagerId, phase: Phase, now: float, reason: str = "it has drained") -> list[Action]:
        manager = self._books.managers.get(manager_id)
        if manager is None:
            return []
        if manager.phase is not Phase.DRAINING:
            manager.phase = phase
        if phase is Phase.HELD:
            self._blocks.held(manager)
        lines = [pair.line for pair in manager.pairs.values() if pair.serves]
        for line in lines:
            line.set_capacity(manager, 0)
        return self._retire(manager, lines, now) + self._placement.stop_if_drained(manager, reason)

    def _retire(self, manager: Manager, lines: Iterable[ClusterLine], now: float) -> list[Action]:
        """Lines must do without it."""
        self._placement.forget(manager)
        self._builds.drop_orders(manager)
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
        self._blocks.leaves(manager, now)
        manager.phase = Phase.DRAINING
        held = sorted((each for call in manager.held.values() for each in call.batch), key=lambda call: call.id)
        again = [call for call in held if not call.unwanted and call.losses < self._requeue_lost]
        for call in reversed(again):
            self._wait_after_loss(call)
        lost = [call.id for call in held if call.pair is not None or call.leader is not None]
        for task in lost:
            del self._books.calls[task]
        lines = [pair.line for pair in manager.pairs.values()]
        manager.leave()
        for record in self._books.records.values():
            record.lose(manager_id)
        actions: list[Action] = []
        if lost:
            actions.append(FailTasks(tasks=lost, manager=manager_id, reason=reason))
        if again:
            actions.append(NoteRequeued(tasks=[call.id for call in again], manager=manager_id, reason=reason))
        for line in self._books.lines.values():
            line.refused.pop(manager_id, None)
        actions += self._retire(manager, lines, now)
        for line in dict.fromkeys(call.line for call in again):
            actions += self._placement.place_all(line, now)
        return actions

    def _wait_after_loss(self, call: Call) -> None:
        """A call that may have run on a manager that is gone waits again, before others."""
        call.losses += 1
        call.pair = call.leader = None
        call.mates, call.size, call.reclaimed = (), 1, False
        call.line.put_back(call)
        self._builds.reckon(call.line)

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

    # --- what people look at

    def useful_blocks(self, wanted: int, now: float) -> int:
        """Of so many more blocks, how many would find calls to run when they start; all, if that is not known."""
        return self._blocks.useful(wanted, now)

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
