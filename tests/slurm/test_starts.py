"""Blocks that die as they start, on a real Slurm: each wrong way, what the waiting call is told, and how soon."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from parsl.executors.errors import BadStateException
from parsl.executors.high_throughput.errors import VersionMismatch
from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD
from parsl.jobs.errors import TooManyJobFailuresError

from parsl_context import ContextExecutor
from parsl_context.errors import BlockStartError
from tests.process.conftest import wait_for
from tests.slurm.apps import on_node
from tests.slurm.cluster import Cluster
from tests.slurm.conftest import in_path

Load = Callable[..., ContextExecutor]

NO_PACKAGE = "export PATH=/usr/bin:/bin PYTHONNOUSERSITE=1; unset PYTHONPATH"
STRANGE = """
import platform
platform.python_version = lambda: "3.99.1"
"""


def failure(executor: ContextExecutor, within_s: float = 30.0) -> str:
    """What a call that waits is told."""
    with pytest.raises((BadStateException, TooManyJobFailuresError, VersionMismatch)) as caught:
        executor.submit(int, {}, 1).result(timeout=within_s)
    return str(caught.value)


@pytest.mark.parametrize(
    ("worker_init", "says", "advises"),
    [
        ("echo out of order >&2; exit 3", "    out of order\n", "--submit what nodes are like"),
        ("module load science; exit 1", "module: command not found", "do not know the command module"),
        ("source /absent/bin/activate || exit 1", "/absent/bin/activate", "do not see /absent/bin/activate"),
        (NO_PACKAGE, "No module named 'parsl_context'", "has no parsl-context"),
        (in_path("PARSL_CONTEXT=1; exec python3 -c 'import torchless'"), "torchless", "lacks torchless"),
    ],
    ids=["exit", "module", "activate", "package", "library"],
)
def test_what_a_job_wrote_before_it_died_is_told(load: Load, worker_init: str, says: str, advises: str) -> None:
    executor = load(provider={"worker_init": worker_init})
    said = failure(executor)
    assert says in said
    assert advises in said
    error = executor.executor_exception
    assert isinstance(error, BlockStartError)
    assert error.block == "0"
    assert error.log is not None
    assert Path(error.log).exists()
    assert error.job is not None


def test_an_address_that_nodes_do_not_reach_is_named(load: Load) -> None:
    elsewhere = DEFAULT_LAUNCH_CMD.replace("{addresses}", "192.0.2.7")
    said = failure(load(launch_cmd=elsewhere, address_probe_timeout=2))
    assert "No interchange answered within 2 s at tcp://192.0.2.7:" in said
    assert "address_by_interface" in said


def test_nodes_with_another_python_are_named(load: Load, run_dir: Path) -> None:
    (run_dir / "sitecustomize.py").write_text(STRANGE)
    said = failure(load(provider={"worker_init": in_path(f"PYTHONPATH={run_dir}")}))
    assert "Python 3.99" in said
    assert "worker_init" in said


def test_nodes_with_another_release_of_ours_are_named(load: Load, run_dir: Path) -> None:
    (run_dir / "sitecustomize.py").write_text("import parsl_context.wire.messages as m\nm.PROTOCOL_VERSION = 999\n")
    said = failure(load(provider={"worker_init": in_path(f"PYTHONPATH={run_dir}")}))
    assert "it speaks protocol 999" in said
    assert "Install the same version" in said


def test_a_partition_that_there_is_not_is_told_at_once(load: Load) -> None:
    executor = load(provider={"partition": "mian"})
    wait_for(lambda: executor.bad_state_is_set)
    error = executor.executor_exception
    assert isinstance(error, BlockStartError)
    assert error.said.splitlines()[-1].endswith("Invalid partition name specified")
    assert "sinfo -s" in str(error)


def test_an_account_that_there_is_not_is_told_at_once(load_accounted: Load) -> None:
    executor = load_accounted(provider={"account": "sceince"})
    wait_for(lambda: executor.bad_state_is_set)
    assert "Invalid account" in str(executor.executor_exception)
    assert "sacctmgr show assoc" in str(executor.executor_exception)


def test_the_first_block_that_dies_is_enough_and_those_in_the_queue_are_given_back(load: Load, slurm: Cluster) -> None:
    """With Parsl's rule, the call would wait until each of them has had its turn in the queue.

    The next one starts at once when the first has died: it is given a chance.
    """
    others: dict[str, Any] = {"nodes_per_block": 3, "init_blocks": 4, "max_blocks": 4}
    executor = load(provider={"worker_init": "sleep 3; exit 3", **others})
    failure(executor)
    wait_for(lambda: not slurm.jobs())
    states = [executor.status_facade[str(block)].status_name for block in range(4)]
    assert states[2:] in (["SCALED_IN", "SCALED_IN"], ["MISSING", "SCALED_IN"])


def test_no_more_blocks_are_asked_for_when_one_after_the_other_dies(load: Load, slurm: Cluster) -> None:
    """With Parsl's rule this goes on for ever: there is always one that has not failed yet."""
    blocks: dict[str, Any] = {"nodes_per_block": 3, "max_blocks": 3, "worker_init": "sleep 2; exit 3"}
    executor = load(provider=blocks, config={"strategy": "simple"})
    calls = [executor.submit(int, {}, 1) for _ in range(20)]
    with pytest.raises(BadStateException, match="failed to register"):
        calls[0].result(timeout=40)
    assert len(executor.status_facade) <= 6
    wait_for(lambda: not slurm.jobs())


def test_a_block_that_dies_is_passed_over_where_another_joins(load: Load, run_dir: Path) -> None:
    once = f"mkdir {run_dir}/first && exit 3; {in_path()}"
    executor = load(provider={"worker_init": once, "init_blocks": 2, "max_blocks": 2})
    assert on_node().result(timeout=30).startswith("n")
    wait_for(lambda: sorted(job.status_name for job in executor.status_facade.values()) == ["MISSING", "RUNNING"])
    assert not executor.bad_state_is_set
