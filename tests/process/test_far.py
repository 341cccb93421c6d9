"""Managers that reach the interchange over the network, as those of other hosts do: CurveZMQ, and nothing shared."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import parsl
import psutil
import pytest
from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD

from parsl_context import ContextExecutor, ManagerLost, context, context_app
from tests.process.conftest import wait_for

pytestmark = pytest.mark.process

# A manager that does not see that the interchange is on its host.
MANAGER = """
import runpy
from parsl_context.wire import local_link
local_link.connect = lambda name: None
runpy.run_module("parsl_context.pool", run_name="__main__")
"""


@context
def base() -> int:
    return 10


def add(value: int, x: int) -> int:
    return value + x


def sleep_with(seconds: float) -> int:
    time.sleep(seconds)
    return os.getppid()


@pytest.fixture(params=[True, False], ids=["encrypted", "plain"])
def far(load: Callable[..., ContextExecutor], run_dir: Path, request: pytest.FixtureRequest) -> ContextExecutor:
    script = run_dir / "manager.py"
    script.write_text(MANAGER)
    command = DEFAULT_LAUNCH_CMD.replace("process_worker_pool.py", f"{sys.executable} {script}")
    executor = load(launch_cmd=command, encrypted=request.param)
    wait_for(executor.connected_managers)
    links = [link for link in psutil.net_connections("tcp") if link.status == psutil.CONN_ESTABLISHED]
    assert any(link.raddr.port == executor.worker_port for link in links), "the manager took the shorter way"
    return executor


def test_calls_come_and_go_one_by_one_and_all_at_once(far: ContextExecutor) -> None:
    app = context_app(context=base())(add)
    for number in range(200):  # a message that nobody takes would hold the next up until a heartbeat
        assert far.submit(app.func, {}, number).result(timeout=5) == 10 + number
    futures = [far.submit(app.func, {}, number) for number in range(3_000)]
    assert [future.result(timeout=20) for future in futures] == [10 + number for number in range(3_000)]


def test_arrays_come_and_go(far: ContextExecutor) -> None:
    def twice(array: Any) -> Any:
        return array * 2

    futures = [far.submit(twice, {}, np.full(1_000_000, number, np.uint8)) for number in range(8)]
    assert [int(future.result(timeout=20)[-1]) for future in futures] == [2 * number for number in range(8)]


def test_a_manager_that_dies_is_noticed_by_its_connection(far: ContextExecutor) -> None:
    manager = far.submit(sleep_with, {}, 0.0).result(timeout=20)
    held = far.submit(sleep_with, {}, 60.0)
    time.sleep(0.5)
    begin = time.monotonic()
    os.kill(manager, signal.SIGKILL)
    with pytest.raises(ManagerLost):
        held.result(timeout=20)
    assert time.monotonic() - begin < 15.0, "long before the heartbeat threshold"


@context
def cleaned(path: str) -> Any:
    yield path
    time.sleep(0.5)
    Path(path).touch()


def test_the_end_of_parsl_waits_for_clean_ups_there(far: ContextExecutor, run_dir: Path) -> None:
    held = cleaned(str(run_dir / "ended"))
    assert far.submit(context_app(context=held)(lambda path: path).func, {}).result(timeout=30)
    parsl.dfk().cleanup()
    assert (run_dir / "ended").exists()
