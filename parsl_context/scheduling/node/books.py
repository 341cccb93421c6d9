"""The books of a manager: workers, lines and calls, and where each call is. Rules read them, events change them.

`placement` decides on them, `state` keeps them as events come in. Nothing is decided here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from parsl_context.scheduling.lines import Lane
from parsl_context.scheduling.node.environments import Environments
from parsl_context.scheduling.node.events import MANAGERS_OWN
from parsl_context.scheduling.node.workers import NodeCall, Worker, WorkerLine
from parsl_context.scheduling.placement import Estimate
from parsl_context.wire.messages import Digest, EnvironmentName, TaskId, WorkerId


class NodeBooks:
    """Who has what, and where each call is.

    Parameters
    ----------
    workers
        How many there are; they begin without a process.
    nodes
        Names of the nodes that calls may ask for (MPI).
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
        self.environments = Environments(home, begins_at_home=begins_at_home)
        first = self.environments.first
        self.workers = {WorkerId(i): Worker(WorkerId(i), environment=first) for i in range(workers)}
        self.lines: dict[Lane, WorkerLine] = {}
        self.lines_of: dict[Digest, list[WorkerLine]] = {}
        self.waiting: dict[TaskId, NodeCall] = {}  # calls that no worker holds
        self.running = 0  # calls that workers hold
        self.ahead = 0  # of those, calls behind others
        self.run: dict[Digest | None, Estimate] = {}
        self.reclaimed: set[TaskId] = set()  # calls held ahead that the interchange wants back
        self.isolated: set[Digest] = set()  # contexts whose calls run in forks, and can be ended
        self.draining = False
        self.free_nodes = list(nodes)
        self.taken_nodes: dict[TaskId, tuple[str, ...]] = {}
        self.nodes_queue: deque[NodeCall] = deque()  # calls that wait for nodes, oldest first

    def wait_again(self, call: NodeCall) -> None:
        """A call that a worker held waits again, before others of its line."""
        call.ahead = False
        self.waiting[call.id] = call
        call.line.put_back(call)
        if call.task.nodes:
            self.nodes_queue.appendleft(call)

    def unhold(self, worker: Worker, call: NodeCall) -> NodeCall:
        """A worker no longer holds a call."""
        self.running -= 1
        if call.ahead:
            self.change_ahead(call, worker, -1)
        if worker.held and worker.held[0].ahead:
            worker.held[0].ahead = False  # it starts now
            self.change_ahead(worker.held[0], worker, -1)
        return call

    def change_ahead(self, call: NodeCall, worker: Worker, change: int) -> None:
        """A call waits at a worker behind others, or does so no more."""
        self.ahead += change
        call.line.change_ahead(worker, change)

    def take_all(self, line: WorkerLine) -> list[NodeCall]:
        """No call of a line waits here any more. Gives those that did."""
        calls = line.take_all()
        for call in calls:
            del self.waiting[call.id]
            if call.task.nodes:
                self.nodes_queue.remove(call)
        return calls

    def take_out(self, call: NodeCall) -> None:
        """A call does not wait here any more."""
        del self.waiting[call.id]
        call.line.forget(call)
        if call.task.nodes:
            self.nodes_queue.remove(call)

    def release_nodes(self, task: TaskId) -> bool:
        """The nodes of a call are free again. Gives whether it had any."""
        nodes = self.taken_nodes.pop(task, ())
        self.free_nodes += nodes
        return bool(nodes)

    def open_line(self, lane: Lane) -> WorkerLine:
        """A line for calls of a lane, with the workers that can serve it."""
        line = self.lines[lane] = WorkerLine(lane, self.environments.of(lane.contexts))
        for context in lane.contexts:
            self.lines_of.setdefault(context, []).append(line)
        for worker in self.workers.values():
            self.admit(worker, line)
        return line

    def can_end(self, call: NodeCall) -> bool:
        """Whether a call that runs can be ended, and its worker goes on."""
        return not call.task.lane.fresh and not self.isolated.isdisjoint(call.task.lane.contexts)

    @staticmethod
    def admit(worker: Worker, line: WorkerLine) -> None:
        """A worker serves a line from now on, if it has what that needs."""
        contexts = line.lane.contexts
        if worker.environment != line.environment:
            return
        if worker.up and (
            line.is_anywhere or (worker.resident.issuperset(contexts) and worker.leaving.isdisjoint(contexts))
        ):
            line.admit(worker)

    def run_of(self, code: Digest | None) -> Estimate:
        """Run time of calls of one code."""
        estimate = self.run.get(code)
        if estimate is None:
            estimate = self.run[code] = Estimate()
        return estimate
