"""GPUs of a real Slurm's, which are none: what it hands out, and what each worker sees of it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from parsl.launchers import SingleNodeLauncher

from parsl_context import ContextExecutor, context, context_app
from tests.process.conftest import wait_for
from tests.slurm.conftest import in_path

Load = Callable[..., ContextExecutor]
SHARED = {"exclusive": False, "cores_per_node": 2}


@context
def device() -> str:
    """The device on which something is built."""
    return os.environ["CUDA_VISIBLE_DEVICES"]


@context_app(context=device())
def look(device: str) -> tuple[str, str, str, str]:
    """Job and worker, and the devices that were seen when the context was built and are seen now."""
    import time

    time.sleep(0.2)
    worker = os.environ["PARSL_WORKER_RANK"]
    return os.environ["SLURM_JOB_ID"], worker, device, os.environ["CUDA_VISIBLE_DEVICES"]


def seen_by_workers(executor: ContextExecutor, workers: int) -> list[str]:
    """What each worker sees, as soon as all are there."""
    wait_for(lambda: executor.connected_workers() == workers)
    found: dict[tuple[str, str], str] = {}
    for _ in range(10):
        for job, worker, built, now in [future.result(timeout=30) for future in [look() for _ in range(3 * workers)]]:
            assert built == now, "the context was built before the worker knew its device"
            found[job, worker] = now
        if len(found) == workers:
            break
    return sorted(found.values())


@pytest.mark.parametrize(
    ("accelerators", "seen"),
    [
        (4, ["0", "1", "2", "3"]),
        (["0", "0", "1", "1"], ["0", "0", "1", "1"]),
        (["0,1", "2,3"], ["0,1", "2,3"]),
        (["3", "1"], ["1", "3"]),
    ],
    ids=str,
)
def test_each_worker_sees_its_own(load: Load, accelerators: Any, seen: list[str]) -> None:
    limits = {"max_workers_per_node": 4, "cores_per_worker": 1e-3, "available_accelerators": accelerators}
    executor = load(provider={"gpus_per_node": 4}, **limits)
    assert seen_by_workers(executor, len(seen)) == seen


def test_jobs_that_share_a_node_use_what_each_was_given(load: Load) -> None:
    """Slurm without control groups tells them by the variable alone; HTEX's workers would all take the first two."""
    blocks = {**SHARED, "gpus_per_node": 2, "init_blocks": 2, "max_blocks": 2, "scheduler_options": "#SBATCH -w n1"}
    executor = load(provider=blocks, cores_per_worker=1e-3, available_accelerators=2)
    assert seen_by_workers(executor, 4) == ["0", "1", "2", "3"]


def test_workers_share_what_a_job_was_given(load: Load) -> None:
    executor = load(
        provider={**SHARED, "gres": "gpu:2"}, cores_per_worker=1e-3, available_accelerators=4, max_workers_per_node=4
    )
    assert Counter(seen_by_workers(executor, 4)) == {"0": 2, "1": 2}


def test_parts_of_devices_that_a_job_was_given_are_handed_on_by_name(load: Load) -> None:
    """So Slurm gives MIG devices."""
    given = in_path("CUDA_VISIBLE_DEVICES=MIG-a1,MIG-a2")
    blocks = {"worker_init": given, "launcher": SingleNodeLauncher()}  # srun would take the variable away
    executor = load(provider=blocks, cores_per_worker=1e-3, available_accelerators=2)
    assert seen_by_workers(executor, 2) == ["MIG-a1", "MIG-a2"]
