"""Which worker of a node runs which call. Pure: see the package's docstring.

The manager feeds it events and carries out its actions. Calls are run by workers that hold their contexts; builds are
ordered by the interchange (`builds`), and a call whose context is gone is given back to it. A call is *started*
when it is the oldest that its worker holds; a worker is given short calls ahead, and those it has not started are taken
back when another worker has nothing to do.

Cost of an event on a call's path: it grows with none of workers, contexts and waiting calls.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence

from typing_extensions import assert_never

from parsl_context.scheduling.node.books import NodeBooks
from parsl_context.scheduling.node.builds import NodeBuilds
from parsl_context.scheduling.node.events import (
    MANAGERS_OWN,
    Action,
    BlobForgotten,
    BuildWanted,
    ContextDeclared,
    ContextGone,
    ContextsWorn,
    DrainBegan,
    EndTemplate,
    EnvironmentBegan,
    EnvironmentBroke,
    EnvironmentGone,
    EnvironmentReady,
    Event,
    EvictionWanted,
    GiveBack,
    InstanceWanted,
    LimitsSet,
    LoadBegan,
    LoadBroke,
    LoadEnded,
    Lose,
    OrderReleased,
    Revoke,
    SettleBuild,
    SharedExpired,
    Stop,
    TaskEnded,
    TasksArrived,
    TaskSkipped,
    TasksReclaimed,
    TasksRevoked,
    TaskStopped,
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
from parsl_context.scheduling.node.placement import NodePlacement
from parsl_context.scheduling.node.room import Room
from parsl_context.scheduling.node.workers import NodeCall, Template, Worker, WorkerLine
from parsl_context.wire.messages import Digest, EnvironmentName, TaskId, WorkerId


class NodeState:
    """Workers, their contexts, and the calls waiting on a node. Changed by `handle` alone.

    Parameters
    ----------
    workers
        How many there are; they begin without a process.
    nodes
        Names of the nodes that calls may ask for (MPI). Such calls get nodes in the order in which they came: none is
        overtaken by one that needs fewer.
    home
        Environment of calls without contexts.
    begins_at_home
        Whether workers begin in that, rather than in the manager's own.
    """

    def __init__(
        self,
        workers: int,
        nodes: Sequence[str] = (),
        home: EnvironmentName = MANAGERS_OWN,
        *,
        begins_at_home: bool = True,
    ) -> None:
        self._books = NodeBooks(workers, nodes, home, begins_at_home=begins_at_home)
        self._room = Room(self._books.workers, self._books.lines_of)
        self._builds = NodeBuilds(self._books.workers, self._room, self._books.environments)
        self._placement = NodePlacement(self._books, self._room, self._builds)

    @property
    def look_at(self) -> float | None:
        """When calls should be looked at again, if ever."""
        return self._placement.look_at

    @property
    def waiting(self) -> int:
        """Calls that no worker holds yet."""
        return len(self._books.waiting)

    @property
    def running(self) -> int:
        """Calls that workers hold."""
        return self._books.running

    def usual_build_s(self, context: Digest) -> float | None:
        """What builds of a context used to take here; None: nothing is known. [s]"""
        known = self._room.builds.get(context)
        return None if known is None else known.mean_s

    def kept(self, workers: Mapping[WorkerId, Collection[Digest]], templates: Sequence[TemplateKey]) -> list[Event]:
        """What another state has to be told of processes that go on, and what they hold, to begin as this one ends."""
        in_templates = {context for template in templates for context in template}
        events: list[Event] = [*self._books.environments.kept()]
        for context in sorted(in_templates):
            if (load_s := self.usual_build_s(context)) is not None:
                size_bytes = self._room.sizes.of(context)
                events.append(TemplateLoaded(context=context, load_s=load_s, size_bytes=size_bytes))
        events += [TemplateReady(template=template, was_kept=True) for template in templates]
        for worker, held in workers.items():
            inherited = self._books.workers[worker].inherited.intersection(held, in_templates)
            environment = self._books.workers[worker].environment
            events.append(WorkerReady(worker=worker, inherited=inherited, environment=environment))
            events += [self._held(worker, context) for context in sorted(set(held) - inherited)]
        return events

    def _held(self, worker: WorkerId, context: Digest) -> LoadEnded:
        room = self._room
        return LoadEnded(
            worker=worker,
            context=context,
            load_s=self.usual_build_s(context),
            size_bytes=room.sizes.of(context),
            device_bytes=room.device_sizes.of(context),
            device_limit_bytes=room.device_limit_bytes,
        )

    def next_deadline(self, now: float) -> float | None:
        """When `Tick` is due next, if ever."""
        times = [time for time in (self._room.next_idle_at(), self._placement.look_at) if time is not None]
        return max(now, min(times)) if times else None

    def handle(self, event: Event, *, now: float) -> list[Action]:
        """Take an event into account. Gives what to do about it, in order."""
        actions = self._take(event, now)
        if self._builds.lost:
            lost, self._builds.lost = self._builds.lost, {}
            for context in lost:
                actions += self._placement.give_back_hopeless(context)
        return actions + self._placement.place_by_nodes(now) if self._books.nodes_queue else actions

    def _take(self, event: Event, now: float) -> list[Action]:
        match event:
            case TasksArrived():
                return self._arrive(event, now)
            case TaskEnded():
                return self._end_task(event, now)
            case TaskStopped():
                return [GiveBack(tasks=[event.task], were_ended=True), *self._end_task(event, now)]
            case TaskSkipped():
                worker = self._books.workers[event.worker]
                worker.revoked = max(0, worker.revoked - 1)
                return self._placement.feed(worker, now)
            case TasksRevoked():
                return self._revoke(event, now)
            case TasksReclaimed():
                return self._reclaim(event)
            case WorkerReady():
                return self._worker_up(event, now)
            case WorkerEnded():
                return self._end_worker(event, now)
            case EnvironmentBegan():
                self._books.environments.began(event.environment, now)
                return []
            case EnvironmentReady():
                self._books.environments.ready(event.environment, event.start_s)
                return self._placement.restart(now)
            case EnvironmentGone():
                self._books.environments.gone(event.environment)
                return []
            case EnvironmentBroke():
                return self._break_environment(event, now)
            case DrainBegan():
                self._books.draining = True
                return self._placement.give_back_waiting() + self._builds.cancel_all() + self._placement.revoke_all()
            case Tick():
                return self._room.evict_idle(now) + self._placement.take_ahead(now)
            case _:
                return self._handle_context(event, now)

    def _handle_context(self, event: Event, now: float) -> list[Action]:
        room, builds = self._room, self._builds
        match event:
            case ContextDeclared():
                builds.share(event.context, event.is_shared)
                self._books.environments.declare(event.context, event.environment, is_kept=event.is_environment_kept)
                if event.size_bytes is not None:
                    room.sizes.declare(event.context, event.size_bytes)
                if event.is_pinned:
                    room.pinned.add(event.context)
                if event.is_isolated:
                    self._books.isolated.add(event.context)
                return []
            case LimitsSet():
                room.limits = event
                return []
            case InstanceWanted():
                if self._books.draining:
                    return [SettleBuild(order=event.order, contexts=event.contexts)]
                return builds.order(event.order, event.contexts, now)
            case OrderReleased():
                worker = builds.release(event.order)
                return builds.start(now) if worker is None else self._placement.feed(worker, now)
            case BuildWanted():
                builds.want(event.context)
                return self._placement.feed_idle(now)
            case LoadBegan():
                self._books.workers[event.worker].building = event.context
                return []
            case LoadEnded():
                return self._end_load(event, now)
            case LoadBroke():
                return self._break_load(event, now)
            case ContextsWorn():
                return self._wear_out(event)
            case ContextGone():
                return self._lose_context(event, now)
            case EvictionWanted():
                builds.unwant(event.context)
                evictions = room.evict_everywhere(event.context)
                return evictions + builds.start(now) + self._placement.give_back_hopeless(event.context)
            case SharedExpired():
                evictions = room.end_templates(event.context)
                return evictions + builds.start(now) + self._placement.give_back_hopeless(event.context)
            case BlobForgotten():
                return self._forget(event.digest)
            case _:
                return self._handle_template(event, now)

    def _handle_template(self, event: Event, now: float) -> list[Action]:
        room, builds = self._room, self._builds
        match event:
            case TemplateLoaded():
                room.measured(event.context, event.load_s, event.size_bytes)
                return []
            case TemplateReady():
                if event.was_kept:
                    room.templates[event.template] = Template()
                    for context in event.template:
                        builds.share(context, True)
                if event.template in room.templates:
                    room.templates[event.template].is_ready = True
                return self._placement.restart(now)
            case TemplateBroke():
                room.templates.pop(event.template, None)
                for context in event.template:
                    builds.unwant(context)
                settled = builds.drop_orders(event.context)
                return self._placement.give_back_broken(event.context, []) + settled + self._placement.restart(now)
            case TemplateUnsafe():
                room.templates.pop(event.template, None)
                builds.share(event.context, False)
                return [EndTemplate(template=event.template), *self._placement.restart(now)]
            case TemplateEnded():
                room.templates.pop(event.template, None)
                hopeless = [self._placement.give_back_hopeless(context) for context in event.template]
                return [*itertools.chain.from_iterable(hopeless), *self._placement.restart(now)]
            case _:
                assert_never(event)  # type: ignore[arg-type]

    # --- calls

    def _arrive(self, event: TasksArrived, now: float) -> list[Action]:
        if self._books.draining:
            return [GiveBack(tasks=[task.id for task in event.tasks])]
        lines: dict[WorkerLine, None] = {}
        for task in event.tasks:
            line = self._books.lines.get(task.lane) or self._books.open_line(task.lane)
            call = self._books.waiting[task.id] = NodeCall(task, line, now)
            line.append(call)
            lines[line] = None
            if task.nodes:
                self._books.nodes_queue.append(call)
        actions = [action for line in lines for action in self._placement.place(line, now)]
        return actions + self._placement.give_back_blocked()

    def _end_task(self, event: TaskEnded | TaskStopped, now: float) -> list[Action]:
        worker = self._books.workers[event.worker]
        call = self._books.unhold(worker, worker.held.popleft())
        assert call.id == event.task, f"worker {event.worker} ended task {event.task}, expected {call.id}"
        if isinstance(event, TaskEnded):
            self._books.run_of(call.task.code).add(event.run_s)
        worker.used_at.update(dict.fromkeys(call.task.lane.contexts, now))
        worker.fed_at = now
        self._books.reclaimed.discard(call.id)
        # Before anything is placed: nothing more runs in that process.
        actions: list[Action] = []
        if call.task.lane.fresh:
            after = self._books.environments.after_call(worker.environment)
            actions.append(self._builds.fork(worker, environment=None if call.line.waiting else after))
        if self._books.release_nodes(call.id):
            actions += self._placement.place_by_nodes(now)
        if call.task.lane.fresh:
            return actions
        actions += self._placement.feed(worker, now)
        if worker.is_idle:
            actions += self._placement.take_ahead_of(call.line, worker, now) + self._placement.give_back_blocked()
        return actions

    def _end_worker(self, event: WorkerEnded, now: float) -> list[Action]:
        worker = self._books.workers[event.worker]
        self._leave(worker)
        held = [self._books.unhold(worker, call) for call in worker.held]
        for call in held:
            self._books.release_nodes(call.id)
        self._books.reclaimed.difference_update(call.id for call in held)
        building, ended = worker.building, list[Action]()
        settled = self._builds.drop_order(worker)
        self._books.workers[worker.id] = Worker(worker.id, environment=self._books.environments.first)
        if building is None and worker.fork_of:
            building = worker.fork_of[
                0
            ]  # it died of what it was to share: the template is no better than a failed build
            self._builds.unwant(building)
            ended = self._room.end_template(worker.fork_of)
            settled += self._builds.drop_orders(building)
        if building is not None:
            broken = self._placement.give_back_broken(building, [call.id for call in held])
            return ended + broken + settled + self._placement.restart(now)
        lost: list[Action] = [Lose(task=held[0].id)] if held else []
        for call in reversed(held[1:]):
            self._books.wait_again(call)
        if self._books.draining:
            return lost + settled + self._placement.give_back_waiting()
        return lost + settled + self._placement.give_back_all_hopeless(held[1:]) + self._placement.restart(now)

    # --- calls that are taken back

    def _revoke(self, event: TasksRevoked, now: float) -> list[Action]:
        worker = self._books.workers[event.worker]
        worker.revoked += event.count
        returned: list[TaskId] = []
        lines: dict[WorkerLine, None] = {}
        for _ in range(event.count):
            call = self._books.unhold(worker, worker.held.pop())
            if call.id in self._books.reclaimed or self._books.draining:
                self._books.reclaimed.discard(call.id)
                returned.append(call.id)
            else:
                self._books.wait_again(call)
                lines[call.line] = None
        actions: list[Action] = [GiveBack(tasks=returned[::-1])] if returned else []
        for line in lines:
            actions += self._placement.place(line, now)
        return actions

    def _reclaim(self, event: TasksReclaimed) -> list[Action]:
        """The interchange knows a better place for calls that have not started here."""
        waiting = [call for task in event.tasks if (call := self._books.waiting.get(task)) is not None]
        for call in waiting:
            self._books.take_out(call)
        actions: list[Action] = [GiveBack(tasks=[call.id for call in waiting])] if waiting else []
        wanted = set(event.tasks)
        for worker in self._books.workers.values():
            # A worker gives back the last ones first: what comes after one that is wanted waits here again.
            count = 0
            for place, call in enumerate(reversed(worker.held), start=1):
                if not call.ahead:
                    break
                if call.id in wanted:
                    self._books.reclaimed.add(call.id)
                    count = place
            if count:
                actions.append(Revoke(worker=worker.id, count=count))
            if event.ends:
                ended = [call.id for call in worker.held if call.id in wanted and self._books.can_end(call)]
                actions += [Stop(worker=worker.id, task=task) for task in ended]
        return actions

    # --- contexts and workers

    def _worker_up(self, event: WorkerReady, now: float) -> list[Action]:
        old = self._books.workers[event.worker]
        first = old.fork_for
        self._leave(old)
        worker = self._books.workers[event.worker] = Worker(
            event.worker, up=True, inherited=event.inherited, environment=event.environment
        )
        worker.order = old.order
        for line in self._books.lines.values():
            self._books.admit(worker, line)
        if worker.order is not None:
            return self._builds.advance(worker, now) + self._placement.feed(worker, now)
        actions: list[Action] = []
        if first is not None and first.waiting and worker.serves(first) and self._placement.may_start(first):
            actions.append(self._placement.assign(worker, first, now))  # what it was forked for comes before orders
        return actions + self._placement.feed(worker, now)

    def _break_environment(self, event: EnvironmentBroke, now: float) -> list[Action]:
        """What waits for it goes back, and the interchange is told why."""
        self._books.environments.gone(event.environment)
        waiting = [worker for worker in self._books.workers.values() if worker.environment == event.environment]
        broken, settled = list[Action](), list[Action]()
        for context in self._books.environments.contexts_of(event.environment):
            is_asked_for = self._builds.is_asked_for(context)
            ended = self._builds.drop_orders(context)
            for worker in waiting:
                if not worker.up and worker.order is not None and context in worker.order.contexts:
                    ended += self._builds.drop_order(worker)
            self._builds.unwant(context)
            self._room.forget_unready(context)
            lines = self._books.lines_of.get(context, ())
            if is_asked_for or ended or any(line.waiting and not line.holders for line in lines):
                broken += self._placement.give_back_broken(context, [])
            settled += ended
        if event.environment == self._books.environments.home and not any(worker.up for worker in waiting):
            broken.append(self._placement.refuse_ordinary())
        for worker in waiting:
            if not worker.up:
                self._leave(worker)
                self._books.workers[worker.id] = Worker(worker.id)
        return broken + settled + self._placement.restart(now)

    def _leave(self, worker: Worker) -> None:
        """The process that served a worker serves nobody any more."""
        worker.leave()
        if worker.fork_for is not None:
            worker.fork_for.coming -= 1
            worker.fork_for = None

    def _end_load(self, event: LoadEnded, now: float) -> list[Action]:
        worker = self._books.workers[event.worker]
        is_on_the_way = worker.building not in (None, event.context)  # to one that requires it, which is still built
        if not is_on_the_way:
            worker.building = None
        worker.resident.add(event.context)
        worker.leaving.discard(event.context)
        worker.failed.discard(event.context)
        worker.used_at[event.context] = now
        if event.load_s is not None:
            self._room.measured(event.context, event.load_s, event.size_bytes)
            self._room.measured_on_devices(event.context, event.device_bytes, event.device_limit_bytes)
        for line in self._books.lines_of.get(event.context, ()):
            self._books.admit(worker, line)
        goes_on = worker.order is not None and not is_on_the_way
        actions = self._builds.advance(worker, now) if goes_on else []
        return actions + self._placement.feed(worker, now) + self._placement.give_back_blocked()

    def _break_load(self, event: LoadBroke, now: float) -> list[Action]:
        worker = self._books.workers[event.worker]
        worker.building = None
        worker.failed.add(event.context)
        returned: list[TaskId] = []
        if event.task is not None:
            call = self._books.unhold(worker, worker.held.popleft())
            self._books.release_nodes(call.id)
            returned.append(call.id)
        settled = self._builds.drop_order(worker)
        return self._placement.give_back_broken(event.context, returned) + settled + self._placement.feed(worker, now)

    def _wear_out(self, event: ContextsWorn) -> list[Action]:
        """What a template has, a fork of it need not build; if it is gone, the worker builds for the calls it holds."""
        worker = self._books.workers[event.worker]
        shared = [context for context in event.contexts if self._room.is_templates(worker, context)]
        for context in shared:
            self._room.leave(worker, context)
        behind = len(worker.held) - 1
        return [Revoke(worker=worker.id, count=behind)] if shared and behind > 0 else []

    def _lose_context(self, event: ContextGone, now: float) -> list[Action]:
        worker = self._books.workers[event.worker]
        worker.resident.discard(event.context)
        worker.leaving.discard(event.context)
        worker.used_at.pop(event.context, None)
        worker.inherited -= {event.context}
        for line in self._books.lines_of.get(event.context, ()):
            if not line.is_anywhere:
                line.dismiss(worker)
        actions = self._placement.give_back_hopeless(event.context)
        if worker.is_idle and self._room.is_wasted_on(worker, event.context, event.kept_bytes):
            return [*actions, self._builds.fork(worker)]  # its allocator keeps what the instance took
        return actions + self._placement.restart(now)

    def _forget(self, digest: Digest) -> list[Action]:
        self._books.run.pop(digest, None)
        self._room.builds.pop(digest, None)
        self._room.sizes.forget(digest)
        self._room.device_sizes.forget(digest)
        self._room.pinned.discard(digest)
        self._books.isolated.discard(digest)
        self._builds.unwant(digest)
        self._books.environments.forget(digest)
        actions = self._room.end_templates(digest)
        self._builds.share(digest, False)
        for line in self._books.lines_of.pop(digest, []):
            self._books.lines.pop(line.lane, None)
            for worker in self._books.workers.values():
                line.part(worker)
            for other in line.lane.contexts:
                if line in self._books.lines_of.get(other, ()):
                    self._books.lines_of[other].remove(line)
        return actions
