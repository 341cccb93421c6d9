"""Which worker runs which call, what is taken back, and what cannot run here: the rules of a manager, on its books.

`state` changes the books as events come in and then asks here what follows.
"""

from __future__ import annotations

import itertools

from parsl_context.scheduling.lines import CHOICES, Lane, Pair
from parsl_context.scheduling.node.books import NodeBooks
from parsl_context.scheduling.node.builds import NodeBuilds
from parsl_context.scheduling.node.events import (
    Action,
    Assign,
    GiveBack,
    RefuseOrdinary,
    Revoke,
    TemplateKey,
)
from parsl_context.scheduling.node.room import Room
from parsl_context.scheduling.node.workers import NodeCall, Order, Worker, WorkerLine
from parsl_context.scheduling.placement import (
    BUILD_PRIOR_S,
    FORK_PATIENCE_S,
    FORK_S,
    MANAGER_LOOKAHEAD_S,
    RUN_PRIOR_S,
    WORKER_LOOKAHEAD_S,
    Estimate,
    lookahead,
    worth_a_build,
)
from parsl_context.wire.messages import Digest, TaskId, WorkerId

_LOOKED_AT = 64  # waiting calls, when a worker is idle beside them


class NodePlacement:
    """What follows from the books: who runs what, what is taken back, given back, forked."""

    def __init__(self, books: NodeBooks, room: Room, builds: NodeBuilds) -> None:
        self._books = books
        self._room = room
        self._builds = builds
        self._unheld: dict[WorkerLine, None] = {}  # lines that waited for a template or an order when last looked at
        self._take_ahead_at: float | None = None  # when to look for calls behind slow ones

    @property
    def look_at(self) -> float | None:
        """When calls should be looked at again, if ever."""
        return self._take_ahead_at

    def revoke_all(self) -> list[Action]:
        return [
            Revoke(worker=worker.id, count=len(worker.held) - 1)
            for worker in self._books.workers.values()
            if len(worker.held) > 1
        ]

    def take_ahead(self, now: float) -> list[Action]:
        """For each line with an idle worker: take calls back from behind slow ones."""
        self._take_ahead_at = None
        actions: list[Action] = []
        for line in [line for line in self._books.lines.values() if line.ahead]:
            idle = _idle_worker(line)
            if idle is not None:
                actions += self.take_ahead_of(line, idle, now)
                self._take_ahead_at = now + WORKER_LOOKAHEAD_S  # of several lines, those of others may come first
        return actions

    def take_ahead_of(self, line: WorkerLine, idle: Worker, now: float) -> list[Action]:
        donor = next((worker for worker in line.ahead if worker is not idle), None)
        if donor is None or not idle.serves(line):
            return []
        newest = 0
        for call in reversed(donor.held):
            if not call.ahead:
                break
            newest += 1
        run_s = self._books.run_of(donor.held[-1].task.code).or_prior(0.0)
        if newest * run_s < WORKER_LOOKAHEAD_S / 4 and now - donor.fed_at < WORKER_LOOKAHEAD_S:
            self._take_ahead_at = now + WORKER_LOOKAHEAD_S  # most likely they have run by then
            return []
        return [Revoke(worker=donor.id, count=(newest + 1) // 2)] if newest else []

    def place(self, line: WorkerLine, now: float) -> list[Action]:
        """Give calls of a line to workers that are idle and hold what they need; fork more if that pays."""
        actions: list[Action] = []
        while line.waiting and self.may_start(line):
            worker = self._least_loss(line) if line.lane.fresh else _idle_worker(line)
            if worker is None:
                break
            if line.lane.fresh and worker.used:
                if line.coming >= line.waiting:
                    break
                line.coming += 1
                worker.fork_for = line
                actions.append(self._builds.fork(worker))
            else:
                actions.append(self.assign(worker, line, now))
        if line.waiting and not line.is_anywhere:
            actions += self._fork_for(line, now) or self._give_back_if_hopeless(line)
        elif line.waiting and self._books.environments.are_several:
            actions += self._fork_for(line, now)
            self._unheld[line] = None
        return actions

    def _least_loss(self, line: WorkerLine) -> Worker | None:
        """The idle worker whose process can best be spared, for a call that needs a fresh one."""
        idle = [worker for worker in self._books.workers.values() if worker.is_spare and worker.serves(line)]
        pinned = self._room.pinned
        return min(idle, key=lambda w: (w.used, len(w.kept & pinned), *_loss(w)), default=None)

    def place_by_nodes(self, now: float) -> list[Action]:
        """Give calls that need nodes to idle workers, as far as there are nodes for the one whose turn it is."""
        actions: list[Action] = []
        while self._books.nodes_queue and self.may_start((first := self._books.nodes_queue[0]).line):
            actions += self.place(first.line, now)
            if self._books.nodes_queue and self._books.nodes_queue[0] is first:
                break  # no worker is idle
        return actions

    def feed(self, worker: Worker, now: float) -> list[Action]:
        """Give a worker all that it should hold now: the oldest calls that it can run, or a build."""
        actions: list[Action] = []
        if not worker.up or worker.building is not None or worker.order is not None:
            return actions
        if worker.kept_for is not None and not worker.held:
            actions += self._give_first(worker, worker.kept_for, now)
        if not (self._builds.needs_worker and not self._books.draining):
            actions += self._give_calls(worker, now)
        if worker.is_idle:
            worker.promote()
            actions += self._builds.start(now)
        if worker.is_idle and not self._books.draining:
            actions += self._give_calls(worker, now)
            if worker.is_spare:
                actions += self._employ(worker, now)
        if worker.is_idle and self._books.ahead and self._take_ahead_at is None:
            self._take_ahead_at = now + WORKER_LOOKAHEAD_S
        return actions

    def _give_first(self, worker: Worker, order: Order, now: float) -> list[Action]:
        """Give a worker a call that it was made ready for, before anything else."""
        line = self._books.lines.get(Lane(order.contexts, False))
        if line is not None and line.waiting and worker.serves(line):
            return [self.assign(worker, line, now)]
        if worker.is_released:
            worker.kept_for = None
        return []

    def _give_calls(self, worker: Worker, now: float) -> list[Action]:
        actions: list[Action] = []
        while (line := self._oldest(worker)) is not None:
            if self._is_overtaken(line, now):
                break
            if line.lane.fresh and worker.used:
                return [*actions, self._builds.fork(worker)]
            actions.append(self.assign(worker, line, now))
        return actions

    def _is_overtaken(self, line: WorkerLine, now: float) -> bool:
        """Whether calls that no worker holds anything for wait so much longer that a fork for them comes first."""
        first = line.queue.first()
        for other in itertools.islice(self._unheld, CHOICES):
            oldest = other.queue.first()
            if first is None or oldest is None:
                continue
            start_s = self._books.environments.left_s(other.environment, now)
            if first.since - oldest.since < FORK_PATIENCE_S + start_s:
                continue
            is_unserved = not other.holders and other.coming < other.waiting
            if is_unserved and (other.is_anywhere or self._template_of(other) is not None):
                return True
        return False

    def _employ(self, worker: Worker, now: float) -> list[Action]:
        """For a worker without calls: it may be what others wait for whose template is ready, or build ahead."""
        lines, self._unheld = self._unheld, {}
        actions = [action for line in lines for action in self.place(line, now)]
        return actions + self._builds.build_ahead(worker, now) if worker.is_spare else actions

    def feed_idle(self, now: float) -> list[Action]:
        return [action for w in list(self._books.workers.values()) if w.is_idle for action in self.feed(w, now)]

    def restart(self, now: float) -> list[Action]:
        """Something changed for all workers: orders, then calls."""
        actions = self._builds.start(now)
        for line in [line for line in self._books.lines.values() if line.waiting]:
            actions += self.place(line, now)
        return actions + self.feed_idle(now)

    def _oldest(self, worker: Worker) -> WorkerLine | None:
        """Of the lines that this worker can serve and has room for, the one whose first call is the oldest."""
        best = self._oldest_of(worker, worker.waiting_lines())
        if best is None and self._books.nodes_queue:  # perhaps it looked at none but lines whose calls wait for nodes
            best = self._oldest_of(worker, worker.waiting_lines(len(worker.pairs)))
        return best

    def _oldest_of(self, worker: Worker, pairs: list[Pair]) -> WorkerLine | None:
        best: WorkerLine | None = None
        best_since = float("inf")
        for pair in pairs:
            line = pair.line
            first = line.queue.first()
            assert isinstance(line, WorkerLine)
            if first is None or first.since >= best_since or not self.may_start(line):
                continue
            if line.lane.fresh and worker.kept_for is not None:
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
        if held > lookahead(self._books.run_of(call.task.code), WORKER_LOOKAHEAD_S):
            return False
        return first.code == call.task.code or held <= lookahead(self._books.run_of(first.code), WORKER_LOOKAHEAD_S)

    def may_start(self, line: WorkerLine) -> bool:
        """Whether the nodes that the line's first call asks for are there, and it is its turn."""
        first = line.queue.first()
        if first is None or not first.task.nodes:
            return first is not None
        return first.task.nodes <= len(self._books.free_nodes) and first is self._books.nodes_queue[0]

    def assign(self, worker: Worker, line: WorkerLine, now: float) -> Action:
        call = line.take()
        del self._books.waiting[call.id]
        call.ahead = bool(worker.held)
        if call.ahead:
            self._books.change_ahead(call, worker, 1)
        else:
            worker.fed_at = now
        worker.held.append(call)
        worker.used = True
        if worker.kept_for is not None and worker.kept_for.contexts == line.lane.contexts:
            worker.kept_for = None
        line.pairs[worker].was_served = True
        self._books.running += 1
        if not call.task.nodes:
            return Assign(task=call.id, worker=worker.id, is_ahead=call.ahead)
        self._books.nodes_queue.popleft()
        nodes = tuple(self._books.free_nodes[: call.task.nodes])
        del self._books.free_nodes[: call.task.nodes]
        self._books.taken_nodes[call.id] = nodes
        return Assign(task=call.id, worker=worker.id, nodes=nodes)

    def _fork_for(self, line: WorkerLine, now: float) -> list[Action]:
        """Have idle workers forked, as many as pay: from a template with what the line needs, or in its environment."""
        template = None if line.is_anywhere else self._template_of(line)
        actions: list[Action] = []
        if (template is None and not line.is_anywhere) or not self.may_start(line):
            return actions
        first = line.queue.first()
        run = self._books.run_of(first.task.code if first is not None else None)
        start_s = self._books.environments.left_s(line.environment, now)
        idle = (w for w in self._books.workers.values() if w.is_spare and not w.serves(line))
        for worker in sorted(idle, key=self._forks_cost):
            if line.coming >= line.waiting:
                break
            cost = Estimate(start_s + self._forks_cost(worker)[1])
            if not worth_a_build(waiting=line.waiting, holders=line.holders + line.coming, run=run, build=cost):
                break
            line.coming += 1
            worker.fork_for = line
            actions.append(self._builds.fork(worker, template, environment=line.environment))
        return actions

    def _template_of(self, line: WorkerLine) -> TemplateKey | None:
        """What workers can be forked from that have all that the line's calls need."""
        key = self._builds.template_key(line.lane.contexts)
        return self._builds.ready_template(key) if key and len(key) == len(line.lane.contexts) else None

    def _forks_cost(self, worker: Worker) -> tuple[int, float, WorkerId]:
        """What it costs to fork a worker: pinned contexts, and the time to do it and to build again what goes. [s]"""
        kept = worker.kept
        builds = (self._room.builds.get(context, Estimate()).or_prior(BUILD_PRIOR_S) for context in kept)
        return len(kept & self._room.pinned), FORK_S + sum(builds), worker.id

    def give_back_waiting(self) -> list[Action]:
        for line in self._books.lines.values():
            line.take_all()
        tasks = list(self._books.waiting)
        self._books.waiting.clear()
        self._books.nodes_queue.clear()
        return [GiveBack(tasks=tasks)] if tasks else []

    def give_back_blocked(self) -> list[Action]:
        """As many calls as there are idle workers, if they wait for busy ones: the interchange has others for these.

        A worker may hold contexts of several lines. How many of its workers hold those of a line the interchange knows,
        but not which are busy with calls of another.
        """
        if not self._books.waiting or self._builds.needs_worker:
            return []
        idle = sum(1 for worker in self._books.workers.values() if worker.is_spare)
        if not idle:
            return []
        newest = itertools.islice(reversed(self._books.waiting.values()), _LOOKED_AT)
        blocked = [call for call in newest if self._is_blocked(call)][:idle]
        for call in blocked:
            self._books.take_out(call)
        return [GiveBack(tasks=[call.id for call in blocked])] if blocked else []

    def _is_blocked(self, call: NodeCall) -> bool:
        """Whether a call waits for workers that hold its contexts, and not just for the moment."""
        line = call.line
        if line.is_anywhere or not line.holders or line.coming or call.task.nodes:
            return False
        return self._books.run_of(call.task.code).or_prior(RUN_PRIOR_S) >= MANAGER_LOOKAHEAD_S

    def _give_back_if_hopeless(self, line: WorkerLine) -> list[Action]:
        """Calls whose contexts no worker has, or is about to have, are for the interchange to place anew."""
        if not line.waiting or line.holders or line.coming or line.is_anywhere:
            return []
        if self._is_under_way(line):
            self._unheld[line] = None
            return []
        tasks = [call.id for call in self._books.take_all(line)]
        return [GiveBack(tasks=tasks)]

    def _is_under_way(self, line: WorkerLine) -> bool:
        key = self._builds.template_key(line.lane.contexts)
        if key and len(key) == len(line.lane.contexts) and self._builds.has_template(key):
            return True
        return any(
            worker.order is not None and set(worker.order.contexts).issuperset(line.lane.contexts)
            for worker in self._books.workers.values()
        )

    def give_back_hopeless(self, context: Digest) -> list[Action]:
        return [a for line in self._books.lines_of.get(context, ()) for a in self._give_back_if_hopeless(line)]

    def give_back_all_hopeless(self, calls: list[NodeCall]) -> list[Action]:
        lines = dict.fromkeys(call.line for call in calls)
        return [action for line in lines for action in self._give_back_if_hopeless(line)]

    def give_back_broken(self, context: Digest, returned: list[TaskId]) -> list[Action]:
        """A context could not be built: its calls go back, and the interchange is told why."""
        for line in self._books.lines_of.get(context, ()):
            if not line.holders or line.is_anywhere:
                returned += [call.id for call in self._books.take_all(line)]
        return [GiveBack(tasks=returned, broken=context)]

    def refuse_ordinary(self) -> Action:
        """Calls without contexts have no worker, since none can be started in their environment."""
        lines = [line for line in self._books.lines.values() if not line.lane.contexts]
        return RefuseOrdinary(tasks=[call.id for line in lines for call in self._books.take_all(line)])


def _idle_worker(line: WorkerLine) -> Worker | None:
    pair = line.find_idle(_is_idle)
    if pair is None:
        return None
    assert isinstance(pair.holder, Worker)
    return pair.holder


def _is_idle(pair: Pair) -> bool:
    return isinstance(pair.holder, Worker) and pair.holder.is_idle


def _loss(worker: Worker) -> tuple[int, WorkerId]:
    """What is lost with the process of a worker."""
    return len(worker.kept), worker.id
