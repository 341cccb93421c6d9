"""Cores and accelerators of a node: how many workers fit, and what each worker gets.

The variables and rules are those of HTEX's worker pool, so that scripts written for it find what they expect.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
from collections.abc import Sequence

import psutil

from parsl_context.errors import ConfigurationError


def count_workers(
    *,
    cores_per_worker: float,
    mem_per_worker: float | None,
    max_workers: float,
    accelerators: Sequence[str],
) -> int:
    """Workers that fit on this node.

    Parameters
    ----------
    mem_per_worker
        Memory for each worker. [GB]

    Notes
    -----
    PARSL_CORES and PARSL_MEMORY_GB, set by some providers, stand for what the machine has.
    """
    cores = int(os.environ.get("PARSL_CORES") or len(os.sched_getaffinity(0)))
    slots = min(max_workers, math.floor(cores / cores_per_worker))
    if mem_per_worker:
        declared = os.environ.get("PARSL_MEMORY_GB")
        memory_gb = float(declared) if declared else round(psutil.virtual_memory().available / 2**30, 1)
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


def accelerator_environment(accelerator: str, workers: int) -> dict[str, str]:
    """Variables that make one accelerator the only one that a worker sees.

    With fewer NVIDIA devices than workers, several workers share a device, as with the Multi-Process Service.
    """
    device = accelerator
    count = _count_nvidia_devices()
    if count and accelerator.isdigit() and workers >= count:
        device = str(int(accelerator) // (workers // count))
    return {
        "CUDA_VISIBLE_DEVICES": device,
        "ROCR_VISIBLE_DEVICES": accelerator,
        "ZE_AFFINITY_MASK": accelerator,
        "ZE_ENABLE_PCI_ID_DEVICE_ORDER": "1",
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


def _count_nvidia_devices() -> int:
    if shutil.which("nvidia-smi") is None:
        return 0
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return len(listed.stdout.splitlines()) if listed.returncode == 0 else 0
