"""The same apps on executors that are not ours: contexts are retained per process."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import parsl
import pytest
from parsl.executors import HighThroughputExecutor, ThreadPoolExecutor
from parsl.providers import LocalProvider

from parsl_context import context, context_app

pytestmark = pytest.mark.process


@context
def marked(folder: str) -> Any:
    import os
    import time
    from pathlib import Path

    time.sleep(0.2)
    Path(folder, f"built-{os.getpid()}-{time.monotonic_ns()}").touch()
    yield os.getpid()
    Path(folder, f"ended-{os.getpid()}").touch()


def count(folder: Path, what: str) -> int:
    return len(list(folder.glob(f"{what}-*")))


def test_on_threads_one_instance_serves_all(run_dir: Path) -> None:
    threads = ThreadPoolExecutor(max_threads=4)
    with parsl.load(parsl.Config(executors=[threads], run_dir=str(run_dir), usage_tracking=0)):
        app = context_app(context=marked(str(run_dir)))(lambda pid, x: (pid, x, threading.get_ident()))
        answers = [future.result() for future in [app(i) for i in range(20)]]
        assert list(app.map(range(5)))[4][1] == 4
    assert {pid for pid, _, _ in answers} == {os.getpid()}
    assert count(run_dir, "built") == 1


def test_on_stock_htex_each_worker_process_builds_once(run_dir: Path) -> None:
    executor = HighThroughputExecutor(
        address="127.0.0.1",
        max_workers_per_node=2,
        cores_per_worker=0.1,
        provider=LocalProvider(init_blocks=1, max_blocks=1),
    )
    config = parsl.Config(
        executors=[executor], run_dir=str(run_dir), strategy="none", strategy_period=0.2, usage_tracking=0
    )
    with parsl.load(config):

        @context_app(context=marked(str(run_dir)))
        def where(pid: int, x: int) -> tuple[int, int, int]:
            import os
            import time

            time.sleep(0.05)
            return pid, os.getpid(), x

        answers = [future.result(timeout=60) for future in [where(i) for i in range(20)]]
        with pytest.raises(FileNotFoundError):
            context_app(context=context(lambda: os.stat("/nowhere"))())(lambda file: file)().result(timeout=60)
    assert [x for _, _, x in answers] == list(range(20))
    assert all(pid == own for pid, own, _ in answers)
    assert count(run_dir, "built") == len({pid for pid, _, _ in answers}) == 2


def test_a_plain_call_needs_no_parsl(run_dir: Path) -> None:
    app = context_app(context=marked(str(run_dir)))(lambda pid, x: x + 1)
    assert app.func(1) == 2
    assert app.func(2) == 3
    assert app.body("anything", 5) == 6
    assert count(run_dir, "built") == 1
