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
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import distributions

import psutil
from parsl import curvezmq
from parsl.executors.high_throughput.mpi_resource_management import get_nodes_in_batchjob, identify_scheduler
from parsl.version import VERSION as PARSL_VERSION
from typing_extensions import assert_never

from parsl_context import messages as m
from parsl_context.codec import Buffer, Decoder, Frames, deal, encode
from parsl_context.eventloop import EventLoop
from parsl_context.messages import Digest, TaskId, WorkerId
from parsl_context.pool import hardware, processes
from parsl_context.pool.channel import Channel
from parsl_context.pool.link import InterchangeLink, find_interchange
from parsl_context.pool.settings import ManagerSettings
from parsl_context.pool.zygote import request_worker
from parsl_context.scheduling import node
from parsl_context.scheduling.node import Lane

logger = logging.getLogger(f"parsl.{__name__}")

# Time that running calls have when the manager is told to end by a signal, and workers for their clean-ups. [s]
DRAIN_S = 5.0
CLEANUP_S = 5.0
# A worker that dies as soon as it starts is not started again at once. [s]
_RESTART_PAUSE_S = 1.0
_MIN_LIFE_S = 1.0


@dataclass
class _WorkerProcess:
    """A process that serves, or served, one of the node's workers."""

    worker: WorkerId
    channel: Channel
    started_at: float
    pid: int | None = None
    known: set[Digest] = field(default_factory=set)
    tasks: deque[TaskId] = field(default_factory=deque)
    resident: set[Digest] = field(default_factory=set)
    retired: bool = False  # told to exit; another process serves the worker


