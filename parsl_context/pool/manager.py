"""A node's manager: one event loop between the interchange and the workers.

    interchange ◀─ InterchangeLink ─▶ Manager ◀─ Channel ─▶ worker processes
                                         │
                                     NodeState (decides)

It forwards payloads without opening them. Workers are its children (see `zygote`), so it notices a death at once.
"""

from __future__ import annotations

import logging
import os
import platform
import signal
import socket
import time
from collections.abc import Sequence
from importlib.metadata import distributions

import psutil
from parsl import curvezmq
from parsl.executors.high_throughput.mpi_resource_management import get_nodes_in_batchjob, identify_scheduler
from parsl.version import VERSION as PARSL_VERSION
from typing_extensions import assert_never

from parsl_context import messages as m
from parsl_context.codec import Buffer, Decoder, Frames, deal
from parsl_context.errors import MessageError
from parsl_context.eventloop import EventLoop, Timer
from parsl_context.messages import Digest, TaskId, WorkerId
from parsl_context.pool import processes
from parsl_context.pool.family import Family, Member
from parsl_context.pool.link import InterchangeLink, find_interchange
from parsl_context.pool.settings import ManagerSettings
from parsl_context.scheduling import node_events as node
from parsl_context.scheduling.node import NodeState
from parsl_context.scheduling.node_events import Lane, TemplateKey
from parsl_context.segments import join_segments

logger = logging.getLogger(f"parsl.{__name__}")

# Time that running calls have when the manager is told to end by a signal. [s]
DRAIN_S = 5.0
# Of the node's memory, what contexts may take if the user does not say.
_MEMORY_SHARE = 0.6
# A worker that dies as soon as it starts is not started again at once. [s]
_RESTART_PAUSE_S = 1.0
_MIN_LIFE_S = 1.0


