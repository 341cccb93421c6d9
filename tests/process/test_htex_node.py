"""What a node's workers are given: how many there are, their cores and accelerators."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from parsl.providers import LocalProvider

from parsl_context import ContextExecutor
from tests.process.test_htex_scaling import managers_of

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]


def look(variables: list[str]) -> dict[str, Any]:
    time.sleep(0.2)  # so that every worker gets a task
    found: dict[str, Any] = {name: os.environ.get(name) for name in variables}
    return {**found, "cores": os.sched_getaffinity(0), "rank": os.environ["PARSL_WORKER_RANK"]}


def look_everywhere(executor: ContextExecutor, workers: int, *variables: str) -> list[dict[str, Any]]:
    """What each worker sees, by rank."""
    (row,) = managers_of(executor, 1)
    assert row["worker_count"] == workers
    futures = [executor.submit(look, {}, list(variables)) for _ in range(2 * workers)]
    by_rank = {seen["rank"]: seen for seen in [future.result(timeout=20) for future in futures]}
    assert sorted(by_rank) == [str(rank) for rank in range(workers)]
    return [by_rank[str(rank)] for rank in range(workers)]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_workers_are_bound_to_cores_of_their_own(load: Load) -> None:
    seen = look_everywhere(load(cpu_affinity="block"), 2, "OMP_NUM_THREADS", "GOMP_CPU_AFFINITY", "KMP_AFFINITY")
    first, second = (row["cores"] for row in seen)
    assert not first & second
    assert len(first) == len(second) == len(os.sched_getaffinity(0)) // 2
    assert max(first) < min(second)
    for row in seen:
        listed = ",".join(map(str, sorted(row["cores"])))
        assert row["OMP_NUM_THREADS"] == str(len(row["cores"]))
        assert row["GOMP_CPU_AFFINITY"] == listed
        assert row["KMP_AFFINITY"] == f"explicit,proclist=[{listed}]"


def test_each_worker_sees_one_accelerator(load: Load) -> None:
    executor = load(available_accelerators=["gpu-a", "gpu-b"], max_workers_per_node=4)
    seen = look_everywhere(executor, 2, "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")
    for name in ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"):
        assert [row[name] for row in seen] == ["gpu-a", "gpu-b"]


def test_memory_and_cores_limit_the_workers_of_a_node(load: Load) -> None:
    provider = LocalProvider(max_blocks=1, worker_init="export PARSL_MEMORY_GB=5 PARSL_CORES=3")
    look_everywhere(load(provider=provider, mem_per_worker=2, cores_per_worker=1, max_workers_per_node=8), 2)
