"""An executor that runs calls in the thread that makes them: breakpoints work, and code is that of the test.

Not for anything else: nothing runs side by side, and arguments are not copied.
"""

from __future__ import annotations

import concurrent.futures
import os
import platform
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors.base import ParslExecutor

from parsl_context.apps.context import Context, ContextFunction, as_context
from parsl_context.apps.options import UNKEPT_LEVELS
from parsl_context.apps.portable import process_contexts
from parsl_context.errors import BodyExitError, ConfigurationError
from parsl_context.executor.rows import ContextRows
from parsl_context.parsl_parts.compat import launch_at_once


class InProcessExecutor(ParslExecutor):
    """Runs calls in the thread that makes them, under a DataFlowKernel that `run_here` was called with.

    Contexts are kept in this process, as on any executor that is not ours.
    """

    def __init__(self, label: str = "contexts") -> None:
        super().__init__()
        self.label = label
        self.reuse = "memory"
        self.working_dir = None
        self.storage_access = None

    def submit(
        self, func: Callable[..., Any], resource_specification: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Future[Any]:
        """Have a call run when the DataFlowKernel has released its locks: what runs may make calls itself."""
        future: Future[Any] = Future()
        _waiting.calls.append((future, lambda: func(*args, **kwargs)))
        return future

    def preload(self, context: Context | ContextFunction) -> None:
        """Build a context now."""
        context = as_context(context)
        if (level := context.options.reuse or self.reuse) in UNKEPT_LEVELS:
            raise ConfigurationError(f"Context {context.name} cannot be built ahead of calls at reuse={level!r}.")
        with process_contexts.using([context]):
            pass

    def evict(self, context: Context | ContextFunction) -> None:
        """Give up all contexts: those of this process are not told apart here."""
        process_contexts.close()

    def contexts(self) -> ContextRows:
        """None: no node holds one."""
        return ContextRows()

    def shutdown(self) -> None:
        """Do nothing; contexts outlive it."""
        super().shutdown()

    def monitor_resources(self) -> bool:
        """No: there is no process of a call."""
        return False


class _Waiting(threading.local):
    """Calls that this thread has made and not run."""

    def __init__(self) -> None:
        self.calls: deque[tuple[Future[Any], Callable[[], Any]]] = deque()


_waiting = _Waiting()


def run_here(kernel: DataFlowKernel) -> None:
    """Have a DataFlowKernel hand calls to executors in the thread that makes them, and run what waits then."""
    launch_at_once(kernel, _Here(), _run_waiting)


class _Here(concurrent.futures.Executor):
    """Runs what is submitted at once."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def _run_waiting() -> None:
    while _waiting.calls:
        future, call = _waiting.calls.popleft()
        try:
            with process_contexts.using([]):  # apps that it calls run in it, as on a worker
                value = call()
        except Exception as error:
            future.set_exception(error)
        except SystemExit as error:
            future.set_exception(_exit_of(error))
        else:  # whatever else is raised (Ctrl-C, the end of a debugger, a test that skips itself) is for the test
            future.set_result(value)


def _exit_of(error: SystemExit) -> BodyExitError:
    """What a worker makes of it."""
    code = error.code if isinstance(error.code, int) else int(error.code is not None)
    here = {"hostname": platform.node(), "manager": "none", "block": "none", "pid": os.getpid()}
    return BodyExitError(worker_id=0, exit_code=code, cause=error, **here)
