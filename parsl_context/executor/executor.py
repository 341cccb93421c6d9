"""`ContextExecutor`: HighThroughputExecutor with an interchange and workers that keep contexts warm."""

from __future__ import annotations

import itertools
import logging
import os
import pickle
import shlex
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from parsl import curvezmq
from parsl.executors.errors import BadStateException
from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD, HighThroughputExecutor, HTEXFuture
from parsl.executors.status_handling import BlockProviderExecutor
from parsl.providers import LocalProvider

from parsl_context.apps.context import Context, ContextFunction, as_context
from parsl_context.apps.options import UNKEPT_LEVELS, check_build_timeout, check_environment, check_reuse
from parsl_context.content.exceptions import another, with_text
from parsl_context.distribute.places import NodeStoreArgument, check_node_store, to_option
from parsl_context.errors import (
    ConfigurationError,
    ExecutorClosedError,
    InterchangeLost,
    VersionsDifferError,
)
from parsl_context.executor.accounts import explain_future, print_summary, write_report
from parsl_context.executor.addresses import check_address, check_interchange, listen
from parsl_context.executor.arguments import Arguments
from parsl_context.executor.block_executor import BlockExecutor
from parsl_context.executor.blocks import check_paths, complete_states, walltime_s
from parsl_context.executor.cancelling import Cancels
from parsl_context.executor.client import InterchangeClient
from parsl_context.executor.code_packs import CodePacks
from parsl_context.executor.codebook import CodeBook
from parsl_context.executor.environments import ContextEnvironments
from parsl_context.executor.outcomes import CallFuture, Outcomes
from parsl_context.executor.preload import Preload
from parsl_context.executor.printer import Printer
from parsl_context.executor.resources import check_values, priority
from parsl_context.executor.rows import ContextRows, with_files
from parsl_context.executor.serving import ScriptFiles
from parsl_context.executor.signatures import full_signature, is_given
from parsl_context.interchange.config import InterchangeConfig
from parsl_context.parsl_parts.compat import save_log_config, start_monitoring_receiver
from parsl_context.pool.settings import check_start_method
from parsl_context.report.tries import Tries
from parsl_context.wire import messages as m
from parsl_context.wire.codec import Buffer
from parsl_context.wire.messages import Digest, TaskId
from parsl_context.wire.segments import Segments, create_segments

logger = logging.getLogger(f"parsl.{__name__}")

_STOCK_POOL = "process_worker_pool.py"
_ANY_PORT = (1024, 65535)
_TASK_OF_PARSL, _TRY_OF_PARSL = "_parsl_monitoring_task_id", "_parsl_monitoring_try_id"
_ENDS_WITHIN_S = 1.0  # an interchange that has not started


