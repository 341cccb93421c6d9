"""A worker: runs calls one at a time and keeps the contexts they need.

It reads messages from its manager, in order, and answers each call before it starts the next; so the manager knows
that only the oldest call it has not heard of can have started. Parsl's serializers and the user's code run here and
nowhere above.
"""

from __future__ import annotations

import importlib
import logging
import os
import pickle
import platform
import signal
import socket
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Any

import parsl.executors.high_throughput.monitoring_info as monitoring_info
from parsl.app.errors import RemoteExceptionWrapper
from parsl.executors.execute_task import execute_task
from parsl.executors.high_throughput.mpi_prefix_composer import compose_all
from typing_extensions import assert_never

from parsl_context.content.carried import unpack_code
from parsl_context.content.serialization import pack_value, unpack_value
from parsl_context.errors import BodyExitError, ContextIsolationError, WorkerLost
from parsl_context.parsl_parts.compat import start_logging
from parsl_context.parsl_parts.titles import set_title
from parsl_context.pool.bond import Bond, ManagerGone
from parsl_context.pool.settings import WorkerSettings
from parsl_context.retain import calls, sharing
from parsl_context.retain.instances import Instances
from parsl_context.retain.isolation import DIRTY, run_in_child
from parsl_context.retain.loader import Loader, pack_error
from parsl_context.retain.processes import Exit, alone, flush_streams, interrupt, interruptible, status_of
from parsl_context.retain.speaking import Voice, mark_logs
from parsl_context.retain.surroundings import LimitValues, Surroundings
from parsl_context.wire import messages as m
from parsl_context.wire.channel import WorkerChannel
from parsl_context.wire.codec import Buffer, Decoder, Frames, deal, encode, make_payload
from parsl_context.wire.messages import Digest, WorkerId
from parsl_context.wire.segments import Segments, join_segments

logger = logging.getLogger(f"parsl.{__name__}")

_FUNCTIONS_KEPT = 256
# After a call that took longer, all is set back that it may have changed: that takes a hundredth of the time. [s]
_LONG_CALL_S = 1e-3
_described: set[str] = set()  # variables that were set for the last call


def main(
    ends: Sequence[socket.socket],
    message: m.ForkWorker,
    settings: WorkerSettings,
    inherited: Instances | None = None,
    limits: LimitValues | None = None,
) -> int:
    """Serve one manager until it says so or is gone. Gives the exit status.

    Parameters
    ----------
    inherited, limits
        What a template has built, and the limits that its contexts have set.
    """
    bond = _prepare_process(message, settings)
    sock, claims = ends
    claims.setblocking(False)
    threads = threads_of(message, settings)
    segments = join_segments(message.segments)
    instances = inherited or Instances()
    worker = Worker(WorkerChannel(sock), claims, settings, instances, segments, message.worker, threads, bond)
    if limits is not None:
        worker.limit(limits)
    try:
        return worker.run()
    finally:
        segments.close()


