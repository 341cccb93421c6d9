"""Nodes whose processes are stopped, or cannot fork."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from parsl.providers import LocalProvider

from parsl_context import ContextExecutor, context, context_app

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]


@context
def process_id() -> int:
    return os.getpid()


@context_app(context=process_id())
def where(pid: int) -> tuple[int, int]:
    return os.getpid(), os.getppid()


@pytest.mark.parametrize("title", ["zygote", "worker", "template"])
def test_a_stopped_process_holds_no_shutdown_up(load: Load, run_dir: Path, title: str) -> None:
    """That no process is left, the fixture checks."""
    load(max_workers_per_node=1, context_cleanup_timeout=1.0, reuse="node")
    _, manager = where().result(timeout=20)
    stopped = [p for p in psutil.Process(manager).children(recursive=True) if title in p.cmdline()[0]]
    assert stopped
    for process in stopped:
        process.send_signal(signal.SIGSTOP)


@context(share="node")
def short_of_processes(failing: tuple[int, ...]) -> int:
    """Its template, and what is forked from there, cannot fork at these times."""
    fork, done = os.fork, []

    def sometimes() -> int:
        done.append(None)
        if len(done) in failing:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return fork()

    os.fork = sometimes
    return os.getpid()


@pytest.mark.parametrize("failing", [(1, 2), (1, 3)], ids=["the first fork", "the second of two"])
def test_a_template_that_cannot_fork_for_a_while_is_no_failed_build(load: Load, failing: tuple[int, ...]) -> None:
    executor = load(max_workers_per_node=1)

    @context_app(context=short_of_processes(failing))
    def built_in(pid: int) -> int:
        return pid

    assert built_in().result(timeout=30) == built_in().result(timeout=30)
    (row,) = executor.contexts()
    assert row.loads == 1
    logs = "".join(path.read_text() for path in Path(executor.logdir).rglob("manager.log"))
    assert "Worker 0 could not be forked from its template, tried again after a pause" in logs
    assert "Resource temporarily unavailable" in logs
    assert logs.count("after a pause") == 1


HOOK = """
import errno, os, pathlib
fork, done = os.fork, []
def failing():
    done.append(None)
    if 2 <= len(done) <= 5:  # the first is that of the zygote
        with open(pathlib.Path(__file__).with_name("failed"), "a") as file:
            file.write(".")
        raise BlockingIOError(errno.EAGAIN, "no process")
    return fork()
os.fork = failing
"""


def test_a_node_whose_forks_fail_for_a_while_comes_up(load: Load, tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(HOOK)
    provider = LocalProvider(init_blocks=1, max_blocks=1, worker_init=f"export PYTHONPATH={hook}:$PYTHONPATH")
    load(max_workers_per_node=2, provider=provider)
    assert where().result(timeout=30)[0] > 0
    assert (hook / "failed").read_text() == "...."
