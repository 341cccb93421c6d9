"""The interchange: one event loop between the executor and its managers.

    executor ◀─ ExecutorSide ─▶ Interchange ──▶ ClusterDriver ──▶ ManagerSide ◀─▶ managers
                                                     ▲                │
                                                     └ ManagerReports ┘

`Interchange` puts these together, hears the executor, lets managers in and ends; `ClusterDriver` carries out what
`ClusterState` decides. Messages become events, actions become messages; payloads are forwarded unopened.
"""

from __future__ import annotations

import logging
import os
import platform
import sys
import time
from collections.abc import Sequence
from typing import TypeAlias

from parsl import curvezmq
from parsl.version import VERSION as PARSL_VERSION
from typing_extensions import assert_never

from parsl_context.errors import MessageError
from parsl_context.interchange.bulk import BulkServer
from parsl_context.interchange.config import InterchangeConfig
from parsl_context.interchange.content import Content
from parsl_context.interchange.driver import ClusterDriver
from parsl_context.interchange.echo import EchoGate
from parsl_context.interchange.executor_side import ExecutorSide
from parsl_context.interchange.manager_side import LINGER_S, ManagerSide, Session
from parsl_context.interchange.monitoring import NodeMonitor
from parsl_context.interchange.overview import Overview
from parsl_context.interchange.recording import LogRecorder, Recorder
from parsl_context.interchange.reports import ManagerReports
from parsl_context.interchange.selection import preference
from parsl_context.interchange.transfers import Transfers
from parsl_context.scheduling.batching import Joint
from parsl_context.scheduling.cluster import events as cluster
from parsl_context.scheduling.cluster.state import ClusterState
from parsl_context.scheduling.lines import Lane
from parsl_context.wire import messages as m
from parsl_context.wire.channel import tell_of
from parsl_context.wire.codec import Buffer, Frames, deal
from parsl_context.wire.eventloop import EventLoop
from parsl_context.wire.local_link import is_milestone
from parsl_context.wire.messages import ManagerId
from parsl_context.wire.segments import join_segments

logger = logging.getLogger(f"parsl.{__name__}")

# After a link broke the socket may take a moment to know; look again. [s]
_PING_DELAYS_S = (0.0, 0.05, 0.5)
_PARENT_CHECK_S = 5.0
# A manager whose clean-ups have had their time kills their processes, and says so, within: [s]
_END_GRACE_S = 2.0

# Lines of calls that are kept apart by their code, at the most.
_LANES_BY_CODE = 256
# Of a block's time, what is not counted upon, and no more than that in seconds: results have a way to go.
_ENDS_EARLIER = 0.02
_ENDS_EARLIER_S = 2.0

# Messages of the executor that have an answer.
_Request: TypeAlias = (
    m.ListManagers | m.ListPackages | m.ListBlocks | m.ListContexts | m.CountUseful | m.GiveUpContext | m.HoldManager
)


