"""Calls that were running on a node that is lost wait again, where the user allows it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from parsl.providers import LocalProvider

from parsl_context import ContextExecutor, ManagerLost, context_app
from tests.process.conftest import family, wait_for

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]


@context_app(context=lambda: 0)
def app(_: int, folder: str, seconds: float, size: int = 0) -> tuple[int, np.ndarray]:
    import os
    import pathlib
    import time

    pathlib.Path(folder, str(os.getpid())).touch()
    time.sleep(seconds)
    return os.getppid(), np.ones(size)


def managers(run_dir: Path) -> set[int]:
    return {process.pid for process in family(run_dir) if process.cmdline()[:1] == ["parsl:context-manager"]}


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    folder = tmp_path / "marks"
    folder.mkdir()
    return folder


def lose_the_manager_of(run_dir: Path, marks: Path, signal_number: signal.Signals) -> int:
    """As a node that dies, is preempted or is cut off for a while. Gives its process."""
    import psutil

    (mark,) = wait_for(lambda: list(marks.iterdir()))
    parents = {parent.pid for parent in psutil.Process(int(mark.name)).parents()}
    (manager,) = managers(run_dir) & parents
    os.kill(manager, signal_number)
    return manager


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_call_that_ran_on_a_lost_node_ends_elsewhere(
    load: Load, run_dir: Path, marks: Path, how: signal.Signals
) -> None:
    provider = LocalProvider(init_blocks=2, max_blocks=2)
    executor = load(max_workers_per_node=1, provider=provider, requeue_lost=1, config={"retries": 0})
    wait_for(lambda: len(executor.connected_managers()) == 2)
    future = app(str(marks), 7.0 if how == signal.SIGTERM else 2.0, 3_000_000)
    lose_the_manager_of(run_dir, marks, how)
    _, made = future.result(timeout=60)
    assert made.sum() == 3_000_000
    assert len(list(marks.iterdir())) == 2, "it ran twice"
    log = (
        next(run_dir.glob("runinfo/**/interchange.log"), None) or next(run_dir.glob("**/interchange.log"))
    ).read_text()
    assert "Queued again 1 calls that were lost with manager" in log


def test_a_result_that_comes_from_a_manager_thought_lost_is_not_accepted_beside_the_other(
    load: Load, run_dir: Path, marks: Path
) -> None:
    provider = LocalProvider(init_blocks=2, max_blocks=2)
    options = {"heartbeat_threshold": 2, "heartbeat_period": 1, "config": {"retries": 0}}
    executor = load(max_workers_per_node=1, provider=provider, requeue_lost=1, **options)
    wait_for(lambda: len(executor.connected_managers()) == 2)
    ends = []
    future = app(str(marks), 1.0)
    future.add_done_callback(ends.append)
    stopped = lose_the_manager_of(run_dir, marks, signal.SIGSTOP)
    manager, _ = future.result(timeout=60)
    assert manager != stopped
    os.kill(stopped, signal.SIGCONT)
    wait_for(lambda: len(executor.connected_managers()) == 2)
    assert {app(str(marks), 0.5).result(timeout=30)[0] for _ in range(4)} <= managers(run_dir)
    assert len(ends) == 1


def test_without_it_such_a_call_fails(load: Load, run_dir: Path, marks: Path) -> None:
    load(max_workers_per_node=1, config={"retries": 0})
    future = app(str(marks), 5.0)
    lose_the_manager_of(run_dir, marks, signal.SIGKILL)
    with pytest.raises(ManagerLost):
        future.result(timeout=30)


@pytest.mark.parametrize("value", [-1, 1.5, True, None])
def test_what_is_no_number_of_times_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="requeue_lost"):
        ContextExecutor(requeue_lost=value)
