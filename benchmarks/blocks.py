"""Blocks that end: what is lost of their time, and between one and the next, on the Slurm of the tests.

    python -m benchmarks.blocks [--minutes 10] [--queue 10] [--slots 2]

Blocks of a minute run calls of 0.2, 2 and 20 s, mixed, of three apps that share a context; each job waits in the queue
for a while. Once with overlap_blocks=0, and once with 1. Calls tell where and when they ran, Slurm when jobs were
submitted, began and ended. Nothing may fail, and no try be lost. The figures go to benchmarks/results/blocks.json.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import json
import os
import pathlib
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import parsl
from parsl.launchers import SrunLauncher
from parsl.providers import SlurmProvider
from rich.console import Console
from rich.table import Table

from parsl_context import ContextExecutor, context, context_app
from tests.slurm.cluster import Cluster, running

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "blocks.json"
PAGE = ROOT / "docs" / "_static" / "blocks.rst"
LENGTHS_S = (0.2, 2.0, 20.0)
BUILD_S = 2.0
WALLTIME_S = 60


@context
def state() -> str:
    time.sleep(BUILD_S)
    return os.environ["SLURM_JOB_ID"]


def ran(job: str, seconds: float) -> tuple[str, int, float, float]:
    """Where and when a call ran: its job, process, and when it began and ended. [s]"""
    began = time.time()
    time.sleep(seconds)
    return job, os.getpid(), began, time.time()


@context_app(context=state)
def short(job: str, seconds: float) -> Any:
    return ran(job, seconds)


@context_app(context=state)
def middle(job: str, seconds: float) -> Any:
    return ran(job, seconds)


@context_app(context=state)
def long(job: str, seconds: float) -> Any:
    return ran(job, seconds)


APPS: dict[float, Callable[..., Any]] = dict(zip(LENGTHS_S, (short, middle, long), strict=True))


@dataclass
class Figures:
    """What a run came to."""

    overlap: int
    minutes: float
    calls: int
    failed: int
    blocks: int
    most_blocks: int  # at a time
    idle_before_end_s: float  # of a slot, before its block ends; mean. [s]
    idle_allowed_s: float  # one mean call and 2% of a block. [s]
    hole_share: float  # of the time, in which no call ran between blocks
    late_s: float  # the longest time from a block's end until its successor was submitted. [s]
    slots_used: float  # of the slots' time, in which calls ran


class Watch:
    """Sees which jobs there are, several times a second."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._ends = threading.Event()
        self.most = 0
        self.submitted: dict[str, float] = {}
        self.ended: dict[str, float] = {}
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._ends.wait(0.2):
            jobs, now = self._cluster.jobs(), time.time()
            self.most = max(self.most, len(jobs))
            for job in jobs:
                self.submitted.setdefault(job, now)
            for job in self.submitted.keys() - jobs:
                self.ended.setdefault(job, now)

    def close(self) -> None:
        self._ends.set()
        self._thread.join()


def measure(cluster: Cluster, overlap: int, minutes: float, queue_s: int, slots: int) -> Figures:
    provider = SlurmProvider(
        partition="main",
        walltime=time.strftime("%H:%M:%S", time.gmtime(WALLTIME_S)),
        init_blocks=1,
        max_blocks=1,
        launcher=SrunLauncher(),
        worker_init=f"export PATH={pathlib.Path(sys.executable).parent}:$PATH",
        scheduler_options=f"#SBATCH --begin=now+{queue_s}" if queue_s else "",
    )
    executor = ContextExecutor(
        address="127.0.0.1", max_workers_per_node=slots, provider=provider, overlap_blocks=overlap, encrypted=False
    )
    watch = Watch(cluster)
    mean_s = sum(LENGTHS_S) / len(LENGTHS_S)
    lengths = [*LENGTHS_S] * int(minutes * 60 * slots / mean_s / len(LENGTHS_S))
    random.Random(5).shuffle(lengths)
    with parsl.load(parsl.Config(executors=[executor], strategy="simple", retries=0, usage_tracking=0)):
        futures = [APPS[seconds](seconds) for seconds in lengths]
        errors = [future.exception() for future in futures]
        time.sleep(1)
    cluster.wait_for(lambda: not cluster.jobs(), "all jobs are over", 60)
    time.sleep(0.5)
    watch.close()
    for error in {str(error) for error in errors if error}:
        print(error)
    results = [future.result() for future, error in zip(futures, errors, strict=True) if error is None]
    return summary(results, watch, overlap, slots, sum(error is not None for error in errors), mean_s)


