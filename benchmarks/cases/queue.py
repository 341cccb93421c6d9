"""A hundred thousand calls that wait at once: how long until all have been done, and the memory it takes.

Memory is the resident set of the process that makes the calls and, where there is one, of the interchange: the
largest seen (a look every 50 ms) less that before the first call.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from benchmarks.cases.base import Case, Metrics, Run, Shown
from benchmarks.cases.calls import burst

_CALLS = 100_000
_LOOK_S = 0.05


def measure(run: Run) -> Metrics:
    calls = _CALLS // 10 if run.quick else _CALLS
    watched = {"client": os.getpid(), **run.system.processes()}
    with _peaks(watched) as peaks:
        took = burst(run.system, calls)
    memory = {f"{name}_mb": [(peak - first) / 1e6] for name, (first, peak) in peaks.items()}
    return {"total_s": [took], **memory}


@contextmanager
def _peaks(watched: dict[str, int]) -> Iterator[dict[str, tuple[int, int]]]:
    """Memory of processes when this begins, and the most until it ends. [bytes]"""
    processes = {name: psutil.Process(pid) for name, pid in watched.items()}
    first = {name: process.memory_info().rss for name, process in processes.items()}
    peak = dict(first)
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_LOOK_S):
            for name, process in processes.items():
                peak[name] = max(peak[name], process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    found: dict[str, tuple[int, int]] = {}
    try:
        yield found
    finally:
        done.set()
        watcher.join()
    found.update({name: (first[name], peak[name]) for name in processes})


CASES = [
    Case(
        "queue",
        "100,000 calls that do nothing, queued at once",
        "give back",
        ("ours-dfk", "ours-submit", "htex-dfk", "htex-submit", "process-pool", "loky", "ray"),
        measure,
        (
            Shown("total_s", "all done [s]"),
            Shown("client_mb", "client [MB]"),
            Shown("interchange_mb", "interchange [MB]"),
        ),
        repeat=1,
        limit_s=900,
    ),
]
