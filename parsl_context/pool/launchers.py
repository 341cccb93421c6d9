"""What has started a manager: when that ends, so has the job, whether or not anybody tells the manager.

A batch system may signal the first node of a job alone: on OpenPBS, `qdel`, `qsig` and the walltime do, and what the
launcher started elsewhere is killed later, or never. But something above the manager ends on every node: the shell of
the launcher's script, or the daemon by which the launcher reached the node.

    pbs_mom ── shell ── mpiexec ── shell ── manager         the first node
    sshd ───── proxy of mpiexec ── shell ── manager         another one: the proxy ends when mpiexec has
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

import psutil

from parsl_context.wire.eventloop import EventLoop


def launchers() -> list[psutil.Process]:
    """Processes above this one, the nearest first, as far as they are of the same user and the same session.

    Those of others are daemons of the system, which may be started anew while jobs run, as `pbs_mom` is; or what has
    adopted the job and ends when its user logs out, as `systemd --user` does.
    """
    session = os.getsid(0)
    found = []
    with contextlib.suppress(psutil.Error, ProcessLookupError):
        for process in psutil.Process().parents():
            if process.pid == 1 or process.uids().real != os.getuid() or os.getsid(process.pid) != session:
                break
            found.append(process)
    return found


def watch_launchers(loop: EventLoop, on_end: Callable[[str], None]) -> None:
    """Have it said when one of those that have started this process ends, with its name.

    Notes
    -----
    To be called when this process is at work: what was to end once it had started it, as a shell that puts it into the
    background does, is gone by then, and counts for nothing.
    """
    for process in launchers():
        with contextlib.suppress(OSError, psutil.Error):  # it ends just now
            name = f"{process.name()} ({process.pid})"
            descriptor = os.pidfd_open(process.pid)
            if process.is_running():
                loop.watch(descriptor, _once(loop, descriptor, lambda name=name: on_end(name)))  # type: ignore[misc]
            else:
                os.close(descriptor)


def _once(loop: EventLoop, descriptor: int, call: Callable[[], None]) -> Callable[[], None]:
    def ended() -> None:
        loop.unwatch(descriptor)
        os.close(descriptor)
        call()

    return ended
