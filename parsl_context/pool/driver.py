"""What `NodeState` decides is carried out: calls go to workers, processes start and end, the interchange is told.

`Manager`, which hears the interchange, and `MemberReports`, which hears the workers, tell it what happened.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from typing_extensions import assert_never

from parsl_context.pool.family import Family, Member
from parsl_context.pool.link import InterchangeLink
from parsl_context.scheduling.node import events as node
from parsl_context.scheduling.node.events import TemplateKey
from parsl_context.scheduling.node.restarts import PATIENCE_S, Restarts
from parsl_context.scheduling.node.state import NodeState
from parsl_context.wire import messages as m
from parsl_context.wire.codec import Buffer
from parsl_context.wire.eventloop import EventLoop, Timer
from parsl_context.wire.messages import Digest, TaskId, WorkerId

logger = logging.getLogger(f"parsl.{__name__}")


class NodeDriver:
    """Gives `NodeState` events and the time, and carries out its actions.

    Parameters
    ----------
    loop
        Wakes it when something is due.
    slots
        Workers of the node.
    nodes
        Nodes of the block, for calls that ask for some (MPI).
    on_give_up
        Called with the reason when no process can be started here.
    """

    def __init__(
        self,
        loop: EventLoop,
        family: Family,
        link: InterchangeLink,
        *,
        slots: int,
        nodes: Sequence[str],
        on_give_up: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._family = family
        self._link = link
        self._slots = slots
        self._nodes = nodes
        self._on_give_up = on_give_up
        self._state = NodeState(slots, nodes)
        self._tick: Timer | None = None
        self._restarts = Restarts()
        self._forks: dict[WorkerId, Restarts] = {}  # of workers that their templates could not fork
        self._templates: set[TemplateKey] = set()  # that should be there
        self.tasks: dict[TaskId, tuple[m.Task, Sequence[Buffer]]] = {}  # calls that this node holds

    def decide(self, event: node.Event) -> None:
        """Take an event into account and do what follows from it."""
        for action in self._state.handle(event, now=time.monotonic()):
            self._try_to(action)
        look_at = self._state.look_at
        if self._tick is None or (look_at is not None and look_at < self._tick.at):
            self._arm_tick()

    def decide_broken(
        self,
        event: node.Event,
        died: m.WorkerDied | None,
        error: m.Payload | None,
        frames: Sequence[Buffer],
        overdue: m.Overdue | None = None,
        kinds: tuple[str, ...] = (),
    ) -> None:
        """Decide on a context that could not be built; the interchange is told why, and which calls come back."""
        for action in self._state.handle(event, now=time.monotonic()):
            if isinstance(action, node.GiveBack) and action.broken is not None:
                broken = m.ContextBroken(
                    context=action.broken, returned=action.tasks, died=died, error=error, kinds=kinds, overdue=overdue
                )
                self._link.send(broken, frames)
                self._drop(action.tasks)
            elif isinstance(action, node.Lose):
                assert died is not None
                self._link.flush()
                self._link.send(m.WorkerFell(task=action.task, died=died))
                self._drop([action.task])
            else:
                self._try_to(action)

    def usual_build_s(self, context: Digest) -> float | None:
        """What builds of a context used to take here; None: nothing is known. [s]"""
        return self._state.usual_build_s(context)

    @property
    def held(self) -> dict[WorkerId, list[Digest]]:
        """Contexts that workers hold."""
        return {worker: sorted(member.resident) for worker, member in self._family.workers.items() if member.resident}

    @property
    def ready_templates(self) -> list[TemplateKey]:
        """Contexts of templates that workers can be forked from."""
        return sorted(key for key, member in self._family.templates.items() if member.is_frozen)

    def reset(self) -> None:
        """The interchange has given up the calls of this session; so do we. What is idle keeps its contexts."""
        self.tasks.clear()
        self._family.forget_all()
        for key in self._family.templates.keys() - self.ready_templates:
            self._family.end_template(key)
        self._templates = set(self.ready_templates)
        busy = [member for member in self._family.workers.values() if member.tasks]
        kept = {w: each.resident for w, each in self._family.workers.items() if not each.tasks and each.pid is not None}
        events = self._state.kept(kept, self.ready_templates)
        self._state = NodeState(self._slots, self._nodes)
        for event in events:
            self._state.handle(event, now=time.monotonic())
        for member in busy:
            self._replace(member, None, kill=True)

    def start_anew(self, member: Member, *, kill: bool = False) -> None:
        """Have another process serve a worker; it has started none of the calls it holds, and will not."""
        worker = member.worker
        assert worker is not None
        self._family.retire(member, kill=kill)
        for context in member.resident:
            self._link.send(m.ContextDown(context=context, worker=worker, was_evicted=kill))
        for action in self._state.handle(node.WorkerEnded(worker=worker), now=time.monotonic()):
            self._carry_out(node.GiveBack(tasks=[action.task]) if isinstance(action, node.Lose) else action)
        self.start_worker(worker)

    def start_worker(self, worker: WorkerId, template: TemplateKey | None = None) -> None:
        """Start a process for a worker, sooner or later."""
        try:
            self._family.start_worker(worker, template)
        except OSError as error:
            self._try_later(lambda: self.start_worker(worker, template), f"worker {worker} cannot be started: {error}")

    def start_worker_later(self, worker: WorkerId) -> None:
        """The process of a worker died before it was of any use."""
        self._try_later(lambda: self.start_worker(worker), f"worker {worker} dies as it starts")

    def start_template_later(self, template: TemplateKey) -> None:
        """There is no process of a template, although it was asked for."""
        self._try_later(lambda: self.start_template(template), "a template could not be forked")

    def fork_again(self, worker: WorkerId, template: TemplateKey | None, reason: str) -> bool:
        """A template could not fork a worker's process; it is asked again after a pause. False: often enough."""
        tries = self._forks.setdefault(worker, Restarts())
        if tries.is_first:
            text = "Worker %d could not be forked from its template, tried again after a pause: %s"
            logger.warning(text, worker, reason)
        pause_s = tries.failed(time.monotonic())
        if pause_s is None:
            logger.error("Worker %d could not be forked from its template for %g s: %s", worker, PATIENCE_S, reason)
            del self._forks[worker]
            return False
        self._loop.call_later(pause_s, lambda: self.start_worker(worker, template))
        return True

    def was_forked(self, worker: WorkerId) -> None:
        """There is a process that serves a worker."""
        self._forks.pop(worker, None)

    def came_up(self) -> None:
        """A process of this node has been of use."""
        if not self._restarts.is_first:
            self._restarts.came_up()

    def _try_later(self, start: Callable[[], None], reason: str) -> None:
        if self._restarts.is_first:
            logger.warning("Tried again after a pause: %s", reason)
        pause_s = self._restarts.failed(time.monotonic())
        if pause_s is None:
            self._on_give_up(f"no process has come up here for {PATIENCE_S:g} s: {reason}")
        else:
            self._loop.call_later(pause_s, start)

    def _arm_tick(self) -> None:
        """Wake up when the state wants to be told the time."""
        now = time.monotonic()
        due = self._state.next_deadline(now)
        if self._tick is not None:
            self._tick.cancel()
        self._tick = None if due is None else self._loop.call_later(due - now, self._on_tick)

    def _on_tick(self) -> None:
        self._tick = None
        self.decide(node.Tick())

    # --- actions

    def _try_to(self, action: node.Action) -> None:
        """Carry an action out. If that fails, the others are all the same; the end of whom it is about settles it."""
        try:
            self._carry_out(action)
        except Exception:
            logger.exception("Action %r failed", action)
            worker = getattr(action, "worker", None)
            member = None if worker is None else self._family.workers.get(worker)
            if member is not None and not member.retired:
                self._family.kill(member)
            else:
                self._loop.call_later(0.0, lambda: self._link.break_off(f"{type(action).__name__} failed there"))

    def _carry_out(self, action: node.Action) -> None:
        match action:
            case node.Assign():
                self._assign(action)
            case node.Revoke():
                self._revoke(action)
            case node.SettleBuild():
                self._link.send(m.InstanceSettled(order=action.order, contexts=action.contexts))
            case node.RefuseBuild():
                self._link.send(m.InstanceRefused(contexts=action.contexts, reason=action.reason))
            case node.Load():
                member = self._family.workers[action.worker]
                self._family.provide(member, [action.context])
                member.send(m.LoadContext(context=action.context))
            case node.Evict():
                self._family.workers[action.worker].send(m.DropContext(context=action.context))
            case node.Replace():
                self._replace(self._family.workers[action.worker], action.template)
            case node.StartTemplate():
                self._templates.add(action.template)
                self.start_template(action.template)
            case node.EndTemplate():
                self._end_template(action.template)
            case node.GiveBack():
                self._link.send(m.TasksReturned(tasks=action.tasks))
                self._drop(action.tasks)
            case node.Lose():
                raise AssertionError("only the death of a worker loses a call")
            case _:
                assert_never(action)

    def _assign(self, action: node.Assign) -> None:
        task, frames = self.tasks[action.task]
        member = self._family.workers[action.worker]
        self._family.provide(member, task.contexts if task.code is None else (*task.contexts, task.code))
        if task.needs:
            self._family.provide(member, task.needs)
        member.tasks.append(task.id)
        if action.is_ahead:
            member.allow()
        member.send(m.RunTask(task=task, nodes=action.nodes, is_ahead=action.is_ahead), frames)

    def _revoke(self, action: node.Revoke) -> None:
        member = self._family.workers[action.worker]
        count = member.revoke(action.count)
        for _ in range(count):
            member.tasks.pop()
        self.decide(node.TasksRevoked(worker=action.worker, count=count))

    def _replace(self, member: Member, template: TemplateKey | None, *, kill: bool = False) -> None:
        """End a worker's process and have another serve the worker."""
        worker = member.worker
        assert worker is not None
        self._family.retire(member, kill=kill)
        for context in member.resident:
            self._link.send(m.ContextDown(context=context, worker=worker, was_evicted=False))
        self.start_worker(worker, template)

    def start_template(self, template: TemplateKey) -> None:
        """Start a template, sooner or later, unless it is not wanted any more."""
        if template not in self._templates:
            return
        try:
            member = self._family.start_template(template)
        except OSError as error:
            self._try_later(lambda: self.start_template(template), f"a template cannot be started: {error}")
            return
        self._family.provide(member, template)
        for context in template:
            member.send(m.LoadContext(context=context))
        member.send(m.Freeze())

    def _end_template(self, template: TemplateKey) -> None:
        self._templates.discard(template)
        if self._family.end_template(template):
            self._link.send(m.TemplateDown(contexts=template))

    def _drop(self, tasks: list[TaskId]) -> None:
        for task in tasks:
            self.tasks.pop(task, None)
