"""What becomes of calls when Slurm takes a node, a job or a whole partition away."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from parsl_context import ContextExecutor, ManagerLost, context, context_app
from tests.process.conftest import wait_for
from tests.slurm.cluster import Cluster

Load = Callable[..., ContextExecutor]


@context
def kept(log: str) -> Any:
    node = os.environ["SLURMD_NODENAME"]
    yield node
    with open(log, "a") as file:
        file.write(f"{node}\n")


@pytest.fixture
def cleaned(run_dir: Path) -> Path:
    """Nodes on which a context was cleaned up, a line for each."""
    return run_dir / "cleaned"


@pytest.fixture
def app(cleaned: Path) -> Any:
    @context_app(context=kept(str(cleaned)))
    def on_node(node: str, seconds: float = 0.0, begun: str | None = None) -> str:
        if begun is not None:
            Path(begun).write_text(node)
        time.sleep(seconds)
        return node

    return on_node


def job_on(slurm: Cluster, node: str) -> str:
    return slurm.run("squeue", "--noheader", f"--nodelist={node}", "--format=%A")


def test_what_a_cancelled_job_had_not_begun_goes_to_another_and_what_ends_soon_ends(
    load: Load, slurm: Cluster, app: Any, cleaned: Path, run_dir: Path
) -> None:
    executor = load(provider={"init_blocks": 2, "max_blocks": 2}, max_workers_per_node=1)
    wait_for(lambda: len(executor.connected_managers()) == 2)
    begun = [run_dir / name for name in "ab"]
    running = [app(3.0, str(path)) for path in begun]
    waiting = [app(0.1) for _ in range(20)]
    wait_for(lambda: all(path.exists() for path in begun))
    slurm.run("scancel", job_on(slurm, "n1"))
    assert {future.result(timeout=30) for future in running} == {"n1", "n2"}
    assert {future.result(timeout=30) for future in waiting} == {"n2"}
    wait_for(lambda: cleaned.exists() and cleaned.read_text() == "n1\n")
    wait_for(lambda: len(slurm.jobs()) == 1)


def test_a_call_that_outlasts_a_cancelled_job_is_lost_with_its_manager(
    load: Load, slurm: Cluster, app: Any, run_dir: Path
) -> None:
    load(max_workers_per_node=1)
    lost = app(60.0, str(run_dir / "begun"))
    wait_for((run_dir / "begun").exists)
    job = job_on(slurm, "n1")
    before = time.monotonic()
    slurm.run("scancel", job)
    with pytest.raises(ManagerLost):
        lost.result(timeout=30)
    assert time.monotonic() - before < 8
    wait_for(lambda: slurm.state(job) == "CANCELLED")


def test_calls_of_a_node_that_dies_are_lost_at_once_and_the_rest_goes_on(
    load: Load, slurm: Cluster, app: Any, run_dir: Path
) -> None:
    executor = load(provider={"nodes_per_block": 2}, max_workers_per_node=1)
    wait_for(lambda: len(executor.connected_managers()) == 2)
    begun = [run_dir / name for name in "ab"]
    running = [app(4.0, str(path)) for path in begun]
    wait_for(lambda: all(path.exists() and path.read_text() for path in begun))
    waiting = [app(0.1) for _ in range(10)]
    dies = [path.read_text() for path in begun].index("n2")
    before = time.monotonic()
    slurm.kill_node("n2")
    with pytest.raises(ManagerLost):
        running[dies].result(timeout=30)
    assert time.monotonic() - before < 2
    assert running[1 - dies].result(timeout=30) == "n1"
    assert {future.result(timeout=30) for future in waiting} == {"n1"}
    slurm.start_node("n2")


def test_a_job_that_is_queued_again_after_its_node_died_serves_calls_as_the_same_block(
    load: Load, slurm: Cluster, app: Any
) -> None:
    executor = load(provider={"nodes_per_block": 2}, max_workers_per_node=1)
    wait_for(lambda: len(executor.connected_managers()) == 2)
    (job,) = slurm.jobs()
    before = {row["manager"] for row in executor.connected_managers()}
    slurm.kill_node("n2")
    slurm.run("scontrol", "update", "nodename=n2", "state=down", "reason=power")  # what Slurm finds out after a while

    def both_again() -> bool:
        now = {row["manager"] for row in executor.connected_managers() if row["active"] and not row["draining"]}
        return len(now) == 2 and not now & before

    wait_for(both_again, 40)
    assert slurm.jobs() == [job]
    assert {row["block_id"] for row in executor.connected_managers()} == {"0"}
    assert {future.result(timeout=30) for future in [app(0.2) for _ in range(10)]} == {"n3", "n4"}
    slurm.start_node("n2")
    slurm.run("scontrol", "update", "nodename=n2", "state=resume")


def test_a_preempted_block_drains_in_its_grace(
    load: Load, slurm: Cluster, app: Any, cleaned: Path, run_dir: Path
) -> None:
    """No call is lost: what runs ends, what has not begun waits for the next block."""
    load(provider={"partition": "spare"}, max_workers_per_node=1, config={"strategy": "simple"})
    assert app().result(timeout=30) == "n1"
    calls = [app(1.0) for _ in range(8)]
    wait_for(lambda: calls[0].done())
    (spare,) = slurm.jobs()
    # A job that is cancelled while its script starts may leave a child of the script behind: wait until it has.
    urgent = slurm.submit("touch urgent; exec sleep 600", "-N4", "--exclusive", "--partition=urgent")
    wait_for((run_dir / "urgent").exists, 40)
    assert slurm.state(spare) == "COMPLETED"  # its managers had ended before the grace did
    assert cleaned.read_text() == "n1\n"
    assert not all(future.done() for future in calls)
    slurm.run("scancel", urgent)
    assert {future.result(timeout=40) for future in calls} <= {"n1", "n2", "n3", "n4"}


def test_nothing_runs_on_a_node_after_its_job(load: Load, slurm: Cluster, app: Any) -> None:
    load(provider={"nodes_per_block": 2})
    app().result(timeout=30)
    (job,) = slurm.jobs()
    ours = [p for node in ("n1", "n2") for p in slurm.processes(node) if "parsl:context" in p.cmdline()[0]]
    assert len(ours) >= 4
    slurm.run("scancel", job)
    wait_for(lambda: slurm.state(job) == "CANCELLED")
    psutil.wait_procs(ours, timeout=1)
    assert not any(process.is_running() for process in ours)
