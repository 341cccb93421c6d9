"""Nodes whose processes are stopped, or cannot fork."""

from __future__ import annotations

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
