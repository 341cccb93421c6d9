"""Calls that do nothing: how many a second, how long one takes, and how much of the cores it takes.

`noop`
    The system is given calls for about half a second until its rate is known, then bursts of a fixed number of
    calls; a burst lasts from the first submission until the last result has been taken.
`latency`
    One call at a time, the next when the result is there: median and 99th percentile of each of several blocks.
`cpu`
    As `noop`, and the CPU time, user and system, of the process that makes the calls and of all others of the run
    together, ended ones included. Then the same while nothing is called for some seconds: the share of a core that all
    processes take, the client's included.
"""

from __future__ import annotations

import time

from benchmarks.cases.base import Case, Metrics, Run, Shown
from benchmarks.figures import percentile
from benchmarks.processes import cpu_s
from benchmarks.systems.base import System

_ALL = (
    "ours-dfk",
    "ours-dfk-quiet",
    "ours-submit",
    "ours-map",
    "ours-node",
    "ours-disk",
    "ours-none",
    "ceiling-dfk",
    "ceiling-dfk-quiet",
    "there-dfk",
    "there-dfk-quiet",
    "htex-dfk",
    "htex-dfk-quiet",
    "htex-dfk-prefetch",
    "htex-submit",
    "htex-submit-prefetch",
    "htex-cache",
    "process",
    "process-pool",
    "loky",
    "mpire",
    "mpire-map",
    "executorlib",
    "ray",
    "dask",
)
_SEVERAL_AT_A_TIME = ("ours-map", "mpire-map")


def calls_in(system: System, seconds: float) -> int:
    """How many calls the system, warmed up by this, does in so many seconds."""
    calls = 4
    while True:
        took = burst(system, calls)
        if took >= seconds:
            return max(4, round(calls * seconds / took))
        # As far as the rate seen would reach, but no leap of more than eightfold from what was a cold start.
        calls = max(calls + 1, min(8 * calls, round(1.2 * calls * seconds / took)))


def burst(system: System, calls: int) -> float:
    """Time of so many calls. [s]"""
    arguments = list(range(calls))
    start = time.perf_counter()
    results = system.many(arguments)
    took = time.perf_counter() - start
    if results != arguments:
        raise AssertionError("the calls gave something else than they were given")
    return took


def measure_rate(run: Run) -> Metrics:
    calls = calls_in(run.system, run.burst_s)
    return {"calls_per_s": [calls / burst(run.system, calls) for _ in range(run.bursts)]}


def measure_latency(run: Run) -> Metrics:
    metrics: dict[str, list[float]] = {"p50_ms": [], "p99_ms": []}
    for _ in range(run.bursts):
        took: list[float] = []
        end = time.perf_counter() + run.burst_s
        while (start := time.perf_counter()) < end or len(took) < 3:
            run.system.one(0)
            took.append(1000 * (time.perf_counter() - start))
        metrics["p50_ms"].append(percentile(took, 50))
        metrics["p99_ms"].append(percentile(took, 99))
    return metrics


def measure_cpu(run: Run) -> Metrics:
    metrics: dict[str, list[float]] = {"outside_us": [], "client_us": []}
    calls = calls_in(run.system, 2 * run.burst_s)  # clocks of processes tick every 10 ms
    for _ in range(run.bursts):
        before = cpu_s()
        burst(run.system, calls)
        used = cpu_s() - before
        metrics["outside_us"].append(1e6 * used.others / calls)
        metrics["client_us"].append(1e6 * used.client / calls)
    time.sleep(1.0)
    before, start = cpu_s(), time.perf_counter()
    time.sleep(2.0 if run.quick else 5.0)
    used = cpu_s() - before
    metrics["idle_percent"] = [100 * (used.client + used.others) / (time.perf_counter() - start)]
    return metrics


CASES = [
    Case(
        "noop",
        "calls that do nothing: how many a second",
        "give back",
        _ALL,
        measure_rate,
        (Shown("calls_per_s", "calls/s", log=True),),
    ),
    Case(
        "latency",
        "one call after the other: time of a round trip",
        "give back",
        tuple(name for name in _ALL if name not in _SEVERAL_AT_A_TIME),
        measure_latency,
        (Shown("p50_ms", "p50 [ms]", log=True), Shown("p99_ms", "p99 [ms]", log=True)),
    ),
    Case(
        "cpu",
        "CPU time per call at the peak rate, and of a system that has nothing to do",
        "give back",
        ("ours-dfk", "ours-submit", "htex-dfk", "htex-submit", "process-pool", "ray"),
        measure_cpu,
        (
            Shown("outside_us", "outside the client, per call [µs]", log=True),
            Shown("client_us", "client, per call [µs]", log=True),
            Shown("idle_percent", "idle, share of a core [%]"),
        ),
    ),
]