class Interchange:
    """One executor's interchange. `run` returns when the executor quits or is gone."""

    def __init__(self, config: InterchangeConfig) -> None:
        self._config = config
        self._loop = EventLoop()
        self._context = curvezmq.ServerContext(config.cert_dir)
        self._executor = executor = ExecutorSide(
            self._loop,
            config.link_fd,
            on_message=self._from_executor,
            on_end=lambda: self.stop("the executor is gone"),
        )
        self._managers = managers = ManagerSide(
            self._loop,
            self._context,
            address=config.listen_address,
            port=config.worker_port,
            port_range=config.worker_port_range,
            listener_fd=config.listener_fd,
            on_message=self._from_manager,
            on_lost=self._lose_manager,
            on_gone=self._manager_gone,
        )
        self._segments = segments = join_segments(config.segments)
        self._monitor = NodeMonitor(config)
        self._state = state = ClusterState(
            heartbeat_threshold_s=config.heartbeat_threshold_s,
            preference=preference(config.manager_selector),
            requeue_lost=config.requeue_lost,
            limits=config.blocks,
            home=None if config.environment is None else config.environment.name,
            begins_at_home=config.begins_in_environment,
        )
        self._content = content = Content(managers)
        self._overview = overview = Overview(state, managers, self._monitor)
        self._recorder = recorder = LogRecorder(self._loop, state, config) if config.records else Recorder()
        self._driver = driver = ClusterDriver(
            self._loop, state, executor, managers, content, overview, segments, recorder
        )
        gate = EchoGate(self._loop, executor)
        self._transfers = transfers = Transfers(self._loop, send=managers.send, ask=executor.send, recorder=recorder)
        self._bulk = bulk = BulkServer(
            self._loop,
            segments,
            send=managers.send,
            address=config.listen_address,
            ports=config.worker_port_range,
            logdir=config.logdir,
        )

        def left(manager: ManagerId) -> None:
            transfers.left(manager)
            bulk.left(manager)

        driver.on_left = left
        self._reports = ManagerReports(
            state, driver, executor, managers, content, overview, self._monitor, segments, gate, transfers, recorder
        )
        self._end_reason = ""
        self._parent = os.getppid()
        self._is_ending = False  # it waits for clean-ups only
        self._looks: dict[float, bool] = {}  # at all links, by their delay: whether one broke since it was planned
        self._strangers = 0  # messages that were not understood
        self._versions = f"py.v={_minor(platform.python_version())} parsl.v={PARSL_VERSION}"

    def run(self) -> None:
        """Serve until the executor quits, or its end of standard input closes."""
        loop = self._loop
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
        self._end_reason = reason
        logger.info("Interchange stops: %s", reason)
        self._loop.stop()

    def _quit(self) -> None:
        """End when the managers have run their clean-ups. The executor learns at once that it was heard."""
        self._is_ending = True
        self._driver.stop()
        self._executor.flush()
        self._executor.close()
        for manager in list(self._managers.sessions):
            self._managers.send(manager, m.Shutdown(reason="the executor shuts down"))
            self._managers.let_go(manager)
        self._loop.call_later(
            self._config.limits.cleanup_s + _END_GRACE_S, lambda: self.stop("managers do not say that they are clean")
        )
        self._end_when_clean()

    def _manager_gone(self, manager: ManagerId) -> None:
        """A manager that was let go has run its clean-ups, or is lost."""
        if self._is_ending:
            self._end_when_clean()
        else:
            self._driver.decide(cluster.ManagerEnded(manager=manager))

    def _end_when_clean(self) -> None:
        if self._is_ending and not self._managers.leaving:
            self.stop("the executor quits")

    def _lose_manager(self, manager: ManagerId, reason: str) -> None:
        if self._is_ending:
            self._managers.sessions.pop(manager, None)
        else:
            self._driver.lose_manager(manager, reason)

    def _close(self) -> None:
        for manager in list(self._managers.sessions):
            self._managers.send(manager, m.Shutdown(reason="the executor shuts down"))
        self._recorder.close(self._end_reason)
        self._monitor.close()
        self._bulk.close()
        self._managers.close()
        self._executor.close()
        self._loop.close()
        self._context.destroy(linger=int(1000 * LINGER_S))
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
        message, frames = self._executor.decode(parts)
        match message:
            case m.SubmitTasks():
                self._submit(message, frames)
            case m.StoreBlobs():
                for blob, frame in zip(message.blobs, frames, strict=True):
                    self._content.store(blob, frame)
                    self._recorder.named(blob.digest, blob.label, memoryview(frame).nbytes)
            case m.DeclareContext():
                self._content.declare(message.context, message.options)
                self._driver.decide(cluster.ContextDeclared(context=message.context, options=message.options))
            case m.ForgetBlobs():
                self._content.forget(message.digests)
                for digest in message.digests:
                    self._driver.decide(cluster.BlobForgotten(digest=digest))
            case m.CancelTasks():
                for task in message.tasks:
                    self._driver.decide(cluster.TaskCancelled(task=task, only_waiting=message.only_waiting))
            case m.WantContext():
                self._driver.decide(cluster.ContextWanted(context=message.context))
            case m.BlocksEnded():
                for block, state in message.blocks.items():
                    self._end_block(block, state)
            case m.BlockLaunched():
                self._driver.decide(cluster.BlockLaunched(block=message.block))
                self._recorder.block(message.block, "PENDING", message.job)
            case m.BlocksSeen():
                for block, (state, text) in message.blocks.items():
                    self._recorder.block(block, state, text=text)
            case m.FileFound():
                self._transfers.found(message)
            case m.Quit():
                self._quit()
            case _:
                self._executor.send(self._answer(message))

    def _submit(self, message: m.SubmitTasks, frames: Sequence[Buffer]) -> None:
        has_batches = False
        by_code = self._config.walltime_s is not None and len(self._state.lines) < _LANES_BY_CODE
        for task, own in deal(message.tasks, frames):
            unknown = [context for context in task.contexts if not self._state.knows_context(context)]
            if unknown or (task.code is not None and not self._content.has(task.code)):
                reason = f"Task {task.id} names content that was never sent: {unknown or task.code}."
                self._executor.send(m.TasksFailed(tasks=[task.id], cause=m.Unservable(reason=reason)))
                continue
            self._driver.tasks[task.id] = (task, own)
            self._recorder.submitted(task)
            self._driver.decide(
                cluster.TaskSubmitted(
                    task=task.id, lane=_lane(task, by_code=by_code), code=task.code, priority=task.priority
                )
            )
            has_batches |= task.batch is not None
        if has_batches:
            self._driver.decide(cluster.BatchesDue())

    def _end_block(self, block: str, state: str) -> None:
        logger.info("The job of block %s is over, as its provider says: %s", block, state)
        reason = f"the job of its block {block} is over, as the provider says ({state})"
        self._driver.decide(cluster.BlockEnded(block=block, reason=reason))

    def _answer(self, request: _Request) -> m.Answer:
        match request:
            case m.ListManagers():
                return m.ManagerList(request=request.request, managers=self._overview.manager_rows())
            case m.ListPackages():
                return m.PackageList(request=request.request, packages=self._overview.packages())
            case m.ListBlocks():
                return m.BlockList(request=request.request, blocks=self._state.blocks)
            case m.ListContexts():
                rows, files = self._overview.context_rows(), self._transfers.arrived
                return m.ContextList(request=request.request, contexts=rows, files=files)
            case m.GiveUpContext():
                self._driver.decide(cluster.EvictionWanted(context=request.context))
                return m.Done(request=request.request)
            case m.CountUseful():
                useful = self._state.useful_blocks(request.blocks, time.monotonic())
                return m.Useful(request=request.request, blocks=useful)
            case m.HoldManager():
                self._driver.decide(cluster.ManagerHeld(manager=request.manager))
                self._overview.report_node(request.manager)
                return m.Done(request=request.request)
            case _:
                assert_never(request)

    # --- from managers

    def _from_manager(self, parts: Frames) -> None:
        try:
            manager, message, frames = self._managers.decode(parts)
        except MessageError as error:
            sender = bytes(parts[0])
            self._ignore(f"manager {sender!r}", error)
            self._driver.give_up(ManagerId(sender.decode("utf-8", "replace")), "its message could not be understood")
            return
        if isinstance(message, m.CleanedUp):
            self._managers.gone(manager)
        elif self._is_ending:
            if isinstance(message, m.Joined):
                self._managers.send(manager, m.Shutdown(reason="the executor shuts down"))
        elif isinstance(message, m.Probe):
            where = self._managers.local_name
            config = self._config
            reply = m.ProbeReply(
                segments=self._segments.path,
                local=where,
                echo=config.echo,
                environment=config.environment,
                begins_in_environment=config.begins_in_environment,
            )
            self._managers.send(manager, reply)
        elif isinstance(message, m.Joined):
            self._join(manager, message)
        elif manager not in self._state.managers and isinstance(message, m.Leaving | m.Left):
            pass  # it was told to end, or has been given up before
        elif manager not in self._state.managers:
            logger.warning("Message %s of unknown manager %s", type(message).__name__, manager)
            self._managers.send(manager, m.Rejoin())
        else:
            self._hear(manager, message, frames)

    def _hear(self, manager: ManagerId, message: m.FromManager, frames: Frames) -> None:
        """A message of a manager that has joined. If it cannot be handled, the manager is lost: so is what it said."""
        try:
            self._driver.decide(cluster.ManagerContact(manager=manager))
            self._reports.message(manager, message, frames)
        except Exception as error:
            tell_of(logger, error, f"Message {type(message).__name__} of manager {manager} could not be handled")
            self._driver.give_up(manager, f"its message {type(message).__name__} could not be handled")

    def _join(self, manager: ManagerId, joined: m.Joined) -> None:
        theirs = f"py.v={_minor(joined.python_version)} parsl.v={joined.parsl_version}"
        if joined.protocol != m.PROTOCOL_VERSION:
            reason = f"it speaks protocol {joined.protocol}, this interchange {m.PROTOCOL_VERSION}"
            logger.error("Manager %s refused: %s", manager, reason)
            self._managers.send(manager, m.Refuse(reason=f"{reason}; install the same parsl-context on both sides"))
            return
        shares_segments = joined.segments is not None and joined.segments == self._segments.proof
        may_clean_up = bool(joined.held or joined.templates)
        session = Session(joined, shares_segments=shares_segments, has_built=may_clean_up)
        self._managers.sessions[manager] = session
        self._overview.report_joined(manager, joined)
        if self._config.check_versions and theirs != self._versions:
            del self._managers.sessions[manager]
            logger.error("Manager %s has other versions: %s, here %s", manager, theirs, self._versions)
            self._managers.send(manager, m.Refuse(reason=f"versions differ: {theirs}, interchange {self._versions}"))
            self._executor.send(
                m.VersionsDiffer(interchange=self._versions, manager=theirs, host=joined.host, block=joined.block)
            )
            return
        way = "segments" if shares_segments else "frames"
        text = "Manager %s of block %s joined with %d workers; it is sent large values in %s"
        logger.info(text, manager, joined.block, joined.slots, way)
        if self._managers.send(manager, m.Welcome(limits=self._config.limits)):  # or its link broke meanwhile
            event = _joined_event(manager, joined, self._config)
            self._recorder.joined(joined, event)
            self._driver.decide(event)
            if not shares_segments:
                self._bulk.joined(manager)

    def _link_event(self, _parts: Frames) -> None:
        """Some link broke. A look is for all that broke before it: with a switch many do, and come back, at once."""
        for delay_s in _PING_DELAYS_S:
            if delay_s in self._looks:
                self._looks[delay_s] = True
            else:
                self._look_later(delay_s)

    def _look_later(self, delay_s: float) -> None:
        self._looks[delay_s] = False
        self._loop.call_later(delay_s, lambda: self._look(delay_s))

    def _look(self, delay_s: float) -> None:
        self._managers.ping_all()
        if self._looks.pop(delay_s):
            self._look_later(delay_s)

    def _ignore(self, sender: str, error: MessageError) -> None:
        self._strangers += 1
        level = logging.WARNING if is_milestone(self._strangers) else logging.DEBUG
        logger.log(level, "Ignored a message of %s (%d so far): %s", sender, self._strangers, error)


