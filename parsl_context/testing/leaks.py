"""What a run of Parsl leaves behind: processes of its blocks and interchanges, and threads of this process."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
from collections.abc import Iterable
from typing import Any

import psutil

# The end of Parsl waits for interchanges; the processes of blocks have their clean-ups, and some time more. [s]
WITHIN_S = 10.0
_MARK = "PARSL_CONTEXT_TESTS"
_PERIOD_S = 0.05


class Leaks:
    """Knows what belongs to executors, from before they start.

    Processes of blocks are known by a variable of their environment, which all that they start inherits: others that
    run on this machine, or that tests have started, are none of them.
    """

    def __init__(self) -> None:
        self._mark = uuid.uuid4().hex
        self._executors: list[Any] = []
        self._threads = set(threading.enumerate())

    def mark(self, executors: Iterable[Any]) -> None:
        """Have all that the blocks of executors start carry the mark."""
        self._executors = list(executors)
        for executor in self._executors:
            provider: Any = getattr(executor, "provider", None)
            if provider is not None and hasattr(provider, "worker_init"):
                provider.worker_init = f"export {_MARK}={self._mark}\n{provider.worker_init}"

    def left(self) -> list[str]:
        """What is there still, in words, after it has had its time to end."""
        clean_up_s = max([getattr(each, "context_cleanup_timeout", 0.0) for each in self._executors], default=0.0)
        deadline = time.monotonic() + WITHIN_S + clean_up_s
        while (found := [*self._processes(), *self._new_threads()]) and time.monotonic() < deadline:
            time.sleep(_PERIOD_S)
        return found

    def _processes(self) -> list[str]:
        interchanges = {each.pid for each in map(_interchange, self._executors) if each is not None}
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                is_ours = process.pid in interchanges or process.environ().get(_MARK) == self._mark
                if is_ours and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(f"process {process.pid}, {process.name()}: {' '.join(process.cmdline())[:200]}")
        return found

    def _new_threads(self) -> list[str]:
        new = [thread for thread in threading.enumerate() if thread not in self._threads]
        return [f"thread {thread.name} of this process" for thread in new if _is_of_parsl(thread)]


def _interchange(executor: Any) -> Any:
    process = getattr(executor, "interchange_proc", None)
    return process if process is not None and process.poll() is None else None


def _is_of_parsl(thread: threading.Thread) -> bool:
    modules = (type(thread).__module__, getattr(getattr(thread, "_target", None), "__module__", None))
    return any(module is not None and module.split(".")[0] in ("parsl", "parsl_context") for module in modules)
