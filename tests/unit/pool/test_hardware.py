"""Workers are counted and placed by the rules of HTEX's worker pool."""

import os
from types import SimpleNamespace

import psutil
import pytest

from parsl_context.errors import ConfigurationError
from parsl_context.pool import hardware
from parsl_context.pool.hardware import (
    accelerator_environment,
    affinity_environment,
    cores_of_worker,
    count_workers,
)


@pytest.fixture(autouse=True)
def node(monkeypatch):
    """A node with eight cores that are not numbered from zero, and 64 GB of memory."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {9, 8, 10, 11, 12, 13, 14, 15})
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=64 * 2**30))
    monkeypatch.delenv("PARSL_CORES", raising=False)
    monkeypatch.delenv("PARSL_MEMORY_GB", raising=False)
    return monkeypatch


def count(**changes):
    unlimited = {"cores_per_worker": 1, "mem_per_worker": None, "max_workers": float("inf"), "accelerators": ()}
    return count_workers(**{**unlimited, **changes})


@pytest.mark.parametrize(
    ("limits", "workers"),
    [
        ({}, 8),
        ({"cores_per_worker": 3}, 2),
        ({"cores_per_worker": 0.5}, 16),
        ({"cores_per_worker": 1e-3, "max_workers": 20}, 20),
        ({"max_workers": 3.0}, 3),
        ({"mem_per_worker": 10}, 6),
        ({"mem_per_worker": 0.5}, 8),
        ({"accelerators": ("0", "1")}, 2),
        ({"accelerators": tuple("0123456789")}, 8),
        ({"max_workers": 5, "mem_per_worker": 20, "cores_per_worker": 2}, 3),
        ({"mem_per_worker": 100}, 0),
    ],
)
def test_as_many_workers_as_every_limit_allows(limits, workers):
    assert count(**limits) == workers
    assert type(count(**limits)) is int


def test_a_provider_may_say_what_the_block_has(node):
    node.setenv("PARSL_CORES", "4")
    node.setenv("PARSL_MEMORY_GB", "9.5")
    assert count() == 4
    assert count(mem_per_worker=3) == 3


@pytest.mark.parametrize(
    ("policy", "cores"),
    [
        ("none", [None, None, None]),
        ("block", [[8, 9], [10, 11], [12, 13]]),
        ("block-reverse", [[12, 13], [10, 11], [8, 9]]),
        ("alternating", [[8, 11, 14], [9, 12, 15], [10, 13]]),
        ("list:0,1:2-3:4,6-7", [[0, 1], [2, 3], [4, 6, 7]]),
    ],
)
def test_a_policy_gives_each_worker_its_cores(policy, cores):
    assert [cores_of_worker(policy, worker, 3) for worker in range(3)] == cores


@pytest.mark.parametrize(
    ("policy", "workers", "says"),
    [
        ("block", 9, "'block' needs a core per worker: 8 for 9"),
        ("alternating", 9, "'alternating' needs a core per worker"),
        ("list:0:1", 3, "cores for 2 of 3 workers"),
        ("list:0-1-2:1", 2, "0-1-2"),
    ],
)
def test_a_policy_that_cannot_work_is_refused(policy, workers, says):
    with pytest.raises(ConfigurationError, match=says):
        cores_of_worker(policy, 0, workers)


def test_threads_are_bound_to_the_cores_of_their_worker():
    assert affinity_environment([8, 9]) == {
        "OMP_NUM_THREADS": "2",
        "GOMP_CPU_AFFINITY": "8,9",
        "KMP_AFFINITY": "explicit,proclist=[8,9]",
    }


@pytest.mark.parametrize(
    ("accelerator", "devices", "workers", "visible"),
    [
        ("1", 0, 4, "1"),
        ("1", 4, 4, "1"),
        ("5", 4, 8, "2"),
        ("7", 4, 8, "3"),
        ("1", 4, 2, "1"),
        ("GPU-1b2c", 4, 8, "GPU-1b2c"),
        ("0,1", 4, 2, "0,1"),
    ],
)
def test_a_worker_sees_its_accelerator_only(node, accelerator, devices, workers, visible):
    """Several workers share a device where there are fewer devices than workers."""
    node.setattr(hardware, "_count_nvidia_devices", lambda: devices)
    assert accelerator_environment(accelerator, workers) == {
        "CUDA_VISIBLE_DEVICES": visible,
        "ROCR_VISIBLE_DEVICES": accelerator,
        "ZE_AFFINITY_MASK": accelerator,
        "ZE_ENABLE_PCI_ID_DEVICE_ORDER": "1",
    }


@pytest.mark.parametrize(
    ("program", "status", "output", "devices"),
    [
        (None, 0, "", 0),
        ("/bin/nvidia-smi", 0, "GPU 0: A (UUID: GPU-1)\nGPU 1: A (UUID: GPU-2)\n", 2),
        ("/bin/nvidia-smi", 9, "NVIDIA-SMI has failed\n", 0),
    ],
)
def test_nvidia_devices_are_counted_by_their_own_tool(node, program, status, output, devices):
    ran = SimpleNamespace(returncode=status, stdout=output)
    node.setattr(hardware.shutil, "which", lambda _: program)
    node.setattr(hardware.subprocess, "run", lambda *_, **__: ran)
    assert hardware._count_nvidia_devices() == devices
