"""Each worker sees its own accelerators alone: by HTEX's variables, and right where HTEX goes wrong."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace

import pytest

from parsl_context.pool import accelerators
from parsl_context.pool.accelerators import Devices, accelerator_environment, workers_per_device

BY_INDEX = [str(index) for index in range(8)]


def seen(names: list[str], *, nvidia: int = 0, variable: str = "CUDA_VISIBLE_DEVICES", **given: str) -> list[str]:
    """What each of as many workers as there are names sees."""
    devices = Devices(nvidia, is_amd=False)
    return [accelerator_environment(names, w, len(names), devices, given)[variable] for w in range(len(names))]


def test_all_vendors_variables_name_it() -> None:
    assert accelerator_environment(["a", "b"], 1, 2, Devices(0, is_amd=False), {}) == {
        "CUDA_VISIBLE_DEVICES": "b",
        "ROCR_VISIBLE_DEVICES": "b",
        "ZE_AFFINITY_MASK": "b",
        "ZE_ENABLE_PCI_ID_DEVICE_ORDER": "1",
    }


@pytest.mark.parametrize(
    ("names", "nvidia", "visible"),
    [
        (BY_INDEX[:4], 0, "0 1 2 3"),
        (BY_INDEX[:4], 4, "0 1 2 3"),
        (BY_INDEX, 4, "0 0 1 1 2 2 3 3"),
        (BY_INDEX[:5], 2, "0 0 0 1 1"),  # HTEX would send the last one to a third device
        (BY_INDEX[:2], 4, "0 1"),
        (["0", "0", "1", "1"], 2, "0 0 1 1"),  # HTEX would send all to the first
        (["1", "3"], 4, "1 3"),
        (["0,1", "2,3"], 4, "0,1 2,3"),
        (["GPU-1b2c", "GPU-3d4e"], 2, "GPU-1b2c GPU-3d4e"),
        (["MIG-11", "MIG-12", "MIG-21"], 1, "MIG-11 MIG-12 MIG-21"),
    ],
)
def test_names_and_numbers_of_a_node_with_nvidia_devices(names: list[str], nvidia: int, visible: str) -> None:
    assert seen(names, nvidia=nvidia) == visible.split()


@pytest.mark.parametrize(
    ("names", "given", "visible"),
    [
        (BY_INDEX[:2], "2,3", "2 3"),
        (BY_INDEX[:4], "2,3", "2 2 3 3"),
        (["0", "0", "1", "1"], "2,3", "2 2 3 3"),
        (["0,1", "2,3"], "4,5,6,7", "4,5 6,7"),
        (["2", "3"], "2,3", "2 3"),  # named as the job names them
        (BY_INDEX[:2], "MIG-a,MIG-b", "MIG-a MIG-b"),
        (BY_INDEX[:2], "GPU-a, GPU-b", "GPU-a GPU-b"),
        (BY_INDEX[:2], "NoDevFiles", "0 1"),
        (BY_INDEX[:2], "", "0 1"),
        (["0", "5"], "2,3", "2 5"),  # there is no sixth; whoever names it knows better
    ],
)
def test_indices_count_among_the_devices_that_the_job_was_given(names: list[str], given: str, visible: str) -> None:
    assert seen(names, nvidia=8, CUDA_VISIBLE_DEVICES=given) == visible.split()


@pytest.mark.parametrize("variable", ["ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"])
def test_so_they_do_where_amd_s_or_intel_s_variable_names_them(variable: str) -> None:
    assert seen(["0", "1"], variable=variable, **{variable: "4,6"}) == ["4", "6"]
    assert seen(["0.0", "0.1"], variable=variable) == ["0.0", "0.1"]


@pytest.mark.parametrize(("name", "left"), [("3", "0"), ("4,5", "0,1")])
def test_hip_counts_among_what_rocr_leaves(name: str, left: str) -> None:
    """With HTEX's variables it finds none but on the first worker."""
    seen = accelerator_environment(["9", name], 1, 2, Devices(0, is_amd=True), {})
    assert seen["ROCR_VISIBLE_DEVICES"] == name
    assert seen["HIP_VISIBLE_DEVICES"] == seen["CUDA_VISIBLE_DEVICES"] == left


@pytest.mark.parametrize(
    ("names", "nvidia", "workers"),
    [
        (["0", "1"], 2, 1),
        (["0", "0", "1", "1"], 2, 2),
        (BY_INDEX, 4, 2),
        (["0,1", "1,2"], 4, 2),
        (["0,1", "2,3"], 4, 1),
    ],
)
def test_it_is_known_how_many_workers_share_a_device(names: list[str], nvidia: int, workers: int) -> None:
    assert workers_per_device(names, len(names), Devices(nvidia, is_amd=False), {}) == workers
    amd = workers_per_device(["0", "1"], 2, Devices(0, is_amd=True), {})
    assert amd == 1, "each sees its first, which is another"


TWO = "GPU 0: A (UUID: GPU-1)\nGPU 1: A (UUID: GPU-2)\n"
SPLIT = "GPU 0: A (UUID: GPU-1)\n  MIG 1g.5gb Device 0: (UUID: MIG-1)\n  MIG 1g.5gb Device 1: (UUID: MIG-2)\n"


@pytest.mark.parametrize(
    ("program", "listed", "devices"), [(None, "", 0), ("nvidia-smi", TWO, 2), ("nvidia-smi", SPLIT, 1)]
)
def test_nvidia_devices_are_counted_by_their_own_tool(
    program: str | None, listed: str, devices: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accelerators.shutil, "which", lambda _: program)
    monkeypatch.setattr(accelerators.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=listed))
    assert accelerators._count_nvidia_devices() == devices


@pytest.mark.parametrize(
    "error", [subprocess.CalledProcessError(9, "nvidia-smi"), subprocess.TimeoutExpired("nvidia-smi", 30), OSError()]
)
def test_a_tool_that_fails_counts_for_none(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(accelerators.shutil, "which", lambda name: name)
    monkeypatch.setattr(accelerators.subprocess, "run", fail)
    assert accelerators._count_nvidia_devices() == 0
