"""Parsl's executors, ours among them: through the DataFlowKernel or by `executor.submit`, with a job's context."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import parsl
from parsl.executors import HighThroughputExecutor
from parsl.executors.base import ParslExecutor
from parsl.logconfigs.file import FileLogging
from parsl.providers import LocalProvider

from benchmarks import work
from benchmarks.systems.base import FutureSystem, Unavailable
from benchmarks.systems.bounds import DoesNothing, GoesThere
from parsl_context import ConfigurationError, ContextExecutor, context, context_app

_CONNECT_S = 60.0


class KernelSystem(FutureSystem):
    """An executor under a DataFlowKernel.

    Parameters
    ----------
    kind : type
        The class of the executor.
    how : str
        What an app is: "context" for a context app, "cached" or "fresh" for a function that keeps its context in a
        module or makes it for every call.
    quiet : bool
        Parsl logs warnings and errors only.
    by_map : bool
        Calls are made by `app.map`.
    options
        Of the executor.
    """

    def __init__(
        self,
        kind: type[ParslExecutor],
        how: str = "context",
        *,
        quiet: bool = False,
        by_map: bool = False,
        **options: Any,
    ) -> None:
        self.kind = kind
        self.how = how
        self.quiet = quiet
        self.by_map = by_map
        self.options = options

    def open(self, workers: int) -> None:
        super().open(workers)
        self.executor = make_executor(self.kind, workers, self.options)
        logging_options = {"initialize_logging": FileLogging(level=logging.WARNING)} if self.quiet else {}
        config = parsl.Config(executors=[self.executor], usage_tracking=0, run_dir="runinfo", **logging_options)
        self.kernel = parsl.load(config)

    def ready(self) -> None:
        wait_for_workers(self.executor, self.workers)

    def hold(self, job: str) -> None:
        if self.how == "context":
            self.app = context_app(context=context(work.JOBS[job].build))(work.JOBS[job].body)
            self.call = self.app
        else:
            plain = parsl.python_app(work.run_cached if self.how == "cached" else work.run_fresh)
            self.call = lambda argument: plain(job, argument)

    def submit(self, argument: Any) -> Future[Any]:
        future: Future[Any] = self.call(argument)
        return future

    def many(self, arguments: Sequence[Any]) -> list[Any]:
        return list(self.app.map(arguments)) if self.by_map else super().many(arguments)

    def close(self) -> None:
        self.kernel.cleanup()
        parsl.clear()

    def processes(self) -> dict[str, int]:
        return interchange_of(self.executor)


class ExecutorSystem(FutureSystem):
    """An executor of its own, without a DataFlowKernel: `executor.submit`. Parameters as of `KernelSystem`."""

    def __init__(self, kind: type[HighThroughputExecutor], how: str = "context", **options: Any) -> None:
        self.kind = kind
        self.how = how
        self.options = options

    def open(self, workers: int) -> None:
        super().open(workers)
        self.executor = make_executor(self.kind, workers, self.options)
        self.executor.run_dir = os.path.abspath("runinfo")
        self.executor.provider.script_dir = os.path.abspath("submit_scripts")
        os.makedirs(self.executor.provider.script_dir)
        self.executor.start()
        self.executor.scale_out_facade(1)  # a kernel would do that

    def ready(self) -> None:
        wait_for_workers(self.executor, self.workers)

    def hold(self, job: str) -> None:
        if self.how == "context":
            self.function: Any = context_app(context=context(work.JOBS[job].build))(work.JOBS[job].body).func
            self.leading: tuple[Any, ...] = ()
        else:
            self.function = work.run_cached if self.how == "cached" else work.run_fresh
            self.leading = (job,)

    def submit(self, argument: Any) -> Future[Any]:
        return self.executor.submit(self.function, {}, *self.leading, argument)

    def close(self) -> None:
        self.executor.scale_in_facade(1)
        self.executor.shutdown()

    def processes(self) -> dict[str, int]:
        return interchange_of(self.executor)


def make_executor(kind: type[ParslExecutor], workers: int, options: dict[str, Any]) -> Any:
    """An executor with one block on this machine, or one that has no block.

    Raises
    ------
    Unavailable
        If this version has no such level of reuse.
    """
    if not issubclass(kind, HighThroughputExecutor):
        return kind()
    try:
        return kind(
            label="benchmark",
            address="127.0.0.1",
            max_workers_per_node=workers,
            cores_per_worker=0.01,  # as many workers as asked for, on however few cores
            provider=LocalProvider(init_blocks=1, max_blocks=1),
            **options,
        )
    except ConfigurationError as refusal:
        raise Unavailable(str(refusal)) from refusal


def wait_for_workers(executor: Any, workers: int) -> None:
    """Return when all workers are connected.

    Raises
    ------
    TimeoutError
        If they are not within a minute.
    """
    if not isinstance(executor, HighThroughputExecutor):
        return
    deadline = time.monotonic() + _CONNECT_S
    while sum(manager["worker_count"] for manager in executor.connected_managers()) < workers:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{workers} workers were not connected after {_CONNECT_S:g} s")
        time.sleep(0.05)
    time.sleep(0.5)  # managers of HTEX connect before their workers have come up


def interchange_of(executor: Any) -> dict[str, int]:
    """The process of the interchange, where there is one."""
    process = getattr(executor, "interchange_proc", None)
    return {} if process is None else {"interchange": process.pid}


def ours(**options: Any) -> KernelSystem:
    return KernelSystem(ContextExecutor, **options)


def ours_submit(**options: Any) -> ExecutorSystem:
    return ExecutorSystem(ContextExecutor, **options)


def htex(how: str = "fresh", **options: Any) -> KernelSystem:
    return KernelSystem(HighThroughputExecutor, how, **options)


def htex_submit(how: str = "fresh", **options: Any) -> ExecutorSystem:
    return ExecutorSystem(HighThroughputExecutor, how, **options)


def ceiling(**options: Any) -> KernelSystem:
    return KernelSystem(DoesNothing, **options)


def there_and_back(**options: Any) -> KernelSystem:
    return KernelSystem(GoesThere, **options)