class Manager:
    """Owns the node. `run` returns the exit status when the manager is told to end or has lost its interchange."""

    def __init__(
        self, settings: ManagerSettings, zygote: socket.socket, zygote_pid: int, monitoring: socket.socket
    ) -> None:
        self._settings = settings
        self._monitoring = monitoring
        self._loop = EventLoop()
        self._nodes = get_nodes_in_batchjob(identify_scheduler()) if settings.mpi_mode else []
        self._state = NodeState(settings.workers, self._nodes)
        self._family = Family(
            self._loop,
            settings,
            zygote,
            zygote_pid,
            on_message=self._from_member,
            on_death=self._member_died,
            on_zygote_death=lambda: self._end("its zygote died"),
        )
        self._tasks: dict[TaskId, tuple[m.Task, Sequence[Buffer]]] = {}
        self._budget = 0  # memory that contexts may take, known from the first welcome on. [bytes]
        self._max_ages: dict[Digest, float] = {}  # of instances that workers share
        self._results: list[m.Result] = []
        self._result_frames: Frames = []
        self._decoder: Decoder[m.FromWorker] = Decoder(m.FromWorker)
        self._tick: Timer | None = None
        self._ending: str | None = None
        self._stopping = False
        self._context = curvezmq.ClientContext(settings.cert_dir)
        url, answer = find_interchange(
            self._context, settings.addresses, settings.port, settings.address_probe_timeout_s
        )
        self._segments = join_segments(answer.segments)
        self._family.segments = self._segments.path
        logger.info("Interchange found at %s; large values travel in %s", url, self._segments.path or "frames")
        self._link = InterchangeLink(
            self._loop,
            self._context,
            url,
            node=settings.uid,
            heartbeat_period_s=settings.heartbeat_period_s,
            heartbeat_threshold_s=settings.heartbeat_threshold_s,
            join=self._describe,
            on_message=self._from_interchange,
            on_welcome=self._set_limits,
            on_break=self._forget_session,
            on_end=self._end,
        )

    def run(self) -> int:
        """Serve the interchange until the end."""
        loop = self._loop
        self._watch_signals()
        loop.watch(self._monitoring, self._from_monitoring)
        loop.flush.append(self._flush_results)
        self._link.connect()
        for worker in range(self._settings.workers):
            self._family.start_worker(WorkerId(worker))
        loop.run()
        self._close()
        logger.info("Manager ended: %s", self._ending)
        return 0

    # --- life

    def _describe(self, manager: m.ManagerId) -> m.Joined:
        settings = self._settings
        return m.Joined(
            manager=manager,
            node=settings.uid,
            protocol=m.PROTOCOL_VERSION,
            block=settings.block,
            host=platform.node(),
            slots=settings.workers,
            prefetch=settings.prefetch,
            drain_in_s=settings.drain_in_s(time.time()),
            up_s=time.time() - settings.started_at,
            pid=os.getpid(),
            python_version=platform.python_version(),
            parsl_version=PARSL_VERSION,
            packages={d.metadata["Name"]: d.version for d in distributions()},
            os=platform.system(),
            dir=os.getcwd(),
            cpu_count=psutil.cpu_count(logical=False) or os.cpu_count() or 1,
            total_memory=psutil.virtual_memory().total,
            context_memory=int(_MEMORY_SHARE * psutil.virtual_memory().total),
            segments=self._segments.proof,
        )

    def _watch_signals(self) -> None:
        reader, writer = socket.socketpair()
        for sock in (reader, writer):
            sock.setblocking(False)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)

        def on_signal() -> None:
            numbers = set(reader.recv(4096))
            if signal.SIGCHLD in numbers:
                self._family.reap()
            if numbers & {signal.SIGTERM, signal.SIGINT}:
                self._drain("it was told to terminate")

        self._loop.watch(reader, on_signal)
        self._signal_sockets = (reader, writer)

    def _drain(self, reason: str) -> None:
        """Hand back what has not started, let running calls finish for a while, end."""
        if self._ending is not None:
            return
        logger.info("Manager drains: %s", reason)
        self._ending = reason
        self._link.send(m.Leaving(reason=reason))
        self._decide(node.DrainBegan())
        self._loop.call_later(DRAIN_S, self._loop.stop)
        self._stop_if_drained()

    def _stop_if_drained(self) -> None:
        if self._ending is not None and not self._state.running:
            self._loop.stop()

    def _end(self, reason: str) -> None:
        """End now."""
        logger.info("Manager ends: %s", reason)
        self._ending = reason
        self._loop.stop()

    def _close(self) -> None:
        """Clean-ups run, then nothing is left of this node: no process, no socket."""
        self._stopping = True
        self._flush_results()
        self._link.send(m.Left(reason=self._ending or "unknown"))
        self._link.close()
        self._family.end_all()
        self._context.destroy(linger=1000)
        self._loop.close()
        self._segments.close()

    # --- from the interchange

    def _from_interchange(self, message: m.ToManager, frames: list[bytes]) -> None:
        match message:
            case m.RunTasks():
                self._take_tasks(message, frames)
            case m.StoreBlobs():
                for blob, frame in zip(message.blobs, frames, strict=True):
                    self._family.store(blob, frame)
            case m.DeclareContext():
                options = message.options
                self._family.declare(message.context, options.requires)
                if options.reuse == "node" and self._settings.accelerators:
                    reason = "each worker has an accelerator of its own"
                    self._link.send(m.ContextUnshareable(context=message.context, reason=reason))
                if options.max_age_s is not None:
                    self._max_ages[message.context] = options.max_age_s
                if message.size_bytes is not None:
                    logger.info("Context %s took %.0f MB on another node", options.name, message.size_bytes / 1e6)
                declared = None if options.memory_gb is None else int(options.memory_gb * 1e9)
                self._decide(
                    node.ContextDeclared(
                        context=message.context,
                        is_shared=self._is_shared(options),
                        size_bytes=declared if message.size_bytes is None else min(message.size_bytes, self._budget),
                        is_pinned=options.pinned,
                    )
                )
            case m.ForgetBlobs():
                self._forget(message)
            case m.BuildContext():
                self._decide(node.BuildWanted(context=message.context))
            case m.BuildInstance():
                self._decide(node.InstanceWanted(contexts=message.contexts))
            case m.ReturnTasks():
                self._decide(node.TasksReclaimed(tasks=message.tasks))
            case m.EvictContext():
                self._decide(node.EvictionWanted(context=message.context))
            case m.Shutdown():
                self._end(message.reason)
            case m.Welcome() | m.Refuse() | m.Rejoin() | m.ProbeReply() | m.Ping() | m.HeartbeatReply():
                raise AssertionError("handled by the link")
            case _:
                assert_never(message)

    def _take_tasks(self, message: m.RunTasks, frames: list[bytes]) -> None:
        arrived = []
        for task, own in deal(message.tasks, frames):
            self._tasks[task.id] = (task, own)
            nodes = int((task.resources or {}).get("num_nodes", 0)) if self._settings.mpi_mode else 0
            if nodes > len(self._nodes):
                reason = f"Task {task.id} asks for {nodes} nodes; its block has {len(self._nodes)}."
                self._tasks.pop(task.id)
                self._link.send(m.TaskRefused(task=task.id, reason=reason))
                continue
            lane = Lane(task.contexts, task.fresh, nodes > 0)
            arrived.append(node.NodeTask(id=task.id, lane=lane, code=task.code, nodes=nodes))
        self._decide(node.TasksArrived(tasks=arrived))

    def _set_limits(self, limits: m.Limits) -> None:
        self._family.cleanup_s = limits.cleanup_s
        memory_bytes = limits.memory_bytes
        if memory_bytes is None:
            memory_bytes = int(_MEMORY_SHARE * psutil.virtual_memory().total)
        self._budget = memory_bytes
        self._decide(
            node.LimitsSet(
                memory_bytes=memory_bytes, contexts_per_worker=limits.contexts_per_worker, idle_s=limits.idle_s
            )
        )

    def _is_shared(self, options: m.ContextOptions) -> bool:
        # Workers with an accelerator each hold something of their own, and drivers do not survive a fork.
        return options.reuse == "node" and not self._settings.accelerators

    def _forget(self, message: m.ForgetBlobs) -> None:
        self._family.forget(message.digests)
        for digest in message.digests:
            self._max_ages.pop(digest, None)
            self._decide(node.BlobForgotten(digest=digest))

    def _forget_session(self) -> None:
        """The interchange has given up the calls of this session; so do we. Idle workers keep their contexts."""
        self._tasks.clear()
        for result in self._results:
            self._segments.drop(result.payload)
        self._results.clear()
        self._result_frames.clear()
        self._family.forget_all()
        for key in list(self._family.templates):
            self._family.end_template(key)
        self._state = NodeState(self._settings.workers, self._nodes)
        for member in list(self._family.workers.values()):
            if member.tasks:
                self._replace(member, None, kill=True)
            elif member.pid is not None:
                self._state.handle(node.WorkerReady(worker=_worker(member)), now=time.monotonic())

    # --- from workers and templates

    def _from_member(self, member: Member, frames: Frames) -> None:
        try:
            message, own = self._decoder.decode(frames)
        except MessageError as error:
            # What it says cannot be trusted any more; its death settles what it held.
            logger.error("%s (process %s) is killed: %s", member.name, member.pid, error)
            self._family.kill(member)
            return
        if member.cleaning is not None:
            self._end_clean_up(member)
        if isinstance(message, m.CleanUpBegan):
            self._begin_clean_up(member, message.context)
        elif isinstance(message, m.WorkerUp):
            if self._family.greet(member, message.pid) and member.worker is not None and not member.retired:
                self._worker_up(member, member.worker, message.inherited)
        elif member.retired:
            if isinstance(message, m.TaskDone):
                self._segments.drop(message.result.payload)
        elif member.template is not None:
            self._from_template(member, member.template, message, own)
        else:
            self._from_worker(member, _worker(member), message, own)

    def _begin_clean_up(self, member: Member, context: Digest) -> None:
        """A clean-up that hangs must not hold the calls up that its worker was sent meanwhile."""
        member.cleaning = context
        if not member.retired:
            member.limit = self._loop.call_later(self._family.cleanup_s, lambda: self._clean_up_hangs(member, context))

    def _end_clean_up(self, member: Member) -> None:
        member.cleaning = None
        if member.limit is not None:
            member.limit.cancel()
            member.limit = None

    def _clean_up_hangs(self, member: Member, context: Digest) -> None:
        if not member.retired:
            text = "%s (process %s) is killed: the clean-up of context %s takes longer than %g s"
            logger.warning(text, member.name, member.pid, self._family.label(context), self._family.cleanup_s)
            self._start_anew(member, kill=True)

    def _start_anew(self, member: Member, *, kill: bool = False) -> None:
        """Have another process serve a worker; it has started none of the calls it holds, and will not."""
        worker = _worker(member)
        self._family.retire(member, kill=kill)
        for context in member.resident:
            self._link.send(m.ContextDown(context=context, worker=worker, was_evicted=kill))
        for action in self._state.handle(node.WorkerEnded(worker=worker), now=time.monotonic()):
            self._carry_out(node.GiveBack(tasks=[action.task]) if isinstance(action, node.Lose) else action)
        self._family.start_worker(worker)
        self._stop_if_drained()

    def _worker_up(self, member: Member, worker: WorkerId, inherited: list[Digest]) -> None:
        member.resident.update(inherited)
        for context in inherited:
            self._link.send(m.ContextUp(context=context, worker=worker))
        self._decide(node.WorkerReady(worker=worker, inherited=frozenset(inherited)))

    def _from_worker(self, member: Member, worker: WorkerId, message: m.FromWorker, frames: Sequence[Buffer]) -> None:
        match message:
            case m.TaskDone():
                self._take_result(member, worker, message.result, frames)
            case m.TaskSkipped():
                self._decide(node.TaskSkipped(worker=worker, task=message.task))
            case m.LoadStarted():
                self._link.send(m.ContextBuilding(context=message.context))
                self._decide(node.LoadBegan(worker=worker, context=message.context))
            case m.Loaded():
                member.resident.add(message.context)
                self._report_loaded(message)
                self._link.send(m.ContextUp(context=message.context, worker=worker))
                self._decide(
                    node.LoadEnded(
                        worker=worker,
                        context=message.context,
                        load_s=message.load_s,
                        size_bytes=message.size_bytes,
                    )
                )
            case m.LoadFailed():
                if message.task is not None:
                    member.tasks.popleft()
                event = node.LoadBroke(worker=worker, context=message.context, task=message.task)
                self._report_broken(event, None, message.error, frames)
            case m.Unloaded():
                member.resident.discard(message.context)
                self._link.send(m.ContextDown(context=message.context, worker=worker, was_evicted=True))
                gone = node.ContextGone(worker=worker, context=message.context, kept_bytes=message.kept_bytes)
                self._decide(gone)
            case m.Unfit():
                logger.info("%s (process %s) is replaced: %s", member.name, member.pid, message.reason)
                self._start_anew(member)
            case m.WorkerUp() | m.Frozen() | m.Unshareable() | m.CleanUpBegan():
                raise AssertionError(f"a worker does not send {type(message).__name__} here")
            case _:
                assert_never(message)

    def _from_template(
        self, member: Member, template: TemplateKey, message: m.FromWorker, frames: Sequence[Buffer]
    ) -> None:
        match message:
            case m.LoadStarted():
                self._link.send(m.ContextBuilding(context=message.context))
            case m.Loaded():
                member.resident.add(message.context)
                self._report_loaded(message)
                self._expire_later(member, message.context)
                self._decide(
                    node.TemplateLoaded(context=message.context, load_s=message.load_s, size_bytes=message.size_bytes)
                )
            case m.LoadFailed():
                self._family.end_template(template)
                event = node.TemplateBroke(template=template, context=message.context)
                self._report_broken(event, None, message.error, frames)
            case m.Unshareable():
                logger.warning(
                    "Context %s cannot be shared by the workers of this node, each builds its own: %s",
                    self._family.label(message.context),
                    message.reason,
                )
                self._link.send(m.ContextUnshareable(context=message.context, reason=message.reason))
                self._decide(node.TemplateUnsafe(template=template, context=message.context))
            case m.Frozen():
                self._decide(node.TemplateReady(template=template))
            case m.WorkerUp() | m.TaskDone() | m.TaskSkipped() | m.Unloaded() | m.CleanUpBegan() | m.Unfit():
                raise AssertionError(f"a template does not send {type(message).__name__} here")
            case _:
                assert_never(message)

    def _expire_later(self, member: Member, context: Digest) -> None:
        """Have what a template holds built anew when it is too old."""

        def expire() -> None:
            if not member.retired:
                self._decide(node.SharedExpired(context=context))

        if context in self._max_ages:
            self._loop.call_later(self._max_ages[context], expire)

    def _report_loaded(self, message: m.Loaded) -> None:
        loaded = m.ContextLoaded(context=message.context, load_s=message.load_s, size_bytes=message.size_bytes)
        self._link.send(loaded)

    def _take_result(self, member: Member, worker: WorkerId, result: m.Result, frames: Sequence[Buffer]) -> None:
        member.tasks.popleft()
        self._tasks.pop(result.id, None)
        self._results.append(result)
        self._result_frames += frames
        self._decide(node.TaskEnded(worker=worker, task=result.id, run_s=result.run_s))
        self._stop_if_drained()

    def _report_broken(
        self, event: node.Event, died: m.WorkerDied | None, error: m.Payload | None, frames: Sequence[Buffer]
    ) -> None:
        """Decide on a context that could not be built; the interchange is told why, and which calls come back."""
        for action in self._state.handle(event, now=time.monotonic()):
            if isinstance(action, node.GiveBack) and action.broken is not None:
                broken = m.ContextBroken(context=action.broken, returned=action.tasks, died=died, error=error)
                self._link.send(broken, frames)
                self._drop(action.tasks)
            elif isinstance(action, node.Lose):
                assert died is not None
                self._flush_results()
                self._link.send(m.WorkerFell(task=action.task, died=died))
                self._drop([action.task])
            else:
                self._carry_out(action)

    def _from_monitoring(self) -> None:
        while True:
            try:
                record = self._monitoring.recv(1 << 20)
            except BlockingIOError:
                return
            self._link.send(m.Monitoring(), [record])

    def _flush_results(self) -> None:
        if self._results:
            results, frames = self._results, self._result_frames
            self._results, self._result_frames = [], []
            self._link.send(m.Results(results=results), frames)

    # --- deaths

    def _member_died(self, member: Member, ended: processes.Exit) -> None:
        if self._stopping:
            return
        died = m.WorkerDied(
            manager=self._link.manager,
            host=platform.node(),
            block=self._settings.block,
            worker=member.worker if member.worker is not None else WorkerId(0),
            pid=ended.pid,
            exit_code=ended.code,
            signal=ended.signal,
        )
        logger.warning("%s (process %d) died: %s", member.name, ended.pid, ended)
        if member.template is not None:
            self._template_died(member, member.template, died)
        else:
            self._worker_died(member, _worker(member), died)
        self._stop_if_drained()

    def _template_died(self, member: Member, template: TemplateKey, died: m.WorkerDied) -> None:
        self._family.templates.pop(template, None)
        unbuilt = [context for context in template if context not in member.resident]
        if unbuilt:
            self._report_broken(node.TemplateBroke(template=template, context=unbuilt[0]), died, None, ())
        else:
            self._decide(node.TemplateEnded(template=template))

    def _worker_died(self, member: Member, worker: WorkerId, died: m.WorkerDied) -> None:
        self._link.send(m.WorkerFell(task=None, died=died))
        for context in member.resident:
            self._link.send(m.ContextDown(context=context, worker=worker, was_evicted=False))
        self._report_broken(node.WorkerEnded(worker=worker), died, None, ())
        lived_s = time.monotonic() - member.started_at
        was_useful = bool(member.known) or (member.pid is not None and lived_s > _MIN_LIFE_S)
        pause_s = 0.0 if was_useful else _RESTART_PAUSE_S
        self._loop.call_later(pause_s, lambda: self._family.start_worker(worker))

    def _replace(self, member: Member, template: TemplateKey | None, *, kill: bool = False) -> None:
        """End a worker's process and have another serve the worker."""
        worker = _worker(member)
        self._family.retire(member, kill=kill)
        for context in member.resident:
            self._link.send(m.ContextDown(context=context, worker=worker, was_evicted=False))
        self._family.start_worker(worker, template)

    # --- decisions

    def _decide(self, event: node.Event) -> None:
        for action in self._state.handle(event, now=time.monotonic()):
            self._carry_out(action)
        look_at = self._state.look_at
        if self._tick is None or (look_at is not None and look_at < self._tick.at):
            self._arm_tick()

    def _arm_tick(self) -> None:
        """Wake up when the state wants to be told the time."""
        now = time.monotonic()
        due = self._state.next_deadline(now)
        if self._tick is not None:
            self._tick.cancel()
        self._tick = None if due is None else self._loop.call_later(due - now, self._on_tick)

    def _on_tick(self) -> None:
        self._tick = None
        self._decide(node.Tick())

    def _carry_out(self, action: node.Action) -> None:
        match action:
            case node.Assign():
                self._assign(action)
            case node.Revoke():
                self._revoke(action)
            case node.SettleBuild():
                self._link.send(m.InstanceSettled(contexts=action.contexts))
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
                self._start_template(action.template)
            case node.EndTemplate():
                self._family.end_template(action.template)
            case node.GiveBack():
                self._link.send(m.TasksReturned(tasks=action.tasks))
                self._drop(action.tasks)
            case node.Lose():
                raise AssertionError("only the death of a worker loses a call")
            case _:
                assert_never(action)

    def _assign(self, action: node.Assign) -> None:
        task, frames = self._tasks[action.task]
        member = self._family.workers[action.worker]
        self._family.provide(member, task.contexts if task.code is None else (*task.contexts, task.code))
        member.tasks.append(task.id)
        if action.is_ahead:
            member.allow()
        member.send(m.RunTask(task=task, nodes=action.nodes, is_ahead=action.is_ahead), frames)

    def _revoke(self, action: node.Revoke) -> None:
        member = self._family.workers[action.worker]
        count = member.revoke(action.count)
        for _ in range(count):
            member.tasks.pop()
        self._decide(node.TasksRevoked(worker=action.worker, count=count))

    def _start_template(self, template: TemplateKey) -> None:
        member = self._family.start_template(template)
        self._family.provide(member, template)
        for context in template:
            member.send(m.LoadContext(context=context))
        member.send(m.Freeze())

    def _drop(self, tasks: list[TaskId]) -> None:
        for task in tasks:
            self._tasks.pop(task, None)


def _worker(member: Member) -> WorkerId:
    assert member.worker is not None
    return member.worker
