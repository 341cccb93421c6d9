"""Processes of a node, one step at a time: `pool/worker.py` and `pool/template.py` without work.

A member takes its messages in order and does one thing with each `step`; what it says waits in `said` until its manager
hears it. So messages of one member keep their order, and those of several arrive as a test has them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from parsl_context.scheduling.node import events as node
from parsl_context.wire.messages import Digest, TaskId, WorkerId

LOAD_S = 0.5


@dataclass(frozen=True)
class Run:
    """Message: run this call (`m.RunTask`)."""

    task: node.NodeTask
    is_ahead: bool


@dataclass(frozen=True)
class Forget:
    """Message: drop this content, and what was made of it (`m.ForgetBlobs`)."""

    context: Digest


@dataclass(eq=False, kw_only=True)
class Member:
    """A process."""

    sizes: Mapping[Digest, int]
    said: deque[node.Event] = field(default_factory=deque)
    resident: list[Digest] = field(default_factory=list)
    building: Digest | None = None
    alive: bool = True

    def die(self, last: node.Event) -> None:
        """Its manager hears all that it has said, and then this."""
        self.alive = False
        self.said.append(last)


@dataclass(eq=False, kw_only=True)
class WorkerProcess(Member):
    """The process that serves a worker."""

    number: WorkerId
    starts: Callable[[TaskId], None]  # called when a call does
    run_s: Mapping[Digest | None, float]  # of calls, by their code
    inbox: deque[Run | Forget | node.Load | node.Evict] = field(default_factory=deque)
    claims: int = 0  # calls of those that may be taken back that it may start, see `pool/family.py`
    task: node.NodeTask | None = None  # that it runs, or builds for
    worn: set[Digest] = field(default_factory=set)  # instances that it gives up by itself before they are used again
    spoilt: set[Digest] = field(default_factory=set)  # instances that it gives up after the next call that uses them
    stops: set[TaskId] = field(default_factory=set)  # calls that it is told to end, and has not come to
    paused: bool = False  # until its manager has heard what it gives up
    keeps_memory: bool = False  # what it frees does not return to the system

    def __post_init__(self) -> None:
        self.inherited = set(self.resident)
        self.said.append(node.WorkerReady(worker=self.number, inherited=frozenset(self.resident)))

    @property
    def runs(self) -> bool:
        """Whether a call is all it is at."""
        return self.alive and self.task is not None and self.building is None

    @property
    def can_step(self) -> bool:
        """Whether it has anything to do, but to end a call."""
        has_next = self.task is None and bool(self.inbox) and not self.paused
        return self.alive and (self.building is not None or has_next)

    def step(self, *, works: bool = True) -> None:
        """End the build or the call that it is at, or begin what its next message asks for."""
        if self.building is not None:
            self._end_build(works)
        elif self.task is not None:
            self._end_call(self.task)
        else:
            self._take(self.inbox.popleft())

    def stop(self, task: TaskId) -> None:
        """End a call that it runs, or is to: no fork of it does."""
        if self.runs and self.task is not None and self.task.id == task:
            self._stopped(self.task)
        else:
            self.stops.add(task)

    def _stopped(self, task: node.NodeTask) -> None:
        self.task = None
        self.stops.discard(task.id)
        self.said.append(node.TaskStopped(worker=self.number, task=task.id))

    def revoke(self, count: int) -> int:
        """Take back up to this many calls. Gives how many it will not start."""
        taken = min(count, self.claims)
        self.claims -= taken
        return taken

    def _take(self, message: Run | Forget | node.Load | node.Evict) -> None:
        match message:
            case Run(task, is_ahead):
                if is_ahead and not self.claims:
                    self.said.append(node.TaskSkipped(worker=self.number, task=task.id))
                    return
                self.claims -= is_ahead
                self.task = task
                for context in self.worn.intersection(task.lane.contexts):
                    self._drop(context)
                self._go_on()
            case node.Load(context=context) if context in self.resident:
                self.said.append(node.LoadEnded(worker=self.number, context=context, load_s=None))
            case node.Load(context=context):
                self._build(context)
            case node.Evict(context=context) | Forget(context):
                self._drop(context)

    def _go_on(self) -> None:
        """Build what the call lacks, then start it."""
        assert self.task is not None
        missing = [context for context in self.task.lane.contexts if context not in self.resident]
        if missing:
            self._build(missing[0])
        elif self.task.id in self.stops:
            self._stopped(self.task)
        else:
            self.starts(self.task.id)

    def _build(self, context: Digest) -> None:
        self.building = context
        self.said.append(node.LoadBegan(worker=self.number, context=context))

    def _end_build(self, works: bool) -> None:
        assert self.building is not None
        context, self.building = self.building, None
        if not works:
            task, self.task = self.task, None
            name = None if task is None else task.id
            self.said.append(node.LoadBroke(worker=self.number, context=context, task=name))
            return
        self.resident.append(context)
        size = self.sizes[context]
        self.said.append(node.LoadEnded(worker=self.number, context=context, load_s=LOAD_S, size_bytes=size))
        if self.task is not None:
            self._go_on()

    def _end_call(self, task: node.NodeTask) -> None:
        self.task = None
        given_up = [context for context in task.lane.contexts if context in self.spoilt]
        if shared := [context for context in given_up if context in self.inherited]:
            self.paused = True
            self.said.append(node.ContextsWorn(worker=self.number, contexts=shared))
        self.said.append(node.TaskEnded(worker=self.number, task=task.id, run_s=self.run_s[task.code]))
        for context in given_up:
            self._drop(context)

    def _drop(self, context: Digest) -> None:
        self.worn.discard(context)
        self.spoilt.discard(context)
        if context in self.resident:
            self.resident.remove(context)
            self.inherited.discard(context)
            kept = self.sizes[context] if self.keeps_memory else 0
            self.said.append(node.ContextGone(worker=self.number, context=context, kept_bytes=kept))


@dataclass(eq=False, kw_only=True)
class TemplateProcess(Member):
    """A process that builds contexts in turn, for workers to be forked from."""

    key: node.TemplateKey
    unsafe: frozenset[Digest]  # must not be forked from once they are built
    ready: bool = False

    @property
    def can_step(self) -> bool:
        """Whether it has anything left to build or to say."""
        return self.alive and not self.ready

    def step(self, *, works: bool = True) -> None:
        """Build the next context, or be ready."""
        missing = [context for context in self.key if context not in self.resident]
        if not missing:
            self.ready = True
            self.said.append(node.TemplateReady(template=self.key))
            return
        context = missing[0]
        if not works:
            self.die(node.TemplateBroke(template=self.key, context=context))
            return
        self.resident.append(context)
        self.said.append(node.TemplateLoaded(context=context, load_s=LOAD_S, size_bytes=self.sizes[context]))
        if context in self.unsafe:
            self.said.append(node.TemplateUnsafe(template=self.key, context=context))

    def kill(self) -> None:
        """It dies."""
        missing = [context for context in self.key if context not in self.resident]
        if missing:
            self.die(node.TemplateBroke(template=self.key, context=missing[0]))
        else:
            self.die(node.TemplateEnded(template=self.key))
