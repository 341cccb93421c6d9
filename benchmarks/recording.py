"""What the event log costs: CPU time of the interchange per call, and calls per second, with it and without.

    python -m benchmarks.recording [--rounds 7] [--calls 20000]

Two executors stand side by side, one with `record_events=False`, each with two workers whose calls do nothing, made by
`executor.submit`. They take turns; medians of the rounds count, and the scatter is that of the rounds without the log.
*recorder* is the recorder alone in this process: a call is submitted, sent and ended, and what it writes is written.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import pathlib
import statistics
import tempfile
import time
from types import SimpleNamespace
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.systems.kernel import ExecutorSystem
from parsl_context import ContextExecutor
from parsl_context.interchange.recording import LogRecorder
from parsl_context.scheduling.cluster import events as cluster
from parsl_context.scheduling.cluster.blocks import BlockLimits
from parsl_context.scheduling.cluster.state import ClusterState
from parsl_context.scheduling.lines import Lane
from parsl_context.wire import messages as m
from parsl_context.wire.eventloop import EventLoop
from parsl_context.wire.messages import Digest, ManagerId, TaskId, WorkerId

RESULTS = pathlib.Path(__file__).parent / "results" / "recording.json"
TARGET_US = 2.0
WORKERS = 2
_EVERY = 5000  # calls between two writes


def burst(system: ExecutorSystem, calls: int) -> tuple[float, float]:
    """CPU time of the interchange per call [µs], and calls per second."""
    process = psutil.Process(system.processes()["interchange"])
    before, began = process.cpu_times(), time.perf_counter()
    for future in [system.submit(number) for number in range(calls)]:
        future.result()
    took_s = time.perf_counter() - began
    after = process.cpu_times()
    cpu_s = after.user + after.system - before.user - before.system
    return cpu_s / calls * 1e6, calls / took_s


def side_by_side(rounds: int, calls: int) -> dict[str, list[tuple[float, float]]]:
    """What each round of each executor came to."""
    found: dict[str, list[tuple[float, float]]] = {"on": [], "off": []}
    here = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        systems = {}
        try:
            for name in found:
                os.makedirs(path := os.path.join(folder, name))
                os.chdir(path)
                systems[name] = ExecutorSystem(ContextExecutor, record_events=name == "on")
                systems[name].open(WORKERS)
                systems[name].ready()
                systems[name].hold("give back")
            for turn in range(rounds + 1):
                for name in ("on", "off") if turn % 2 else ("off", "on"):
                    figures = burst(systems[name], calls)
                    if turn:  # the first warms up
                        found[name].append(figures)
        finally:
            os.chdir(here)
            for system in systems.values():
                system.close()
    return found


def recorder_alone(calls: int) -> float:
    """CPU time of the recorder per call, its writes and its thread included. [µs]"""
    with tempfile.TemporaryDirectory() as folder:
        state = ClusterState(heartbeat_threshold_s=math.inf)
        loop = EventLoop()
        recorder = LogRecorder(loop, state, _config(folder))
        lane, manager = Lane((Digest("context"),), False), ManagerId("m1")
        joined = cluster.ManagerJoined(manager=manager, node="n1", block="0", slots=WORKERS)
        recorder.joined(SimpleNamespace(host="n1"), joined)  # type: ignore[arg-type]
        line: Any = SimpleNamespace(lane=lane)
        tasks = [m.Task(TaskId(number), Digest("code"), lane.contexts, m.Payload(b"", 0)) for number in range(calls)]
        results = [m.Result(task.id, True, m.Payload(b"", 0), 1e-3, WorkerId(task.id % 2)) for task in tasks]
        held = [SimpleNamespace(since=0.0, sent_at=0.1, leader=None, line=line) for _ in tasks]
        began = time.process_time()
        for at, (task, result, call) in enumerate(zip(tasks, results, held, strict=True)):
            recorder.submitted(task)
            recorder.sent(task.id)
            recorder.ended(manager, result, task, call, time.monotonic())  # type: ignore[arg-type]
            if not at % _EVERY:
                recorder.write()
        recorder.close("it is measured")
        took_s = time.process_time() - began
        loop.close()
        return took_s / calls * 1e6


def _config(folder: str) -> Any:
    return SimpleNamespace(
        label="benchmark", logdir=folder, run_id=None, reuse="memory", requeue_lost=0, walltime_s=None,
        environment=None, limits=m.Limits(), blocks=BlockLimits(),
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=20_000)
    chosen = parser.parse_args()
    alone = [recorder_alone(100_000) for _ in range(5)]
    found = side_by_side(chosen.rounds, chosen.calls)
    table = Table("", "interchange, µs of CPU per call", "calls per second", "scatter")
    for name, figures in found.items():
        rates = [rate for _, rate in figures]
        cpu_us, rate = statistics.median(cpu for cpu, _ in figures), statistics.median(rates)
        table.add_row(f"log {name}", f"{cpu_us:.1f}", f"{rate:,.0f}", f"{min(rates):,.0f} to {max(rates):,.0f}")
    console = Console()
    console.print(table)
    extra = statistics.median(cpu for cpu, _ in found["on"]) - statistics.median(cpu for cpu, _ in found["off"])
    verdict = "met" if min(alone) <= TARGET_US else "NOT met"
    console.print(f"with the log less without: {extra:.2f} µs; the recorder alone: {statistics.median(alone):.2f} µs, ")
    console.print(f"at best {min(alone):.2f} µs (target: at most {TARGET_US:g} µs): {verdict}")
    data = {"rounds": chosen.rounds, "calls": chosen.calls, "alone_us": alone, "side_by_side": found}
    RESULTS.write_text(json.dumps(data, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