class ContextExecutor(BlockExecutor):
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
        Memory that contexts may take on a node, all workers together; if not given, 60% of what the job was given of
        the node. When it is used up, contexts that no call needs now are given up, the least recently used first,
        weighed by the time it takes to build them again. [GB]
    max_contexts_per_worker : int, optional
        Contexts that one worker keeps.
    context_max_idletime : float, optional
        Time after which a context that no call has used is given up. [s]
    context_cleanup_timeout : float
        Time that the clean-ups of contexts have; the worker whose clean-ups take longer is killed. [s]
    context_build_timeout : float, optional
        Time that a build may take, for contexts that do not say it themselves (`build_timeout_s`); any if not given.
        The process of one that takes longer is killed, and it counts as a build that failed. [s]
    start_method : str
        How `multiprocessing` starts processes in bodies and contexts that do not choose it themselves: "spawn", as in
        HighThroughputExecutor, "forkserver" or "fork".
    echo : bool
        Whether what workers write to `sys.stdout` and `sys.stderr` is printed by the script as well, in whole lines.
        Where more is printed than can be shown, lines are dropped, and it is said how many. An app may ask for it alone
        (`context_app(echo=True)`).
    requeue_lost : int
        How often a call that was running on a node that is lost (walltime, preemption, drain or death) is queued again
        without using Parsl's retries; then it fails with `ManagerLost`. Such a call may run twice, as with retries.
    node_store : path or sequence of paths, optional
        Folders on the nodes' own disks for files of contexts, the preferred first: in memory, on an NVMe disk, in /tmp.
        Variables, as in "$SLURM_TMPDIR/store", are those of the node. One that is full or cannot be used there is
        passed over. If not given, PARSL_CONTEXT_STORE of the node names them, or they are found there.
    environment : path, optional
        Software that calls run with, unless they need contexts that name their own (`@context(environment=...)`): what
        `parsl-context pack` has made, an archive of conda-pack, or the folder of an environment. If not given, that is
        the Python that the manager runs in.
    overlap_blocks : int
        Blocks beyond `max_blocks` that may be there while others end: each is asked for so early that, by what blocks
        took to start and contexts to build, it is ready when its predecessor's walltime is over. With 0, a block's
        successor is asked for when it has ended. Parsl has to scale for that (`strategy` other than "none").
    record_events : bool
        Whether the interchange writes an event log into the run directory, of which `parsl-context top`, `report` and
        `explain` tell. Of one run it takes up to 128 MB, mostly much less.
    summary : bool
        Whether a summary of the run is printed when the executor has shut down. It takes the event log.
    prefetch_capacity : int, optional
        As in HighThroughputExecutor; if not given, how many calls a manager holds beyond its workers is computed
        from their run time.

    Raises
    ------
    ConfigurationError
        If `reuse` is no level that is available, the time of builds is no time, `start_method` is no such method,
        `node_store` holds no paths, or `environment` is none.
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
        context_build_timeout: float | None = None,
        start_method: str = "spawn",
        echo: bool = False,
        requeue_lost: int = 0,
        node_store: NodeStoreArgument = None,
        environment: str | os.PathLike[str] | None = None,
        overlap_blocks: int = 0,
        record_events: bool = True,
        summary: bool = False,
        prefetch_capacity: int | None = None,
        **kwargs: Any,
    ) -> None:
        check_reuse(reuse)
        check_start_method(start_method)
        folders = check_node_store(node_store)
        check_build_timeout("context_build_timeout of the executor", context_build_timeout)
        if type(requeue_lost) is not int or requeue_lost < 0:
            raise ConfigurationError(f"requeue_lost={requeue_lost!r} of the executor must be a number of times.")
        if type(overlap_blocks) is not int or overlap_blocks < 0:
            raise ConfigurationError(f"overlap_blocks={overlap_blocks!r} of the executor must be a number of blocks.")
        super().__init__(label, *args, **{**kwargs, "prefetch_capacity": prefetch_capacity or 0})
        self.reuse = reuse
        self.preload = Preload(self._preload, [as_context(context) for context in preload])
        self.context_memory_gb = context_memory_gb
        self.max_contexts_per_worker = max_contexts_per_worker
        self.context_max_idletime = context_max_idletime
        self.context_cleanup_timeout = context_cleanup_timeout
        self.context_build_timeout = context_build_timeout
        self.start_method = start_method
        self.echo = echo
        self.requeue_lost = requeue_lost
        self.node_store = node_store
        self.environment = check_environment("environment of the executor", environment)
        self.overlap_blocks = overlap_blocks
        self.record_events = record_events
        self.summary = summary
        self.prefetch_capacity = prefetch_capacity  # type: ignore[assignment]
        python = shlex.quote(sys.executable) if isinstance(self.provider, LocalProvider) else "python3"
        # A launch command written for HTEX starts our pool, which takes the same options.
        pool = f"{python} -m parsl_context.pool"
        if start_method != "spawn":
            pool += f" --start-method {start_method}"
        pool += "".join(f" --node-store {to_option(folder)}" for folder in folders)
        self.launch_cmd = self.launch_cmd.replace(_STOCK_POOL, pool)
        self._own_launch_cmd = DEFAULT_LAUNCH_CMD.replace(_STOCK_POOL, pool)
        if not is_given(HighThroughputExecutor.__init__, args, kwargs, "interchange_launch_cmd"):
            self.interchange_launch_cmd = [sys.executable, "-m", "parsl_context.interchange"]
        self._was_started = False
        self._client: InterchangeClient | None = None
        self._codes: CodeBook | None = None
        self._segments = Segments()
        self._arguments = Arguments(self._segments)
        self._outcomes = Outcomes(self.tasks, self._segments, self._arguments)
        self._cancels = Cancels(self.tasks, self._send_cancels, self._outcomes.drop_arguments, self._gets_answers)
        self._task_ids = itertools.count(1)
        self._printer = Printer()
        self._prepare_blocks()
        self._files = ScriptFiles()
        self._environments = ContextEnvironments()

    # --- life

    def start(self) -> None:
        """Start the interchange and get ready to launch blocks.

        Raises
        ------
        ConfigurationError
            If the label or a folder has a name with which blocks cannot be launched, the address is not one of this
            host, the interchange is Parsl's own, or it was started before.
        """
        if self._was_started:
            raise ConfigurationError(
                f"Executor {self.label!r} was started before. Make another for each parsl.load: "
                "what it knows of its blocks and calls belongs to one run."
            )
        environments = ContextEnvironments(self.environment, self.reuse)
        _ = environments.default  # what cannot be read is said now
        self._was_started = True
        if self.provider is not None:
            script_dir = getattr(self.provider, "script_dir", None)
            folders = {
                "the blocks' scripts": script_dir,
                "the run": self.logdir,
                "the workers' logs": self.worker_logdir,
            }
            check_paths(self.label, {**folders, "the certificates": self.cert_dir})
            complete_states(self.provider)
        check_address(self.label, self.address)
        check_interchange(self.label, self.interchange_launch_cmd)
        with listen(self.label, self.address, self.worker_port, self.worker_port_range or _ANY_PORT) as listener:
            self._start(listener, environments)

    def _start(self, listener: socket.socket | None, environments: ContextEnvironments) -> None:
        BlockProviderExecutor.start(self)  # type: ignore[no-untyped-call]
        self._prepare_certificates()
        self.logconf_path = save_log_config(self._log_config, self.logdir)  # type: ignore[assignment]
        if self.monitoring_messages is not None:
            self._start_monitoring()
        self._tries = Tries(Path(self.logdir, "events"))
        self._segments = create_segments()
        self._arguments = Arguments(self._segments)
        self._outcomes = Outcomes(self.tasks, self._segments, self._arguments)
        self._cancels = Cancels(self.tasks, self._send_cancels, self._outcomes.drop_arguments, self._gets_answers)
        self._client = InterchangeClient(
            on_result=self._outcomes.result,
            on_failed=self._outcomes.failed,
            on_cancelled=self._cancels.answered,
            on_versions_differ=self._versions_differ,
            on_death=self._interchange_died,
            on_said=self._printer.said,
            on_block=self._scaling.heard,
            on_sought=self._files.find,
        )
        self._environments = environments
        if (environment := environments.default) is not None and environment.form != "folder":
            self._files.allow([environment.source])
        self._code_packs = CodePacks(self.logdir, self._files.allow)
        self._codes = CodeBook(
            self._client.send,
            self._digests_in_use,
            self.reuse,
            on_files=self._files.allow,
            environments=environments,
            stretches=self._code_packs.stretches,
        )
        try:
            self._start_interchange(self._client, listener)
        except BaseException:
            self._end_all_blocks()
            client, self._client = self._client, None
            client.close(_ENDS_WITHIN_S)
            if self.zmq_monitoring:
                self.zmq_monitoring.close()
            self._segments.close()
            raise

    def _start_interchange(self, client: InterchangeClient, listener: socket.socket | None) -> None:
        """Start it, and the first blocks meanwhile: their managers can connect before it runs."""
        if listener is not None:
            self.worker_port = listener.getsockname()[1]
        client.launch(self.interchange_launch_cmd, lambda link: self._interchange_config(link, listener), listener)
        self.interchange_proc = client.process
        if listener is None:
            self.worker_port = client.wait().worker_port
        self.initialize_scaling()
        if self.run_id is not None and self.provider is not None:
            # A DataFlowKernel starts us; its scaling would ask for these blocks one period (5 s) later.
            self._scaling.launch_ahead(self.provider.init_blocks)
        for context in self.preload.contexts:
            self.preload(context)
        if client.wait().segments != self._segments.proof:
            logger.warning("Large values travel through sockets: the interchange does not share this host's memory")
            self._segments.close()

    def shutdown(self, timeout: float = 10.0) -> None:
        """End the interchange, which tells the managers to end, and release everything.

        Calls without an outcome fail at once. The clean-ups of contexts are waited for, as long as they may take
        (`context_cleanup_timeout`).

        Parameters
        ----------
        timeout
            Time that the interchange has beyond that. It is killed then. [s]
        """
        if self._client is None:
            logger.info("ContextExecutor %s does not run; nothing to shut down", self.label)
            return
        self._scaling.close()
        client, self._client = self._client, None
        client.quit(timeout)
        self._printer.close()
        self._outcomes.fail_all(ExecutorClosedError(executor=self.label))
        client.close(timeout + self.context_cleanup_timeout)
        self._files.close()
        self._code_packs.close()
        self._tries.close()
        if self.zmq_monitoring:
            self.zmq_monitoring.close()
        self._arguments.close()
        self._segments.close()
        BlockProviderExecutor.shutdown(self)
        if self.summary and self.record_events:
            print_summary(self.logdir)

    @property
    def _log_config(self) -> Any:
        return getattr(self, "log_config", None)  # older Parsl has none

    def _prepare_certificates(self) -> None:
        cert_dir: str | None = self.cert_dir
        if self.encrypted and cert_dir is None:
            self.cert_dir = curvezmq.create_certificates(self.logdir)
        elif not self.encrypted and cert_dir:
            raise AttributeError("cert_dir is set, but encrypted is False. Set cert_dir to None, or encrypted to True.")

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

    def _interchange_config(self, link_fd: int, listener: socket.socket | None) -> InterchangeConfig:
        assert self._client is not None
        return InterchangeConfig(
            label=self.label,
            link_fd=link_fd,
            listener_fd=None if listener is None else listener.fileno(),
            listen_address=self.address,
            worker_port=self.worker_port,
            worker_port_range=self.worker_port_range or _ANY_PORT,
            cert_dir=self.cert_dir,
            heartbeat_threshold_s=self.heartbeat_threshold,
            requeue_lost=self.requeue_lost,
            logdir=self.logdir,
            debug=self.worker_debug,
            log_config=self._log_config,
            manager_selector=self.manager_selector,
            limits=m.Limits(
                memory_bytes=None if self.context_memory_gb is None else int(self.context_memory_gb * 1e9),
                contexts_per_worker=self.max_contexts_per_worker,
                idle_s=self.context_max_idletime,
                cleanup_s=self.context_cleanup_timeout,
                build_s=self.context_build_timeout,
            ),
            walltime_s=walltime_s(self.provider),
            blocks=self._block_limits(),
            check_versions=self._check_python_mismatch,
            segments=self._segments.path,
            echo=self.echo,
            records=self.record_events,
            reuse=self.reuse,
            environment=self._environments.default,
            run_id=self.run_id,
            hub_address=self.loopback_address if self.zmq_monitoring is not None else None,
            hub_port=self.hub_zmq_port,
        )

    # --- calls

    def submit(
        self, func: Callable[..., Any], resource_specification: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HTEXFuture:
        """Run a function, or the `func` of a context app, on a worker.

        Parameters
        ----------
        func
            The function; a context app stands for its `func`.
        resource_specification
            ``{"priority": number}``: the lower, the sooner the call runs; those without come last. Or ``{}``.
        *args, **kwargs
            Arguments of the call.

        Raises
        ------
        ContextSerializationError, SerializationError
            If the function, a context or the arguments cannot be sent.
        InvalidResourceSpecification
            If the specification holds more than a priority.
        """
        self.validate_resource_spec(resource_specification)
        check_values(resource_specification)
        client, codes = self._accepting()
        code, args, kwargs = codes.code(func, args, kwargs)
        stream, buffers, needs = codes.pack_arguments(func, code, args, kwargs)
        task_id = TaskId(next(self._task_ids))
        payload, frames = self._arguments.make_payload(task_id, stream, buffers)
        task = m.Task(
            task_id,
            code.digest,
            code.contexts,
            payload,
            code.fresh,
            priority(resource_specification),
            resource_specification or None,
            len(args[0]) if code.chunked else 1,
            needs,
            code.batch,
        )
        if _TASK_OF_PARSL in kwargs and self.record_events:  # with monitoring
            self._tries.note(task.id, kwargs[_TASK_OF_PARSL], kwargs[_TRY_OF_PARSL])
        return self._send(client, task, frames, (*code.names, *needs) if needs else code.names)

    def submit_payload(self, context: dict[str, Any], buffer: bytes) -> HTEXFuture:
        """Run a payload made by `parsl.serialize.pack_apply_message`, as in `HighThroughputExecutor`.

        `context` may name another function to run it, under "task_executor", and a "resource_spec".
        """
        client, _ = self._accepting()
        resources = context.get("resource_spec")
        check_values(resources)
        task_id = TaskId(next(self._task_ids))
        payload, frames = self._arguments.make_payload(task_id, pickle.dumps((context, buffer)))
        task = m.Task(task_id, None, (), payload, priority=priority(resources), resources=resources or None)
        return self._send(client, task, frames, ())

    def _send(
        self, client: InterchangeClient, task: m.Task, frames: Sequence[Buffer], names: tuple[Digest, ...]
    ) -> HTEXFuture:
        future = CallFuture(task.id, names, task.payload if task.payload.segments else None)
        future.withdraw = self._withdraw_one
        future.why_waiting = self.why_waiting
        try:
            self.tasks[task.id] = future
            if self.bad_state_is_set and self.tasks.pop(task.id, None) is not None:
                raise another(self.executor_exception)  # it came between our check and the list of calls to fail
            client.submit(task, frames, is_only=len(self.tasks) == 1)
            return future
        except BaseException:  # of a signal handler too (Ctrl-C): nobody will have the future
            self.tasks.pop(task.id, None)
            self._arguments.drop(task.id, task.payload)
            raise

    def withdraw(self, futures: Iterable[Future[Any]], *, waits: bool = False) -> None:
        """Cancel calls of this executor that have not started, all at once. Those that run go on.

        Parameters
        ----------
        futures
            Of its calls; others are left as they are.
        waits
            Until it is known what became of each.
        """
        calls = [each for each in futures if isinstance(each, CallFuture)]
        self._cancels.withdraw(calls, waits=waits, only_waiting=True)

    def _withdraw_one(self, future: CallFuture) -> None:
        self._cancels.withdraw([future], waits=True, only_waiting=False)

    def _gets_answers(self) -> bool:
        return self._client is not None and self._client.is_this_thread

    def _send_cancels(self, message: m.CancelTasks) -> None:
        if self._client is not None:
            self._client.send(message)

    def _accepting(self) -> tuple[InterchangeClient, CodeBook]:
        if self.bad_state_is_set:
            raise another(self.executor_exception)
        return self._running()

    def _running(self) -> tuple[InterchangeClient, CodeBook]:
        if self._client is None or self._codes is None:
            raise ConfigurationError(f"Executor {self.label!r} has not been started, or was shut down.")
        return self._client, self._codes

    def _digests_in_use(self) -> Iterable[Digest]:
        for future in list(self.tasks.values()):
            if isinstance(future, CallFuture):
                yield from future.names

    # --- contexts

    def contexts(self) -> ContextRows:
        """The contexts that this executor knows, a `ContextRow` for each node that holds or served one.

        A list that reads as a table, in notebooks too.
        """
        client, codes = self._running()
        answer = client.ask(lambda request: m.ListContexts(request=request), m.ContextList)
        return ContextRows(with_files(answer.contexts, answer.files, codes.files))

    def report(self, path: str | os.PathLike[str] | None = None) -> str:
        """Write the report of the run so far, or of all of it once the executor has shut down. Gives its path.

        Parameters
        ----------
        path
            Of the page; `report.html` beside the logs of the executor if not given.

        Raises
        ------
        EventLogError
            If there is no event log.
        """
        return write_report(self.logdir, path)

    def explain(self, future: Future[Any]) -> str:
        """Why a call waits, or what became of it, in a sentence; what it waits for is explained in more.

        Parameters
        ----------
        future
            Of a call of this executor: what an app gave, or `submit`.

        Raises
        ------
        EventLogError
            If there is no event log.
        """
        return explain_future(self.logdir, self.label, future)

    def _preload(self, context: Context) -> None:
        client, codes = self._accepting()
        if (level := context.options.reuse or self.reuse) in UNKEPT_LEVELS:
            raise ConfigurationError(f"Context {context.name} cannot be built ahead of calls at reuse={level!r}.")
        client.send(m.WantContext(context=codes.provide(context)))

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
        exception = with_text(exception)  # it may be of the user's, from a handler of errors of blocks
        self._executor_exception = exception
        self._executor_bad_state.set()
        logger.error("Executor %s cannot go on", self.label, exc_info=exception)
        self._outcomes.fail_all(BadStateException(self, exception))  # type: ignore[no-untyped-call]

    def _versions_differ(self, message: m.VersionsDiffer) -> None:
        self.set_bad_state_and_fail_all(
            VersionsDifferError(
                interchange=message.interchange, manager=message.manager, host=message.host, block=message.block
            )
        )

    def _interchange_died(self, exit_code: int | None) -> None:
        log = os.path.join(self.logdir, "interchange.log")
        error = InterchangeLost(executor=self.label, exit_code=exit_code, log=log)
        self._executor_exception = error
        self._executor_bad_state.set()
        self._outcomes.fail_all(error)


ContextExecutor.__init__.__signature__ = full_signature(  # type: ignore[attr-defined]
    HighThroughputExecutor.__init__, ContextExecutor.__init__
)

assert _STOCK_POOL in DEFAULT_LAUNCH_CMD, "HTEX's launch command has changed"
