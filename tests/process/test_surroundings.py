"""What code of the user's sets for its whole process breaks nothing of ours, nor of the next call what is set back."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import parsl
import psutil
import pytest

from parsl_context import ContextExecutor, context, context_app
from tests.process.conftest import wait_for

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]


def upset(how: str) -> None:
    """Set something for the whole process, and leave it so."""
    match how:
        case "default time-out":
            socket.setdefaulttimeout(0.05)
        case "alarm":
            signal.alarm(1)
        case "handler":
            signal.signal(signal.SIGALRM, lambda *_: 1 / 0)
            signal.setitimer(signal.ITIMER_REAL, 0.3)
        case "children ignored":
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        case "children reaped":
            signal.signal(signal.SIGCHLD, lambda *_: os.waitpid(-1, os.WNOHANG))
        case "streams closed":
            sys.stdout.close()
            sys.stderr.close()
            sys.stdin.close()
        case "streams gone":
            sys.stdout = sys.stderr = sys.stdin = None  # type: ignore[assignment]
        case "descriptors closed":
            for number in range(3):
                os.close(number)
        case "directory":
            os.mkdir("gone")
            os.chdir("gone")
            os.rmdir("../gone")
        case "umask":
            os.umask(0o777)
        case "recursion":
            sys.setrecursionlimit(len(_frames()) + 30)
        case "environment":
            os.environ.clear()
        case "open files":
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        case "file size":
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        case "memory":
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            most = pages * resource.getpagesize() + (64 << 20)
            resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))
        case "processes":
            resource.setrlimit(resource.RLIMIT_NPROC, (1, resource.getrlimit(resource.RLIMIT_NPROC)[1]))


def _frames() -> list[Any]:
    frame, found = sys._getframe(), []
    while frame is not None:
        found.append(frame)
        frame = frame.f_back  # type: ignore[assignment]
    return found


HOW = [
    "default time-out",
    "alarm",
    "handler",
    "children ignored",
    "children reaped",
    "streams closed",
    "streams gone",
    "descriptors closed",
    "directory",
    "umask",
    "recursion",
    "environment",
    "memory",
    "processes",
    "open files",
    "file size",
]


@parsl.python_app
def upset_by_a_call(how: str) -> int:
    upset(how)
    return os.getpid()


def surroundings() -> dict[str, Any]:
    mask = os.umask(0)
    os.umask(mask)
    return {
        "time-out": socket.getdefaulttimeout(),
        "timer": signal.getitimer(signal.ITIMER_REAL),
        "signals": [signal.getsignal(number).__class__.__name__ for number in (signal.SIGCHLD, signal.SIGALRM)],
        "streams": [stream is not None and not stream.closed for stream in (sys.stdout, sys.stderr)],
        "descriptors": [os.path.exists(f"/proc/self/fd/{number}") for number in range(3)],
        "directory": os.getcwd(),
        "umask": mask,
        "recursion": sys.getrecursionlimit(),
        "open files": resource.getrlimit(resource.RLIMIT_NOFILE),
        "file size": resource.getrlimit(resource.RLIMIT_FSIZE),
        "memory": resource.getrlimit(resource.RLIMIT_AS),
        "processes": resource.getrlimit(resource.RLIMIT_NPROC),
    }


@parsl.python_app
def look() -> tuple[int, dict[str, Any], bytes, int]:
    print("words")
    return os.getpid(), surroundings(), b"x" * 2_000_000, subprocess.run(["false"]).returncode


def test_a_call_finds_its_surroundings_as_they_were_before_the_call_before(load: Load) -> None:
    load(max_workers_per_node=1)
    pid, before, *_ = look().result(timeout=30)
    for how in HOW:
        if how == "environment":
            continue  # it is not set back, and programs are not found without it
        assert upset_by_a_call(how).result(timeout=30) == pid, how
        again, after, *_, status = look().result(timeout=30)
        assert (again, after, status) == (pid, before, 1), how


def test_idle_workers_outlive_what_calls_leave_behind(load: Load) -> None:
    load(max_workers_per_node=1)
    pid = look().result(timeout=30)[0]
    for how in ("alarm", "handler", "default time-out"):
        assert upset_by_a_call(how).result(timeout=30) == pid
        time.sleep(1.2)  # no event says that nothing happens
        assert look().result(timeout=30)[0] == pid, how


@context
def upsetting(how: str) -> Any:
    upset(how)
    yield os.getpid()


@pytest.mark.parametrize("kind", ["own", "shared", "isolated", "shared and isolated"])
def test_no_context_breaks_its_process(load: Load, run_dir: Path, kind: str) -> None:
    executor = load(max_workers_per_node=1)
    made = context(share="node" if "shared" in kind else "worker", isolation="call" if "isolated" in kind else None)(
        upsetting.function
    )
    for how in HOW:
        app = context_app(context=made(how))(lambda built_in, size: (built_in, b"x" * size))
        first, _ = app(10).result(timeout=30)
        assert [app(size).result(timeout=30) for size in (20, 2_000_000)] == [
            (first, b"x" * 20),
            (first, b"x" * 2_000_000),
        ]
        executor.evict(made(how))
    rows = executor.contexts()
    assert {row.loads for row in rows} == {1}


@pytest.mark.parametrize("kind", ["own", "shared", "isolated", "shared and isolated"])
def test_calls_run_within_the_limits_that_their_context_has_set(load: Load, kind: str) -> None:
    load(max_workers_per_node=1)

    @context(share="node" if "shared" in kind else "worker", isolation="call" if "isolated" in kind else None)
    def limited() -> int:
        resource.setrlimit(resource.RLIMIT_NOFILE, (50, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        return os.getpid()

    @context_app(context=limited)
    def limit(_: int) -> int:
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]

    @parsl.python_app
    def lifted() -> int:
        before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (60, most))
        return before

    assert limit().result(timeout=30) == 50
    if kind == "shared":
        assert lifted().result(timeout=30) == 50
    assert limit().result(timeout=30) == 50, "and what a call has set is gone"


@pytest.mark.parametrize("kind", ["own", "shared"])
def test_idle_processes_outlive_what_contexts_leave_behind(load: Load, kind: str) -> None:
    load(max_workers_per_node=1)
    made = context(share="node" if kind == "shared" else "worker")(upsetting.function)
    for how in ("default time-out", "alarm", "handler"):
        app = context_app(context=made(how))(lambda built_in: (built_in, os.getpid()))
        first = app().result(timeout=30)
        time.sleep(1.2)  # no event says that nothing happens
        assert app().result(timeout=30) == first, how
        assert all(map(psutil.pid_exists, first))


def test_a_node_of_a_script_that_ignores_its_children(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is ignored is inherited by all that is started."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        load(max_workers_per_node=1)
        pid, _, _, status = look().result(timeout=30)
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert status == 1
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not psutil.pid_exists(pid))  # nor is a zombie: its manager has seen its death
    assert look().result(timeout=30)[0] != pid
