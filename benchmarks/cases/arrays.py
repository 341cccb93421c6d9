"""Numpy arrays as argument and result: megabytes per second, both directions added.

Each call is given an array of its own and gives it back; there are several on their way at a time. Links between
processes are encrypted where the system encrypts by default. What comes back is looked at, but not copied.
"""

from __future__ import annotations

import time
from typing import Any

from benchmarks.cases.base import Case, Metrics, Run, Shown
from benchmarks.systems.base import System

_SIZES_MB = {1: 64, 100: 4}  # megabytes, and arrays in a burst


def measure(run: Run) -> Metrics:
    metrics: dict[str, list[float]] = {}
    for megabytes, calls in _SIZES_MB.items():
        few = max(2, calls // 4)
        transfer(run.system, megabytes, few)
        bursts = run.bursts if megabytes == 1 else 2
        number = few if run.quick else calls
        moved = 2 * megabytes * number
        metrics[f"mb_per_s_{megabytes}"] = [moved / transfer(run.system, megabytes, number) for _ in range(bursts)]
    return metrics


def transfer(system: System, megabytes: int, calls: int) -> float:
    """Time to send so many arrays there and back. [s]"""
    import numpy

    arrays: list[Any] = [numpy.full(125_000 * megabytes, float(number)) for number in range(calls)]
    start = time.perf_counter()
    results = system.many(arrays)
    took = time.perf_counter() - start
    for number, result in enumerate(results):
        if result.shape != arrays[number].shape or result[0] != number or result[-1] != number:
            raise AssertionError("an array came back changed")
    return took


CASES = [
    Case(
        "arrays",
        "numpy arrays of 1 MB and 100 MB there and back",
        "give back",
        (
            "ours-dfk",
            "ours-submit",
            "ours-submit-plain",
            "htex-dfk",
            "htex-submit",
            "htex-submit-plain",
            "process-pool",
            "loky",
            "mpire",
            "executorlib",
            "ray",
            "dask",
        ),
        measure,
        (
            Shown("mb_per_s_1", "1 MB [MB/s]", log=True),
            Shown("mb_per_s_100", "100 MB [MB/s]", log=True),
        ),
        repeat=2,
    ),
]
