"""Processes of the kit: started in a folder of theirs, ended with all that they have started."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

_POLL_S = 0.05


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def start(
    command: Sequence[str], env: Mapping[str, str], folder: Path, log: Path, given: bytes = b""
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own.

    Parameters
    ----------
    log
        Where its output goes.
    given
        Its input.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(command),
            env=dict(env),
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    assert process.stdin is not None
    with process.stdin as stream:
        stream.write(given)
    return process


def end(process: subprocess.Popen[bytes], within_s: float = 20.0) -> None:
    """End a process as its user would, then whatever is left of it and of its session."""
    with contextlib.suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(within_s)
        _, left = psutil.wait_procs(family, timeout=2.0)
        for each in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_until(
    is_ready: Callable[[], bool], process: subprocess.Popen[bytes], what: str, log: Path, timeout_s: float
) -> None:
    """Wait for a process.

    Raises
    ------
    RuntimeError
        If it ends, or is not ready in time; with the end of its output.
    """
    until = time.monotonic() + timeout_s
    while not is_ready():
        status = process.poll()
        if status is not None or time.monotonic() > until:
            why = f"is not ready after {timeout_s} s" if status is None else f"ended with status {status}"
            raise RuntimeError(f"{what} {why}. Its output ends with:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(_POLL_S)
