"""Who has started a manager, and how its end is noticed."""

import os
import subprocess
import sys
from types import SimpleNamespace

import psutil

from parsl_context.pool import launchers
from parsl_context.pool.launchers import watch_launchers
from parsl_context.wire.eventloop import EventLoop


def of(pid, uid, above=()):
    return SimpleNamespace(pid=pid, uids=lambda: SimpleNamespace(real=uid), parents=lambda: list(above))


def test_launchers_are_the_processes_above_up_to_the_first_of_another_user(monkeypatch):
    """pbs_mom may be started anew while jobs run."""
    me = os.getuid()
    monkeypatch.setattr(os, "getsid", lambda pid: 30)
    shell, proxy, daemon, ours = of(30, me), of(20, me), of(10, me + 1), of(5, me)
    monkeypatch.setattr(psutil, "Process", lambda: of(40, me, [shell, proxy, daemon, ours]))
    assert launchers.launchers() == [shell, proxy]
    monkeypatch.setattr(psutil, "Process", lambda: of(40, me, [shell, of(1, me)]))
    assert launchers.launchers() == [shell]
    monkeypatch.setattr(os, "getsid", {0: 30, 30: 30, 20: 20}.__getitem__)
    monkeypatch.setattr(psutil, "Process", lambda: of(40, me, [shell, proxy, daemon]))
    assert launchers.launchers() == [shell], "what is above the session has adopted it"


def test_the_end_of_a_launcher_is_said_once(monkeypatch):
    loop, said = EventLoop(), []
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        monkeypatch.setattr(launchers, "launchers", lambda: [psutil.Process(process.pid)])
        watch_launchers(loop, said.append)
        loop.call_later(0.2, loop.stop)
        process.stdin.close()
        process.wait()
        loop.run()
    loop.close()
    assert len(said) == 1
    assert str(process.pid) in said[0]
