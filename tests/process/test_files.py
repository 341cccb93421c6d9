"""Files of contexts come from a real HTTP server, over real sockets, once per node or once per call."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from parsl.data_provider.files import File
from parsl.providers import LocalProvider

from parsl_context import ContextBuildError, ContextExecutor, FileFetchError, context, context_app
from parsl_context.distribute.node import NodeStore
from tests.process.conftest import wait_for

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]


class Origin(ThreadingHTTPServer):
    """Serves one content, and counts how often it was asked for it."""

    daemon_threads = True

    def __init__(self) -> None:
        self.content = b"weights"
        self.etag: str | None = '"1"'
        self.missing_bytes = 0  # at the end of each answer
        self.going = threading.Event()  # cleared: answers do not end
        self.going.set()
        self.has_length = True
        self.gets = 0
        super().__init__(("127.0.0.1", 0), _Handler)

    def url(self, name: str = "a.pt") -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class _Handler(BaseHTTPRequestHandler):
    server: Origin

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        if self._answer():
            self.server.gets += 1
            content = self.server.content
            self.wfile.write(content[: len(content) - self.server.missing_bytes])
            self.server.going.wait(20)

    def _answer(self) -> bool:
        if "missing" in self.path:
            self.send_error(404)
            return False
        self.send_response(200)
        if self.server.has_length:
            self.send_header("Content-Length", str(len(self.server.content)))
        if self.server.etag:
            self.send_header("ETag", self.server.etag)
        self.end_headers()
        return True

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def origin(run_dir: Path) -> Iterator[Origin]:
    with Origin() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def store(tmp_path: Path) -> NodeStore:
    return NodeStore(tmp_path / "store")


@pytest.fixture
def holds() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def test_a_file_is_fetched_once_and_again_when_it_has_changed(
    origin: Origin, store: NodeStore, holds: contextlib.ExitStack
) -> None:
    assert {store.fetch(origin.url(), holds).read_bytes() for _ in range(3)} == {b"weights"}
    assert origin.gets == 1
    origin.content, origin.etag = b"renewed", '"2"'
    assert store.fetch(origin.url(), holds).read_bytes() == b"renewed"
    assert origin.gets == 2


def test_what_has_no_version_is_fetched_each_time(
    origin: Origin, store: NodeStore, holds: contextlib.ExitStack
) -> None:
    origin.etag = None
    assert {store.fetch(origin.url(), holds).read_bytes() for _ in range(2)} == {b"weights"}
    assert origin.gets == 2


def test_what_has_no_length_is_kept(origin: Origin, store: NodeStore, holds: contextlib.ExitStack) -> None:
    origin.has_length = False
    assert {store.fetch(origin.url(), holds).read_bytes() for _ in range(2)} == {b"weights"}
    assert origin.gets == 1


def test_what_comes_short_is_refused_and_nothing_of_it_stays(
    origin: Origin, store: NodeStore, holds: contextlib.ExitStack, tmp_path: Path
) -> None:
    origin.missing_bytes = 3
    with pytest.raises(FileFetchError, match=r"only 4 of 7 bytes came|IncompleteRead"):
        store.fetch(origin.url(), holds)
    assert not list((tmp_path / "store").glob("*/*"))
    origin.missing_bytes = 0
    assert store.fetch(origin.url(), holds).read_bytes() == b"weights"


def test_a_missing_file_and_a_missing_server_are_told_apart(
    origin: Origin, store: NodeStore, holds: contextlib.ExitStack
) -> None:
    with pytest.raises(FileFetchError, match=r"missing cannot be had on node .*: its server answers 404"):
        store.fetch(origin.url("missing"), holds)
    with pytest.raises(FileFetchError, match=r"server cannot be read.*refused.*whether this node can reach it"):
        store.fetch("http://127.0.0.1:1/a.pt", holds)


FETCH = """
import contextlib, sys
from pathlib import Path
from parsl_context.distribute.node import NodeStore
with contextlib.ExitStack() as holds:
    print(len(NodeStore(Path(sys.argv[1])).fetch(sys.argv[2], holds).read_bytes()))
