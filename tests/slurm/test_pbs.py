"""Parsl's providers for PBS, by way of Debian's `qsub`, `qstat` and `qdel`, which give jobs to Slurm."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import parsl
import pytest
from parsl.launchers import SrunLauncher
from parsl.providers import PBSProProvider, TorqueProvider

from parsl_context import ContextExecutor
from tests.process.conftest import wait_for
from tests.slurm.apps import on_node
from tests.slurm.cluster import Cluster
from tests.slurm.conftest import in_path

Load = Callable[..., ContextExecutor]


class AttentivePBSPro(PBSProProvider):
    status_polling_interval = 1


class AttentiveTorque(TorqueProvider):
    status_polling_interval = 1


@pytest.fixture
def start(load: Load, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    commands = Path(__file__).with_name("commands")
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")

    def start(kind: Any, **options: Any) -> ContextExecutor:
        # Their own mpiexec starts nothing on other nodes; srun does here what a centre's mpiexec does.
        blocks = {"nodes_per_block": 2, "launcher": SrunLauncher(), "worker_init": in_path(), "max_blocks": 1}
        return load(provider=kind(**{**blocks, **options}))

    return start


@pytest.mark.parametrize("kind", [AttentivePBSPro, AttentiveTorque])
def test_calls_run_on_the_nodes_of_a_block_and_its_job_is_gone_afterwards(
    start: Load, slurm: Cluster, kind: Any
) -> None:
    executor = start(kind)
    wait_for(lambda: len(executor.connected_managers()) == 2)
    assert {future.result(timeout=30) for future in [on_node(0.1) for _ in range(24)]} == {"n1", "n2"}
    wait_for(lambda: executor.status_facade["0"].status_name == "RUNNING")
    parsl.dfk().cleanup()
    wait_for(lambda: not slurm.jobs())


@pytest.mark.parametrize("kind", [AttentivePBSPro, AttentiveTorque])
def test_a_job_that_somebody_deletes_is_seen_to_be_over(start: Load, slurm: Cluster, kind: Any) -> None:
    executor = start(kind, nodes_per_block=1)
    on_node().result(timeout=30)
    (job,) = slurm.jobs()
    slurm.run("qdel", job)
    wait_for(lambda: executor.status_facade["0"].terminal)
    wait_for(lambda: not executor.connected_managers())