def _joined_event(manager: ManagerId, joined: m.Joined, config: InterchangeConfig) -> cluster.ManagerJoined:
    walltime_s = config.walltime_s
    return cluster.ManagerJoined(
        manager=manager,
        node=joined.node,
        block=joined.block,
        slots=joined.slots,
        prefetch=joined.prefetch,
        drain_in_s=joined.drain_in_s,
        ends_in_s=None if walltime_s is None else _left_s(walltime_s, joined.job_up_s),
        walltime_s=walltime_s,
        up_s=joined.up_s,
        memory_bytes=config.limits.memory_bytes or joined.context_memory,
        contexts_per_worker=config.limits.contexts_per_worker,
        held=joined.held,
        templates=joined.templates,
    )


def _left_s(walltime_s: float, up_s: float) -> float:
    """Time of a job that can be counted upon. [s]"""
    return max(0.0, walltime_s - up_s - min(_ENDS_EARLIER_S, _ENDS_EARLIER * walltime_s))


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _lane(task: m.Task, *, by_code: bool) -> Lane:
    """What a call needs of its worker, and of others to run together with them.

    Parameters
    ----------
    by_code
        Whether calls of different code are told apart: where blocks end, each is sent as it fits into what is left.
    """
    resources = task.resources
    in_order = "num_nodes" in (resources or {})
    if task.batch is None or task.code is None or in_order:
        return Lane(task.contexts, task.fresh, in_order, code=task.code if by_code and not in_order else None)
    wanted = "" if resources is None else repr(sorted(resources.items()))
    return Lane(task.contexts, task.fresh, in_order, Joint(task.code, wanted, task.batch.size, task.batch.wait_s))
