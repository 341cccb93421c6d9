"""`ContextExecutor`: HighThroughputExecutor with an interchange and workers that keep contexts warm."""

from __future__ import annotations

import inspect
import itertools
import logging
import math
import os
import pickle
import shlex
import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any

from parsl import curvezmq
from parsl.app.errors import RemoteExceptionWrapper
from parsl.executors.errors import BadStateException, InvalidResourceSpecification
from parsl.executors.high_throughput.errors import VersionMismatch
from parsl.executors.high_throughput.executor import (
    DEFAULT_LAUNCH_CMD,
    HighThroughputExecutor,
    HTEXFuture,
)
from parsl.executors.status_handling import BlockProviderExecutor
from parsl.jobs.states import TERMINAL_STATES
from parsl.providers import LocalProvider
from parsl.serialize.errors import DeserializationError, SerializationError

from parsl_context import messages as m
from parsl_context.client import Events, InterchangeClient
from parsl_context.codebook import CodeBook
from parsl_context.codec import Buffer, open_payload
from parsl_context.compat import start_monitoring_receiver
from parsl_context.context import UNKEPT_LEVELS, Context, ContextFunction, as_context, check_reuse
from parsl_context.errors import (
    ConfigurationError,
    ContextBuildError,
    ExecutorClosedError,
    InterchangeLost,
    ManagerLost,
    PayloadLostError,
    UnservableTaskError,
    WorkerLost,
)
from parsl_context.interchange.config import InterchangeConfig
from parsl_context.messages import ContextRow, Digest, TaskId
from parsl_context.scheduling.scaling import Block, choose_blocks
from parsl_context.segments import Segments, create_segments
from parsl_context.serialization import pack_value, unpack_value

logger = logging.getLogger(f"parsl.{__name__}")

_STOCK_POOL = "process_worker_pool.py"
_ANY_PORT = (1024, 65535)


class _TaskFuture(HTEXFuture):
    """Future of a call; knows what the call names and where its arguments are, for as long as it may need them."""

    def __init__(self, task_id: TaskId, names: tuple[Digest, ...], arguments: m.Payload | None) -> None:
        super().__init__(task_id)
        self.names = names
        self.arguments = arguments  # if they are in a segment


class Preload:
    """``executor.preload(context)``: build a context on every worker, now and when nodes join, ahead of any call.

    Also the value of the argument of that name, which Parsl wants to find as an attribute.

    Attributes
    ----------
    contexts : list of Context
        What the executor was given to build when it starts.
    """

    def __init__(self, executor: ContextExecutor, contexts: list[Context]) -> None:
        self._executor = executor
        self.contexts = contexts

    def __call__(self, context: Context | ContextFunction) -> None:
        """Build a context ahead of calls.

        Raises
        ------
        ConfigurationError
            If its level of reuse keeps nothing between calls.
        """
        self._executor._preload(context)

    def __repr__(self) -> str:
        return repr(self.contexts)


