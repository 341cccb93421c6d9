"""A job that was given part of a node has workers, and memory for contexts, by that part."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from parsl_context import ContextExecutor, UnservableTaskError, context, context_app
from tests.process.conftest import wait_for

Load = Callable[..., ContextExecutor]


@context(memory_gb=1.0)
def large() -> None: ...


@pytest.mark.parametrize(
    ("options", "mem_per_worker", "workers"),
    [
        ("--cpus-per-task=1 --mem=1500", None, 4),
        ("--cpus-per-task=1 --mem=1500", 0.5, 2),
        ("--cpus-per-task=1 --mem-per-cpu=1500", 0.5, 2),
        ("--cpus-per-task=2 --mem-per-cpu=600", 0.5, 2),
    ],
)
def test_workers_are_counted_by_what_slurm_gave(
    load: Load, options: str, mem_per_worker: float | None, workers: int
) -> None:
    """With four workers a core, so that it does not matter how many this machine has."""
    executor = load(
        provider={"exclusive": False, "scheduler_options": f"#SBATCH {options}"},
        max_workers_per_node=None,
        cores_per_worker=0.25,
        mem_per_worker=mem_per_worker,
    )
    (row,) = wait_for(executor.connected_managers)
    assert row["worker_count"] == workers


def test_a_context_that_does_not_fit_into_what_slurm_gave_fails_its_calls(load: Load) -> None:
    """A part of 1,500 MB is for contexts."""
    load(provider={"exclusive": False, "scheduler_options": "#SBATCH --mem=1500"})
    with pytest.raises(UnservableTaskError, match=r"contexts may take 0\.94"):
        context_app(context=large())(lambda held: held)().result(timeout=30)
