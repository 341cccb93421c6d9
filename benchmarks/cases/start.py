"""From nothing to the first result, with 1 worker and with 16.

The clock runs from the moment at which the harness starts a fresh interpreter, imports and all, until the first call
has given its result (`first_s`), and until all workers have been seen to work (`all_s`): bursts of calls that wait a
little are made until as many run side by side as there are workers.
"""

from __future__ import annotations

import time

from benchmarks.cases.base import Case, Metrics, Run, Shown

_WAIT_S = 0.25


def _measure(run: Run, workers: int) -> Metrics:
    system = run.system
    system.open(workers)
    system.hold("wait")
    system.one(0.0)
    first_s = time.monotonic() - run.started
    while True:
        start = time.monotonic()
        system.many([_WAIT_S] * workers)
        # Had one worker run two of them, that would have taken twice as long.
        if time.monotonic() - start < 1.9 * _WAIT_S:
            break
        if start - run.started > 60:
            raise TimeoutError(f"{workers} calls did not run side by side within a minute")
    return {"first_s": [first_s], "all_s": [time.monotonic() - run.started]}


def measure_one(run: Run) -> Metrics:
    return _measure(run, 1)


def measure_sixteen(run: Run) -> Metrics:
    return _measure(run, 16)


_SYSTEMS = ("ours-dfk", "ours-submit", "htex-dfk", "process-pool", "loky", "mpire", "executorlib", "ray", "dask")
_SHOWN = (Shown("first_s", "first result [s]"), Shown("all_s", "all workers [s]"))

CASES = [
    Case("start-1", "from nothing to the first result, 1 worker", "wait", _SYSTEMS, measure_one, _SHOWN, 1, warm=False),
    Case(
        "start-16",
        "from nothing to the first result, 16 workers",
        "wait",
        _SYSTEMS,
        measure_sixteen,
        _SHOWN,
        16,
        warm=False,
    ),
]