class Manager:
    """Owns the node. `run` returns the exit status when the manager is told to end or has lost its interchange."""

    def __init__(
        self, settings: ManagerSettings, zygote: socket.socket, zygote_pid: int, monitoring: socket.socket
    ) -> None:
        self._settings = settings
        self._zygote = zygote
        self._zygote_pid: int | None = zygote_pid
        self._monitoring = monitoring
        self._loop = EventLoop()
        self._nodes = get_nodes_in_batchjob(identify_scheduler()) if settings.mpi_mode else []
        self._state = node.NodeState(settings.workers, self._nodes)
        self._processes: dict[WorkerId, _WorkerProcess] = {}
        self._by_pid: dict[int, _WorkerProcess] = {}
        self._exits: dict[int, processes.Exit] = {}  # deaths of processes whose first message is still unread
        self._tasks: dict[TaskId, tuple[m.Task, Sequence[Buffer]]] = {}
        self._blobs: dict[Digest, tuple[m.Blob, Buffer]] = {}
        self._requires: dict[Digest, tuple[Digest, ...]] = {}
        self._results: list[m.Result] = []
        self._result_frames: Frames = []
        self._decoder: Decoder[m.FromWorker] = Decoder(m.FromWorker)
        self._ending: str | None = None
        self._stopping = False
        self._context = curvezmq.ClientContext(settings.cert_dir)
        url = find_interchange(self._context, settings.addresses, settings.port, settings.address_probe_timeout_s)
        logger.info("Interchange found at %s", url)
        self._link = InterchangeLink(
            self._loop,
            self._context,
            url,
            node=settings.uid,
            heartbeat_period_s=settings.heartbeat_period_s,
            heartbeat_threshold_s=settings.heartbeat_threshold_s,
            join=self._describe,
            on_message=self._from_interchange,
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
            self._start_worker(WorkerId(worker))
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
                self._reap()
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
        for process in self._processes.values():
            process.channel.send(encode(m.Exit()))
        deadline = time.monotonic() + CLEANUP_S
        while self._by_pid and time.monotonic() < deadline:
            self._reap()
            time.sleep(0.005)
        for pid in self._by_pid:
            logger.warning("Worker process %d did not end in time and is killed", pid)
            processes.kill(pid)
        self._zygote.close()
        if self._zygote_pid is not None:
            os.waitpid(self._zygote_pid, 0)
        self._context.destroy(linger=1000)
        self._loop.close()

    # --- from the interchange

    def _from_interchange(self, message: m.ToManager, frames: list[bytes]) -> None:
        match message:
            case m.RunTasks():
                self._take_tasks(message, frames)
            case m.StoreBlobs():
                for blob, frame in zip(message.blobs, frames, strict=True):
                    self._blobs[blob.digest] = (blob, frame)
            case m.DeclareContext():
                self._requires[message.context] = message.options.requires
            case m.ForgetBlobs():
                self._forget(message)
            case m.BuildContext():
                self._decide(node.BuildWanted(context=message.context))
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
            lane = Lane(task.contexts, task.fresh)
            arrived.append(node.NodeTask(id=task.id, lane=lane, code=task.code, nodes=nodes))
        self._decide(node.TasksArrived(tasks=arrived))

    def _forget(self, message: m.ForgetBlobs) -> None:
        for digest in message.digests:
            self._blobs.pop(digest, None)
            self._requires.pop(digest, None)
            self._decide(node.BlobForgotten(digest=digest))
        for process in self._processes.values():
            known = [digest for digest in message.digests if digest in process.known]
            process.known.difference_update(known)
            if known:
                process.channel.send(encode(m.ForgetBlobs(digests=known)))

    def _forget_session(self) -> None:
        """The interchange has given up the calls of this session; so do we. Idle workers keep their contexts."""
        busy = [process for process in self._processes.values() if process.tasks]
        self._tasks.clear()
        self._results.clear()
        self._result_frames.clear()
        self._state = node.NodeState(self._settings.workers, self._nodes)
        for process in self._processes.values():
            process.known.clear()
            if process not in busy and process.pid is not None:
                self._state.handle(node.WorkerReady(worker=process.worker), now=time.monotonic())
        for process in busy:
            process.tasks.clear()
            self._retire(process, kill=True)
        self._blobs.clear()
        self._requires.clear()

    # --- from workers

    def _from_worker(self, process: _WorkerProcess, frames: Frames) -> None:
        message, own = self._decoder.decode(frames)
        if isinstance(message, m.WorkerUp):
            self._greet(process, message.pid)
        elif process.retired:
            return
        else:
            self._from_serving(process, message, own)

    def _from_serving(self, process: _WorkerProcess, message: m.FromWorker, frames: Sequence[Buffer]) -> None:
        worker = process.worker
        match message:
            case m.TaskDone():
                self._take_result(process, message.result, frames)
            case m.LoadStarted():
                self._link.send(m.ContextBuilding(context=message.context, worker=worker))
                self._decide(node.LoadBegan(worker=worker, context=message.context))
            case m.Loaded():
                process.resident.add(message.context)
                self._link.send(
                    m.ContextUp(
                        context=message.context,
                        worker=worker,
                        load_s=message.load_s,
                        size_bytes=message.size_bytes,
                    )
                )
                self._decide(node.LoadEnded(worker=worker, context=message.context, load_s=message.load_s))
            case m.LoadFailed():
                self._take_build_failure(process, message, frames)
            case m.Unloaded():
                process.resident.discard(message.context)
                self._link.send(m.ContextDown(context=message.context, worker=worker))
                self._decide(node.ContextGone(worker=worker, context=message.context))
            case m.WorkerUp():
                raise AssertionError("handled before")
            case _:
                assert_never(message)

    def _greet(self, process: _WorkerProcess, pid: int) -> None:
        process.pid = pid
        self._by_pid[pid] = process
        if pid in self._exits:
            self._bury(process, self._exits.pop(pid))
        elif not process.retired:
            self._decide(node.WorkerReady(worker=process.worker))

    def _take_result(self, process: _WorkerProcess, result: m.Result, frames: Sequence[Buffer]) -> None:
        process.tasks.popleft()
        self._tasks.pop(result.id, None)
        self._results.append(result)
        self._result_frames += frames
        self._decide(node.TaskEnded(worker=process.worker, task=result.id, run_s=result.run_s))
        self._stop_if_drained()

    def _take_build_failure(self, process: _WorkerProcess, message: m.LoadFailed, frames: Sequence[Buffer]) -> None:
        if message.task is not None:
            process.tasks.popleft()
        event = node.LoadBroke(worker=process.worker, context=message.context, task=message.task)
        self._report_broken(event, process.worker, message.context, None, message.error, frames)

    def _report_broken(
        self,
        event: node.Event,
        worker: WorkerId,
        context: Digest,
        died: m.WorkerDied | None,
        error: m.Payload | None,
        frames: Sequence[Buffer],
    ) -> None:
        """Tell the interchange of a context that could not be built, with the calls that come back for it."""
        for action in self._state.handle(event, now=time.monotonic()):
            if isinstance(action, node.GiveBack) and action.broken is not None:
                broken = m.ContextBroken(context=context, worker=worker, returned=action.tasks, died=died, error=error)
                self._link.send(broken, frames)
                self._drop(action.tasks)
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

    # --- processes

    def _start_worker(self, worker: WorkerId) -> None:
        settings = self._settings
        environment: dict[str, str] = {}
        cores = hardware.cores_of_worker(settings.cpu_affinity, worker, settings.workers)
        if cores is not None:
            environment |= hardware.affinity_environment(cores)
        if settings.accelerators:
            environment |= hardware.accelerator_environment(settings.accelerators[worker], settings.workers)
        ours, theirs = socket.socketpair()
        request_worker(self._zygote, m.ForkWorker(worker=worker, environment=environment, cores=cores), theirs)
        theirs.close()
        process: _WorkerProcess
        channel = Channel(
            self._loop,
            ours,
            on_message=lambda frames: self._from_worker(process, frames),
            on_end=lambda: self._stream_ended(process),
        )
        process = _WorkerProcess(worker, channel, started_at=time.monotonic())
        self._processes[worker] = process

    def _stream_ended(self, process: _WorkerProcess) -> None:
        """The other end is closed: the process ends, or it broke the channel; make sure of the first."""
        if process.pid is None:
            self._bury(process, processes.Exit(0, None, None))
        elif process.pid in self._by_pid:
            self._loop.call_later(0.5, lambda: self._kill_if_alive(process))

    def _kill_if_alive(self, process: _WorkerProcess) -> None:
        if process.pid in self._by_pid and not process.retired:
            processes.kill(process.pid)

    def _reap(self) -> None:
        for ended in processes.reap():
            process = self._by_pid.pop(ended.pid, None)
            if process is not None:
                process.channel.read()  # its last messages
                self._bury(process, ended)
            elif ended.pid == self._zygote_pid:
                self._zygote_pid = None
                self._end("its zygote died")
            elif any(p.pid is None for p in self._processes.values()):
                self._exits[ended.pid] = ended

    def _bury(self, process: _WorkerProcess, ended: processes.Exit) -> None:
        """A process ended: settle what it held and start another in its place."""
        self._by_pid.pop(ended.pid, None)
        process.channel.close()
        if process.retired or self._stopping:
            return
        died = m.WorkerDied(
            manager=self._link.manager,
            host=platform.node(),
            block=self._settings.block,
            worker=process.worker,
            pid=ended.pid,
            exit_code=ended.code,
            signal=ended.signal,
        )
        logger.warning("Worker %d (process %d) died: %s", process.worker, ended.pid, ended)
        process.retired = True
        for context in process.resident:
            self._link.send(m.ContextDown(context=context, worker=process.worker))
        self._settle(process, died)
        lived_s = time.monotonic() - process.started_at
        pause_s = 0.0 if process.pid is not None and lived_s > _MIN_LIFE_S else _RESTART_PAUSE_S
        if process.known:
            pause_s = 0.0  # it was up and got work
        self._loop.call_later(pause_s, lambda: self._start_worker(process.worker))
        self._stop_if_drained()

    def _settle(self, process: _WorkerProcess, died: m.WorkerDied) -> None:
        """The calls of a process that died: lost, given back with a broken context, or run elsewhere on the node."""
        event = node.WorkerEnded(worker=process.worker)
        told = False
        for action in self._state.handle(event, now=time.monotonic()):
            if isinstance(action, node.GiveBack) and action.broken is not None:
                self._link.send(
                    m.ContextBroken(
                        context=action.broken,
                        worker=process.worker,
                        returned=action.tasks,
                        died=died,
                        error=None,
                    )
                )
                self._drop(action.tasks)
                told = True
            elif isinstance(action, node.Lose):
                self._flush_results()
                self._link.send(m.WorkerFell(task=action.task, died=died))
                self._drop([action.task])
                told = True
            else:
                self._carry_out(action)
        if not told:
            self._link.send(m.WorkerFell(task=None, died=died))

    def _retire(self, process: _WorkerProcess, *, kill: bool = False) -> None:
        """End a process and have another serve its worker."""
        process.retired = True
        for context in process.resident:
            self._link.send(m.ContextDown(context=context, worker=process.worker))
        process.resident.clear()
        if kill and process.pid is not None:
            processes.kill(process.pid)
        else:
            process.channel.send(encode(m.Exit()))
        self._start_worker(process.worker)

    # --- decisions

    def _decide(self, event: node.Event) -> None:
        for action in self._state.handle(event, now=time.monotonic()):
            self._carry_out(action)

    def _carry_out(self, action: node.Action) -> None:
        match action:
            case node.Assign():
                self._assign(action)
            case node.Load():
                process = self._processes[action.worker]
                self._provide(process, None, (action.context,))
                process.channel.send(encode(m.LoadContext(context=action.context)))
            case node.Replace():
                self._retire(self._processes[action.worker])
            case node.GiveBack():
                self._link.send(m.TasksReturned(tasks=action.tasks))
                self._drop(action.tasks)
            case node.Lose():
                raise AssertionError("only the death of a worker loses a call")
            case _:
                assert_never(action)

    def _assign(self, action: node.Assign) -> None:
        task, frames = self._tasks[action.task]
        process = self._processes[action.worker]
        self._provide(process, task.code, task.contexts)
        process.tasks.append(task.id)
        process.channel.send(encode(m.RunTask(task=task, nodes=action.nodes), frames))

    def _provide(self, process: _WorkerProcess, code: Digest | None, contexts: Sequence[Digest]) -> None:
        """Send a worker the content it lacks."""
        wanted = deque([*contexts, *([code] if code is not None else [])])
        while wanted:
            digest = wanted.popleft()
            if digest not in process.known:
                process.known.add(digest)
                blob, frame = self._blobs[digest]
                process.channel.send(encode(m.StoreBlobs(blobs=[blob]), [frame]))
                wanted.extend(self._requires.get(digest, ()))

    def _drop(self, tasks: list[TaskId]) -> None:
        for task in tasks:
            self._tasks.pop(task, None)
