"""Accelerators of a node: which variables make a worker see its own alone.

    names given by the user     "0" "1" "2" "3"     "0" "0" "1" "1"     "0,1" "2,3"     "MIG-..."  "0.0" "0.1"
    of the devices that the batch system gave the job, in CUDA_VISIBLE_DEVICES and the like, or of all of the node

The variables are those of HTEX's worker pool. Where it goes wrong, this does otherwise: with names that are given more
than once on a node with NVIDIA devices (all workers would share the first), with jobs that were given a part of a node
without control groups (workers would take the devices of others), and with AMD devices (but for the first worker none
would see any: Parsl issue 3858).
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_AMD_DRIVER = "/dev/kfd"
_NONE = ("", "-1", "NoDevFiles")  # of a job that was given no devices; the last is Slurm's word
_TOOL_ANSWERS_WITHIN_S = 30.0


@dataclass(frozen=True)
class Devices:
    """What is known of the devices of a node.

    Attributes
    ----------
    nvidia : int
        How many NVIDIA devices there are; 0 where it is not known.
    is_amd : bool
        Whether AMD's driver is loaded.
    """

    nvidia: int
    is_amd: bool


def accelerator_environment(
    accelerators: Sequence[str], worker: int, workers: int, devices: Devices, given: Mapping[str, str]
) -> dict[str, str]:
    """Variables that make its accelerators the only ones that a worker sees.

    Parameters
    ----------
    accelerators
        Names, one for each worker; several devices are separated by commas.
    worker
        Index, [0, workers).
    given
        Variables of the job: indices count among the devices that these name.
    """

    def visible(variable: str, count: int) -> str:
        return _choose(accelerators, worker, workers, _devices_in(given.get(variable)), count)

    cuda, rocr = visible("CUDA_VISIBLE_DEVICES", devices.nvidia), visible("ROCR_VISIBLE_DEVICES", 0)
    environment = {
        "CUDA_VISIBLE_DEVICES": cuda,
        "ROCR_VISIBLE_DEVICES": rocr,
        "ZE_AFFINITY_MASK": visible("ZE_AFFINITY_MASK", 0),
        "ZE_ENABLE_PCI_ID_DEVICE_ORDER": "1",
    }
    if devices.is_amd:
        # HIP counts among those that ROCR_VISIBLE_DEVICES leaves, and heeds CUDA_VISIBLE_DEVICES as well.
        left = ",".join(map(str, range(rocr.count(",") + 1)))
        environment |= {"CUDA_VISIBLE_DEVICES": left, "HIP_VISIBLE_DEVICES": left}
    return environment


def _choose(accelerators: Sequence[str], worker: int, workers: int, given: Sequence[str], count: int) -> str:
    """The devices of a worker.

    Parameters
    ----------
    given
        The devices of the job; empty if it is not known.
    count
        Devices of the node, where the job's are not known; 0 if these are not known either.
    """
    name = accelerators[worker]
    parts = {part for each in accelerators for part in each.split(",")}
    if not all(part.isdigit() for part in parts) or (given and parts <= set(given)):
        return name  # of a device, and no index
    count = len(given) or count
    is_number_of_workers = list(accelerators) == [str(index) for index in range(len(accelerators))]
    if is_number_of_workers and 0 < count <= workers:
        name = str(worker * count // workers)  # several share one, as with the Multi-Process Service
    chosen = [int(part) for part in name.split(",")]
    return ",".join(given[index] for index in chosen) if given and max(chosen) < len(given) else name


def _devices_in(value: str | None) -> list[str]:
    """The devices that a variable of the job names."""
    named = (value or "").strip()
    return [] if named in _NONE else [part.strip() for part in named.split(",")]


def workers_per_device(accelerators: Sequence[str], workers: int, devices: Devices, given: Mapping[str, str]) -> int:
    """How many workers see the same device, at the most."""
    variable = "ROCR_VISIBLE_DEVICES" if devices.is_amd else "CUDA_VISIBLE_DEVICES"
    environments = (accelerator_environment(accelerators, worker, workers, devices, given) for worker in range(workers))
    seen = Counter(device for each in environments for device in each[variable].split(","))
    return max(seen.values(), default=1)


@functools.cache
def devices_here() -> Devices:
    """What is known of the devices of this node; its tools are asked once."""
    return Devices(_count_nvidia_devices(), os.path.exists(_AMD_DRIVER))


def _count_nvidia_devices() -> int:
    if shutil.which("nvidia-smi") is None:
        return 0
    command = ["nvidia-smi", "-L"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_TOOL_ANSWERS_WITHIN_S)
    except (OSError, subprocess.SubprocessError):
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())  # MIG devices have lines of their own