class ContextExecutor(HighThroughputExecutor):
    """A drop-in for Parsl's HighThroughputExecutor that builds contexts once per worker and routes calls to them.

    Takes every argument of `HighThroughputExecutor`, with its meaning, and these:

    Parameters
    ----------
    reuse : str
        Level of reuse of contexts that do not choose one: "node" (built once per node and shared by its workers),
        "memory" (built once per worker), "disk" (built for every call, in a process of its own; files stay on the
        node's disk) or "none" (the same, and files are fetched for every call).
    preload : sequence of Context, optional
        Contexts that are built as soon as a node joins, ahead of any call.
    context_memory_gb : float, optional
        Memory that contexts may take on a node, all workers together; 60% of the node's memory if not given. When it
        is used up, contexts that no call needs now are given up, the least recently used first, weighed by the time
        it takes to build them again. [GB]
    max_contexts_per_worker : int, optional
        Contexts that one worker keeps.
    context_max_idletime : float, optional
        Time after which a context that no call has used is given up. [s]
    context_cleanup_timeout : float
        Time that the clean-ups of contexts have; the worker whose clean-ups take longer is killed. [s]
    prefetch_capacity : int, optional
        As in HighThroughputExecutor; if not given, how many calls a manager holds beyond its workers is computed
        from their run time.

    Raises
    ------
    ConfigurationError
        If `reuse` is no level that is available.
    """

    def __init__(
        self,
        label: str = "ContextExecutor",
        *args: Any,
        reuse: str = "memory",
        preload: Sequence[Context | ContextFunction] = (),
        context_memory_gb: float | None = None,
        max_contexts_per_worker: int | None = None,
        context_max_idletime: float | None = None,
        context_cleanup_timeout: float = 5.0,
        prefetch_capacity: int | None = None,
        **kwargs: Any,
    ) -> None:
        check_reuse(reuse)
        super().__init__(label, *args, **{**kwargs, "prefetch_capacity": prefetch_capacity or 0})
        self.reuse = reuse
        self.preload = Preload(self, [as_context(context) for context in preload])
        self.context_memory_gb = context_memory_gb
        self.max_contexts_per_worker = max_contexts_per_worker
        self.context_max_idletime = context_max_idletime
        self.context_cleanup_timeout = context_cleanup_timeout
        self.prefetch_capacity = prefetch_capacity  # type: ignore[assignment]
        python = shlex.quote(sys.executable) if isinstance(self.provider, LocalProvider) else "python3"
        # A launch command written for HTEX starts our pool, which takes the same options.
        self.launch_cmd = self.launch_cmd.replace(_STOCK_POOL, f"{python} -m parsl_context.pool")
        if not _given(kwargs, args, "interchange_launch_cmd"):
            self.interchange_launch_cmd = [sys.executable, "-m", "parsl_context.interchange"]
        self._client: InterchangeClient | None = None
        self._codes: CodeBook | None = None
        self._segments = Segments()
        self._task_ids = itertools.count(1)
        # Launched before Parsl's scaling asked for blocks; None for one that could not be.
        self._blocks_ahead: deque[str | None] = deque()

    # --- life

    def start(self) -> None:
        """Start the interchange and get ready to launch blocks."""
        BlockProviderExecutor.start(self)  # type: ignore[no-untyped-call]
        self._prepare_certificates()
        self.logconf_path = self._write_log_config()  # type: ignore[assignment]
        if self.monitoring_messages is not None:
            self._start_monitoring()
        self._segments = create_segments()
        self._client = InterchangeClient(_ExecutorEvents(self))
        self._codes = CodeBook(self._client.send, self._digests_in_use, self.reuse)
        try:
            ready = self._client.start(self.interchange_launch_cmd, self._interchange_config)
        except BaseException:
            self._segments.close()
            raise
        self.worker_port = ready.worker_port
        if ready.segments != self._segments.proof:
            logger.warning("Large values travel through sockets: the interchange does not share this host's memory")
            self._segments.close()
        self.interchange_proc = self._client.process
        for context in self.preload.contexts:
            self.preload(context)
        self.initialize_scaling()  # type: ignore[no-untyped-call]
        if self.run_id is not None and self.provider is not None:
            # A DataFlowKernel starts us; its scaling would ask for these blocks one period (5 s) later.
            wanted = self.provider.init_blocks
            launched = super().scale_out_facade(wanted)
            self._blocks_ahead.extend([*launched, *[None] * (wanted - len(launched))])

    def scale_out_facade(self, n: int) -> list[str]:
        """Launch blocks, those included that `start` has launched ahead. Gives the ids of those that were launched."""
        ahead = [self._blocks_ahead.popleft() for _ in range(min(n, len(self._blocks_ahead)))]
        launched = super().scale_out_facade(n - len(ahead)) if n > len(ahead) else []
        return [*[block for block in ahead if block is not None], *launched]

    def shutdown(self, timeout: float = 10.0) -> None:
        """End the interchange, which tells the managers to end, and release everything."""
        if self._client is None:
            logger.info("ContextExecutor %s has not started; nothing to shut down", self.label)
            return
        client, self._client = self._client, None
        client.close(timeout)
        if self.zmq_monitoring:
            self.zmq_monitoring.close()
        self._fail_all(ExecutorClosedError(executor=self.label))
        self._segments.close()
        BlockProviderExecutor.shutdown(self)

    @property
    def _log_config(self) -> Any:
        return getattr(self, "log_config", None)  # older Parsl has none

    def _prepare_certificates(self) -> None:
        cert_dir: str | None = self.cert_dir
        if self.encrypted and cert_dir is None:
            self.cert_dir = curvezmq.create_certificates(self.logdir)
        elif not self.encrypted and cert_dir:
            raise AttributeError("cert_dir is set, but encrypted is False. Set cert_dir to None, or encrypted to True.")

    def _write_log_config(self) -> str | None:
        if not self._log_config:
            return None
        directory = os.path.join(self.logdir, "log_config")
        os.makedirs(directory, mode=0o700, exist_ok=True)
        path = os.path.join(directory, "log_config.pkl")
        with open(path, "wb") as file:
            pickle.dump(self._log_config, file)
        return path

    def _start_monitoring(self) -> None:
        assert self.monitoring_messages is not None
        self.zmq_monitoring = start_monitoring_receiver(
            monitoring_messages=self.monitoring_messages,
            loopback_address=self.loopback_address,
            port_range=self.interchange_port_range or _ANY_PORT,
            logdir=self.logdir,
            worker_debug=self.worker_debug,
            cert_dir=self.cert_dir,
        )
        self.hub_zmq_port = self.zmq_monitoring.port  # type: ignore[assignment]

    def _interchange_config(self, link_fd: int) -> InterchangeConfig:
        assert self._client is not None
        return InterchangeConfig(
            label=self.label,
            link_fd=link_fd,
            listen_address=self.address,
            worker_port=self.worker_port,
            worker_port_range=self.worker_port_range or _ANY_PORT,
            cert_dir=self.cert_dir,
            heartbeat_threshold_s=self.heartbeat_threshold,
            logdir=self.logdir,
            debug=self.worker_debug,
            log_config=self._log_config,
            manager_selector=self.manager_selector,
            limits=m.Limits(
                memory_bytes=None if self.context_memory_gb is None else int(self.context_memory_gb * 1e9),
                contexts_per_worker=self.max_contexts_per_worker,
                idle_s=self.context_max_idletime,
                cleanup_s=self.context_cleanup_timeout,
            ),
            walltime_s=_walltime_s(self.provider),
            check_versions=self._check_python_mismatch,
            segments=self._segments.path,
            run_id=self.run_id,
            hub_address=self.loopback_address if self.zmq_monitoring is not None else None,
            hub_port=self.hub_zmq_port,
        )

    # --- calls

    def submit(
        self, func: Callable[..., Any], resource_specification: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HTEXFuture:
        """Run a function, or the `func` of a context app, on a worker.

        Raises
        ------
        ContextSerializationError, SerializationError
            If the function, a context or the arguments cannot be sent.
        InvalidResourceSpecification
            If the specification holds more than a priority.
        """
        self.validate_resource_spec(resource_specification)
        _check_values(resource_specification)
        client, codes = self._accepting()
        code, kwargs = codes.code(func, kwargs)
        try:
            stream, buffers = pack_value((args, kwargs))
        except Exception as error:
            raise SerializationError(getattr(func, "__name__", repr(func))) from error
        payload, frames = self._segments.make_payload(stream, buffers)
        task = m.Task(
            TaskId(next(self._task_ids)),
            code.digest,
            code.contexts,
            payload,
            code.fresh,
            _priority(resource_specification),
            resource_specification or None,
            len(args[0]) if code.chunked else 1,
        )
        return self._send(client, task, frames, code.names)

    def submit_payload(self, context: dict[str, Any], buffer: bytes) -> HTEXFuture:
        """Run a payload made by `parsl.serialize.pack_apply_message`, as in `HighThroughputExecutor`.

        `context` may name another function to run it, under "task_executor", and a "resource_spec".
        """
        client, _ = self._accepting()
        payload, frames = self._segments.make_payload(pickle.dumps((context, buffer)))
        resources = context.get("resource_spec")
        _check_values(resources)
        task_id = TaskId(next(self._task_ids))
        task = m.Task(task_id, None, (), payload, priority=_priority(resources), resources=resources or None)
        return self._send(client, task, frames, ())

    def _send(
        self, client: InterchangeClient, task: m.Task, frames: Sequence[Buffer], names: tuple[Digest, ...]
    ) -> HTEXFuture:
        future = _TaskFuture(task.id, names, task.payload if task.payload.segment is not None else None)
        self.tasks[task.id] = future
        if self.bad_state_is_set and self.tasks.pop(task.id, None) is not None:
            self._segments.drop(task.payload)
            raise self.executor_exception  # it came between our check and the list of calls to fail
        client.submit(task, frames)
        return future

    def _accepting(self) -> tuple[InterchangeClient, CodeBook]:
        if self.bad_state_is_set:
            raise self.executor_exception
        return self._running()

    def _running(self) -> tuple[InterchangeClient, CodeBook]:
        if self._client is None or self._codes is None:
            raise ConfigurationError(f"Executor {self.label!r} has not been started, or was shut down.")
        return self._client, self._codes

    def _digests_in_use(self) -> Iterable[Digest]:
        for future in list(self.tasks.values()):
            if isinstance(future, _TaskFuture):
                yield from future.names

    # --- contexts

    def contexts(self) -> list[ContextRow]:
        """The contexts that this executor knows, a row for each node that holds or served one."""
        client, _ = self._running()
        answer = client.ask(lambda request: m.ListContexts(request=request), m.ContextList)
        return answer.contexts

    def _preload(self, context: Context | ContextFunction) -> None:
        client, codes = self._accepting()
        wanted = as_context(context)
        if (level := wanted.options.reuse or self.reuse) in UNKEPT_LEVELS:
            raise ConfigurationError(f"Context {wanted.name} cannot be built ahead of calls at reuse={level!r}.")
        client.send(m.WantContext(context=codes.provide(wanted)))

    def evict(self, context: Context | ContextFunction) -> None:
        """Give up all instances of a context and the memory they take; a call may build it again."""
        client, codes = self._accepting()
        digest = codes.release(as_context(context))
        client.ask(lambda request: m.GiveUpContext(request=request, context=digest), m.Done)

    # --- what HTEX's own methods use

    def connected_managers(self) -> list[dict[str, Any]]:
        """The managers, with the fields of `HighThroughputExecutor.connected_managers`."""
        client, _ = self._running()
        answer = client.ask(lambda request: m.ListManagers(request=request), m.ManagerList)
        return [{name: getattr(row, name) for name in row.__struct_fields__} for row in answer.managers]

    def scale_in(self, blocks: int, max_idletime: float | None = None) -> list[str]:
        """End so many blocks: idle ones whose contexts are the cheapest to build again come first.

        Parameters
        ----------
        blocks
            How many at most.
        max_idletime
            Only blocks that have been idle for longer; None: busy ones too. [s]

        Returns
        -------
        list of str
            The blocks that were ended.
        """
        found = {name: Block(name) for name, job in self._status.items() if job.state not in TERMINAL_STATES}
        for row in self.connected_managers():
            if row["active"]:
                block = found.setdefault(row["block_id"], Block(row["block_id"]))
                block.add(tasks=row["tasks"], idle_s=row["idle_duration"], rebuild_s=row["rebuild_s"])
        chosen = choose_blocks(found.values(), blocks, max_idletime)
        if len(chosen) < blocks:
            logger.info("Asked to end %d blocks, found %d that may be", blocks, len(chosen))
        for block_id in chosen:
            self._hold_block(block_id)  # type: ignore[no-untyped-call]
        assert self.provider is not None
        jobs = [self.blocks_to_job_id[block_id] for block_id in chosen if block_id in self.blocks_to_job_id]
        ended = self._filter_scale_in_ids(jobs, self.provider.cancel(jobs))
        return [self.job_ids_to_block[job] for job in ended]

    def connected_workers(self) -> int:
        """Workers of all connected managers."""
        return sum(row["worker_count"] for row in self.connected_managers())

    def connected_managers_packages(self) -> dict[str, dict[str, str]]:
        """Distributions and versions on each manager's node."""
        client, _ = self._running()
        return client.ask(lambda request: m.ListPackages(request=request), m.PackageList).packages

    def connected_blocks(self) -> list[str]:
        """Every block that has connected, those scaled in included."""
        client, _ = self._running()
        return client.ask(lambda request: m.ListBlocks(request=request), m.BlockList).blocks

    def _hold_manager(self, manager_id: str) -> None:
        client, _ = self._running()
        client.ask(lambda request: m.HoldManager(request=request, manager=m.ManagerId(manager_id)), m.Done)

    def set_bad_state_and_fail_all(self, exception: Exception) -> None:
        """As in Parsl; also safe while results arrive, and with futures that were cancelled."""
        self._executor_exception = exception
        self._executor_bad_state.set()
        logger.error("Executor %s cannot go on", self.label, exc_info=exception)
        self._fail_all(BadStateException(self, exception))  # type: ignore[no-untyped-call]

    def _fail_all(self, error: Exception) -> None:
        while self.tasks:
            _, future = self.tasks.popitem()
            self._drop_arguments(future)
            _settle(future, error=error)

    def _drop_arguments(self, future: Future[Any]) -> None:
        """The call has ended; whoever reads its arguments now has them already."""
        arguments: m.Payload | None = getattr(future, "arguments", None)
        if arguments is not None:
            self._segments.drop(arguments)


class _ExecutorEvents(Events):
    """Turns what the interchange reports into outcomes of futures. Runs in the client's thread."""

    def __init__(self, executor: ContextExecutor) -> None:
        self._executor = executor
        self._tasks = executor.tasks

    def result(self, result: m.Result, frames: Sequence[Buffer]) -> None:
        future = self._tasks.pop(result.id, None)
        segments = self._executor._segments
        if future is None:
            segments.drop(result.payload)
            return
        self._executor._drop_arguments(future)
        try:
            value = unpack_value(segments.take_payload(result.payload, frames))
        except PayloadLostError as error:
            _settle(future, error=error)
            return
        except Exception as error:
            kind = "result" if result.ok else "exception"
            failure = DeserializationError(f"Received a {kind} that cannot be unpickled here: {error!r}")
            failure.__cause__ = error
            _settle(future, error=failure)
            return
        if result.ok:
            _settle(future, value)
        else:
            _settle(future, error=_remote_exception(value))

    def failed(self, message: m.TasksFailed, frames: Sequence[Buffer]) -> None:
        for task in message.tasks:
            future = self._tasks.pop(task, None)
            if future is not None:
                self._executor._drop_arguments(future)
                # One exception for each future: raising one adds to its traceback.
                _settle(future, error=_exception(message.cause, frames))
        self._executor._segments.drop_results(set(message.tasks))  # of those whose worker or manager died as they ended

    def versions_differ(self, message: m.VersionsDiffer) -> None:
        self._executor.set_bad_state_and_fail_all(VersionMismatch(message.interchange, message.manager))

    def interchange_died(self, exit_code: int | None) -> None:
        executor = self._executor
        error = InterchangeLost(
            executor=executor.label, exit_code=exit_code, log=os.path.join(executor.logdir, "interchange.log")
        )
        executor._executor_exception = error
        executor._executor_bad_state.set()
        executor._fail_all(error)


def _settle(future: Future[Any], value: Any = None, *, error: BaseException | None = None) -> None:
    """Give a future its outcome, unless somebody cancelled it."""
    if future.done() or not future.set_running_or_notify_cancel():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(value)


def _check_values(resources: dict[str, Any] | None) -> None:
    """Refuse here what no message could carry."""
    wrong = {name for name, value in (resources or {}).items() if not isinstance(value, int | float | str)}
    if wrong:
        names = ", ".join(sorted(wrong))
        raise InvalidResourceSpecification(wrong, f"Values must be numbers or texts, which those of {names} are not.")


def _priority(resources: dict[str, Any] | None) -> float:
    return float(resources.get("priority", math.inf)) if resources else math.inf


def _remote_exception(value: Any) -> BaseException:
    if isinstance(value, RemoteExceptionWrapper):
        return value.get_exception()
    if isinstance(value, BaseException):
        return value
    return DeserializationError(f"Received {value!r} in place of an exception")


def _exception(cause: m.Cause, frames: Sequence[Buffer]) -> Exception:
    match cause:
        case m.WorkerDied():
            return _worker_lost(cause)
        case m.ManagerGone():
            return ManagerLost(
                manager_id=cause.manager.encode(),
                hostname=cause.host,
                block=cause.block,
                reason=cause.reason,
            )
        case m.BuildFailed():
            return ContextBuildError(
                context=cause.name,
                digest=cause.context,
                manager=cause.manager,
                host=cause.host,
                block=cause.block,
                attempts=cause.attempts,
                cause=_build_cause(cause, frames),
            )
        case m.Unservable():
            return UnservableTaskError(cause.reason)


def _build_cause(cause: m.BuildFailed, frames: Sequence[Buffer]) -> BaseException | None:
    if cause.died is not None:
        return _worker_lost(cause.died)
    if cause.error is None:
        return None
    try:
        return _remote_exception(unpack_value(open_payload(cause.error, frames)))
    except Exception as error:
        return DeserializationError(f"The exception of the context function cannot be unpickled here: {error!r}")


def _worker_lost(died: m.WorkerDied) -> WorkerLost:
    return WorkerLost(
        worker_id=died.worker,
        hostname=died.host,
        manager=died.manager,
        block=died.block,
        pid=died.pid,
        exit_code=died.exit_code,
        signal=died.signal,
    )


def _walltime_s(provider: Any) -> float | None:
    """How long a block of a provider lives, from its `walltime` ("[[DD-]HH:]MM:SS"); None if it does not tell. [s]"""
    walltime = getattr(provider, "walltime", None)
    if not isinstance(walltime, str):
        return None
    days, _, clock = walltime.rpartition("-")
    try:
        parts = [int(part) for part in clock.split(":")]
        seconds = sum(part * 60**power for power, part in enumerate(reversed(parts)))
        return float(seconds + 86_400 * int(days or 0))
    except ValueError:
        return None


def _given(kwargs: dict[str, Any], args: tuple[Any, ...], name: str) -> bool:
    """Whether an argument of HTEX's constructor after `label` was given."""
    names = [p for p in inspect.signature(HighThroughputExecutor.__init__).parameters if p not in ("self", "label")]
    bound = dict(zip(names, args, strict=False)) | kwargs
    return bool(bound.get(name))


def full_signature(stock_init: Callable[..., None], our_init: Callable[..., None]) -> inspect.Signature:
    """A stock constructor with our parameters: what documentation, editors and Parsl's `repr` see."""
    stock = inspect.signature(stock_init)
    ours = {**_OUR_PARAMETERS, "label": inspect.signature(our_init).parameters["label"]}
    parameters = [
        p.replace(default=ours[p.name].default) if p.name in ("label", "prefetch_capacity") else p
        for p in stock.parameters.values()
    ]
    added = [p for p in ours.values() if p.kind is p.KEYWORD_ONLY and p.name not in stock.parameters]
    return stock.replace(parameters=[*parameters, *added])


_OUR_PARAMETERS = inspect.signature(ContextExecutor.__init__).parameters
ContextExecutor.__init__.__signature__ = full_signature(  # type: ignore[attr-defined]
    HighThroughputExecutor.__init__, ContextExecutor.__init__
)

assert _STOCK_POOL in DEFAULT_LAUNCH_CMD, "HTEX's launch command has changed"
