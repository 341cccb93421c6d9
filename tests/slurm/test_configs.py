"""The configurations that are shipped for Slurm, filled in as a user would, run calls."""

from __future__ import annotations

import os
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import parsl
import pytest

from parsl_context import context, context_app
from tests.slurm.cluster import Cluster
from tests.slurm.conftest import BIN

CONFIGS = Path(__file__).parents[2] / "configs"
SHIPPED = sorted([*CONFIGS.glob("slurm*.py"), CONFIGS / "frontier.py", CONFIGS / "perlmutter.py"])
# What this cluster lacks, or is too small for.
FITTED = [
    (r"YOUR_\w*PARTITION", "main"),
    (r"YOUR_ENVIRONMENT", str(BIN.parent)),
    (r"YOUR_\w+", "physics"),
    (r"nodes_per_block=\d+", "nodes_per_block=2"),
    (r"init_blocks=\d+", "init_blocks=1"),
    (r"max_workers_per_node=\d+", "max_workers_per_node=2"),
    (r"cpu_affinity=\"block\",", "cores_per_worker=1e-3,"),
    (r"partition=\"batch\"", 'partition="main"'),
    (r"qos=\"regular\",", ""),
    (r"gpus_per_node=8", "gpus_per_node=4"),
    (r'"4", "5", "2", "3", "6", "7", "0", "1"', '"2", "3", "0", "1"'),
    (r"cores_per_node=\d+", "cores_per_node=4"),
    (r"--cpus-per-task=\d+", "--cpus-per-task=4"),
    (r"/mnt/bb/\$USER|/local/scratch", "$PARSL_TEST_NVME"),
    # of PBS
    (r"queue=\"[\w-]+\"", 'queue="main"'),
    (r"cpus_per_node=\d+", "cpus_per_node=4"),
    (r"launcher=MpiExecLauncher\(.*?\),\n", "launcher=SrunLauncher(),\n"),
    (r"import MpiExecLauncher", "import SrunLauncher"),
    (r"cpu_affinity=(\"block-reverse\"|\"list:\" \+ [^\n]*),", "cores_per_worker=1e-3,"),
    (r"in range\(6\)", "in range(2)"),
]


@context
def nothing() -> None: ...


@context_app(context=nothing)
def where(_: None, seconds: float) -> tuple[str, str | None]:
    import time

    time.sleep(seconds)
    return os.environ["SLURMD_NODENAME"], os.environ.get("CUDA_VISIBLE_DEVICES")


@pytest.fixture
def kernels(run_dir: Path) -> Iterator[list[parsl.DataFlowKernel]]:
    made: list[parsl.DataFlowKernel] = []
    yield made
    for kernel in made:
        kernel.cleanup()
    parsl.clear()


def used(path: Path, run_dir: Path, kernels: list[parsl.DataFlowKernel]) -> set[str | None]:
    """The accelerators that calls see with a configuration, once it is filled in and fitted."""
    text = path.read_text()
    for old, new in FITTED:
        text = re.sub(old, new, text, flags=re.DOTALL)
    (run_dir / path.name).write_text(text)
    config = runpy.run_path(str(run_dir / path.name))["config"]
    config.run_dir, config.usage_tracking = str(run_dir), 0
    kernels.append(parsl.load(config))
    found = {future.result(timeout=50) for future in [where(0.3) for _ in range(16)]}
    assert {node for node, _ in found} <= {"n1", "n2", "n3", "n4"}
    return {device for _, device in found}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_configuration_that_is_shipped_runs_calls(
    path: Path, slurm: Cluster, run_dir: Path, kernels: list[parsl.DataFlowKernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARSL_TEST_NVME", str(run_dir))
    devices = used(path, run_dir, kernels)
    if kernels[0].config.executors[0].available_accelerators:
        assert devices <= {"0", "1", "2", "3"}
        assert len(devices) > 1


@pytest.mark.parametrize(
    ("name", "devices"),
    [("pbs", {"0", "1", "2", "3"}), ("polaris", {"0", "1", "2", "3"}), ("aurora", {"0.0", "0.1", "1.0", "1.1"})],
)
def test_so_does_one_for_pbs_by_way_of_commands_that_give_jobs_to_slurm(
    name: str,
    devices: set[str],
    slurm: Cluster,
    run_dir: Path,
    kernels: list[parsl.DataFlowKernel],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of PBS Pro that is its scripts and commands alone; srun starts managers in place of mpiexec."""
    monkeypatch.setenv("PATH", f"{Path(__file__).with_name('commands')}:{os.environ['PATH']}")
    monkeypatch.setenv("PARSL_TEST_NVME", str(run_dir))
    seen = used(CONFIGS / f"{name}.py", run_dir, kernels)
    assert seen <= devices
    assert len(seen) > 1
