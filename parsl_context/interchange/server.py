"""The interchange: turns messages into events, hands them to the scheduling state, and carries out its actions."""

from __future__ import annotations

import logging
import math
import os
import platform
import sys
import time
from collections.abc import Sequence
from typing import Any

from parsl import curvezmq
from parsl.version import VERSION as PARSL_VERSION
from typing_extensions import assert_never

from parsl_context import messages as m
from parsl_context.codec import Buffer, Frames, deal
from parsl_context.errors import MessageError, PayloadLostError
from parsl_context.eventloop import EventLoop, Timer
from parsl_context.interchange.config import InterchangeConfig
from parsl_context.interchange.executor_side import ExecutorSide
from parsl_context.interchange.manager_side import ManagerSide, Session
from parsl_context.interchange.monitoring import NodeMonitor
from parsl_context.interchange.selection import preference
from parsl_context.messages import Digest, ManagerId, TaskId
from parsl_context.scheduling import cluster_events as cluster
from parsl_context.scheduling.cluster import ClusterState
from parsl_context.scheduling.managers import Manager, Phase
from parsl_context.scheduling.node_events import Lane
from parsl_context.segments import join_segments

logger = logging.getLogger(f"parsl.{__name__}")

# After a link broke the socket may take a moment to know; look again. [s]
_PING_DELAYS_S = (0.0, 0.05, 0.5)
_PARENT_CHECK_S = 5.0
# Time for the last messages to leave when the interchange ends. [ms]
_LINGER_MS = 1000


