"""Real executors on the local provider, and a check that nothing of them is left."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import parsl
import psutil
import pytest
from parsl.providers import LocalProvider

from parsl_context import ContextExecutor

LEFT_WITHIN_S = 15.0


def wait_for(condition: Callable[[], Any], timeout_s: float = 20.0) -> Any:
    """The condition's first true value."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {timeout_s} s in vain for {condition}"
        time.sleep(0.02)
    return value


def family(run_dir: Path) -> list[psutil.Process]:
    """Processes that work in this run's directory, ours excepted."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            is_other = process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE
            # Parsl's monitoring starts Python's resource tracker, which belongs to the test process until its end.
            is_tracker = any("multiprocessing.resource_tracker" in word for word in process.cmdline())
            if is_other and not is_tracker and process.cwd().startswith(str(run_dir)):
                found.append(process)
    return found


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Directory of a run; after the test no process of the run and no descriptor of ours is left."""
    monkeypatch.chdir(tmp_path)  # inherited by all that the run starts
    me = psutil.Process()
    before = me.num_fds(), me.num_threads()
    yield tmp_path
    with _left_processes(tmp_path):
        wait_for(lambda: not family(tmp_path), LEFT_WITHIN_S)
    wait_for(lambda: (me.num_fds(), me.num_threads()) <= (before[0] + 2, before[1]) or _explain(before), 10)


@contextlib.contextmanager
def _left_processes(run_dir: Path) -> Iterator[None]:
    """Names what is left, and what it stands in, if the wait for its end is in vain."""
    try:
        yield
    except AssertionError as error:
        for process in family(run_dir):
            with contextlib.suppress(psutil.Error, OSError):
                age_s = time.time() - process.create_time()
                stands_in = Path(f"/proc/{process.pid}/wchan").read_text()
                error.add_note(
                    f"left: {process.pid}, child of {process.ppid()}, {process.status()} in {stands_in}, "
                    f"for {age_s:.1f} s: {' '.join(process.cmdline())}"
                )
        raise


def _explain(before: tuple[int, int]) -> None:
    import gc

    gc.collect()
    me = psutil.Process()
    print(f"descriptors, threads: {before} before, {me.num_fds(), me.num_threads()} now")


@pytest.fixture
def make_executor(run_dir: Path) -> Callable[..., ContextExecutor]:
    """A `ContextExecutor` with two workers on this machine."""

    def make(**options: Any) -> ContextExecutor:
        defaults: dict[str, Any] = {
            "label": "contexts",
            "address": "127.0.0.1",
            "max_workers_per_node": 2,
            "cores_per_worker": 0.1,
            "provider": LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1),
        }
        return ContextExecutor(**{**defaults, **options})

    return make


@pytest.fixture
def load(run_dir: Path, make_executor: Callable[..., ContextExecutor]) -> Iterator[Callable[..., ContextExecutor]]:
    """Loads Parsl with one executor; options of the executor, or of the Config by `config=`."""
    loaded = []

    def start(*, config: dict[str, Any] | None = None, **options: Any) -> ContextExecutor:
        executor = make_executor(**options)
        defaults = {"run_dir": str(run_dir), "strategy": "none", "strategy_period": 0.2, "usage_tracking": 0}
        loaded.append(parsl.load(parsl.Config(executors=[executor], **{**defaults, **(config or {})})))
        return executor

    yield start
    for kernel in loaded:
        if not kernel.cleanup_called:
            kernel.cleanup()
    parsl.clear()


def run_cells(cells: Sequence[tuple[str, float | None]]) -> list[tuple[str, float]]:
    """Run cells of a notebook, each with the time after which it is interrupted; what each shows, and its time. [s]"""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.process.notebook_cells"],
        input=json.dumps(cells),
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    return [(shown, run_s) for shown, run_s in json.loads(ran.stdout)]
