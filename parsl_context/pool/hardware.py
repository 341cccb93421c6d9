"""Cores of a node: how many workers fit, and what each worker gets. Accelerators are in `accelerators`.

The variables and rules are those of HTEX's worker pool, so that scripts written for it find what they expect.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

from parsl_context.errors import ConfigurationError
from parsl_context.pool.grant import Grant


def count_workers(
    *,
    cores_per_worker: float,
    mem_per_worker: float | None,
    max_workers: float,
    accelerators: Sequence[str],
    given: Grant,
) -> int:
    """Workers that fit into what was given of this node.

    Parameters
    ----------
    mem_per_worker
        Memory for each worker. [GB]
    """
    slots = min(max_workers, math.floor(given.cores / cores_per_worker))
    if mem_per_worker:
        # As HTEX, which rounds what is free; but never to more than was given.
        memory_gb = min(round(given.free_bytes / 2**30, 1), given.memory_bytes / 2**30)
        slots = min(slots, math.floor(memory_gb / mem_per_worker))
    if accelerators:
        slots = min(slots, len(accelerators))
    return int(slots)


def cores_of_worker(policy: str, worker: int, workers: int) -> list[int] | None:
    """Cores that a worker is bound to, or None for all.

    Parameters
    ----------
    policy
        "none", "block", "block-reverse", "alternating", or "list:CORES:CORES..." with one entry per worker, each
        like "0,2-3".

    Raises
    ------
    ConfigurationError
        If there are more workers than cores, the list does not have an entry for each worker, or an entry cannot be
        understood.
    """
    if policy == "none":
        return None
    if policy.startswith("list"):
        entries = policy.split(":")[1:]
        if len(entries) != workers:
            raise ConfigurationError(f"cpu_affinity {policy!r} names cores for {len(entries)} of {workers} workers.")
        return _parse_cores(entries[worker])
    cores = sorted(os.sched_getaffinity(0))
    share = len(cores) // workers
    if share == 0:
        raise ConfigurationError(
            f"cpu_affinity {policy!r} needs a core per worker: {len(cores)} for {workers} workers."
        )
    if policy == "alternating":
        return cores[worker::workers]
    first = worker if policy == "block" else workers - worker - 1
    return cores[share * first : share * (first + 1)]


def affinity_environment(cores: Sequence[int]) -> dict[str, str]:
    """Variables that bind the threads of OpenMP runtimes to a worker's cores."""
    listed = ",".join(map(str, cores))
    return {
        "OMP_NUM_THREADS": str(len(cores)),
        "GOMP_CPU_AFFINITY": listed,
        "KMP_AFFINITY": f"explicit,proclist=[{listed}]",
    }


def _parse_cores(text: str) -> list[int]:
    cores: list[int] = []
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            cores += range(int(first), int(last or first) + 1)
    except ValueError:
        raise ConfigurationError(f"cpu_affinity names the cores {text!r} of a worker; write them like 0,2-3.") from None
    return cores
