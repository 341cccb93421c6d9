"""Whole jobs: how close a system comes to what its workers could do.

`inference`
    400 calls of 5 ms on 2 workers whose context takes 2 s to make: at best 3.0 s. The clock runs from the moment at
    which the system, with its workers up where it starts any before it knows the job, learns of the job, until the
    last result; slot use is the time of bodies over that of workers. The body waits, as for an accelerator; in
    `inference-cpu` it computes, and the system's own work competes with it for the cores.
    A system that makes the context for each call would take minutes: it is given fewer calls.
`efficiency`
    Calls of 1 ms to 10 s that wait, on 2 warm workers: their time over workers times makespan.
"""

from __future__ import annotations

import time

from benchmarks.cases.base import Case, Metrics, Run, Shown
from benchmarks.systems.base import System
from benchmarks.work import BUILD_S

_CALLS = 400
_CALL_S = 0.005
_CALLS_WITH_OWN_BUILD = 8
_EFFICIENCY = {0.001: 1000, 0.01: 100, 0.1: 10, 1.0: 1, 10.0: 1}  # seconds of a call, and calls per worker


def measure_inference(run: Run, job: str) -> Metrics:
    system = run.system
    system.open(2)
    system.ready()
    calls = _CALLS if run.retains else _CALLS_WITH_OWN_BUILD
    start = time.perf_counter()
    system.hold(job)
    system.many([_CALL_S] * calls)
    makespan = time.perf_counter() - start
    busy_s = calls * _CALL_S
    ideal = BUILD_S + busy_s / system.workers
    metrics = {"makespan_s": [makespan], "slot_percent": [100 * busy_s / (system.workers * makespan)]}
    return {**metrics, "over_ideal": [makespan / ideal]} if run.retains else metrics


def measure_waiting(run: Run) -> Metrics:
    return measure_inference(run, "slow build, wait")


def measure_computing(run: Run) -> Metrics:
    return measure_inference(run, "slow build, compute")


def measure_efficiency(run: Run) -> Metrics:
    metrics = {}
    for seconds, each in _EFFICIENCY.items():
        if run.quick and seconds > 1:
            continue
        bursts = 1 if seconds >= 1 else min(3, run.bursts)
        metrics[f"efficiency {seconds:g}"] = [_efficiency(run.system, seconds, each) for _ in range(bursts)]
    return metrics


def _efficiency(system: System, seconds: float, each: int) -> float:
    start = time.perf_counter()
    system.many([seconds] * (each * system.workers))
    return seconds * each / (time.perf_counter() - start)


_HELD = (
    "ours-dfk",
    "ours-submit",
    "ours-node",
    "htex-cache",
    "htex-cache-tuned",
    "process-pool",
    "loky",
    "mpire",
    "executorlib",
    "ray",
    "dask",
)
_INFERENCE_SHOWN = (
    Shown("makespan_s", "makespan [s]"),
    Shown("over_ideal", "over the ideal"),
    Shown("slot_percent", "slot use [%]"),
)

CASES = [
    Case(
        "inference",
        "2 s build, 400 calls of 5 ms that wait, 2 workers",
        "slow build, wait",
        (*_HELD, "ours-map", "ours-none", "ours-disk", "process"),
        measure_waiting,
        _INFERENCE_SHOWN,
        warm=False,
    ),
    Case(
        "inference-cpu",
        "2 s build, 400 calls of 5 ms that compute, 2 workers",
        "slow build, compute",
        (
            "ours-dfk",
            "ours-submit",
            "ours-map",
            "htex-cache",
            "htex-cache-tuned",
            "process-pool",
            "loky",
            "mpire",
            "ray",
        ),
        measure_computing,
        _INFERENCE_SHOWN,
        warm=False,
    ),
    Case(
        "efficiency",
        "calls of 1 ms to 10 s: their time over workers times makespan",
        "wait",
        ("ours-dfk", "ours-submit", "htex-dfk", "htex-submit-prefetch", "process-pool", "ray"),
        measure_efficiency,
        tuple(Shown(f"efficiency {seconds:g}", f"{seconds:g} s") for seconds in _EFFICIENCY),
        repeat=1,
        curve="time of a call [s]",
    ),
]
