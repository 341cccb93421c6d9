"""Two managers of one node that want one environment at once: it is unpacked once, whichever of them dies."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import parsl
import psutil
import pytest
from parsl import python_app

from benchmarks.distribute import _Handler
from parsl_context import ContextExecutor, context, context_app
from parsl_context.cli.main import main
from tests.environments import install, make_prefix
from tests.process.conftest import wait_for
from tests.process.in_environments import manager_of, remember, where

pytestmark = pytest.mark.process
LABELS = ("first", "second")


@pytest.fixture
def archive(run_dir: Path) -> Path:
    """Large enough to come in chunks."""
    prefix = make_prefix(run_dir / "prefix")
    install(prefix, "farmost", {"farmost.py": "VALUE = 42\n", "large": os.urandom(9 << 20)})
    assert main(["pack", "--prefix", str(prefix), "-o", str(run_dir / "env.tar.zst")]) == 0
    return run_dir / "env.tar.zst"


@pytest.fixture
def executors(run_dir: Path, make_executor: Callable[..., ContextExecutor]) -> Iterator[list[ContextExecutor]]:
    """Two, each with a manager on this node; they have one store."""
    store = str(run_dir / "store")
    made = [make_executor(label=label, node_store=store, max_workers_per_node=1) for label in LABELS]
    config = parsl.Config(
        executors=made, run_dir=str(run_dir), strategy="simple", strategy_period=0.2, usage_tracking=0
    )
    with parsl.load(config):
        yield made
    parsl.clear()


class _Stalling(_Handler):
    """After so many chunks it sends no more, until it is told to go on."""

    def do_GET(self) -> None:
        server: Any = self.server
        with server.lock:
            server.left -= 1
            stalls = server.left < 0
        if stalls:
            server.stalled.set()
            server.goes_on.wait(60)
        with contextlib.suppress(ConnectionError):
            super().do_GET()


@contextlib.contextmanager
def stalling_server(path: Path) -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Stalling)
    server.daemon_threads = True
    server.path, server.left, server.lock = path, 1 << 30, threading.Lock()
    server.stalled, server.goes_on = threading.Event(), threading.Event()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.goes_on.set()
        server.shutdown()
        server.server_close()
        thread.join()


def is_waited_for(lock: Path) -> bool:
    """Whether a process waits for the lock of a file."""
    inode = f":{lock.stat().st_ino} "
    return any("->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines())


def logs(run_dir: Path) -> str:
    return "".join(path.read_text() for path in run_dir.glob("**/manager.log"))


@contextlib.contextmanager
def half_unpacked(
    executors: list[ContextExecutor], run_dir: Path, archive: Path
) -> Iterator[tuple[Any, Path, list[Any]]]:
    """The first has unpacked a part when no more comes, and the second waits for it: server, folder and their calls."""
    store = run_dir / "store"
    with stalling_server(archive) as server:
        spec = context(environment=f"http://127.0.0.1:{server.server_port}/env.tar.zst")(remember)()
        assert spec.digest, "the script has read the head of the archive"
        server.left = 4
        first, second = (context_app(context=spec, executors=[label])(where) for label in LABELS)
        calls = [first()]
        assert server.stalled.wait(20)
        (half,) = wait_for(lambda: list(store.glob("temporary-*/environment")))
        starting = "starting environment http://"
        wait_for(lambda: starting in executors[0].explain(calls[0]))
        calls.append(second())
        wait_for(lambda: any(map(is_waited_for, store.glob("lock-*"))))
        yield server, half, calls


def test_an_environment_that_two_want_at_once_is_unpacked_once(
    executors: list[ContextExecutor], run_dir: Path, archive: Path
) -> None:
    with half_unpacked(executors, run_dir, archive) as (server, _, calls):
        server.goes_on.set()
        found = [call.result(timeout=40) for call in calls]
    assert len({file for _, file, _, _ in found}) == 1
    assert len({interpreter for _, _, interpreter, _ in found}) == 1
    assert logs(run_dir).count("is ready after") == 2
    assert logs(run_dir).count("Unpacked http://") == 1


def test_one_takes_over_from_another_that_is_killed_as_it_unpacks(
    executors: list[ContextExecutor], run_dir: Path, archive: Path
) -> None:
    manager = python_app(manager_of, executors=[LABELS[0]])().result()
    with half_unpacked(executors, run_dir, archive) as (server, half, (first, second)):
        psutil.Process(manager).kill()
        server.goes_on.set()
        found = second.result(timeout=40)
        assert not half.exists(), "what it left is removed"
        assert first.result(timeout=40)[1] == found[1], "its successor finds it"
    assert found[1].startswith(f"{run_dir}/store/")
    assert logs(run_dir).count("Unpacked http://") == 1
    assert not list(run_dir.glob("store/temporary-*"))
