"""What `NodeState` decides is carried out: calls go to workers, processes start and end, the interchange is told.

`Manager`, which hears the interchange, and `MemberReports`, which hears the workers, tell it what happened.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Sequence

from typing_extensions import assert_never

from parsl_context.errors import EnvironmentUnusableError
from parsl_context.pool.environments import Nest, NodeEnvironments
from parsl_context.pool.family import Family, Member
from parsl_context.pool.link import InterchangeLink
from parsl_context.scheduling.node import events as node
from parsl_context.scheduling.node.events import MANAGERS_OWN, TemplateKey
from parsl_context.scheduling.node.restarts import PATIENCE_S, Restarts
from parsl_context.scheduling.node.state import NodeState
from parsl_context.wire import messages as m
from parsl_context.wire.codec import Buffer, make_payload
from parsl_context.wire.eventloop import EventLoop, Timer
from parsl_context.wire.messages import Digest, EnvironmentName, TaskId, WorkerId

logger = logging.getLogger(f"parsl.{__name__}")

_KINDS = tuple(kind.__name__ for kind in EnvironmentUnusableError.__mro__ if kind.__module__ == "builtins")


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
    environments
        Where contexts name some.
    home
        Environment of calls without contexts; None: the manager's own.
    begins_at_home
        Whether workers begin in that, rather than in the manager's own.
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
        environments: NodeEnvironments | None = None,
        home: m.Environment | None = None,
        begins_at_home: bool = True,
    ) -> None:
        self._loop = loop
        self._family = family
        self._link = link
        self._slots = slots
        self._nodes = nodes
        self._on_give_up = on_give_up
        self._environments = environments
        if environments is not None:
            environments.on_broken = self._environment_broke
            environments.on_began = self._environment_began
            environments.on_ready = self._environment_ready
            environments.on_gone = self._environment_gone
        self._home = self._first = MANAGERS_OWN
        if home is not None:
            assert environments is not None
            environments.declare(home)
            self._home = home.name
            self._first = home.name if begins_at_home else MANAGERS_OWN
        self._state = self._new_state()
        self._tick: Timer | None = None
        self._restarts = Restarts()
        self._forks: dict[WorkerId, Restarts] = {}  # of workers that their templates could not fork
        self._templates: set[TemplateKey] = set()  # that should be there
        self.tasks: dict[TaskId, tuple[m.Task, Sequence[Buffer]]] = {}  # calls that are here; of a batch its first
        self.mates: dict[TaskId, list[tuple[m.Task, Sequence[Buffer]]]] = {}  # the others of a batch, by its first
        self.stopping: set[TaskId] = set()  # calls that workers were told to end
        self.on_gone: Callable[[list[tuple[m.Task, Sequence[Buffer]]]], None] = lambda calls: None  # called with calls
        # that are no longer here and have their arguments in segments

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
        text: str = "",
    ) -> None:
        """Decide on a context that could not be built; the interchange is told why, and which calls come back."""
        for action in self._state.handle(event, now=time.monotonic()):
            if isinstance(action, node.GiveBack) and action.broken is not None:
                broken = m.ContextBroken(
                    context=action.broken,
                    returned=action.tasks,
                    died=died,
                    error=error,
                    kinds=kinds,
                    overdue=overdue,
                    text=text,
                )
                self._link.send(broken, frames)
                self._drop(action.tasks)
            elif isinstance(action, node.RefuseOrdinary):
                self._link.send(m.OrdinaryRefused(returned=action.tasks, reason=text))
                self._drop(action.tasks)
            elif isinstance(action, node.Lose):
                assert died is not None
                self._link.flush()
                self._link.send(m.WorkerFell(task=action.task, died=died))
                self._drop([action.task])
            else:
                self._try_to(action)

    def _new_state(self) -> NodeState:
        begins_at_home = self._first == self._home
        return NodeState(self._slots, self._nodes, self._home, begins_at_home=begins_at_home)

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
        for task in list(self.tasks):
            self.take(task)
        self.stopping.clear()
        self._family.forget_all()
        for key in self._family.templates.keys() - self.ready_templates:
            self._family.end_template(key)
        self._templates = set(self.ready_templates)
        busy = [member for member in self._family.workers.values() if member.tasks]
        kept = {w: each.resident for w, each in self._family.workers.items() if not each.tasks and each.pid is not None}
        events = self._state.kept(kept, self.ready_templates)
        self._state = self._new_state()
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

    def start_worker(
        self,
        worker: WorkerId,
        template: TemplateKey | None = None,
        environment: EnvironmentName | None = None,
    ) -> None:
        """Start a process for a worker, sooner or later: in this environment, or that in which workers begin."""
        environment = self._first if environment is None else environment
        if environment == MANAGERS_OWN:
            self._start_worker(worker, template, environment, None)
            return
        assert self._environments is not None
        self._family.workers.pop(worker, None)  # until its environment is there it has no process
        self._environments.want(
            environment,
            lambda nest: self._start_worker(worker, template, environment, nest),
            lambda: self.start_worker(worker, environment=MANAGERS_OWN),
        )

    def _start_worker(
        self, worker: WorkerId, template: TemplateKey | None, environment: EnvironmentName, nest: Nest | None
    ) -> None:
        try:
            self._family.start_worker(worker, template, nest)
        except OSError as error:
            again = f"worker {worker} cannot be started: {error}"
            self._try_later(lambda: self.start_worker(worker, template, environment), again)

    def welcomed(self) -> None:
        """An interchange listens that has not heard of this node before."""
        if self._environments is not None:
            self._environments.tell_all()

    def _environment_began(self, environment: m.Environment) -> None:
        self._link.send(m.EnvironmentStarting(environment=environment.name, source=environment.source))
        self.decide(node.EnvironmentBegan(environment=environment.name))

    def _environment_ready(self, environment: m.Environment, start_s: float) -> None:
        self._link.send(m.EnvironmentStarted(environment=environment.name, start_s=start_s))
        self.decide(node.EnvironmentReady(environment=environment.name, start_s=start_s))

    def _environment_gone(self, environment: m.Environment) -> None:
        self._link.send(m.EnvironmentGone(environment=environment.name))
        self.decide(node.EnvironmentGone(environment=environment.name))

    def _environment_broke(self, environment: EnvironmentName, error: EnvironmentUnusableError) -> None:
        """What was to run in an environment does not; the interchange is told why."""
        from parsl_context.content.exceptions import pack_raised  # which managers do without, most of the time

        payload, frames = make_payload(pack_raised(error))
        broke = node.EnvironmentBroke(environment=environment)
        self.decide_broken(broke, None, payload, frames, kinds=_KINDS, text=str(error))

    def start_worker_later(self, worker: WorkerId) -> None:
        """The process of a worker died before it was of any use."""
        self._try_later(lambda: self.start_worker(worker), f"worker {worker} dies as it starts")

    def start_template_later(self, template: TemplateKey, environment: EnvironmentName = MANAGERS_OWN) -> None:
        """There is no process of a template, although it was asked for."""
        self._try_later(lambda: self.start_template(template, environment), "a template could not be forked")

    def fork_again(
        self,
        worker: WorkerId,
        template: TemplateKey | None,
        reason: str,
        environment: EnvironmentName = MANAGERS_OWN,
    ) -> bool:
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
        self._loop.call_later(pause_s, lambda: self.start_worker(worker, template, environment))
        return True

    def was_forked(self, worker: WorkerId) -> None:
        """There is a process that serves a worker."""
        self._forks.pop(worker, None)

    def came_up(self) -> None:
        """A process of this node has been of use."""
        if not self._restarts.is_first:
            self._restarts.came_up()

    def take(self, task: TaskId) -> list[TaskId]:
        """A call is no longer here, and neither are those that run with it. Gives them all, the first first."""
        first = self.tasks.pop(task, None)
        self.stopping.discard(task)
        mates = self.mates.pop(task, ())
        gone = [call for call in (first, *mates) if call is not None and call[0].payload.segments]
        if gone:
            self.on_gone(gone)
        return [task, *(mate.id for mate, _ in mates)]

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
            case node.Stop():
                self._stop(action)
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
                member = self._family.workers[action.worker]
                self._replace(member, action.template, environment=action.environment)
            case node.StartTemplate():
                self._templates.add(action.template)
                self.start_template(action.template, action.environment)
            case node.EndTemplate():
                self._end_template(action.template)
            case node.GiveBack():
                self._link.send(m.TasksReturned(tasks=action.tasks, were_ended=action.were_ended))
                self._drop(action.tasks)
            case node.Lose() | node.RefuseOrdinary():
                raise AssertionError("only the death of a worker loses a call, and only an environment refuses one")
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
        if (mates := self.mates.get(task.id)) is None:
            member.send(m.RunTask(task=task, nodes=action.nodes, is_ahead=action.is_ahead), frames)
            return
        needs = [digest for mate, _ in mates for digest in mate.needs]
        if needs:
            self._family.provide(member, needs)
        own = itertools.chain(frames, *(frames for _, frames in mates))
        run = m.RunTask(task=task, nodes=action.nodes, is_ahead=action.is_ahead, mates=[mate for mate, _ in mates])
        member.send(run, list(own))

    def _revoke(self, action: node.Revoke) -> None:
        member = self._family.workers[action.worker]
        count = member.revoke(action.count)
        for _ in range(count):
            member.tasks.pop()
        self.decide(node.TasksRevoked(worker=action.worker, count=count))

    def _stop(self, action: node.Stop) -> None:
        member = self._family.workers[action.worker]
        if action.task in member.tasks:  # it was not taken back just before
            self.stopping.add(action.task)
            member.send(m.StopTask(task=action.task))

    def _replace(
        self,
        member: Member,
        template: TemplateKey | None,
        *,
        kill: bool = False,
        environment: EnvironmentName | None = None,
    ) -> None:
        """End a worker's process and have another serve the worker."""
        worker = member.worker
        assert worker is not None
        self._family.retire(member, kill=kill)
        for context in member.resident:
            self._link.send(m.ContextDown(context=context, worker=worker, was_evicted=not kill))
        self.start_worker(worker, template, environment)

    def start_template(self, template: TemplateKey, environment: EnvironmentName = MANAGERS_OWN) -> None:
        """Start a template, sooner or later, unless it is not wanted any more."""
        if environment == MANAGERS_OWN:
            self._start_template(template, environment, None)
            return
        assert self._environments is not None
        self._environments.want(
            environment,
            lambda nest: self._start_template(template, environment, nest),
            lambda: self._templates.discard(template),
        )

    def _start_template(self, template: TemplateKey, environment: EnvironmentName, nest: Nest | None) -> None:
        if template not in self._templates:
            return
        try:
            member = self._family.start_template(template, nest)
        except OSError as error:
            again = f"a template cannot be started: {error}"
            self._try_later(lambda: self.start_template(template, environment), again)
            return
        self._family.provide(member, template)
        for context in template:
            member.send(m.LoadContext(context=context))
        member.send(m.Freeze())

    def _end_template(self, template: TemplateKey) -> None:
        self._templates.discard(template)
        if self._family.end_template(template):
            self._link.send(m.TemplateDown(contexts=template, was_evicted=True))

    def _drop(self, tasks: list[TaskId]) -> None:
        for task in tasks:
            self.take(task)
