"""Blocks come and go as under HighThroughputExecutor: scaling by load, idle blocks, held and draining managers."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import parsl
import psutil
import pytest
from parsl.executors.high_throughput.manager_selector import BlockIdManagerSelector
from parsl.jobs.states import JobState
from parsl.launchers import WrappedLauncher
from parsl.providers import LocalProvider

from parsl_context import ContextExecutor
from tests.process.conftest import family, wait_for

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]


class QuickProvider(LocalProvider):
    """A local provider whose jobs are asked for more often than every five seconds."""

    @property
    def status_polling_interval(self) -> float:
        return 0.2


def blocks(init: int, most: int) -> QuickProvider:
    return QuickProvider(init_blocks=init, min_blocks=0, max_blocks=most)


def work_until(gate: str, started: str) -> str:
    """Runs until the file `gate` is there; says where."""
    Path(started).touch()
    while not os.path.exists(gate):
        time.sleep(0.01)
    return os.environ["PARSL_WORKER_BLOCK_ID"]


def where(*_: Any) -> tuple[str, str]:
    return os.environ["PARSL_WORKER_BLOCK_ID"], os.environ["PARSL_WORKER_POOL_ID"]


def managers_of(executor: ContextExecutor, count: int) -> list[dict[str, Any]]:
    wait_for(lambda: len(executor.connected_managers()) == count)
    return executor.connected_managers()


def process_called(name: str, run_dir: Path) -> psutil.Process:
    [found] = [process for process in family(run_dir) if process.cmdline()[0].endswith(f"context-{name}")]
    return found


def test_blocks_follow_the_load_and_end_when_idle(load: Load, run_dir: Path) -> None:
    executor = load(
        config={"strategy": "htex_auto_scale", "max_idletime": 0.3},
        provider=blocks(0, 2),
        max_workers_per_node=1,
    )
    gate, marks = run_dir / "gate", [run_dir / f"started{i}" for i in range(2)]
    futures = [executor.submit(work_until, {}, str(gate), str(mark)) for mark in marks]
    wait_for(lambda: all(mark.exists() for mark in marks))
    gate.touch()
    assert {future.result(timeout=20) for future in futures} == {"0", "1"}
    wait_for(lambda: not executor.connected_managers())
    wait_for(lambda: {status.state for status in executor.status_facade.values()} == {JobState.SCALED_IN})
    assert sorted(executor.connected_blocks()) == ["0", "1"], "blocks that were scaled in are kept"
    assert executor.submit(where, {}).result(timeout=20)[0] == "2", "load after idleness starts another block"


def test_scale_in_by_idleness_spares_a_busy_block(load: Load, run_dir: Path) -> None:
    executor = load(provider=blocks(2, 2), max_workers_per_node=1)
    managers_of(executor, 2)
    gate, mark = run_dir / "gate", run_dir / "started"
    busy = executor.submit(work_until, {}, str(gate), str(mark))
    wait_for(mark.exists)
    idle = wait_for(lambda: [row for row in executor.connected_managers() if row["idle_duration"] > 0.1])
    assert executor.scale_in_facade(2, max_idletime=0.1) == [row["block_id"] for row in idle]
    assert len(idle) == 1
    managers_of(executor, 1)
    assert executor.scale_in_facade(1, max_idletime=0.1) == []
    gate.touch()
    assert busy.result(timeout=10) not in [row["block_id"] for row in idle]


def test_idle_blocks_are_given_back_while_the_last_call_runs(load: Load, run_dir: Path) -> None:
    executor = load(
        config={"strategy": "htex_auto_scale", "max_idletime": 0.5}, provider=blocks(0, 3), max_workers_per_node=1
    )
    gates, marks = ([run_dir / f"{name}{i}" for i in range(3)] for name in ("gate", "started"))
    *first, last = [executor.submit(work_until, {}, str(g), str(m)) for g, m in zip(gates, marks, strict=True)]
    wait_for(lambda: all(mark.exists() for mark in marks))
    for gate in gates[:2]:
        gate.touch()
    assert len({future.result(timeout=10) for future in first}) == 2
    wait_for(lambda: len(executor.connected_managers()) == 1)
    assert not last.done()
    gates[2].touch()
    assert last.result(timeout=10) == wait_for(executor.connected_managers)[0]["block_id"]


def end_job(executor: ContextExecutor, block: str) -> None:
    """Kill the shell that is a block's job for the provider. As in Slurm when it loses track of what a job started."""
    os.kill(int(executor.blocks_to_job_id[block]), signal.SIGKILL)
    wait_for(lambda: executor.status_facade[block].state is JobState.CANCELLED)


def managers_left(run_dir: Path) -> list[psutil.Process]:
    found = []
    for process in family(run_dir):
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            if process.cmdline()[:1] == ["parsl:context-manager"]:
                found.append(process)
    return found


def test_a_manager_that_outlives_its_job_ends_and_its_calls_run_elsewhere(load: Load, run_dir: Path) -> None:
    executor = load(provider=blocks(1, 3), max_workers_per_node=1)
    gate, mark = run_dir / "gate", run_dir / "started"
    running = executor.submit(work_until, {}, str(gate), str(mark))
    queued = [executor.submit(where, {}) for _ in range(3)]
    wait_for(mark.exists)
    end_job(executor, "0")
    wait_for(lambda: executor.connected_managers()[0]["draining"])
    gate.touch()
    assert running.result(timeout=20) == "0", "what runs may finish"
    wait_for(lambda: not managers_left(run_dir))
    executor.scale_out_facade(1)
    assert {future.result(timeout=20)[0] for future in queued} == {"1"}


