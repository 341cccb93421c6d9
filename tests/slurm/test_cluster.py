"""The emulated cluster itself: what the other tests rely on."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import psutil

from tests.process.conftest import wait_for
from tests.slurm.cluster import Cluster, running


def test_a_job_of_four_nodes_runs_on_each(slurm: Cluster) -> None:
    assert sorted(slurm.run("srun", "-N4", "printenv", "SLURMD_NODENAME").split()) == ["n1", "n2", "n3", "n4"]


def test_a_job_that_heeds_no_term_is_killed_later(slurm: Cluster, tmp_path: Path) -> None:
    said = tmp_path / "said"
    job = slurm.submit(f"trap 'echo TERM >> {said}' TERM; echo up > {said}; while :; do sleep 0.1; done")
    wait_for(lambda: said.exists() and slurm.state(job) == "RUNNING")
    before = time.monotonic()
    slurm.run("scancel", job)
    wait_for(lambda: slurm.state(job) == "CANCELLED")
    assert said.read_text() == "up\nTERM\n"
    assert 4 < time.monotonic() - before < 15


def test_a_node_that_dies_takes_all_its_processes_along(slurm: Cluster, tmp_path: Path) -> None:
    """Also one that has cut itself loose, and calls itself what it likes."""
    pids = tmp_path / "pids"
    job = slurm.submit(f"setsid bash -c 'echo $$ >> {pids}; exec -a \"a b\" sleep 600' & wait", "--nodelist=n4")
    wait_for(pids.exists)
    wait_for(lambda: len(slurm.processes("n4")) > 1)
    stray = psutil.Process(int(pids.read_text()))
    slurm.kill_node("n4")
    wait_for(lambda: not stray.is_running() or stray.status() == psutil.STATUS_ZOMBIE, 2)
    slurm.start_node("n4")
    # The node says anew what it has, and that this job is not there.
    wait_for(lambda: slurm.state(job) in ("NODE_FAIL", "PENDING", "RUNNING"), 30)
    slurm.run("scancel", job)
    wait_for(lambda: not slurm.jobs(), 30)


def test_nothing_is_left_of_a_cluster_that_was_stopped(tmp_path: Path) -> None:
    """Slurm loses sight of what a batch script has put into the background when the script's shell dies of SIGTERM."""
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:
        with running(Path(folder)) as cluster:
            pid = tmp_path / "pid"
            cluster.submit(f"bash -c 'trap : TERM; echo $$ > {pid}; while :; do sleep 0.1; done' & wait")
            wait_for(lambda: pid.exists() and pid.read_text())
            stray = psutil.Process(int(pid.read_text()))
        wait_for(lambda: not stray.is_running() or stray.status() == psutil.STATUS_ZOMBIE, 2)


def test_jobs_of_a_weaker_partition_give_way_after_their_grace(slurm: Cluster) -> None:
    gone, queued = (slurm.submit("sleep 600", "-N2", "--exclusive", f"--partition={p}") for p in ("spare", "again"))
    wait_for(lambda: slurm.state(gone) == slurm.state(queued) == "RUNNING")
    urgent = slurm.submit("sleep 600", "-N4", "--exclusive", "--partition=urgent")
    wait_for(lambda: slurm.state(urgent) == "RUNNING", 40)
    assert (slurm.state(gone), slurm.state(queued)) == ("PREEMPTED", "PENDING")
    slurm.end_jobs()


def test_with_accounting_jobs_have_a_history_and_a_quality_of_service(accounted: Cluster) -> None:
    job = accounted.submit("true", "--qos=night", "--clusters=emulated").partition(";")[0]
    wait_for(lambda: accounted.state(job) == "COMPLETED")
    history = ["sacct", "-X", "--noheader", "--parsable2", "--format=state,qos", f"--jobs={job}"]
    wait_for(lambda: accounted.run(*history) == "COMPLETED|night")
