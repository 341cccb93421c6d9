"""A simulated worker: `pool/worker.py` without the work. Takes its messages in order and answers each before the next.

The round trip between manager and worker is charged when a message goes to an idle worker; a busy one finds its next
message at hand. What a worker says reaches its manager at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from parsl_context.scheduling.node.events import NodeTask
from parsl_context.wire.messages import Digest, EnvironmentName, TaskId, WorkerId
from tests.simulation.clock import Clock
from tests.simulation.world import Builds


@dataclass(frozen=True)
class Build:
    """Message: build this context (`m.LoadContext`)."""

    context: Digest


@dataclass(frozen=True)
class Drop:
    """Message: end the instance of this context (`m.DropContext`)."""

    context: Digest


Message = NodeTask | Build | Drop


class Reports(Protocol):
    """What a worker tells its manager."""

    def began(self, worker: SimWorker, task: TaskId, at: float) -> None: ...
    def done(self, worker: SimWorker, task: TaskId, run_s: float) -> None: ...
    def stopped(self, worker: SimWorker, task: TaskId) -> None: ...
    def skipped(self, worker: SimWorker, task: TaskId) -> None: ...
    def load_began(self, worker: SimWorker, context: Digest) -> None: ...
    def loaded(self, worker: SimWorker, context: Digest, load_s: float | None) -> None: ...
    def load_broke(self, worker: SimWorker, context: Digest, task: TaskId | None) -> None: ...
    def dropped(self, worker: SimWorker, context: Digest) -> None: ...


class SimWorker:
    """A worker's process."""

    def __init__(
        self,
        clock: Clock,
        number: WorkerId,
        reports: Reports,
        builds: Builds,
        run_s: Callable[[TaskId], float],
        round_trip_s: float,
        inherited: frozenset[Digest] = frozenset(),
    ) -> None:
        self._clock = clock
        self.number = number
        self._reports = reports
        self._builds = builds
        self._run_s = run_s
        self._round_trip_s = round_trip_s
        self.inbox: deque[Message] = deque()
        self.revoked: set[TaskId] = set()
        self.stops: set[TaskId] = set()  # calls that it is told to end, and has not come to
        self.inherited = inherited
        self.resident: set[Digest] = set(inherited)
        self.building: Digest | None = None
        self.task: TaskId | None = None  # that it runs, or for which it builds
        self.busy = False
        self.alive = True
        self.environment = EnvironmentName("")  # that its process runs in

    def send(self, message: Message) -> None:
        """The manager sends it a message."""
        self.inbox.append(message)
        if not self.busy:
            self.busy = True
            self._clock.after(self._round_trip_s, self._next)

    def revoke(self, count: int) -> list[TaskId]:
        """Take back up to this many calls that it has not begun, the newest first. Gives them."""
        waiting = [m.id for m in self.inbox if isinstance(m, NodeTask) and m.id not in self.revoked]
        taken = waiting[::-1][:count]
        self.revoked.update(taken)
        return taken

    def stop(self, task: TaskId) -> None:
        """End a call that runs in a fork, or is to."""
        if self.task == task and self.building is None:
            self.task = None
            self._reports.stopped(self, task)
            self._next()
        else:
            self.stops.add(task)

    def end(self) -> None:
        """Nothing is heard of it any more."""
        self.alive = False

    def _next(self) -> None:
        """Work until something takes time."""
        while self.alive:
            if not self.inbox:
                self.busy = False
                return
            match self.inbox.popleft():
                case Build(context):
                    if context not in self.resident:
                        self._build(context, None)
                        return
                    self._reports.loaded(self, context, None)
                case Drop(context):
                    self.resident.discard(context)
                    self._reports.dropped(self, context)
                case NodeTask() as task if task.id in self.revoked:
                    self.revoked.discard(task.id)
                    self._reports.skipped(self, task.id)
                case NodeTask() as task:
                    self._begin(task)
                    return

    def _begin(self, task: NodeTask) -> None:
        self.task = task.id
        for context in task.lane.contexts:
            if context not in self.resident:
                self._build(context, task)
                return
        if task.id in self.stops:
            self.stops.discard(task.id)
            self.task = None
            self._reports.stopped(self, task.id)
            self._next()
            return
        run_s = self._run_s(task.id)
        self._reports.began(self, task.id, self._clock.now)
        self._clock.after(run_s, self._done, task.id, run_s)

    def _done(self, task: TaskId, run_s: float) -> None:
        if self.alive and self.task == task:  # it was not ended before
            self.task = None
            self._reports.done(self, task, run_s)
            self._next()

    def _build(self, context: Digest, task: NodeTask | None) -> None:
        self.building = context
        self._reports.load_began(self, context)
        load_s, works = self._builds.draw(context)
        self._clock.after(load_s, self._built, context, task, load_s, works)

    def _built(self, context: Digest, task: NodeTask | None, load_s: float, works: bool) -> None:
        if not self.alive:
            return
        self.building = None
        if works:
            self.resident.add(context)
            self._reports.loaded(self, context, load_s)
            if task is not None and self.alive:
                self._begin(task)
                return
        else:
            self.task = None
            self._reports.load_broke(self, context, None if task is None else task.id)
        self._next()