def test_an_idle_manager_ends_with_its_job_and_may_not_come_back(load: Load, run_dir: Path) -> None:
    """A stopped one hears of it late, and joins anew first: the interchange has given it up meanwhile."""
    provider = blocks(2, 2)
    # When the shell of a stopped process ends, the kernel sends SIGHUP and SIGCONT, but not into another session.
    provider.launcher = WrappedLauncher(prepend="setsid --wait")
    executor = load(provider=provider, max_workers_per_node=1, heartbeat_threshold=2, heartbeat_period=1)
    stopped, other = sorted(managers_of(executor, 2), key=lambda row: row["block_id"])
    process = process_of(run_dir, stopped["manager"])
    process.send_signal(signal.SIGSTOP)
    managers_of(executor, 1)
    end_job(executor, stopped["block_id"])
    assert process.status() == psutil.STATUS_STOPPED
    process.send_signal(signal.SIGCONT)
    wait_for(lambda: len(managers_left(run_dir)) == 1)
    assert [row["manager"] for row in executor.connected_managers()] == [other["manager"]]


def process_of(run_dir: Path, manager: str) -> psutil.Process:
    """The process of a manager; its folder of logs has its name."""
    logs = next(run_dir.glob(f"**/{manager}/manager.log"))
    pids = {process.pid: process for process in managers_left(run_dir)}
    [found] = [pids[pid] for pid in pids if any(Path(file.path) == logs for file in pids[pid].open_files())]
    return found


def test_a_held_manager_gets_no_more_tasks(load: Load) -> None:
    executor = load(provider=blocks(2, 2), max_workers_per_node=1)
    held, other = managers_of(executor, 2)
    executor._hold_block(held["block_id"])
    active = {row["manager"]: row["active"] for row in executor.connected_managers()}
    assert active == {held["manager"]: False, other["manager"]: True}
    futures = [executor.submit(where, {}) for _ in range(10)]
    assert {future.result(timeout=10)[0] for future in futures} == {other["block_id"]}


def test_a_manager_drains_after_its_period(load: Load, run_dir: Path) -> None:
    executor = load(drain_period=6, max_workers_per_node=1, prefetch_capacity=0)
    gate, mark = run_dir / "gate", run_dir / "started"
    running = executor.submit(work_until, {}, str(gate), str(mark))
    queued = [executor.submit(where, {}) for _ in range(3)]
    wait_for(mark.exists)
    assert [row["draining"] for row in executor.connected_managers()] == [False]
    wait_for(lambda: executor.connected_managers()[0]["draining"])
    assert not running.done(), "what runs may finish"
    gate.touch()
    assert running.result(timeout=10) == "0"
    managers_of(executor, 0)
    assert not any(future.done() for future in queued)
    executor.scale_out_facade(1)
    assert {future.result(timeout=10)[0] for future in queued} == {"1"}


def test_a_call_on_its_way_to_a_manager_that_was_told_to_end_runs_elsewhere(load: Load, run_dir: Path) -> None:
    """Slurm ends a block while the interchange, which has not heard of it, sends calls there. Nobody set retries."""
    executor = load(provider=blocks(1, 2), prefetch_capacity=0)
    assert executor.submit(where, {}).result(timeout=20)[0] == "0"
    manager = process_called("manager", run_dir)
    interchange = process_called("interchange", run_dir)
    interchange.suspend()
    futures = [executor.submit(where, {}) for _ in range(2)]
    time.sleep(0.3)  # they are in the interchange's buffers
    manager.terminate()
    time.sleep(0.3)  # so is what the manager says
    interchange.resume()
    psutil.wait_procs([manager], timeout=4)
    assert not manager.is_running(), "it waited for its last calls although the interchange had none for it"
    executor.scale_out_facade(1)
    assert {future.result(timeout=20)[0] for future in futures} == {"1"}


def test_the_manager_selector_orders_managers(load: Load) -> None:
    executor = load(
        provider=blocks(2, 2), max_workers_per_node=2, manager_selector=BlockIdManagerSelector(), prefetch_capacity=0
    )
    managers_of(executor, 2)
    assert [executor.submit(where, {}).result(timeout=10)[0] for _ in range(6)] == ["1"] * 6, "the newest block first"


def test_the_end_of_parsl_ends_the_blocks_of_an_executor_that_was_shut_down_before(load: Load) -> None:
    executor = load()
    managers_of(executor, 1)
    executor.shutdown()
    parsl.dfk().cleanup()
    assert {status.state for status in executor.status_facade.values()} == {JobState.SCALED_IN}
    executor.shutdown()
    assert executor.scale_in(1) == []


def test_a_block_that_was_given_up_is_not_chosen_again_because_of_a_poll_that_began_before(load: Load) -> None:
    executor = load(provider=blocks(2, 2), max_workers_per_node=1)
    managers_of(executor, 2)
    before = dict(executor.status_facade)
    (ended,) = executor.scale_in_facade(1)
    managers_of(executor, 1)
    executor._status = before  # as the poll leaves it, which asked the provider before
    assert executor.scale_in_facade(1) != [ended]