class Interchange:
    """One executor's interchange. `run` returns when the executor quits or is gone."""

    def __init__(self, config: InterchangeConfig) -> None:
        self._config = config
        self._loop = EventLoop()
        self._context = curvezmq.ServerContext(config.cert_dir)
        self._executor = ExecutorSide(
            self._loop,
            config.link_fd,
            on_message=self._from_executor,
            on_end=lambda: self.stop("the executor is gone"),
        )
        self._managers = ManagerSide(
            self._context,
            address=config.listen_address,
            port=config.worker_port,
            port_range=config.worker_port_range,
            on_lost=self._link_lost,
        )
        self._segments = join_segments(config.segments)
        self._monitor = NodeMonitor(config)
        self._state = ClusterState(
            heartbeat_threshold_s=config.heartbeat_threshold_s,
            preference=preference(config.manager_selector),
        )
        self._tasks: dict[TaskId, tuple[m.Task, Sequence[Buffer]]] = {}
        self._blobs: dict[Digest, tuple[m.Blob, Buffer]] = {}
        self._options: dict[Digest, m.ContextOptions] = {}
        self._sizes: dict[Digest, int] = {}  # of instances, as they were measured last
        self._build_errors: dict[Digest, tuple[m.BuildFailed, list[Buffer]]] = {}
        self._tick: Timer | None = None
        self._tick_at = math.inf
        self._parent = os.getppid()
        self._strangers = 0  # messages that were not understood
        self._versions = f"py.v={_minor(platform.python_version())} parsl.v={PARSL_VERSION}"

    def run(self) -> None:
        """Serve until the executor quits, or its end of standard input closes."""
        loop = self._loop
        loop.watch_zmq(self._managers.socket, self._from_manager)
        loop.watch_zmq(self._managers.monitor, self._link_event)
        loop.watch(sys.stdin.buffer, self._executor_gone)
        self._check_parent()
        loop.flush += [self._managers.flush, self._executor.flush]
        self._executor.send(m.InterchangeReady(worker_port=self._managers.port, segments=self._segments.proof))
        logger.info("Interchange of executor %r listens on port %d", self._config.label, self._managers.port)
        loop.run()
        self._close()

    def stop(self, reason: str) -> None:
        """End after this turn of the loop."""
        logger.info("Interchange stops: %s", reason)
        self._loop.stop()

    def _close(self) -> None:
        for manager in list(self._managers.sessions):
            self._managers.send(manager, m.Shutdown(reason="the executor shuts down"))
        self._monitor.close()
        self._managers.close()
        self._executor.close()
        self._loop.close()
        self._context.destroy(linger=_LINGER_MS)
        self._segments.close()

    def _executor_gone(self) -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            self.stop("the executor is gone")

    def _check_parent(self) -> None:
        """A child that the executor forked may hold our standard input open beyond the executor's own end."""
        if os.getppid() != self._parent:
            self.stop("the executor is gone")
        else:
            self._loop.call_later(_PARENT_CHECK_S, self._check_parent)

    # --- from the executor

    def _from_executor(self, parts: Frames) -> None:
        try:
            message, frames = self._executor.decode(parts)
        except MessageError as error:
            self._refuse("the executor", error)
            return
        match message:
            case m.SubmitTasks():
                self._submit(message, frames)
            case m.StoreBlobs():
                for blob, frame in zip(message.blobs, frames, strict=True):
                    self._blobs[blob.digest] = (blob, frame)
            case m.DeclareContext():
                self._options[message.context] = message.options
                self._decide(cluster.ContextDeclared(context=message.context, options=message.options))
            case m.ForgetBlobs():
                self._forget(message)
            case m.CancelTask():
                self._decide(cluster.TaskCancelled(task=message.task))
                self._drop_cancelled(message.task)
            case m.WantContext():
                self._decide(cluster.ContextWanted(context=message.context))
            case m.ListManagers():
                rows = [self._manager_row(manager) for manager in self._state.managers.values()]
                self._executor.send(m.ManagerList(request=message.request, managers=rows))
            case m.ListPackages():
                packages = {str(name): session.joined.packages for name, session in self._managers.sessions.items()}
                self._executor.send(m.PackageList(request=message.request, packages=packages))
            case m.ListBlocks():
                self._executor.send(m.BlockList(request=message.request, blocks=self._state.blocks))
            case m.ListContexts():
                contexts = self._state.context_rows(time.monotonic())
                self._executor.send(m.ContextList(request=message.request, contexts=contexts))
            case m.GiveUpContext():
                self._decide(cluster.EvictionWanted(context=message.context))
                self._executor.send(m.Done(request=message.request))
            case m.HoldManager():
                self._decide(cluster.ManagerHeld(manager=message.manager))
                self._report_node(message.manager)
                self._executor.send(m.Done(request=message.request))
            case m.Quit():
                self.stop("the executor quits")
            case _:
                assert_never(message)

    def _submit(self, message: m.SubmitTasks, frames: Sequence[Buffer]) -> None:
        for task, own in deal(message.tasks, frames):
            unknown = [context for context in task.contexts if not self._state.knows_context(context)]
            if unknown or (task.code is not None and task.code not in self._blobs):
                reason = f"Task {task.id} names content that was never sent: {unknown or task.code}."
                self._executor.send(m.TasksFailed(tasks=[task.id], cause=m.Unservable(reason=reason)))
                continue
            self._tasks[task.id] = (task, own)
            self._decide(
                cluster.TaskSubmitted(
                    task=task.id,
                    lane=Lane(task.contexts, task.fresh, "num_nodes" in (task.resources or {})),
                    code=task.code,
                    priority=task.priority,
                )
            )

    def _forget(self, message: m.ForgetBlobs) -> None:
        for digest in message.digests:
            self._blobs.pop(digest, None)
            self._options.pop(digest, None)
            self._sizes.pop(digest, None)
            self._build_errors.pop(digest, None)
            self._decide(cluster.BlobForgotten(digest=digest))
        for manager, session in list(self._managers.sessions.items()):
            known = [digest for digest in message.digests if digest in session.known]
            if known:
                session.known.difference_update(known)
                self._managers.send(manager, m.ForgetBlobs(digests=known))

    def _drop_cancelled(self, task: TaskId) -> None:
        if not self._state.knows_task(task):
            self._tasks.pop(task, None)

    # --- from managers

    def _from_manager(self, parts: list[bytes]) -> None:
        try:
            manager, message, frames = self._managers.decode(parts)
        except MessageError as error:
            self._refuse(f"manager {parts[0]!r}", error)
            return
        if isinstance(message, m.Probe):
            self._managers.send(manager, m.ProbeReply(segments=self._segments.path))
        elif isinstance(message, m.Joined):
            self._join(manager, message)
        elif manager not in self._state.managers and isinstance(message, m.Left):
            pass  # it was told to end, or has been given up before
        elif manager not in self._state.managers:
            logger.warning("Message %s of unknown manager %s", type(message).__name__, manager)
            self._managers.send(manager, m.Rejoin())
        else:
            self._decide(cluster.ManagerContact(manager=manager))
            try:
                self._from_member(manager, message, frames)
            except MessageError as error:
                self._refuse(f"manager {manager}", error)

    def _from_member(self, manager: ManagerId, message: m.FromManager, frames: list[bytes]) -> None:
        session = self._managers.sessions[manager]
        match message:
            case m.Results():
                self._take_results(manager, message, frames)
            case m.Heartbeat():
                self._managers.send(manager, m.HeartbeatReply())
            case m.ContextBuilding():
                self._decide(cluster.BuildBegan(manager=manager, context=message.context))
            case m.ContextUp():
                self._decide(cluster.ContextHeld(manager=manager, worker=message.worker, context=message.context))
            case m.ContextUnshareable():
                note = f"not shared: {message.reason}"
                self._decide(cluster.ContextNoted(manager=manager, context=message.context, note=note, is_shared=False))
            case m.ContextLoaded():
                if message.size_bytes and message.context in self._options:
                    self._sizes[message.context] = message.size_bytes
                self._decide(
                    cluster.BuildEnded(
                        manager=manager,
                        context=message.context,
                        load_s=message.load_s,
                        size_bytes=message.size_bytes,
                    )
                )
            case m.ContextDown():
                self._decide(
                    cluster.ContextGone(
                        manager=manager,
                        worker=message.worker,
                        context=message.context,
                        was_evicted=message.was_evicted,
                    )
                )
            case m.ContextBroken():
                self._keep_build_error(manager, session, message, frames)
                self._decide(cluster.BuildBroke(manager=manager, context=message.context, tasks=message.returned))
            case m.InstanceSettled():
                self._decide(cluster.BuildSettled(manager=manager, contexts=message.contexts))
            case m.InstanceRefused():
                refused = cluster.BuildRefused(manager=manager, contexts=message.contexts, reason=message.reason)
                self._decide(refused)
            case m.TasksReturned():
                self._decide(cluster.TasksReturned(manager=manager, tasks=message.tasks))
            case m.TaskRefused():
                self._fail_task(manager, message.task, m.Unservable(reason=message.reason))
            case m.WorkerFell():
                logger.warning("Worker %d of manager %s died", message.died.worker, manager)
                if message.task is not None:
                    self._fail_task(manager, message.task, message.died)
            case m.Monitoring():
                self._monitor.forward(frames)
            case m.Leaving():
                logger.info("Manager %s leaves: %s", manager, message.reason)
                self._decide(cluster.ManagerLeaving(manager=manager))
                self._report_node(manager)
            case m.Left():
                self._link_lost(manager, f"it ended: {message.reason}")
            case m.Probe() | m.Joined():
                raise AssertionError("handled before membership is checked")
            case _:
                assert_never(message)

    def _join(self, manager: ManagerId, joined: m.Joined) -> None:
        theirs = f"py.v={_minor(joined.python_version)} parsl.v={joined.parsl_version}"
        if joined.protocol != m.PROTOCOL_VERSION:
            reason = f"it speaks protocol {joined.protocol}, this interchange {m.PROTOCOL_VERSION}"
            logger.error("Manager %s refused: %s", manager, reason)
            self._managers.send(manager, m.Refuse(reason=f"{reason}; install the same parsl-context on both sides"))
            return
        self._managers.sessions[manager] = Session(joined, shares_segments=self._shares_segments(joined))
        self._report_joined(manager, joined)
        if self._config.check_versions and theirs != self._versions:
            del self._managers.sessions[manager]
            logger.error("Manager %s has other versions: %s, here %s", manager, theirs, self._versions)
            self._managers.send(manager, m.Refuse(reason=f"versions differ: {theirs}, interchange {self._versions}"))
            self._executor.send(m.VersionsDiffer(interchange=self._versions, manager=theirs))
            return
        logger.info(
            "Manager %s of block %s joined with %d workers; it is sent large values in %s",
            manager,
            joined.block,
            joined.slots,
            "segments" if self._shares_segments(joined) else "frames",
        )
        self._managers.send(manager, m.Welcome(limits=self._config.limits))
        walltime_s = self._config.walltime_s
        self._decide(
            cluster.ManagerJoined(
                manager=manager,
                node=joined.node,
                block=joined.block,
                slots=joined.slots,
                prefetch=joined.prefetch,
                drain_in_s=joined.drain_in_s,
                ends_in_s=None if walltime_s is None else max(0.0, walltime_s - joined.up_s),
                walltime_s=walltime_s,
                memory_bytes=self._config.limits.memory_bytes or joined.context_memory,
            )
        )

    def _take_results(self, manager: ManagerId, message: m.Results, frames: list[bytes]) -> None:
        held = self._state.managers[manager].held
        for result, own in deal(message.results, frames):
            if result.id not in held:
                logger.warning("Manager %s sent a result of task %d, which it does not hold", manager, result.id)
                self._segments.drop(result.payload)
                continue
            if result.id not in self._tasks:
                self._segments.drop(result.payload)
                continue  # the manager was found gone while its results were taken
            if own:
                result, own = self._segments.gather(result, own)
            self._executor.add_result(result, own)
            task, _ = self._tasks.pop(result.id)
            ended = cluster.TaskEnded(manager=manager, task=result.id, run_s=result.run_s, calls=task.calls)
            self._decide(ended)
        self._report_node(manager)

    def _keep_build_error(
        self, manager: ManagerId, session: Session, message: m.ContextBroken, frames: list[bytes]
    ) -> None:
        options = self._options.get(message.context)
        failure = m.BuildFailed(
            context=message.context,
            name=options.name if options else message.context,
            manager=manager,
            host=session.joined.host,
            block=session.joined.block,
            attempts=0,
            died=message.died,
            error=message.error,
        )
        logger.warning("Context %s could not be built on manager %s", failure.name, manager)
        self._build_errors[message.context] = (failure, list(frames))

    def _fail_task(self, manager: ManagerId, task: TaskId, cause: m.Cause) -> None:
        if task in self._state.managers[manager].held:
            self._tasks.pop(task, None)
            self._executor.send(m.TasksFailed(tasks=[task], cause=cause))
            self._decide(cluster.TaskLost(manager=manager, task=task))

    # --- links

    def _link_event(self, _parts: list[bytes]) -> None:
        for delay_s in _PING_DELAYS_S:
            self._loop.call_later(delay_s, self._managers.ping_all)

    def _link_lost(self, manager: ManagerId, reason: str) -> None:
        if manager in self._state.managers:
            logger.warning("Manager %s is gone: %s", manager, reason)
            self._report_node(manager, active=False)
            self._decide(cluster.ManagerLeft(manager=manager, reason=reason))
        self._managers.sessions.pop(manager, None)

    def _refuse(self, sender: str, error: MessageError) -> None:
        self._strangers += 1
        logger.warning("Ignored a message of %s (%d so far): %s", sender, self._strangers, error)

    # --- decisions

    def _decide(self, event: cluster.Event) -> None:
        for action in self._state.handle(event, now=time.monotonic()):
            self._carry_out(action)
        if self._state.next_deadline() < self._tick_at:
            self._arm_tick()

    def _carry_out(self, action: cluster.Action) -> None:
        match action:
            case cluster.SendTask():
                self._send_task(action)
            case cluster.OrderBuild():
                self._provide(action.manager, None, action.contexts)
                self._managers.flush()  # or it would give up what calls on their way need
                self._managers.send(action.manager, m.BuildInstance(contexts=action.contexts))
            case cluster.TakeBack():
                self._managers.flush()  # the calls may still be on their way
                self._managers.send(action.manager, m.ReturnTasks(tasks=action.tasks))
            case cluster.FailUnservable():
                self._executor.send(m.TasksFailed(tasks=action.tasks, cause=m.Unservable(reason=action.reason)))
                self._drop_payloads(action.tasks)
            case cluster.SendBuild():
                self._provide(action.manager, None, (action.context,))
                self._managers.send(action.manager, m.BuildContext(context=action.context))
            case cluster.SendEviction():
                self._managers.send(action.manager, m.EvictContext(context=action.context))
            case cluster.StopManager():
                self._managers.send(action.manager, m.Shutdown(reason=action.reason))
                self._link_lost(action.manager, action.reason)
            case cluster.FailTasks():
                self._fail_with_manager(action)
            case cluster.FailBuild():
                failure, frames = self._build_errors[action.context]
                failed = m.TasksFailed(tasks=action.tasks, cause=_with_attempts(failure, action.attempts))
                self._executor.send(failed, frames)
                self._drop_payloads(action.tasks)
            case _:
                assert_never(action)

    def _send_task(self, action: cluster.SendTask) -> None:
        if action.task not in self._tasks:
            return  # an action before this one found the manager gone, and its calls have failed
        task, frames = self._tasks[action.task]
        self._provide(action.manager, task.code, task.contexts)
        session = self._managers.sessions.get(action.manager)
        if session is None:
            return
        if task.payload.segment is not None and not session.shares_segments:
            try:
                task, frames = self._segments.spread(task)
            except PayloadLostError as error:
                self._fail_task(action.manager, task.id, m.Unservable(reason=str(error)))
                return
        self._managers.add_task(action.manager, task, frames)

    def _shares_segments(self, joined: m.Joined) -> bool:
        return joined.segments is not None and joined.segments == self._segments.proof

    def _provide(self, manager: ManagerId, code: Digest | None, contexts: tuple[Digest, ...]) -> None:
        """Send a manager the content it lacks, in an order in which each thing's needs come before it."""
        session = self._managers.sessions.get(manager)
        if session is None:
            return
        for context in contexts:
            if context not in session.known:
                options = self._options[context]
                self._provide(manager, context, options.requires)
                size_bytes = self._sizes.get(context)
                declaration = m.DeclareContext(context=context, options=options, size_bytes=size_bytes)
                self._managers.send(manager, declaration)
        if code is not None and code not in session.known:
            session.known.add(code)
            blob, frame = self._blobs[code]
            self._managers.send(manager, m.StoreBlobs(blobs=[blob]), [frame])

    def _fail_with_manager(self, action: cluster.FailTasks) -> None:
        session = self._managers.sessions.get(action.manager)
        cause = m.ManagerGone(
            manager=action.manager,
            host=session.joined.host if session else "unknown",
            block=session.joined.block if session else "unknown",
            reason=action.reason,
        )
        self._executor.send(m.TasksFailed(tasks=action.tasks, cause=cause))
        self._drop_payloads(action.tasks)

    def _drop_payloads(self, tasks: list[TaskId]) -> None:
        for task in tasks:
            self._tasks.pop(task, None)

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
        self._decide(cluster.Tick())
        for manager in [name for name in self._managers.sessions if name not in self._state.managers]:
            self._link_lost(manager, "it was given up")

    # --- what people look at

    def _manager_row(self, manager: Manager) -> m.ManagerRow:
        joined = self._managers.sessions[manager.id].joined
        idle_s = 0.0 if manager.idle_since is None else time.monotonic() - manager.idle_since
        return m.ManagerRow(
            manager=manager.id,
            block_id=manager.block,
            worker_count=manager.slots,
            tasks=len(manager.held),
            idle_duration=idle_s,
            active=manager.phase is not Phase.HELD,
            draining=manager.phase is Phase.DRAINING,
            parsl_version=joined.parsl_version,
            python_version=joined.python_version,
            hostname=joined.host,
            rebuild_s=self._state.rebuild_s(manager),
        )

    def _report_joined(self, manager: ManagerId, joined: m.Joined) -> None:
        if self._monitor.is_on:
            self._monitor.node(manager, joined, tasks=0, active=True, draining=False)

    def _report_node(self, manager: ManagerId, *, active: bool | None = None) -> None:
        if not self._monitor.is_on:
            return
        session, record = self._managers.sessions.get(manager), self._state.managers.get(manager)
        if session is None or record is None:
            return
        self._monitor.node(
            manager,
            session.joined,
            tasks=len(record.held),
            active=record.phase is not Phase.HELD if active is None else active,
            draining=record.phase is Phase.DRAINING,
        )


def _with_attempts(failure: m.BuildFailed, attempts: int) -> m.BuildFailed:
    fields: dict[str, Any] = {name: getattr(failure, name) for name in failure.__struct_fields__}
    return m.BuildFailed(**{**fields, "attempts": attempts})


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
