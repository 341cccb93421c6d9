"""Calls in forks of their worker (``isolation="call"``): how many a second, and how long one alone takes.

    python -m benchmarks.isolation [--rounds 5] [--against FOLDER]

*small*    a context of a few bytes
*large*    an array of 200 MB, of which a call reads one item
*objects*  200 MB in objects of Python, of which a call reads one

On one worker a call at a time, and on two as many as they take. With ``--against``, the folder of another version of
this package: the two take turns, each round in fresh processes, and the medians of the rounds are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

RESULTS = pathlib.Path(__file__).parent / "results" / "isolation.json"
HERE = pathlib.Path(__file__).parents[1]
MEGABYTES = 200
CASES = ("small", "large", "objects")
KEYS = ("calls_per_s", "alone_ms", "cpu_ms")
Figures = dict[str, dict[str, float]]
"""Of each case: `calls_per_s`, `alone_ms` and `cpu_ms`, of all processes, per call."""


def make(case: str) -> Callable[[], Any]:
    """The context function of a case."""

    def small() -> list[int]:
        return [1, 2, 3]

    def large() -> Any:
        import numpy

        return numpy.ones(MEGABYTES * 1_000_000 // 8)

    def objects() -> list[Any]:
        return [(number, str(number)) for number in range(MEGABYTES * 1_000_000 // 160)]

    return {"small": small, "large": large, "objects": objects}[case]


def measure(case: str, calls: int) -> dict[str, float]:
    """The figures of a case, of the package that this process imports."""
    import parsl
    from parsl.providers import LocalProvider

    from parsl_context import ContextExecutor, context, context_app
    from parsl_context.retain.processes import adopt_orphans

    adopt_orphans()  # to see the CPU time of managers too, whose parents end
    app = context_app(context=context(isolation="call")(make(case)))(lambda held, i: (held[i], os.getpid())[1])
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for workers in (1, 2):
            executor = ContextExecutor(max_workers_per_node=workers, provider=LocalProvider())  # type: ignore[no-untyped-call]
            with parsl.load(parsl.Config(executors=[executor], run_dir=folder, initialize_logging=False)):
                for future in [executor.submit(app.func, {}, 1) for _ in range(50)]:
                    future.result()
                if workers == 1:
                    found["alone_ms"] = 1000 * statistics.median(alone(executor, app.func, calls // 2))
                    continue
                busy, began = cpu_s(), time.perf_counter()
                for future in [executor.submit(app.func, {}, 1) for _ in range(calls)]:
                    future.result()
                found["calls_per_s"] = calls / (time.perf_counter() - began)
                found["cpu_ms"] = 1000 * (cpu_s() - busy) / calls
            parsl.clear()
    return found


def alone(executor: Any, function: Callable[..., Any], calls: int) -> Iterator[float]:
    """Round trips of calls that are made one at a time, a little apart. [s]"""
    for _ in range(calls):
        began = time.perf_counter()
        executor.submit(function, {}, 1).result()
        yield time.perf_counter() - began
        time.sleep(0.01)


def cpu_s() -> float:
    """CPU time of this process and all below it, those included that have ended and were waited for. [s]"""
    total = 0.0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def in_fresh_process(folder: pathlib.Path, case: str, calls: int) -> dict[str, float]:
    """The figures of a case, of the package in a folder."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, __file__, "--case", case, "--calls", str(calls)]
    output = subprocess.run(command, env=environment, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout
    figures: dict[str, float] = json.loads(output.splitlines()[-1])
    return figures


def main() -> int:
    """Measure, show, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--against", type=pathlib.Path, metavar="FOLDER")
    parser.add_argument("--case", choices=CASES, help="measure this one here, and print its figures")
    parser.add_argument("--only", choices=CASES, action="append")
    chosen = parser.parse_args()
    if chosen.case:
        print(json.dumps(measure(chosen.case, chosen.calls)))
        return 0
    folders = {"this": HERE} | ({"before": chosen.against.resolve()} if chosen.against else {})
    runs: dict[str, list[Figures]] = {name: [] for name in folders}
    for _ in range(chosen.rounds):
        for found in runs.values():
            found.append({})
        for case in chosen.only or CASES:
            for name, folder in folders.items():
                runs[name][-1][case] = in_fresh_process(folder, case, chosen.calls)
    report = {"load": os.getloadavg(), "calls": chosen.calls, "runs": runs}
    RESULTS.write_text(json.dumps(report, indent=1) + "\n")
    show(runs)
    return 0


def show(runs: dict[str, list[Figures]]) -> None:
    """Print medians, and how many times the calls a second of the other version: the median over the rounds."""
    table = Table(
        "context", "version", "calls/s on 2 workers", "alone [ms]", "CPU a call [ms]", "times the calls/s before"
    )
    for case in runs["this"][0]:
        for name, rounds in runs.items():
            figures = [f"{statistics.median(each[case][key] for each in rounds):.1f}" for key in KEYS]
            pairs = zip(rounds, runs.get("before", ()), strict=False)
            ratios = [mine[case]["calls_per_s"] / other[case]["calls_per_s"] for mine, other in pairs]
            table.add_row(case, name, *figures, f"{statistics.median(ratios):.2f}" if ratios else "")
    Console(width=120).print(table)


if __name__ == "__main__":
    sys.exit(main())
