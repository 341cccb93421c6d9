"""What an executor tells of its blocks and managers, and what becomes of blocks and managers that are no good."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import parsl
import pytest
from parsl.executors.errors import BadStateException
from parsl.executors.high_throughput.errors import VersionMismatch
from parsl.jobs.errors import TooManyJobFailuresError
from parsl.jobs.states import JobState
from parsl.providers import LocalProvider
from parsl.version import VERSION

from parsl_context import ContextExecutor
from tests.process.conftest import wait_for
from tests.process.test_htex_scaling import QuickProvider, managers_of, work_until

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]


def test_a_block_whose_workers_never_register_is_missing(load: Load) -> None:
    seen: list[dict[str, Any]] = []

    def handler(executor: ContextExecutor, status: dict[str, Any]) -> None:
        seen.append({block: job.state for block, job in status.items()})

    executor = load(provider=QuickProvider(init_blocks=1), launch_cmd="true", block_error_handler=handler)
    wait_for(lambda: {"0": JobState.MISSING} in seen)
    status = executor.status()["0"]
    assert status.state is JobState.MISSING
    assert "failed to register" in status.message
    assert not executor.bad_state_is_set, "the given handler decides"


def test_futures_fail_when_no_block_comes_up(load: Load) -> None:
    executor = load(provider=QuickProvider(init_blocks=1), launch_cmd="echo no such thing >&2; exit 3")
    future = executor.submit(int, {}, 1)
    with pytest.raises(BadStateException) as caught:
        future.result(timeout=20)
    assert isinstance(executor.executor_exception, TooManyJobFailuresError)
    assert "failed to register" in str(caught.value)
    assert "no such thing" in str(caught.value)
    with pytest.raises(TooManyJobFailuresError):
        executor.submit(int, {}, 1)


def test_without_an_error_handler_futures_wait_for_a_better_block(load: Load) -> None:
    executor = load(provider=QuickProvider(init_blocks=1), launch_cmd="true", block_error_handler=False)
    future = executor.submit(int, {}, 7)
    wait_for(lambda: executor.status_facade.get("0") and executor.status_facade["0"].state is JobState.MISSING)
    assert not future.done()
    executor.launch_cmd = ContextExecutor(address="127.0.0.1").launch_cmd
    executor.initialize_scaling()
    executor.scale_out_facade(1)
    assert future.result(timeout=20) == 7


def test_connected_managers_have_the_fields_of_htex(load: Load, run_dir: Path) -> None:
    executor = load()
    (row,) = managers_of(executor, 1)
    expected = {"block_id": "0", "worker_count": 2, "tasks": 0, "active": True, "draining": False}
    expected |= {"parsl_version": VERSION, "python_version": platform.python_version()}
    assert {name: row[name] for name in expected} == expected
    wait_for(lambda: executor.connected_managers()[0]["idle_duration"] > row["idle_duration"])
    gate, mark = run_dir / "gate", run_dir / "started"
    future = executor.submit(work_until, {}, str(gate), str(mark))
    assert executor.outstanding() == 1
    wait_for(mark.exists)
    (busy,) = executor.connected_managers()
    assert (busy["manager"], busy["tasks"], busy["idle_duration"]) == (row["manager"], 1, 0.0)
    gate.touch()
    future.result(timeout=10)
    assert executor.outstanding() == 0


def test_packages_of_managers_and_connected_blocks_are_known(load: Load) -> None:
    executor = load(provider=QuickProvider(init_blocks=2, max_blocks=2))
    rows = managers_of(executor, 2)
    packages = executor.connected_managers_packages()
    assert set(packages) == {row["manager"] for row in rows}
    assert {found["parsl"] for found in packages.values()} == {VERSION}
    assert sorted(executor.connected_blocks()) == ["0", "1"]
    executor.scale_in_facade(1)
    managers_of(executor, 1)
    assert sorted(executor.connected_blocks()) == ["0", "1"]


def test_a_manager_with_another_parsl_is_a_version_mismatch(load: Load, run_dir: Path) -> None:
    (run_dir / "sitecustomize.py").write_text("import parsl.version\nparsl.version.VERSION = '1999.01.01'\n")
    provider = LocalProvider(max_blocks=1, worker_init=f"export PYTHONPATH={run_dir}:$PYTHONPATH")
    executor = load(provider=provider)
    future = executor.submit(int, {}, 1)
    with pytest.raises(BadStateException) as caught:
        future.result(timeout=20)
    assert isinstance(executor.executor_exception, VersionMismatch)
    assert "1999.01.01" in str(caught.value)
    assert VERSION in str(caught.value)
    with pytest.raises(VersionMismatch):
        executor.submit(int, {}, 1)


def test_another_parsl_is_let_in_where_the_check_is_off(make_executor: Load, run_dir: Path) -> None:
    (run_dir / "sitecustomize.py").write_text("import parsl.version\nparsl.version.VERSION = '1999.01.01'\n")
    provider = LocalProvider(max_blocks=1, worker_init=f"export PYTHONPATH={run_dir}:$PYTHONPATH")
    executor = make_executor(provider=provider)
    executor._check_python_mismatch = False  # as Globus Compute sets it
    settings: dict[str, Any] = {"strategy": "none", "strategy_period": 0.2, "usage_tracking": 0}
    with parsl.load(parsl.Config(executors=[executor], run_dir=str(run_dir), **settings)):
        assert executor.submit(int, {}, 5).result(timeout=20) == 5
        assert executor.connected_managers()[0]["parsl_version"] == "1999.01.01"


def test_usage_information_is_that_of_htex(make_executor: Load) -> None:
    assert make_executor().get_usage_information() == {"mpi": False}
