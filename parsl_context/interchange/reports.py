"""What managers say: events for `ClusterState`, results for the executor, records for the monitoring hub."""

from __future__ import annotations

import logging
import time

from typing_extensions import assert_never

from parsl_context.interchange.content import Content
from parsl_context.interchange.driver import ClusterDriver
from parsl_context.interchange.echo import EchoGate
from parsl_context.interchange.executor_side import ExecutorSide
from parsl_context.interchange.manager_side import ManagerSide
from parsl_context.interchange.monitoring import NodeMonitor
from parsl_context.interchange.overview import Overview
from parsl_context.interchange.recording import Recorder
from parsl_context.interchange.transfers import Transfers
from parsl_context.scheduling.cluster import events as cluster
from parsl_context.scheduling.cluster.state import ClusterState
from parsl_context.wire import messages as m
from parsl_context.wire.codec import Frames, deal
from parsl_context.wire.messages import Digest, ManagerId
from parsl_context.wire.segments import Segments

logger = logging.getLogger(f"parsl.{__name__}")


class ManagerReports:
    """Hears the managers that have joined.

    Parameters
    ----------
    driver
        Told what follows from it.
    """

    def __init__(
        self,
        state: ClusterState,
        driver: ClusterDriver,
        executor: ExecutorSide,
        managers: ManagerSide,
        content: Content,
        overview: Overview,
        monitor: NodeMonitor,
        segments: Segments,
        echo: EchoGate,
        transfers: Transfers,
        recorder: Recorder,
    ) -> None:
        self._state = state
        self._driver = driver
        self._executor = executor
        self._managers = managers
        self._content = content
        self._overview = overview
        self._monitor = monitor
        self._segments = segments
        self._echo = echo
        self._transfers = transfers
        self._recorder = recorder

    def message(self, manager: ManagerId, message: m.FromManager, frames: Frames) -> None:
        """A manager said something.

        Raises
        ------
        MessageError
            If the frames are not those that the message announces.
        """
        match message:
            case m.Results():
                self._take_results(manager, message, frames)
            case m.Heartbeat():
                self._managers.send(manager, m.HeartbeatReply())
            case m.TasksReturned():
                self._driver.decide(
                    cluster.TasksReturned(manager=manager, tasks=message.tasks, were_ended=message.were_ended)
                )
            case m.TasksKept():
                self._driver.decide(cluster.TasksKept(manager=manager, tasks=message.tasks))
            case m.TaskRefused():
                self._driver.fail_task(manager, message.task, m.Unservable(reason=message.reason))
            case m.EnvironmentStarting() | m.EnvironmentStarted() | m.EnvironmentGone():
                self._driver.decide(_environment_event(manager, message))
            case m.OrdinaryRefused():
                logger.warning("Manager %s cannot run calls without contexts: %s", manager, message.reason)
                refused = cluster.OrdinaryRefused(manager=manager, tasks=message.returned, reason=message.reason)
                self._driver.decide(refused)
                self._recorder.returned(message.returned)
            case m.WorkerFell():
                if message.task is not None:  # the worker's death was told before
                    self._driver.fail_task(manager, message.task, message.died)
                else:
                    logger.warning("Worker %d of manager %s died", message.died.worker, manager)
                    self._recorder.died(message.died)
            case m.ContextUp() | m.ContextDown() | m.ContextUnshareable():
                self._holding_changed(manager, message)
            case m.BuildSlow():
                self._tell_slow(manager, message)
            case m.ContextBuilding() | m.ContextLoaded() | m.ContextBroken():
                self._build_went_on(manager, message, frames)
            case m.InstanceSettled():
                settled = cluster.BuildSettled(manager=manager, order=message.order, contexts=message.contexts)
                self._driver.decide(settled)
            case m.TemplateUp():
                self._driver.decide(cluster.TemplateHeld(manager=manager, contexts=message.contexts))
            case m.TemplateDown():
                gone = cluster.TemplateGone(manager=manager, contexts=message.contexts, was_evicted=message.was_evicted)
                self._driver.decide(gone)
            case m.InstanceRefused():
                self._driver.decide(
                    cluster.BuildRefused(manager=manager, contexts=message.contexts, reason=message.reason)
                )
            case m.Monitoring():
                self._monitor.forward(frames)
            case m.Said():
                self._echo.pass_on(message, frames)
            case (
                m.FileServing()
                | m.FileSought()
                | m.FileWanted()
                | m.ChunkCame()
                | m.ChunkMissed()
                | m.FileArrived()
                | m.FileDropped()
            ):
                self._transfers.message(manager, message)
            case m.ContentWanted():
                self._content.give(manager, message.digest)
            case m.BulkOpen() | m.BulkClosed():
                session = self._managers.sessions[manager]
                session.has_road = isinstance(message, m.BulkOpen)
                said = "on a road of their own" if isinstance(message, m.BulkOpen) else f"in frames: {message.reason}"
                logger.info("Manager %s is sent large values %s", manager, said)
            case m.Leaving():
                logger.info("Manager %s leaves: %s", manager, message.reason)
                self._driver.decide(cluster.ManagerLeaving(manager=manager))
                self._overview.report_node(manager)
            case m.Left():
                self._driver.lose_manager(manager, f"it ended: {message.reason}", cleans_up=True)
            case m.Probe() | m.Joined() | m.CleanedUp():
                raise AssertionError("handled before membership is checked")
            case _:
                assert_never(message)

    def _take_results(self, manager: ManagerId, message: m.Results, frames: Frames) -> None:
        held = self._state.managers[manager].held
        tasks = self._driver.tasks
        now = time.monotonic()
        for result, own in deal(message.results, frames):
            call = held.get(result.id)
            if call is None and self._state.holds(manager, result.id):
                call = self._state.calls[result.id]
            if call is None:
                logger.warning("Manager %s sent a result of task %d, which it does not hold", manager, result.id)
                self._segments.drop(result.payload)
                continue
            if result.id not in tasks:
                self._segments.drop(result.payload)
                continue  # the manager was found gone while its results were taken
            if own:
                result, own = self._segments.gather(result, own)
            if len(tasks) == 1:
                self._executor.send_at_once(result, own)  # whoever waits for it need not wait for what is decided
            else:
                self._executor.add_result(result, own)
            task, _ = tasks.pop(result.id)
            self._recorder.ended(manager, result, task, call, now)
            ended = cluster.TaskEnded(manager=manager, task=result.id, run_s=result.run_s, calls=task.calls)
            self._driver.decide(ended)
        self._overview.report_node(manager)

    def _holding_changed(self, manager: ManagerId, message: m.ContextUp | m.ContextDown | m.ContextUnshareable) -> None:
        """A worker holds a context or does no longer, or the workers of a node cannot share one."""
        context = message.context
        event: cluster.Event
        self._managers.sessions[manager].has_built = True
        match message:
            case m.ContextUp():
                event = cluster.ContextHeld(manager=manager, worker=message.worker, context=context)
            case m.ContextDown():
                self._log(manager, context, "given up" if message.was_evicted else "lost", worker=message.worker)
                event = cluster.ContextGone(
                    manager=manager, worker=message.worker, context=context, was_evicted=message.was_evicted
                )
            case m.ContextUnshareable():
                note = f"not shared: {message.reason}"
                event = cluster.ContextNoted(manager=manager, context=context, note=note, is_shared=False)
        self._driver.decide(event)

    def _build_went_on(
        self,
        manager: ManagerId,
        message: m.ContextBuilding | m.ContextLoaded | m.ContextBroken,
        frames: Frames,
    ) -> None:
        """A build began or ended."""
        event: cluster.Event
        self._managers.sessions[manager].has_built = True
        match message:
            case m.ContextBuilding():
                self._recorder.building((manager, message.context, message.worker))
                event = cluster.BuildBegan(manager=manager, context=message.context)
            case m.ContextLoaded():
                place = manager, message.context, message.worker
                self._recorder.built(place, message.load_s, message.size_bytes)
                self._log(manager, message.context, "built", worker=message.worker, build_s=message.load_s)
                self._content.note_size(message.context, message.size_bytes)
                event = cluster.BuildEnded(
                    manager=manager, context=message.context, load_s=message.load_s, size_bytes=message.size_bytes
                )
            case m.ContextBroken():
                self._note_build_error(manager, message, frames)
                event = cluster.BuildBroke(
                    manager=manager, context=message.context, tasks=message.returned, kinds=message.kinds
                )
        self._driver.decide(event)
        if isinstance(message, m.ContextBroken):
            self._recorder.returned(message.returned)
            self._recorder.broke((manager, message.context, None), _why_broken(message))

    def _log(self, manager: ManagerId, context: Digest, what: str, level: int = logging.INFO, **more: object) -> None:
        """Say what became of a context, with fields for logs that have them (Parsl's JSONLogging)."""
        joined = self._managers.sessions[manager].joined
        name = self._content.name(context)
        fields = {"context": name, "manager": manager, "host": joined.host, "block": joined.block, **more}
        worker = "" if more.get("worker") is None else f", worker {more['worker']}"
        text = f"Context {name} on manager {manager} (host {joined.host}, block {joined.block}{worker}): {what}"
        logger.log(level, "%s", text, extra={f"parsl.{key}": value for key, value in fields.items()})

    def _tell_slow(self, manager: ManagerId, slow: m.BuildSlow) -> None:
        joined = self._managers.sessions[manager].joined
        usual = "it was never seen to end" if slow.usual_s is None else f"it used to take {slow.usual_s:.3g} s"
        limit = "has no limit, see build_timeout_s" if slow.timeout_s is None else f"may take {slow.timeout_s:g} s"
        text = (
            f"Context {self._content.name(slow.context)} has been building for {slow.since_s:.0f} s on manager "
            f"{manager} (host {joined.host}, block {joined.block}); {usual}. It {limit}."
        )
        logger.warning("%s", text)
        self._executor.send(m.Notice(text=text))

    def _note_build_error(self, manager: ManagerId, message: m.ContextBroken, frames: Frames) -> None:
        joined = self._managers.sessions[manager].joined
        failure = m.BuildFailed(
            context=message.context,
            name=self._content.name(message.context),
            manager=manager,
            host=joined.host,
            block=joined.block,
            attempts=0,
            died=message.died,
            error=message.error,
            overdue=message.overdue,
        )
        self._log(manager, message.context, f"not built: {_why_broken(message)}", logging.WARNING)
        self._content.note_build_error(failure, list(frames))


def _environment_event(
    manager: ManagerId, message: m.EnvironmentStarting | m.EnvironmentStarted | m.EnvironmentGone
) -> cluster.Event:
    name = message.environment
    match message:
        case m.EnvironmentStarting():
            return cluster.EnvironmentBegan(manager=manager, environment=name, source=message.source)
        case m.EnvironmentStarted():
            return cluster.EnvironmentReady(manager=manager, environment=name, start_s=message.start_s)
        case m.EnvironmentGone():
            return cluster.EnvironmentGone(manager=manager, environment=name)


def _why_broken(broken: m.ContextBroken) -> str:
    """Why a context could not be built, for people."""
    if broken.overdue is not None:
        return f"it took longer than {broken.overdue.timeout_s:g} s"
    if broken.died is not None:
        how = f"status {broken.died.exit_code}" if broken.died.signal is None else f"signal {broken.died.signal}"
        return f"its process ended ({how})"
    return broken.text or (broken.kinds[0] if broken.kinds else "it raised an error")
