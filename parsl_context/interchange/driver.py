"""What `ClusterState` decides is carried out: calls go to managers, outcomes to the executor.

`Interchange`, which hears the executor, and `ManagerReports`, which hears the managers, tell it what happened.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence

from typing_extensions import assert_never

from parsl_context.errors import PayloadLostError
from parsl_context.interchange.content import Content
from parsl_context.interchange.executor_side import ExecutorSide
from parsl_context.interchange.manager_side import ManagerSide
from parsl_context.interchange.overview import Overview
from parsl_context.interchange.recording import Recorder
from parsl_context.scheduling.cluster import events as cluster
from parsl_context.scheduling.cluster.managers import Phase
from parsl_context.scheduling.cluster.state import ClusterState
from parsl_context.wire import messages as m
from parsl_context.wire.bulk import takes_road
from parsl_context.wire.codec import Buffer
from parsl_context.wire.eventloop import EventLoop, Timer
from parsl_context.wire.messages import ManagerId, TaskId
from parsl_context.wire.segments import Segments

logger = logging.getLogger(f"parsl.{__name__}")


_RECORDED = frozenset(  # events that the log has as they are; of the others it has more, or nothing
    {
        cluster.ContextDeclared,
        cluster.ManagerHeld,
        cluster.ManagerLeaving,
        cluster.BlockEnded,
        cluster.BuildSettled,
        cluster.ContextHeld,
        cluster.ContextGone,
        cluster.TemplateHeld,
        cluster.TemplateGone,
        cluster.ContextNoted,
        cluster.BuildRefused,
        cluster.EnvironmentBegan,
        cluster.EnvironmentReady,
        cluster.EnvironmentGone,
        cluster.TasksReturned,
    }
)


class ClusterDriver:
    """Gives `ClusterState` events and the time, and carries out its actions."""

    def __init__(
        self,
        loop: EventLoop,
        state: ClusterState,
        executor: ExecutorSide,
        managers: ManagerSide,
        content: Content,
        overview: Overview,
        segments: Segments,
        recorder: Recorder | None = None,
    ) -> None:
        self._loop = loop
        self._state = state
        self._executor = executor
        self._managers = managers
        self._content = content
        self._overview = overview
        self._segments = segments
        self._recorder = recorder or Recorder()
        self._tick: Timer | None = None
        self._tick_at = math.inf
        self.tasks: dict[TaskId, tuple[m.Task, Sequence[Buffer]]] = {}  # calls that have no outcome yet
        self.on_left: Callable[[ManagerId], None] = lambda manager: None  # called with a manager that is gone

    def decide(self, event: cluster.Event) -> None:
        """Take an event into account and do what follows from it."""
        for action in self._state.handle(event, now=time.monotonic()):
            try:
                self._carry_out(action)
            except Exception:
                self._failed(action)
        if event.__class__ in _RECORDED:
            self._recorder.event(event)
        if self._state.next_deadline() < self._tick_at:
            self._arm_tick()

    def lose_manager(self, manager: ManagerId, reason: str, *, cleans_up: bool = False) -> None:
        """A manager is gone, or ends and runs its clean-ups first."""
        if manager in self._state.managers:
            is_expected = self._state.managers[manager].phase is not Phase.OPEN  # it was held, or drains
            logger.log(logging.INFO if is_expected else logging.WARNING, "Manager %s is gone: %s", manager, reason)
            self._overview.report_node(manager, active=False)
            self.decide(cluster.ManagerLeft(manager=manager, reason=reason))
        self._recorder.left(manager, reason)
        if cleans_up:
            self._managers.let_go(manager)
        self._managers.sessions.pop(manager, None)
        if manager not in self._managers.leaving:
            self.decide(cluster.ManagerEnded(manager=manager))
        self.on_left(manager)

    def stop(self) -> None:
        """Decide nothing any more."""
        if self._tick is not None:
            self._tick.cancel()

    def give_up(self, manager: ManagerId, reason: str) -> None:
        """What a manager was told, or said, is lost: its calls, which would wait for ever, fail; it may join anew."""
        if manager in self._state.managers:
            self._managers.send(manager, m.Rejoin())
            self.lose_manager(manager, reason)

    def fail_task(self, manager: ManagerId, task: TaskId, cause: m.Cause) -> None:
        """A call that a manager holds has failed, with those that run with it."""
        if task in self._state.managers[manager].held:
            batch = self._state.batch_of(task)
            for each in batch:
                self.tasks.pop(each, None)
            self._executor.send(m.TasksFailed(tasks=batch, cause=cause))
            self._recorder.failed(batch, _reason_of(cause))
            self.decide(cluster.TaskLost(manager=manager, task=task))

    def _arm_tick(self) -> None:
        """Wake up when the scheduling state wants to be told the time."""
        due = self._state.next_deadline()
        if self._tick is not None:
            self._tick.cancel()
        self._tick, self._tick_at = None, due
        if due != math.inf:
            self._tick = self._loop.call_later(due - time.monotonic(), self._on_tick)

    def _on_tick(self) -> None:
        self._tick, self._tick_at = None, math.inf
        self.decide(cluster.Tick())
        for manager in [name for name in self._managers.sessions if name not in self._state.managers]:
            self.lose_manager(manager, "it was given up")

    # --- actions

    def _failed(self, action: cluster.Action) -> None:
        """An action could not be carried out, to the end at least. Those after it are; what it was for is settled."""
        logger.exception("Action %r failed", action)
        manager = getattr(action, "manager", None)
        if isinstance(action, cluster.FailTasks | cluster.FailBuild | cluster.FailUnservable) or manager is None:
            logger.critical("The executor cannot be told what became of its calls; the interchange ends")
            self._loop.stop()
        else:
            self._loop.call_later(0.0, lambda: self.give_up(manager, f"{type(action).__name__} failed there"))

    def _carry_out(self, action: cluster.Action) -> None:
        match action:
            case cluster.SendTask():
                self._send_task(action)
            case cluster.OrderBuild():
                self._content.provide(action.manager, None, action.contexts)
                self._managers.flush()  # or it would give up what calls on their way need
                self._managers.send(action.manager, m.BuildInstance(order=action.order, contexts=action.contexts))
                self._recorder.ordered(action)
            case cluster.ReleaseBuild():
                self._managers.flush()  # the first call comes before
                self._managers.send(action.manager, m.ReleaseInstance(order=action.order))
            case cluster.TakeBack():
                self._managers.flush()  # the calls may still be on their way
                self._managers.send(
                    action.manager, m.ReturnTasks(tasks=action.tasks, answers=action.answers, ends=action.ends)
                )
            case cluster.ConfirmCancelled():
                for task in action.tasks:
                    self.tasks.pop(task, None)
                self._executor.send(m.TasksCancelled(tasks=action.tasks))
                self._recorder.cancelled(action.tasks)
            case cluster.RefuseCancel():
                self._executor.send(m.CancelsRefused(tasks=action.tasks))
            case cluster.FailUnservable():
                self._fail(action.tasks, m.Unservable(reason=action.reason))
            case cluster.SendBuild():
                self._content.provide(action.manager, None, (action.context,))
                self._managers.send(action.manager, m.BuildContext(context=action.context))
            case cluster.SendEviction():
                self._managers.send(action.manager, m.EvictContext(context=action.context))
            case cluster.DrainManager():
                self._managers.flush()  # or calls would follow that it has to send back
                self._managers.send(action.manager, m.Drain(reason=action.reason))
            case cluster.StopManager():
                self._managers.send(action.manager, m.Shutdown(reason=action.reason))
                self.lose_manager(action.manager, action.reason, cleans_up=True)
            case cluster.NoteRequeued():
                text = "Queued again %d calls that were lost with manager %s: %s"
                logger.warning(text, len(action.tasks), action.manager, action.reason)
                self._segments.drop_results(set(action.tasks))  # of those whose manager was lost as they ended
                self._recorder.returned(action.tasks, action.reason)
            case cluster.FailTasks():
                self._fail(action.tasks, self._manager_gone(action.manager, action.reason))
            case cluster.BlockNews():
                self._executor.send(m.BlockNews(block=action.block, news=action.news))
            case cluster.FailBuild():
                failure, frames = self._content.build_error(action.context, action.attempts)
                self._fail(action.tasks, failure, frames)
            case _:
                assert_never(action)

    def _send_task(self, action: cluster.SendTask) -> None:
        if action.task not in self.tasks:
            return  # an action before this one found the manager gone, and its calls have failed
        batch = [self.tasks[number] for number in (action.task, *action.mates)]
        first, _ = batch[0]
        self._content.provide(action.manager, first.code, first.contexts)
        for task, _ in batch:
            if task.needs:
                self._content.provide_blobs(action.manager, task.needs)
        session = self._managers.sessions.get(action.manager)
        if session is None:
            return
        if not session.shares_segments:
            try:
                batch = [self._for_elsewhere(task, own, has_road=session.has_road) for task, own in batch]
            except PayloadLostError as error:
                self.fail_task(action.manager, action.task, m.Unservable(reason=str(error)))
                return
        self._managers.add_tasks(action.manager, batch)
        self._recorder.sent(action.task)

    def _for_elsewhere(
        self, task: m.Task, frames: Sequence[Buffer], *, has_road: bool
    ) -> tuple[m.Task, Sequence[Buffer]]:
        """A call as a manager can take it that does not share the segments."""
        segment, shared = task.payload.segment, task.payload.shared
        if (segment is None or (has_road and takes_road(segment.sizes))) and (has_road or not shared):
            return task, frames
        return self._segments.spread(task, frames, keeps_shared=has_road)

    def _fail(self, tasks: list[TaskId], cause: m.Cause, frames: Sequence[Buffer] = ()) -> None:
        self._executor.send(m.TasksFailed(tasks=tasks, cause=cause), frames)
        self._recorder.failed(tasks, _reason_of(cause))
        for task in tasks:
            self.tasks.pop(task, None)

    def _manager_gone(self, manager: ManagerId, reason: str) -> m.ManagerGone:
        session = self._managers.sessions.get(manager)
        return m.ManagerGone(
            manager=manager,
            host=session.joined.host if session else "unknown",
            block=session.joined.block if session else "unknown",
            reason=reason,
        )


def _reason_of(cause: m.Cause) -> str:
    match cause:
        case m.WorkerDied():
            how = f"exit status {cause.exit_code}" if cause.signal is None else f"signal {cause.signal}"
            return f"worker {cause.worker} of manager {cause.manager} died ({how})"
        case m.ManagerGone():
            return f"manager {cause.manager} is gone: {cause.reason}"
        case m.BuildFailed():
            return f"context {cause.name} could not be built"
        case m.Unservable():
            return cause.reason
        case _:
            assert_never(cause)
