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
import signal
import socket
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import parsl.executors.high_throughput.monitoring_info as monitoring_info
from parsl.executors.execute_task import execute_task
from parsl.executors.high_throughput.mpi_prefix_composer import compose_all
from parsl.utils import setproctitle
from typing_extensions import assert_never

from parsl_context import messages as m
from parsl_context.channel import WorkerChannel
from parsl_context.codec import Buffer, Decoder, deal, encode, make_payload, open_payload
from parsl_context.compat import start_logging
from parsl_context.messages import Digest
from parsl_context.pool import calls
from parsl_context.pool.instances import Instances
from parsl_context.pool.loader import Loader, pack_error
from parsl_context.pool.settings import WorkerSettings
from parsl_context.serialization import pack_value, unpack_code, unpack_value

logger = logging.getLogger(f"parsl.{__name__}")

_FUNCTIONS_KEPT = 256
_described: set[str] = set()  # variables that were set for the last call


def main(
    ends: Sequence[socket.socket],
    message: m.ForkWorker,
    settings: WorkerSettings,
    inherited: Instances | None = None,
) -> int:
    """Serve one manager until it says so or is gone. Gives the exit status."""
    _prepare_process(message, settings)
    sock, claims = ends
    claims.setblocking(False)
    return Worker(WorkerChannel(sock), claims, settings, inherited or Instances()).run()


def _prepare_process(message: m.ForkWorker, settings: WorkerSettings) -> None:
    number = message.worker
    while os.getppid() != settings.manager_pid:
        time.sleep(0.0005)  # the process between us and the manager is about to end
    setproctitle(f"parsl: context worker {number}")
    # A batch system signals every process of a job; the manager decides when workers end. A handler rather than
    # SIG_IGN, because programs that the user's code starts inherit what is ignored.
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGINT, signal.default_int_handler)
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


def _start_logging(number: int, settings: WorkerSettings) -> None:
    for handler in logging.getLogger("parsl").handlers[:]:
        logging.getLogger("parsl").removeHandler(handler)  # the manager's, inherited by fork
    start_logging(settings.log_config, settings.log_dir, f"worker_{number}", debug=settings.debug)


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
        self, channel: WorkerChannel, claims: socket.socket, settings: WorkerSettings, instances: Instances
    ) -> None:
        self._channel = channel
        self._claims = claims
        self._settings = settings
        self._decoder: Decoder[m.ToWorker] = Decoder(m.ToWorker)
        self._functions: OrderedDict[Digest, Callable[..., Any]] = OrderedDict()
        self._loader = Loader(self._send, instances)
        calls.resident = instances

    def run(self) -> int:
        """Serve until told to exit or the manager is gone; clean up."""
        instances = self._loader.instances
        self._send(m.WorkerUp(pid=os.getpid(), inherited=list(instances)))
        try:
            while (frames := self._channel.receive()) is not None:
                message, rest = self._decoder.decode(frames)
                if isinstance(message, m.Exit):
                    break
                self._handle(message, rest)
        finally:
            instances.close()
            sys.stdout.flush()
            sys.stderr.flush()
        return 0

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
                self._loader.drop(message.context)
            case m.ForgetBlobs():
                self._loader.forget(message.digests)
                for digest in message.digests:
                    self._functions.pop(digest, None)
            case m.Exit():
                raise AssertionError("handled by the loop")
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
        for context in task.contexts:
            if context not in self._loader.instances and not self._loader.load(context, task.id):
                return
        ok, run_s, stream, buffers = self._call(task, frames)
        payload, out = make_payload(stream, buffers)
        self._send(m.TaskDone(result=m.Result(task.id, ok, payload, run_s)), out)

    def _call(self, task: m.Task, frames: Sequence[Buffer]) -> tuple[bool, float, bytes, Sequence[Buffer]]:
        start = time.perf_counter()
        try:
            value = self._evaluate(task, open_payload(task.payload, frames))
            run_s = time.perf_counter() - start
            return True, run_s, *pack_value(value)
        except Exception:
            logger.info("Task %d raised", task.id, exc_info=True)
            return False, time.perf_counter() - start, pack_error(), []

    def _evaluate(self, task: m.Task, payload: list[Buffer]) -> Any:
        if task.code is None:
            context, buffer = unpack_value(payload)
            return _execute_payload(context, buffer)
        function = self._function(task.code)
        args, kwargs = unpack_value(payload)
        return function(*args, **kwargs)

    def _function(self, digest: Digest) -> Callable[..., Any]:
        function = self._functions.get(digest)
        if function is None:
            function = unpack_code(self._loader.content(digest))
            self._functions[digest] = function
            if len(self._functions) > _FUNCTIONS_KEPT:
                self._functions.popitem(last=False)
        return function

    def _load_wanted(self, digest: Digest) -> None:
        if digest in self._loader.instances:
            self._send(m.Loaded(context=digest, load_s=0.0, size_bytes=0))
        else:
            self._loader.load(digest, None)


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
