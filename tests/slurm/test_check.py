"""`parsl-context check --submit` on a real Slurm: what a job of one minute says, and what is wrong with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.conftest import BIN

CONFIG = """
from parsl import Config
from parsl.launchers import SingleNodeLauncher, SrunLauncher
from parsl.providers import SlurmProvider
from parsl_context import ContextExecutor

config = Config(executors=[ContextExecutor(label="site", {executor} provider=SlurmProvider(
    partition="{partition}", nodes_per_block=2, walltime="00:10:00", launcher=SrunLauncher({launcher}),
    worker_init={worker_init!r}))])
"""
INIT = f"export PATH={BIN}:$PATH"


def checked(run_dir: Path, **changes: str) -> tuple[int, str]:
    fields = {
        "executor": "max_workers_per_node=2,",
        "partition": "main",
        "worker_init": INIT,
        "launcher": "",
        **changes,
    }
    path = run_dir / "site.py"
    path.write_text(CONFIG.format(**fields))
    command = [sys.executable, "-m", "parsl_context", "check", str(path), "--submit", "--wait", "40"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=59, check=False, cwd=run_dir)
    return ran.returncode, " ".join((ran.stdout + ran.stderr).split())


def test_nodes_say_what_they_are_like(slurm: Cluster, run_dir: Path) -> None:
    status, said = checked(run_dir)
    assert status == 0, said
    assert "127.0.0.1" in said
    assert "nothing is found to be wrong with its nodes" in said or "Nodes reach the script at" in said
    assert slurm.jobs() == []


def test_errors_of_worker_init_are_shown_though_nodes_can_do_without(slurm: Cluster, run_dir: Path) -> None:
    status, said = checked(run_dir, worker_init=f"{INIT}; module load science")
    assert status == 0
    assert "module: command not found" in said


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"partition": "mian"}, "The job cannot be submitted"),
        ({"worker_init": "export PATH=/usr/bin:/bin PYTHONNOUSERSITE=1"}, "No module named"),
        ({"launcher": "overrides='--ntasks=1 --nodes=1'"}, "1 of 2 nodes of the block have said"),
        (
            {"executor": "max_workers_per_node=2, address='192.0.2.1',"},
            "Nodes reach the script at none of its addresses",
        ),
        ({"executor": "max_workers_per_node=2, context_memory_gb=5000,"}, "it will be killed"),
        ({"executor": "available_accelerators=2,"}, "the job sees 0 GPUs"),
    ],
    ids=["partition", "package", "launcher", "address", "memory", "gpus"],
)
def test_what_is_wrong_with_nodes_is_said(slurm: Cluster, run_dir: Path, changes: dict[str, str], says: str) -> None:
    status, said = checked(run_dir, **changes)
    assert says in said
    assert status == 1
    slurm.wait_for(lambda: not slurm.jobs(), "the job is over", 20)
