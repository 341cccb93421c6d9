"""Which worker of a node runs which call. Pure: see the package's docstring.

The manager feeds it events and carries out its actions. Calls are run by workers that hold their contexts; builds are
ordered by the interchange (`node_builds`), and a call whose context is gone is given back to it. A call is *started*
when it is the oldest that its worker holds; a worker is given short calls ahead, and those it has not started are taken
back when another worker has nothing to do.

Cost of an event on a call's path: it grows with none of workers, contexts and waiting calls.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Sequence

from typing_extensions import assert_never

from parsl_context.messages import Digest, TaskId, WorkerId
from parsl_context.scheduling.node_builds import NodeBuilds
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
    EvictionWanted,
    GiveBack,
    InstanceWanted,
    Lane,
    LimitsSet,
    LoadBegan,
    LoadBroke,
    LoadEnded,
    Lose,
    Revoke,
    SharedExpired,
    TaskEnded,
    TasksArrived,
    TaskSkipped,
    TasksReclaimed,
    TasksRevoked,
    TemplateBroke,
    TemplateEnded,
    TemplateLoaded,
    TemplateReady,
    TemplateUnsafe,
    Tick,
    WorkerEnded,
    WorkerReady,
)
from parsl_context.scheduling.placement import (
    FORK_S,
    MANAGER_LOOKAHEAD_S,
    RUN_PRIOR_S,
    WORKER_LOOKAHEAD_S,
    Estimate,
    lookahead,
    worth_a_build,
)
from parsl_context.scheduling.room import Room
from parsl_context.scheduling.workers import NodeCall, Worker, WorkerLine

_LOOKED_AT = 64  # waiting calls, when a worker is idle beside them


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
        self._workers = {WorkerId(i): Worker(WorkerId(i)) for i in range(workers)}
        self._lines: dict[Lane, WorkerLine] = {}
        self._lines_of: dict[Digest, list[WorkerLine]] = {}
        self._waiting: dict[TaskId, NodeCall] = {}  # calls that no worker holds
        self._running = 0  # calls that workers hold
        self._room = Room(self._workers, self._lines_of)
        self._builds = NodeBuilds(self._workers, self._room)
        self._run: dict[Digest | None, Estimate] = {}
        self._reclaimed: set[TaskId] = set()  # calls held ahead that the interchange wants back
        self.look_at: float | None = None  # when to look for calls behind slow ones
        self._draining = False
        self._free_nodes = list(nodes)
        self._taken_nodes: dict[TaskId, tuple[str, ...]] = {}
        self._nodes_queue: deque[NodeCall] = deque()  # calls that wait for nodes, oldest first

    @property
    def waiting(self) -> int:
        """Calls that no worker holds yet."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Calls that workers hold."""
        return self._running

    def next_deadline(self, now: float) -> float | None:
        """When `Tick` is due next, if ever."""
        times = [time for time in (self._room.next_idle_at(), self.look_at) if time is not None]
        return max(now, min(times)) if times else None

    def handle(self, event: Event, *, now: float) -> list[Action]:
        """Take an event into account. Gives what to do about it, in order."""
        match event:
            case TasksArrived():
                return self._arrive(event, now)
            case TaskEnded():
                return self._end_task(event, now)
            case TaskSkipped():
                worker = self._workers[event.worker]
                worker.revoked = max(0, worker.revoked - 1)
                return self._feed(worker, now)
            case TasksRevoked():
                return self._revoke(event, now)
            case TasksReclaimed():
                return self._reclaim(event)
            case WorkerReady():
                return self._worker_up(event, now)
            case WorkerEnded():
                return self._end_worker(event, now)
            case DrainBegan():
                self._draining = True
                return self._give_back_waiting() + self._builds.cancel_all() + self._revoke_all()
            case Tick():
                self.look_at = None
                return self._room.evict_idle(now) + self._take_ahead(now)
            case _:
                return self._handle_context(event, now)

    def _handle_context(self, event: Event, now: float) -> list[Action]:
        room, builds = self._room, self._builds
        match event:
            case ContextDeclared():
                builds.share(event.context, event.is_shared)
                if event.size_bytes is not None:
                    room.sizes.declare(event.context, event.size_bytes)
                if event.is_pinned:
                    room.pinned.add(event.context)
                return []
            case LimitsSet():
                room.limits = event
                return []
            case InstanceWanted():
                if self._draining:
                    return builds.cancel_all()
                return builds.order(event.contexts, now)
            case BuildWanted():
                builds.want(event.context)
                return self._feed_idle(now)
            case LoadBegan():
                self._workers[event.worker].building = event.context
                return []
            case LoadEnded():
                return self._end_load(event, now)
            case LoadBroke():
                return self._break_load(event, now)
            case ContextGone():
                return self._lose_context(event, now)
            case EvictionWanted():
                builds.unwant(event.context)
                return room.evict_everywhere(event.context) + self._give_back_hopeless(event.context)
            case SharedExpired():
                return room.end_templates(event.context) + self._give_back_hopeless(event.context)
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
                if event.template in room.templates:
                    room.templates[event.template] = True
                return self._restart(now)
            case TemplateBroke():
                room.templates.pop(event.template, None)
                for context in event.template:
                    builds.unwant(context)
                settled = builds.drop_orders(event.context)
                return self._give_back_broken(event.context, []) + settled + self._restart(now)
            case TemplateUnsafe():
                room.templates.pop(event.template, None)
                builds.share(event.context, False)
                return [EndTemplate(template=event.template), *self._restart(now)]
            case TemplateEnded():
                room.templates.pop(event.template, None)
                hopeless = [action for context in event.template for action in self._give_back_hopeless(context)]
                return hopeless + self._restart(now)
            case _:
                assert_never(event)  # type: ignore[arg-type]

    # --- calls

    def _arrive(self, event: TasksArrived, now: float) -> list[Action]:
        if self._draining:
            return [GiveBack(tasks=[task.id for task in event.tasks])]
        lines: dict[WorkerLine, None] = {}
        for task in event.tasks:
            line = self._lines.get(task.lane) or self._open_line(task.lane)
            call = self._waiting[task.id] = NodeCall(task, line, now)
            line.append(call)
            lines[line] = None
            if task.nodes:
                self._nodes_queue.append(call)
        actions = [action for line in lines for action in self._place(line, now)]
        return actions + self._give_back_blocked()

    def _end_task(self, event: TaskEnded, now: float) -> list[Action]:
        worker = self._workers[event.worker]
        call = self._unhold(worker, worker.held.popleft())
        assert call.id == event.task, f"worker {event.worker} ended task {event.task}, expected {call.id}"
        self._run_of(call.task.code).add(event.run_s)
        worker.used_at.update(dict.fromkeys(call.task.lane.contexts, now))
        worker.fed_at = now
        self._reclaimed.discard(call.id)
        actions: list[Action] = []
        if self._release_nodes(call.id) and self._nodes_queue:
            actions += self._place(self._nodes_queue[0].line, now)
        if call.task.lane.fresh:
            return [*actions, self._builds.fork(worker)]
        actions += self._feed(worker, now)
        if worker.is_idle:
            actions += self._take_ahead_of(call.line, worker, now) + self._give_back_blocked()
        return actions

    def _end_worker(self, event: WorkerEnded, now: float) -> list[Action]:
        worker = self._workers[event.worker]
        self._leave(worker)
        held = [self._unhold(worker, call) for call in worker.held]
        for call in held:
            self._release_nodes(call.id)
        self._reclaimed.difference_update(call.id for call in held)
        building = worker.building
        if building is None and worker.order is not None and worker.fork_of:
            building = worker.fork_of[0]  # it died of what it was to share
        settled = self._builds.drop_order(worker)
        self._workers[worker.id] = Worker(worker.id)
        if building is not None:
            return self._give_back_broken(building, [call.id for call in held]) + settled + self._restart(now)
        lost: list[Action] = [Lose(task=held[0].id)] if held else []
        for call in reversed(held[1:]):
            self._wait_again(call)
        if self._draining:
            return lost + settled + self._give_back_waiting()
        return lost + settled + self._give_back_all_hopeless(held[1:]) + self._restart(now)

    def _wait_again(self, call: NodeCall) -> None:
        call.ahead = False
        self._waiting[call.id] = call
        call.line.put_back(call)
        if call.task.nodes:
            self._nodes_queue.appendleft(call)

    def _unhold(self, worker: Worker, call: NodeCall) -> NodeCall:
        """A worker no longer holds a call."""
        self._running -= 1
        if call.ahead:
            call.line.change_ahead(worker, -1)
        if worker.held and worker.held[0].ahead:
            worker.held[0].ahead = False  # it starts now
            worker.held[0].line.change_ahead(worker, -1)
        return call

    # --- calls that are taken back

    def _revoke(self, event: TasksRevoked, now: float) -> list[Action]:
        worker = self._workers[event.worker]
        worker.revoked += event.count
        returned: list[TaskId] = []
        lines: dict[WorkerLine, None] = {}
        for _ in range(event.count):
            call = self._unhold(worker, worker.held.pop())
            if call.id in self._reclaimed or self._draining:
                self._reclaimed.discard(call.id)
                returned.append(call.id)
            else:
                self._wait_again(call)
                lines[call.line] = None
        actions: list[Action] = [GiveBack(tasks=returned[::-1])] if returned else []
        for line in lines:
            actions += self._place(line, now)
        return actions

    def _reclaim(self, event: TasksReclaimed) -> list[Action]:
        """The interchange knows a better place for calls that have not started here."""
        waiting = [call for task in event.tasks if (call := self._waiting.get(task)) is not None]
        for call in waiting:
            self._take_out(call)
        actions: list[Action] = [GiveBack(tasks=[call.id for call in waiting])] if waiting else []
        wanted = set(event.tasks)
        for worker in self._workers.values():
            count = 0
            for call in reversed(worker.held):
                if not (call.ahead and call.id in wanted):
                    break
                self._reclaimed.add(call.id)
                count += 1
            if count and not worker.revoked:
                actions.append(Revoke(worker=worker.id, count=count))
        return actions

    def _revoke_all(self) -> list[Action]:
        return [
            Revoke(worker=worker.id, count=len(worker.held) - 1)
            for worker in self._workers.values()
            if len(worker.held) > 1 and not worker.revoked
        ]

    def _take_ahead(self, now: float) -> list[Action]:
        """For each line with an idle worker: take calls back from behind slow ones."""
        actions: list[Action] = []
        for line in [line for line in self._lines.values() if line.ahead]:
            idle = line.find_idle(lambda holder: isinstance(holder, Worker) and holder.is_idle)
            if isinstance(idle, Worker):
                actions += self._take_ahead_of(line, idle, now)
        return actions

    def _take_ahead_of(self, line: WorkerLine, idle: Worker, now: float) -> list[Action]:
        donor = next((worker for worker in line.ahead if worker is not idle and not worker.revoked), None)
        if donor is None or line not in idle.lines:
            return []
        newest = 0
        for call in reversed(donor.held):
            if not call.ahead:
                break
            newest += 1
        run_s = self._run_of(donor.held[-1].task.code).or_prior(0.0)
        if newest * run_s < WORKER_LOOKAHEAD_S / 4 and now - donor.fed_at < WORKER_LOOKAHEAD_S:
            self.look_at = now + WORKER_LOOKAHEAD_S  # most likely they have run by then
            return []
        return [Revoke(worker=donor.id, count=(newest + 1) // 2)] if newest else []

    # --- placement

    def _place(self, line: WorkerLine, now: float) -> list[Action]:
        """Give calls of a line to workers that are idle and hold what they need; fork more if that pays."""
        actions: list[Action] = []
        while line.waiting and self._may_start(line):
            worker = line.find_idle(lambda holder: isinstance(holder, Worker) and holder.is_idle)
            if worker is None:
                break
            assert isinstance(worker, Worker)
            if line.lane.fresh and worker.used:
                if line.coming >= line.waiting:
                    break
                line.coming += 1
                worker.fork_for = line
                actions.append(self._builds.fork(worker))
            else:
                actions.append(self._assign(worker, line, now))
        if line.waiting and not line.is_anywhere:
            actions += self._fork_for(line) or self._give_back_if_hopeless(line)
        return actions

    def _feed(self, worker: Worker, now: float) -> list[Action]:
        """Give a worker all that it should hold now: the oldest calls that it can run, or a build."""
        actions: list[Action] = []
        if not worker.up or worker.building is not None or worker.order is not None:
            return actions
        if not (self._builds.needs_worker and not self._draining):
            while (line := self._oldest(worker)) is not None:
                if line.lane.fresh and worker.used:
                    return [*actions, self._builds.fork(worker)]
                actions.append(self._assign(worker, line, now))
        if worker.is_idle:
            worker.promote()
            actions += self._builds.start(now)
        if worker.is_idle and not self._draining:
            while (line := self._oldest(worker)) is not None and not (line.lane.fresh and worker.used):
                actions.append(self._assign(worker, line, now))
            if worker.is_idle:
                actions += self._builds.build_ahead(worker)
        return actions

    def _feed_idle(self, now: float) -> list[Action]:
        return [action for w in list(self._workers.values()) if w.is_idle for action in self._feed(w, now)]

    def _restart(self, now: float) -> list[Action]:
        """Something changed for all workers: orders, then calls."""
        actions = self._builds.start(now)
        for line in [line for line in self._lines.values() if line.waiting]:
            actions += self._place(line, now)
        return actions + self._feed_idle(now)

    def _oldest(self, worker: Worker) -> WorkerLine | None:
        """Of the lines that this worker can serve and has room for, the one whose first call is the oldest."""
        best: WorkerLine | None = None
        best_since = float("inf")
        for line in worker.waiting_lines():
            first = line.queue.first()
            assert isinstance(line, WorkerLine)
            if first is None or first.since >= best_since or not self._may_start(line):
                continue
            if self._has_room(worker, first):
                best, best_since = line, first.since
        return best

    def _has_room(self, worker: Worker, call: NodeCall) -> bool:
        """Whether a worker should hold one more call: behind others, only short ones behind short ones."""
        if not worker.held:
            return True
        first = worker.held[0].task
        if worker.revoked or call.task.nodes or call.task.lane.fresh or first.lane.fresh:
            return False
        held = len(worker.held)
        if held > lookahead(self._run_of(call.task.code), WORKER_LOOKAHEAD_S):
            return False
        return first.code == call.task.code or held <= lookahead(self._run_of(first.code), WORKER_LOOKAHEAD_S)

    def _may_start(self, line: WorkerLine) -> bool:
        """Whether the nodes that the line's first call asks for are there, and it is its turn."""
        first = line.queue.first()
        if first is None or not first.task.nodes:
            return first is not None
        return first.task.nodes <= len(self._free_nodes) and first is self._nodes_queue[0]

    def _assign(self, worker: Worker, line: WorkerLine, now: float) -> Action:
        call = line.take()
        del self._waiting[call.id]
        call.ahead = bool(worker.held)
        if call.ahead:
            line.change_ahead(worker, 1)
        else:
            worker.fed_at = now
        worker.held.append(call)
        worker.used = True
        worker.served(line)
        self._running += 1
        if not call.task.nodes:
            return Assign(task=call.id, worker=worker.id, is_ahead=call.ahead)
        self._nodes_queue.popleft()
        nodes = tuple(self._free_nodes[: call.task.nodes])
        del self._free_nodes[: call.task.nodes]
        self._taken_nodes[call.id] = nodes
        return Assign(task=call.id, worker=worker.id, nodes=nodes)

    def _fork_for(self, line: WorkerLine) -> list[Action]:
        """Have idle workers forked from the template that has what the line needs, as many as pay."""
        key = self._builds.template_key(line.lane.contexts)
        template = self._builds.ready_template(key) if key else None
        actions: list[Action] = []
        if template is None or len(key) < len(line.lane.contexts):
            return actions
        first = line.queue.first()
        run = self._run_of(first.task.code if first is not None else None)
        idle = sorted((w for w in self._workers.values() if w.is_idle and line not in w.lines), key=_loss)
        for worker in idle:
            waiting = line.waiting - line.coming
            if not worth_a_build(waiting=waiting, holders=line.holders, run=run, build=Estimate(FORK_S)):
                break
            line.coming += 1
            worker.fork_for = line
            actions.append(self._builds.fork(worker, template))
        return actions

    # --- calls that cannot run here

    def _give_back_waiting(self) -> list[Action]:
        for line in self._lines.values():
            line.take_all()
        tasks = list(self._waiting)
        self._waiting.clear()
        self._nodes_queue.clear()
        return [GiveBack(tasks=tasks)] if tasks else []

    def _give_back_blocked(self) -> list[Action]:
        """As many calls as there are idle workers, if they wait for busy ones: the interchange has others for these.

        A worker may hold contexts of several lines. How many of its workers hold those of a line the interchange knows,
        but not which are busy with calls of another.
        """
        if not self._waiting or self._builds.needs_worker:
            return []
        newest = itertools.islice(reversed(self._waiting.values()), _LOOKED_AT)
        blocked = [call for call in newest if self._is_blocked(call)]
        idle = sum(1 for worker in self._workers.values() if worker.is_idle) if blocked else 0
        for call in blocked[:idle]:
            self._take_out(call)
        return [GiveBack(tasks=[call.id for call in blocked[:idle]])] if idle else []

    def _is_blocked(self, call: NodeCall) -> bool:
        """Whether a call waits for workers that hold its contexts, and not just for the moment."""
        line = call.line
        if line.is_anywhere or not line.holders or line.coming or call.task.nodes:
            return False
        return self._run_of(call.task.code).or_prior(RUN_PRIOR_S) >= MANAGER_LOOKAHEAD_S

    def _give_back_if_hopeless(self, line: WorkerLine) -> list[Action]:
        """Calls whose contexts no worker has, or is about to have, are for the interchange to place anew."""
        if not line.waiting or line.holders or line.coming or line.is_anywhere or self._is_under_way(line):
            return []
        tasks = [call.id for call in self._take_all(line)]
        return [GiveBack(tasks=tasks)]

    def _is_under_way(self, line: WorkerLine) -> bool:
        key = self._builds.template_key(line.lane.contexts)
        if key and len(key) == len(line.lane.contexts) and self._builds.has_template(key):
            return True
        return any(
            worker.order is not None and set(worker.order.contexts).issuperset(line.lane.contexts)
            for worker in self._workers.values()
        )

    def _give_back_hopeless(self, context: Digest) -> list[Action]:
        return [a for line in self._lines_of.get(context, ()) for a in self._give_back_if_hopeless(line)]

    def _give_back_all_hopeless(self, calls: list[NodeCall]) -> list[Action]:
        lines = dict.fromkeys(call.line for call in calls)
        return [action for line in lines for action in self._give_back_if_hopeless(line)]

    def _give_back_broken(self, context: Digest, returned: list[TaskId]) -> list[Action]:
        """A context could not be built: its calls go back, and the interchange is told why."""
        for line in self._lines_of.get(context, ()):
            if not line.holders or line.is_anywhere:
                returned += [call.id for call in self._take_all(line)]
        return [GiveBack(tasks=returned, broken=context)]

    def _take_all(self, line: WorkerLine) -> list[NodeCall]:
        calls = line.take_all()
        for call in calls:
            del self._waiting[call.id]
            if call.task.nodes:
                self._nodes_queue.remove(call)
        return calls

    def _take_out(self, call: NodeCall) -> None:
        del self._waiting[call.id]
        call.line.forget(call)
        if call.task.nodes:
            self._nodes_queue.remove(call)

    def _release_nodes(self, task: TaskId) -> bool:
        nodes = self._taken_nodes.pop(task, ())
        self._free_nodes += nodes
        return bool(nodes)

    # --- contexts and workers

    def _worker_up(self, event: WorkerReady, now: float) -> list[Action]:
        old = self._workers[event.worker]
        self._leave(old)
        worker = self._workers[event.worker] = Worker(event.worker, up=True, inherited=event.inherited)
        worker.order = old.order
        for line in self._lines.values():
            self._admit(worker, line)
        if worker.order is not None:
            return self._builds.advance(worker) + self._feed(worker, now)
        return self._feed(worker, now)

    def _leave(self, worker: Worker) -> None:
        """The process that served a worker serves nobody any more."""
        worker.leave()
        if worker.fork_for is not None:
            worker.fork_for.coming -= 1
            worker.fork_for = None

    def _end_load(self, event: LoadEnded, now: float) -> list[Action]:
        worker = self._workers[event.worker]
        worker.building = None
        worker.resident.add(event.context)
        worker.leaving.discard(event.context)
        worker.failed.discard(event.context)
        worker.used_at[event.context] = now
        self._room.measured(event.context, event.load_s, event.size_bytes)
        for line in self._lines_of.get(event.context, ()):
            self._admit(worker, line)
        actions = self._builds.advance(worker) if worker.order is not None else []
        return actions + self._feed(worker, now) + self._give_back_blocked()

    def _break_load(self, event: LoadBroke, now: float) -> list[Action]:
        worker = self._workers[event.worker]
        worker.building = None
        worker.failed.add(event.context)
        returned: list[TaskId] = []
        if event.task is not None:
            call = self._unhold(worker, worker.held.popleft())
            self._release_nodes(call.id)
            returned.append(call.id)
        settled = self._builds.drop_order(worker)
        return self._give_back_broken(event.context, returned) + settled + self._feed(worker, now)

    def _lose_context(self, event: ContextGone, now: float) -> list[Action]:
        worker = self._workers[event.worker]
        worker.resident.discard(event.context)
        worker.leaving.discard(event.context)
        worker.used_at.pop(event.context, None)
        worker.inherited -= {event.context}
        for line in self._lines_of.get(event.context, ()):
            if not line.is_anywhere:
                line.dismiss(worker)
        actions = self._give_back_hopeless(event.context)
        if event.kept_bytes > self._room.sizes.of(event.context) // 2 and worker.is_idle:
            return [*actions, self._builds.fork(worker)]  # its allocator keeps what the instance took
        return actions + self._restart(now)

    def _open_line(self, lane: Lane) -> WorkerLine:
        line = self._lines[lane] = WorkerLine(lane)
        for context in lane.contexts:
            self._lines_of.setdefault(context, []).append(line)
        for worker in self._workers.values():
            self._admit(worker, line)
        return line

    @staticmethod
    def _admit(worker: Worker, line: WorkerLine) -> None:
        contexts = line.lane.contexts
        if worker.up and (
            line.is_anywhere or (worker.resident.issuperset(contexts) and worker.leaving.isdisjoint(contexts))
        ):
            line.admit(worker)

    def _forget(self, digest: Digest) -> list[Action]:
        self._run.pop(digest, None)
        self._room.builds.pop(digest, None)
        self._room.sizes.forget(digest)
        self._room.pinned.discard(digest)
        self._builds.unwant(digest)
        actions = self._room.end_templates(digest)
        self._builds.share(digest, False)
        for line in self._lines_of.pop(digest, []):
            self._lines.pop(line.lane, None)
            for worker in self._workers.values():
                line.dismiss(worker)
            for other in line.lane.contexts:
                if line in self._lines_of.get(other, ()):
                    self._lines_of[other].remove(line)
        return actions

    def _run_of(self, code: Digest | None) -> Estimate:
        estimate = self._run.get(code)
        if estimate is None:
            estimate = self._run[code] = Estimate()
        return estimate


def _loss(worker: Worker) -> tuple[int, WorkerId]:
    """What is lost with the process of a worker."""
    return len(worker.kept), worker.id