"""


def test_processes_that_want_a_file_at_once_fetch_it_once(origin: Origin, tmp_path: Path) -> None:
    origin.content = os.urandom(20_000_000)
    command = [sys.executable, "-c", FETCH, str(tmp_path / "store"), origin.url()]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate(timeout=60)[0] for process in processes] == ["20000000\n"] * 4
    assert origin.gets == 1


def test_a_process_that_is_killed_while_it_fetches_is_in_nobodys_way(origin: Origin, tmp_path: Path) -> None:
    origin.content = os.urandom(5_000_000)
    origin.missing_bytes = 1_000_000
    origin.going.clear()
    command = [sys.executable, "-c", FETCH, str(tmp_path / "store"), origin.url()]
    process = subprocess.Popen(command)
    (part,) = wait_for(lambda: list((tmp_path / "store").glob("*/*")))
    process.kill()
    process.wait()
    origin.going.set()
    origin.missing_bytes = 0
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=60, check=True)
    assert done.stdout == b"5000000\n"
    assert not part.parent.exists()


@context
def content_of(file: File) -> dict[str, Any]:
    path = os.fspath(file)
    with open(path, "rb") as opened:
        return {"content": opened.read(), "path": path}


def read(held: dict[str, Any], i: int) -> tuple[bytes, str, bool]:
    return held["content"], held["path"], os.path.exists(held["path"])


def app_of(file: File) -> Any:
    return context_app(context=content_of(file))(read)


def start(load: Load, folder: Path, reuse: str, **options: Any) -> ContextExecutor:
    environment = f"export PARSL_CONTEXT_STORE={folder} {' '.join(f'{k}={v}' for k, v in options.items())}"
    return load(reuse=reuse, provider=LocalProvider(init_blocks=1, max_blocks=1, worker_init=environment))


@pytest.mark.parametrize(("reuse", "fetched"), [("none", 4), ("disk", 1), ("memory", 1), ("node", 1)])
def test_a_context_gets_its_file_once_per_node_or_once_per_call(
    load: Load, origin: Origin, tmp_path: Path, reuse: str, fetched: int
) -> None:
    start(load, tmp_path / "store", reuse)
    app = app_of(File(origin.url()))
    answers = [future.result(timeout=60) for future in [app(i) for i in range(4)]]
    assert {content for content, _, _ in answers} == {b"weights"}
    assert all(exists and path.startswith(str(tmp_path / "store")) for _, path, exists in answers)
    assert origin.gets == fetched
    # A result is on its way before the process that ran the call has cleaned up.
    wait_for(lambda: any(os.path.exists(path) for _, path, _ in answers) is (reuse != "none"))


def test_a_file_of_the_node_is_copied_unless_nothing_is_kept(load: Load, run_dir: Path, tmp_path: Path) -> None:
    path = run_dir / "a.pt"
    path.write_bytes(b"weights")
    start(load, tmp_path / "store", "disk")
    none = context_app(context=context(reuse="none")(content_of.function)(File(f"file://{path}")))(read)
    assert none(0).result(timeout=60) == (b"weights", str(path), True)
    content, copy, _ = app_of(File(f"file://{path}"))(0).result(timeout=60)
    assert (content, copy.startswith(str(tmp_path / "store"))) == (b"weights", True)


def test_a_call_whose_file_cannot_be_had_says_why(load: Load, origin: Origin, tmp_path: Path) -> None:
    start(load, tmp_path / "store", "memory", PARSL_CONTEXT_STORE_GB="0.000000001")
    for name, says in (("missing", "answers 404"), ("a.pt", "no room.*PARSL_CONTEXT_STORE")):
        with pytest.raises(ContextBuildError, match=says) as caught:
            app_of(File(origin.url(name)))(0).result(timeout=60)
        assert isinstance(caught.value.__cause__, FileFetchError)
        assert caught.value.__cause__.url == origin.url(name)
