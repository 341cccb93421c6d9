"""Blocks that are jobs of a real Slurm: how they come, what runs in them, and how they go."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import parsl
import pytest
from parsl.executors.errors import BadStateException
from parsl.jobs.errors import TooManyJobFailuresError
from parsl.jobs.states import JobState
from parsl.launchers import SingleNodeLauncher

from parsl_context import ContextExecutor, context_app
from tests.process.conftest import family, wait_for
from tests.slurm.apps import node, on_node
from tests.slurm.cluster import Cluster
from tests.slurm.conftest import in_path

Load = Callable[..., ContextExecutor]


@context_app(context=node())
def environment(node: str) -> dict[str, str]:
    return dict(os.environ)


def names_of_jobs(slurm: Cluster) -> list[str]:
    return slurm.run("squeue", "--noheader", "--format=%j").split()


def test_calls_run_on_both_nodes_of_a_block(load: Load) -> None:
    executor = load(provider={"nodes_per_block": 2})
    wait_for(lambda: len(executor.connected_managers()) == 2)
    results = [future.result(timeout=30) for future in [on_node(0.1) for _ in range(24)]]
    assert set(results) == {"n1", "n2"}
    assert sum(row.loads for row in executor.contexts()) == 4


def test_processes_of_a_block_are_known_to_slurm_by_job_and_descent(load: Load, slurm: Cluster, run_dir: Path) -> None:
    load(provider={"launcher": SingleNodeLauncher()}, max_workers_per_node=1)
    seen = environment().result(timeout=30)
    assert [name.rpartition(".block-0.")[0] for name in names_of_jobs(slurm)] == ["parsl.contexts"]
    job = seen["SLURM_JOB_ID"]
    assert slurm.jobs() == [job]
    titles = {process.cmdline()[0]: process for process in slurm.processes("n1") if "context" in process.cmdline()[0]}
    assert titles.keys() == {"parsl:context-manager", "parsl:context-zygote", "parsl:context-worker-0"}
    for process in titles.values():
        assert process.environ()["SLURM_JOB_ID"] == job


def test_several_blocks_share_the_calls_and_one_may_be_given_back(load: Load, slurm: Cluster) -> None:
    executor = load(provider={"init_blocks": 3, "max_blocks": 3}, max_workers_per_node=1)
    wait_for(lambda: len(executor.connected_managers()) == 3)
    assert {future.result(timeout=30) for future in [on_node(0.2) for _ in range(12)]} == {"n1", "n2", "n3"}
    (ended,) = executor.scale_in_facade(1)
    wait_for(lambda: len(slurm.jobs()) == 2)
    assert executor.status_facade[ended].status_name == "SCALED_IN"
    assert len({future.result(timeout=30) for future in [on_node(0.2) for _ in range(8)]}) == 2


def test_jobs_that_wait_and_jobs_that_run_are_gone_after_the_run(load: Load, slurm: Cluster) -> None:
    executor = load(provider={"init_blocks": 3, "max_blocks": 3, "nodes_per_block": 2})
    on_node().result(timeout=30)
    wait_for(lambda: len(executor.connected_managers()) == 4)
    assert len(slurm.jobs()) == 3
    before = time.monotonic()
    parsl.dfk().cleanup()
    wait_for(lambda: not slurm.jobs())
    assert time.monotonic() - before < 8


SCRIPT = """
import os, sys, time, parsl
from parsl.launchers import SrunLauncher
from parsl.providers import SlurmProvider
from parsl_context import ContextExecutor
provider = SlurmProvider(partition="main", nodes_per_block=2, launcher=SrunLauncher(), worker_init=sys.argv[1])
executor = ContextExecutor(address="127.0.0.1", provider=provider)
parsl.load(parsl.Config(executors=[executor], usage_tracking=0))
while len(executor.connected_managers()) < 2:
    time.sleep(0.1)
print("up", flush=True)
executor.submit(time.sleep, {}, 60).result()
"""


def test_jobs_end_by_themselves_when_the_script_is_killed(slurm: Cluster, run_dir: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", SCRIPT, in_path()], stdout=subprocess.PIPE) as script:
        assert script.stdout is not None
        assert script.stdout.readline() == b"up\n"
        script.kill()
    wait_for(lambda: not slurm.jobs() and not family(run_dir))


def test_a_block_whose_start_fails_fails_the_calls_with_what_it_said(load: Load) -> None:
    load(provider={"worker_init": "echo no such module: torch/2 >&2; exit 3"})
    with pytest.raises(BadStateException) as caught:
        on_node().result(timeout=30)
    assert "no such module: torch/2" in str(caught.value.__cause__ or caught.value)


def test_a_job_that_slurm_suspends_is_held_and_goes_on_when_it_is_resumed(load: Load, slurm: Cluster) -> None:
    """The provider's table lacks that state: it would not be known."""
    executor = load(max_workers_per_node=1)
    on_node().result(timeout=30)
    (job,) = slurm.jobs()
    slurm.run("scontrol", "suspend", job)
    wait_for(lambda: executor.status_facade["0"].state is JobState.HELD)
    waiting = on_node()
    slurm.run("scontrol", "resume", job)
    wait_for(lambda: executor.status_facade["0"].state is JobState.RUNNING)
    assert waiting.result(timeout=30) == "n1"


def test_a_block_that_slurm_refuses_fails_the_calls_with_what_it_said(load: Load) -> None:
    load(provider={"partition": "mian"})
    # Calls that were there fail with the first; a call that comes after that is refused with the second.
    with pytest.raises((BadStateException, TooManyJobFailuresError)) as caught:
        on_node().result(timeout=30)
    assert "invalid partition" in str(caught.value.__cause__ or caught.value)


def test_a_block_without_our_package_fails_the_calls_with_what_python_said(load: Load) -> None:
    load(provider={"worker_init": "export PATH=/usr/bin:/bin PYTHONNOUSERSITE=1; unset PYTHONPATH"})
    with pytest.raises(BadStateException) as caught:
        on_node().result(timeout=30)
    assert "No module named" in str(caught.value.__cause__ or caught.value)


def test_with_accounting_a_quality_of_service_and_a_cluster_may_be_chosen(
    load_accounted: Load, accounted: Cluster
) -> None:
    executor = load_accounted(provider={"qos": "night", "clusters": "emulated", "account": "science"}, every_s=9)
    assert on_node().result(timeout=30) == "n1"
    assert accounted.run("squeue", "--noheader", "--format=%q %a") == "night science"
    wait_for(lambda: executor.status_facade["0"].status_name == "RUNNING")
