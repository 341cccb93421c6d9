"""Blocks that wait in the queue of a real Slurm, some for ever: what is said of it, and to whom."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from parsl.jobs.states import JobState

from parsl_context import ContextExecutor
from tests.process.conftest import wait_for
from tests.slurm.apps import on_node
from tests.slurm.cluster import Cluster
from tests.slurm.test_check import checked

Load = Callable[..., ContextExecutor]


@pytest.fixture
def narrow(slurm: Cluster) -> Iterator[str]:
    """A partition that gives a job one node for ten minutes."""
    slurm.run("scontrol", "create", "partition=narrow", "nodes=ALL", "maxnodes=1", "maxtime=10")
    yield "narrow"
    slurm.end_jobs()
    slurm.run("scontrol", "delete", "partition=narrow")


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if " waits (" in record.getMessage()]


def notes(error: BaseException) -> str:
    return " ".join(getattr(error, "__notes__", ()))


def test_a_block_that_will_never_start_is_told_of_once_and_to_who_waits(
    load: Load, narrow: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "parsl.parsl_context"):
        executor = load(provider={"partition": narrow, "nodes_per_block": 2}, every_s=0.5)
        call, app = executor.submit(int, {}, 1), on_node()
        wait_for(lambda: warnings(caplog))
        for future in (call, app):
            with pytest.raises(TimeoutError) as caught:
                future.result(timeout=2)
            assert "PartitionNodeLimit" in notes(caught.value)
            assert "lower nodes_per_block" in notes(caught.value)
    (said,) = warnings(caplog)
    assert "(PartitionNodeLimit): as it is, it will never start." in said


def test_who_waits_for_a_call_that_runs_is_told_nothing(load: Load) -> None:
    load()
    assert on_node().result(timeout=30)
    with pytest.raises(TimeoutError) as caught:
        on_node(2.0).result(timeout=0.5)
    assert notes(caught.value) == ""


def test_who_waits_while_other_jobs_have_the_nodes_is_told_so(load: Load, slurm: Cluster) -> None:
    job = slurm.submit("sleep 60", "--nodes=4", "--exclusive")
    wait_for(lambda: slurm.state(job) == "RUNNING")
    executor = load(every_s=0.5)
    waiting = on_node()
    wait_for(lambda: executor.why_waiting() and "Resources" in str(executor.why_waiting()))
    with pytest.raises(TimeoutError) as caught:
        waiting.result(timeout=0.1)
    assert "(Resources): it waits for its turn." in notes(caught.value)
    slurm.run("scancel", job)
    assert waiting.result(timeout=30)
    assert executor.why_waiting() is None


def test_a_job_that_accounting_has_not_heard_of_is_not_over(load_accounted: Load, accounted: Cluster) -> None:
    """It is asked right after the submission, when `sacct` says nothing: to Parsl's provider, such a job is over."""
    job = accounted.submit("sleep 60", "--nodes=4", "--exclusive", "--account=science")
    wait_for(lambda: accounted.state(job) == "RUNNING")
    executor = load_accounted(provider={"account": "science"}, every_s=0.06)
    waiting = on_node()
    wait_for(lambda: "Resources" in str(executor.why_waiting()))
    assert executor.status_facade["0"].state is JobState.PENDING
    accounted.run("scancel", job)
    assert waiting.result(timeout=30)


def test_check_does_not_wait_for_what_will_never_be(narrow: str, run_dir: Path) -> None:
    status, said = checked(run_dir, partition=narrow)
    assert status == 1
    assert "Lower walltime" not in said, "it gives as much as is asked for"
    assert "The job has not started (PartitionNodeLimit): as it is, it will never start." in said
    assert "lower nodes_per_block" in said


def test_check_finds_a_walltime_that_the_partition_does_not_give(slurm: Cluster, run_dir: Path) -> None:
    slurm.run("scontrol", "create", "partition=short", "nodes=ALL", "maxtime=5")
    try:
        status, said = checked(run_dir, partition="short")
    finally:
        slurm.end_jobs()
        slurm.run("scontrol", "delete", "partition=short")
    assert status == 1
    assert "Blocks ask for 00:10:00; their partition gives 5 minutes" in said


def test_who_waits_for_nodes_that_are_drained_is_told_so(load: Load, slurm: Cluster) -> None:
    slurm.run("scontrol", "update", "nodename=n[1-4]", "state=drain", "reason=repair")
    try:
        executor = load(every_s=0.5)
        waiting = on_node()
        wait_for(lambda: executor.why_waiting() and "block 0" in str(executor.why_waiting()))
        said = str(executor.why_waiting())
    finally:
        slurm.run("scontrol", "update", "nodename=n[1-4]", "state=resume")
    assert "it may wait for long" in said, said
    assert "sinfo -R" in said
    assert waiting.result(timeout=30)