def threads_of(message: m.ForkWorker, settings: WorkerSettings) -> int:
    """Threads that libraries may use in a worker."""
    return max(1, len(message.cores) if message.cores else (os.cpu_count() or 1) // settings.workers)


def voice_of(number: WorkerId) -> Voice:
    """Labels what a worker says."""
    return Voice(f"worker {number}")


def _prepare_process(message: m.ForkWorker, settings: WorkerSettings) -> Bond:
    number = message.worker
    bond = Bond(settings)
    set_title(f"worker-{number}")
    signal.signal(signal.SIGINT, interrupt)
    os.environ.update(
        PARSL_WORKER_RANK=str(number),
        PARSL_WORKER_COUNT=str(settings.workers),
        PARSL_WORKER_POOL_ID=settings.pool,
        PARSL_WORKER_BLOCK_ID=settings.block,
        **message.environment,
    )
    if message.cores is not None:
        os.sched_setaffinity(0, message.cores)
    _start_logging(number, settings)
    monitoring_info.result_queue = _MonitoringQueue(settings.monitoring)  # type: ignore[assignment]
    return bond


def _start_logging(number: int, settings: WorkerSettings) -> None:
    for handler in logging.getLogger("parsl").handlers[:]:
        logging.getLogger("parsl").removeHandler(handler)  # the manager's, inherited by fork
    start_logging(settings.log_config, settings.log_dir, f"worker_{number}", debug=settings.debug)
    mark_logs()


class _UnfitError(Exception):
    """This process cannot run a call that another could."""


class _MonitoringQueue:
    """What Parsl's HTEXRadio puts its records in. Also used by forked children of a worker: datagrams stay whole."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def put(self, record: bytes) -> None:
        # The radio wraps what the hub wants to see; it is unwrapped here, because nothing above may unpickle.
        self._socket.send(pickle.dumps(pickle.loads(record)["payload"]))


class Worker:
    """The loop of a worker, and what it remembers."""

    def __init__(
        self,
        channel: WorkerChannel,
        claims: socket.socket,
        settings: WorkerSettings,
        instances: Instances,
        segments: Segments,
        number: WorkerId,
        threads: int,
        bond: Bond,
    ) -> None:
        self._channel = channel
        self._bond = bond
        self._claims = claims
        self._settings = settings
        self._decoder: Decoder[m.ToWorker] = Decoder(m.ToWorker)
        self._functions: OrderedDict[Digest, tuple[Digest | None, Callable[..., Any]]] = OrderedDict()
        self._loader = Loader(self._send, instances, voice_of(number), settings.code_folder)
        self._segments = segments
        self._number = number
        self._threads = threads  # that libraries may use which were held at one
        self._put_off: deque[tuple[m.ToWorker, Sequence[Buffer]]] = deque()
        self._is_open = False  # whether anything ran in this process that may keep it from being forked
        self._surroundings = Surroundings()
        self._has_run = False  # a call, since all was set back that it may have changed
        self._ran_long = False
        calls.resident = instances

    def limit(self, limits: LimitValues) -> None:
        """Have calls run within limits that contexts have set where they were built."""
        self._surroundings.limits.impose(limits)

    def run(self) -> int:
        """Serve until told to exit or the manager is gone; clean up."""
        instances = self._loader.instances
        self._send(m.WorkerUp(pid=os.getpid(), inherited=list(instances)))
        try:
            self._serve()
        except _UnfitError as error:
            self._send(m.Unfit(reason=str(error)))
            self._wait_for_exit()
        finally:
            instances.close()
            flush_streams()
        return 0

    def _serve(self) -> None:
        while (received := self._receive()) is not None:
            if isinstance(received[0], m.Exit):
                return
            self._handle(*received)

    def _receive(self) -> tuple[m.ToWorker, Sequence[Buffer]] | None:
        """The next message and its frames; None when the manager is gone."""
        if self._put_off:
            return self._put_off.popleft()
        if self._has_run and (self._ran_long or not self._channel.has_message()):
            self._settle()
        frames = self._channel.receive()
        return None if frames is None else self._decoder.decode(frames)

    def _settle(self) -> None:
        """Set all back that calls may have changed."""
        self._has_run = self._ran_long = False
        self._surroundings.restore_rest()

    def _pause(self) -> None:
        """Start nothing until the manager has taken back what is not to run here."""
        while (frames := self._channel.receive()) is not None:
            message, rest = self._decoder.decode(frames)
            if isinstance(message, m.GoOn):
                return
            self._put_off.append((message, rest))
            if isinstance(message, m.Exit):
                return

    def _wait_for_exit(self) -> None:
        """Start nothing any more; the manager gives what was sent here to others."""
        while (frames := self._channel.receive()) is not None:
            if isinstance(self._decoder.decode(frames)[0], m.Exit):
                return

    def _handle(self, message: m.ToWorker, frames: Sequence[Buffer]) -> None:
        match message:
            case m.RunTask():
                if message.is_ahead and not self._claim():
                    self._send(m.TaskSkipped(task=message.task.id))
                    return
                ((task, own),) = deal([message.task], frames)
                _describe_resources(task.resources, message.nodes, self._settings.mpi_launcher)
                self._run_task(task, own)
            case m.StoreBlobs():
                self._loader.store(message, frames)
            case m.LoadContext():
                self._load_wanted(message.context)
            case m.DropContext():
                self._drop([message.context])
            case m.ForgetBlobs():
                self._loader.forget(message.digests)
                self._surroundings.note()
                for digest in message.digests:
                    self._functions.pop(digest, None)
            case m.Exit() | m.GoOn():
                raise AssertionError("handled where it is waited for")
            case _:
                assert_never(message)

    def _send(self, message: m.FromWorker, frames: Sequence[Buffer] = ()) -> None:
        self._channel.send(encode(message, frames))

    # --- calls

    def _claim(self) -> bool:
        """Make sure that a call was not taken back. From then on it cannot be."""
        try:
            return bool(self._claims.recv(1))
        except BlockingIOError:
            return False

    def _run_task(self, task: m.Task, frames: Sequence[Buffer]) -> None:
        instances = self._loader.instances
        if self._loader.carried.has_tree and (reason := self._why_older(task)) is not None:
            raise _UnfitError(reason)
        if instances.watched:
            self._drop(instances.outdated(task.contexts))
        for context in task.contexts:
            if context not in instances and not self._load(context, task.id, task.contexts):
                return
        if instances.watched and not task.fresh and (isolated := instances.isolated(task.contexts)):
            with self._surroundings.limits.lifted():
                message, is_dirty = self._run_isolated(task, frames, isolated)
        else:
            self._is_open = True
            message, is_dirty = self._run(task, frames), False
        worn = instances.after_call(task.contexts, is_dirty=is_dirty) if instances.watched else []
        shared = [context for context in worn if instances.is_inherited(context)]
        if shared:
            self._send(m.Unloading(contexts=shared))
        self._channel.send(message)
        self._drop(worn)
        if shared:
            self._pause()

    def _why_older(self, task: m.Task) -> str | None:
        """What a call needs an older version of than this process has; None if it can run here."""
        header = None
        if task.code is not None:
            known = self._functions.get(task.code)
            header = unpack_code(self._loader.content(task.code))[0] if known is None else known[0]
        return self._loader.carried.why_older([header, *task.needs, *self._loader.headers(task.contexts)])

    def _run(self, task: m.Task, frames: Sequence[Buffer]) -> Frames:
        """Run a call; gives the message that says how it ended."""
        self._has_run = True
        ok, run_s, stream, buffers = self._call(task, frames)
        self._ran_long |= run_s > _LONG_CALL_S
        payload, out = self._segments.make_payload(stream, buffers, task.id)
        return encode(m.TaskDone(result=m.Result(task.id, ok, payload, run_s)), out)

    def _run_isolated(self, task: m.Task, frames: Sequence[Buffer], contexts: list[str]) -> tuple[Frames, bool]:
        """Run a call in a fork of this process; as `_run`. And whether it asked for its contexts to be built anew."""
        reason = sharing.why_unsafe()
        if reason is not None and self._is_open:
            raise _UnfitError(f"it cannot be forked for a call of context {contexts[0]}: {reason}")
        if reason is not None:
            refused = ContextIsolationError(context=contexts[0], reason=reason)
            return _fail(task, pack_error(refused), 0.0), False
        instances = self._loader.instances

        def work() -> tuple[Frames, int]:
            self._bond.heed_terminate()
            sharing.make_distinct({}, self._threads)
            try:
                instances.inherit()
            except BaseException as error:  # a hook's is the call's
                return _fail(task, self._pack_raised(error), 0.0), 0
            self._surroundings.limits.impose()
            message = self._run(task, frames)
            return message, DIRTY if instances.is_dirty else 0

        start = time.perf_counter()
        self._bond.is_busy = True
        try:
            message, ended = run_in_child(work)
        except OSError as error:
            failed = ContextIsolationError(context=contexts[0], reason=f"no process can be forked ({error})")
            return _fail(task, pack_error(failed), 0.0), False
        finally:
            self._bond.is_busy = False
        if message is not None:
            return message, ended.code == DIRTY
        logger.warning("Process %d died while it ran task %d: %s", ended.pid, task.id, ended)
        self._segments.drop_results([task.id])
        return _fail(task, pack_error(self._lost(ended)), time.perf_counter() - start), False

    def _lost(self, ended: Exit) -> WorkerLost:
        return WorkerLost(pid=ended.pid, exit_code=ended.code, signal=ended.signal, **self._where())

    def _where(self) -> dict[str, Any]:
        return {
            "worker_id": self._number,
            "hostname": platform.node(),
            "manager": self._settings.pool,
            "block": self._settings.block,
        }

    def _drop(self, contexts: list[Digest]) -> None:
        if not contexts:
            return
        self._settle()
        for context in contexts:
            self._loader.drop(context)
        self._surroundings.note()

    @interruptible
    def _call(self, task: m.Task, frames: Sequence[Buffer]) -> tuple[bool, float, bytes, Sequence[Buffer]]:
        start = time.perf_counter()
        self._bond.is_busy = True
        try:
            with alone():
                value = self._evaluate(task, self._segments.open_payload(task.payload, frames))
            run_s = time.perf_counter() - start
            return True, run_s, *_pack_result(value)
        except ManagerGone:
            raise
        except BaseException as error:
            logger.info("Task %d raised", task.id, exc_info=True)
            return False, time.perf_counter() - start, self._pack_raised(error), []
        finally:
            self._bond.is_busy = False

    def _pack_raised(self, error: BaseException) -> bytes:
        """What user code raised, as the error of its call."""
        if isinstance(error, Exception):
            return pack_error(error)
        where = self._where()
        return pack_error(BodyExitError(cause=error, pid=os.getpid(), exit_code=status_of(error), **where))

    def _evaluate(self, task: m.Task, payload: list[Buffer]) -> Any:
        try:
            if task.code is None:
                context, buffer = unpack_value(payload)
                return _execute_payload(context, buffer)
            function = self._function(task.code)
            for header in task.needs:
                self._loader.carried.prepare(header)
            args, kwargs = unpack_value(payload)
            return function(*args, **kwargs)
        finally:
            if not self._bond.is_orphaned:
                self._surroundings.restore()

    def _function(self, digest: Digest) -> Callable[..., Any]:
        found = self._functions.get(digest)
        if found is not None:
            header, function = found
            if header is not None:
                self._loader.carried.prepare(header)
            return function
        found = self._functions[digest] = self._loader.code(digest)
        if len(self._functions) > _FUNCTIONS_KEPT:
            self._functions.popitem(last=False)
        return found[1]

    def _load_wanted(self, digest: Digest) -> None:
        if digest in self._loader.instances:
            self._send(m.FoundLoaded(context=digest))
        else:
            self._load(digest, None, [digest])

    def _load(self, digest: Digest, task: m.TaskId | None, group: Sequence[Digest]) -> bool:
        """Build a context of a group that calls use together."""
        self._settle()
        try:
            with self._bond.building(self._loader.instances):
                return self._load_openly(digest, task, group)
        finally:
            if not self._bond.is_orphaned:
                self._surroundings.note()

    def _load_openly(self, digest: Digest, task: m.TaskId | None, group: Sequence[Digest]) -> bool:
        if not any(map(self._loader.is_isolated, group)):
            self._is_open = True
            return self._loader.load(digest, task)
        with sharing.held_threads():
            return self._loader.load(digest, task)


def _fail(task: m.Task, error: bytes, run_s: float) -> Frames:
    """The message that says how a call ended that has no outcome of its own."""
    payload, out = make_payload(error)
    return encode(m.TaskDone(result=m.Result(task.id, False, payload, run_s)), out)


def _pack_result(value: object) -> tuple[bytes, Sequence[Buffer]]:
    if type(value) is RemoteExceptionWrapper:  # what an ordinary app gives whose function raised
        return pack_error(value.get_exception() if value.e_value.__traceback__ is None else value.e_value), ()
    try:
        return pack_value(value)
    except Exception as error:
        if isinstance(value, calls.ChunkResults):
            return pack_value(value.sendable())
        raise calls.cannot_send(value, error) from error


def _describe_resources(resources: dict[str, Any] | None, nodes: Sequence[str], launcher: str) -> None:
    """Variables that tell a call what it was given, as HTEX's workers set them; none is left of the call before."""
    for name in _described:
        os.environ.pop(name, None)
    _described.clear()
    if not resources:
        return
    variables = {f"PARSL_{name.upper()}": str(value) for name, value in resources.items()}
    if nodes:
        variables["PARSL_MPI_NODELIST"] = ",".join(nodes)
        variables |= compose_all(launcher, resource_spec=resources, node_hostnames=list(nodes))
    os.environ.update(variables)
    _described.update(variables)


def _execute_payload(context: dict[str, Any], buffer: bytes) -> Any:
    """Run what `submit_payload` was given, as HTEX's workers do."""
    chosen = context.get("task_executor")
    if not chosen:
        return execute_task(buffer)
    module, _, name = chosen["f"].rpartition(".")
    function = getattr(importlib.import_module(module), name)
    return function(buffer, *chosen.get("a", ()), **chosen.get("k", {}))