def summary(results: list[Any], watch: Watch, overlap: int, slots: int, failed: int, mean_s: float) -> Figures:
    by_job: dict[str, list[Any]] = collections.defaultdict(list)
    for row in results:
        by_job[row[0]].append(row)
    jobs = sorted(by_job, key=lambda job: watch.submitted[job])
    began, ended = min(row[2] for row in results), max(row[3] for row in results)
    idle = []
    for job in jobs[:-1]:  # the last ends because nothing is left
        last: dict[int, float] = {}
        for _, pid, _, end in by_job[job]:
            last[pid] = max(last.get(pid, 0.0), end)
        idle += [watch.ended[job] - end for end in last.values()]
    hole_s, covered = 0.0, began
    for _, _, start, end in sorted(results, key=lambda row: row[2]):
        hole_s += max(0.0, start - covered)
        covered = max(covered, end)
    late = [watch.submitted[after] - watch.ended[job] for job, after in itertools.pairwise(jobs)]
    busy_s = sum(end - start for _, _, start, end in results)
    return Figures(
        overlap=overlap,
        minutes=round((ended - began) / 60, 2),
        calls=len(results) + failed,
        failed=failed,
        blocks=len(jobs),
        most_blocks=watch.most,
        idle_before_end_s=round(sum(idle) / max(1, len(idle)), 2),
        idle_allowed_s=round(mean_s + 0.02 * WALLTIME_S, 2),
        hole_share=round(hole_s / (ended - began), 3),
        late_s=round(max(late, default=0.0), 2),
        slots_used=round(busy_s / (slots * (ended - began)), 3),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="of work")
    parser.add_argument("--queue", type=int, default=10, help="time that each job waits at the least [s]")
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--overlap", type=int, nargs="*", default=[0, 1])
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, running(pathlib.Path(folder)) as cluster:
        os.environ.update(cluster.environment)
        os.environ["PATH"] += f"{os.pathsep}/usr/sbin"
        for overlap in options.overlap:
            with tempfile.TemporaryDirectory() as run:
                os.chdir(run)
                rows.append(measure(cluster, overlap, options.minutes, options.queue, options.slots))
                print(rows[-1], flush=True)
                os.chdir("/")
    table = Table("figure", *(f"overlap_blocks={row.overlap}" for row in rows))
    for name in asdict(rows[0]):
        table.add_row(name, *(str(getattr(row, name)) for row in rows))
    Console().print(table)
    if options.minutes >= 10:
        RESULTS.write_text(
            json.dumps({"queue_s": options.queue, "runs": [asdict(row) for row in rows]}, indent=1) + "\n"
        )
        PAGE.write_text(page(rows))


SAID = {
    "calls": "calls of 0.2, 2 and 20 s, mixed",
    "failed": "of them failed",
    "blocks": "blocks",
    "most_blocks": "blocks at a time, most",
    "idle_before_end_s": "time that a slot was idle before its block ended, mean [s]",
    "late_s": "from the end of a block to the submission of the next, longest [s]",
    "hole_share": "share of the time in which no call ran",
    "slots_used": "share of the slots' time in which calls ran",
}


def page(rows: list[Figures]) -> str:
    """The table of the documentation."""
    lines = [
        ".. csv-table::",
        "   :header: " + ",".join(["", *(f"``overlap_blocks={row.overlap}``" for row in rows)]),
        "",
    ]
    for name, said in SAID.items():
        lines.append(",".join([f'   "{said}"', *(str(getattr(row, name)) for row in rows)]))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
