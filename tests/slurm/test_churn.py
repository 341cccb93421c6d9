"""Jobs that are taken away all the time: every call ends once, and none fails where that is asked for."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from parsl_context import ContextExecutor, ManagerLost, context, context_app
from tests.process.conftest import wait_for
from tests.slurm.cluster import Cluster

Load = Callable[..., ContextExecutor]
# SLURM_CHURN_S asks for a long run.
LASTS_S = float(os.environ.get("SLURM_CHURN_S", "15"))
EVERY_S = 5.0
SLOTS = 2  # of a block


@context
def nothing() -> None:
    """A context."""


@context_app(context=nothing)
def app(_: None, folder: str, number: int, seconds: float) -> int:
    time.sleep(seconds)
    with Path(folder, str(number)).open("a") as file:
        file.write("x")
    return number


def kill_managers(slurm: Cluster, job: str) -> None:
    """Without a word before, as on a node that fails."""
    node = slurm.run("squeue", "--noheader", f"--jobs={job}", "--format=%N")
    for process in slurm.processes(node) if node else ():
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[:1] == ["parsl:context-manager"]:
                process.kill()


@pytest.mark.parametrize("requeue_lost", [2, 0])
def test_every_call_ends_once_while_jobs_are_cancelled(
    load: Load, slurm: Cluster, run_dir: Path, requeue_lost: int
) -> None:
    folder = run_dir / "ended"
    folder.mkdir()
    load(
        provider={"init_blocks": 2, "max_blocks": 2},
        max_workers_per_node=SLOTS,
        requeue_lost=requeue_lost,
        block_error_handler=False,
        config={"strategy": "simple", "retries": 0},
    )
    app(str(folder), -1, 0.0).result(timeout=60)  # shorter than the others: many are sent ahead at first
    random_ = random.Random(7)
    ended: Counter[int] = Counter()
    calls = []
    for number in range(int(2 * SLOTS * LASTS_S)):
        future = app(str(folder), number, random_.choice([0.2, 0.5, 2.0]))
        future.add_done_callback(lambda _, number=number: ended.update([number]))  # type: ignore[misc]
        calls.append(future)
    cancelled = 0
    until = time.monotonic() + LASTS_S
    while time.monotonic() < until:
        time.sleep(EVERY_S)
        if jobs := slurm.jobs():
            if cancelled % 2:
                kill_managers(slurm, jobs[0])
            slurm.run("scancel", jobs[0])
            cancelled += 1
    errors = [future.exception(timeout=120) for future in calls]
    failed = [error for error in errors if error is not None]
    assert cancelled >= LASTS_S // EVERY_S - 1
    assert all(isinstance(error, ManagerLost) for error in failed)
    assert len(failed) <= (0 if requeue_lost else cancelled * SLOTS)
    wait_for(lambda: sorted(ended) == list(range(len(calls))))
    assert set(ended.values()) == {1}
    there = {int(path.name) for path in folder.iterdir()}
    assert {number for number, error in enumerate(errors) if error is None} <= there
    print(f"{len(calls)} calls, {cancelled} jobs cancelled, {len(failed)} failed")
