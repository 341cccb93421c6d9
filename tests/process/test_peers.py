"""Files of contexts reach nodes from each other: real managers, each with a store of its own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from parsl.data_provider.files import File
from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD
from parsl.providers import LocalProvider

from parsl_context import ContextBuildError, ContextExecutor, context, context_app, local_path
from tests.process.conftest import family, wait_for

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]
MIB = 1 << 20
BLOCKS = 3
CAN_HIDE = not subprocess.run(["unshare", "-m" if os.getuid() == 0 else "-rm", "true"], capture_output=True).returncode


@context
def content(file: File) -> tuple[str, str]:
    import hashlib

    with open(file, "rb") as stream:
        return os.fspath(file), hashlib.sha256(stream.read()).hexdigest()


def told(held: Any) -> tuple[int, Any]:
    import time

    time.sleep(0.2)  # so that each node gets a call
    return os.getppid(), held


@pytest.fixture
def several(load: Load, run_dir: Path) -> Callable[..., ContextExecutor]:
    """An executor of several managers that share no store."""

    def start(blocks: int = BLOCKS, worker_init: str = "", **options: Any) -> ContextExecutor:
        init = f"export PARSL_CONTEXT_STORE={run_dir}/store-$$; {worker_init}"
        provider = LocalProvider(init_blocks=blocks, min_blocks=blocks, max_blocks=blocks, worker_init=init)
        executor = load(provider=provider, max_workers_per_node=1, **options)
        wait_for(lambda: len(executor.connected_managers()) == blocks)
        return executor

    return start


def log_lines(run_dir: Path, name: str, pattern: str) -> list[re.Match[str]]:
    text = "".join(path.read_text() for path in run_dir.glob(f"**/{name}"))
    return list(re.finditer(pattern, text))


def sources(run_dir: Path) -> list[Counter[str]]:
    """For each node that got a file, the chunks that came from each source."""
    found = []
    for line in log_lines(run_dir, "interchange.log", r"got .+ in \S+ s; chunks: (.*)"):
        parts = [part.split(" of ") for part in line[1].split(", ")]
        found.append(Counter({source: int(count) for count, source in parts}))
    return found


@contextlib.contextmanager
def origin_of(data: bytes) -> Iterator[str]:
    """Address at a server that knows versions, and sends no parts."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("ETag", '"1"')
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/weights"
        server.shutdown()
        thread.join()


def call_everywhere(executor: ContextExecutor, spec: Any, blocks: int = BLOCKS) -> list[tuple[str, str]]:
    """What a context is on each node."""
    app = context_app(context=spec)(told)
    executor.preload(spec)
    seen: dict[int, tuple[str, str]] = {}

    def look() -> bool:
        for future in [executor.submit(app.func, {}) for _ in range(blocks)]:
            manager, held = future.result(timeout=30)
            seen[manager] = held
        return len(seen) == blocks

    wait_for(look, 40)
    return list(seen.values())


@pytest.mark.parametrize("encrypted", [True, False], ids=["encrypted", "plain"])
def test_nodes_read_one_copy_together_and_give_each_other_the_rest(
    several: Load, run_dir: Path, encrypted: bool
) -> None:
    import hashlib

    data = os.urandom(12 * MIB + 17)
    (run_dir / "weights").write_bytes(data)
    executor = several(encrypted=encrypted)
    held = call_everywhere(executor, content(File(str(run_dir / "weights"))))
    assert {digest for _, digest in held} == {hashlib.sha256(data).hexdigest()}
    assert len({path for path, _ in held}) == BLOCKS
    found = sources(run_dir)
    # A few more where this machine is so busy that chunks are overdue: they are asked for twice.
    assert 13 <= sum(each["the origin"] for each in found) <= 1.5 * 13
    assert all(sum(each.values()) >= 13 for each in found)
    rows = [row for row in executor.contexts() if row.where is not None]
    assert [[file.url for file in row.files] for row in rows] == [[str(run_dir / "weights")]] * BLOCKS
    assert sum((Counter(row.files[0].chunks) for row in rows), Counter()) == sum(found, Counter())
    assert "files from" in repr(executor.contexts())
    assert "the origin" in repr(executor.contexts())


def test_what_only_the_script_sees_is_served_by_its_process(several: Load, run_dir: Path) -> None:
    data = os.urandom(6 * MIB)
    (run_dir / "mine").mkdir()
    (run_dir / "mine" / "weights").write_bytes(data)
    spec = content(File("mine/weights"))  # a path from where the script stands, and the managers do not
    held = call_everywhere(several(worker_init="mkdir $PWD/there-$$; cd $PWD/there-$$"), spec)
    assert {Path(path).read_bytes() for path, _ in held} == {data}
    found = sources(run_dir)
    assert 6 <= sum(each["the script"] for each in found) <= 1.5 * 6
    assert all(sum(each.values()) >= 6 for each in found)


def read_all(name: str) -> tuple[str, dict[str, bytes]]:
    """Where data of the context lies on this node, and what is in it."""
    top = Path(local_path(name))
    files = [top] if top.is_file() else [path for path in top.rglob("*") if path.is_file()]
    return str(top), {str(path.relative_to(top)): path.read_bytes() for path in files}


def a_set(folder: Path) -> dict[str, bytes]:
    """Makes a folder of many files that is larger than what is not worth it to be shared."""
    made = {f"part{number % 3}/a b#{number}": os.urandom(number * 9_000) for number in range(40)}
    for name, content in made.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return made


def hidden_from_nodes(folder: Path) -> str:
    """Launch command of managers that do not see a folder."""
    unshare = "unshare -m" if os.getuid() == 0 else "unshare -rm"
    return f"{unshare} sh -c 'mount -t tmpfs none {folder} && exec \"$@\"' sh {DEFAULT_LAUNCH_CMD}"


def test_a_folder_is_read_once_for_all_nodes(several: Load, run_dir: Path) -> None:
    made = a_set(run_dir / "set")
    held = call_everywhere(several(), context(data=[run_dir / "set"])(read_all)(str(run_dir / "set")))
    assert [files for _, files in held] == [made] * BLOCKS
    assert len({path for path, _ in held}) == BLOCKS
    count = -(-sum(map(len, made.values())) // MIB)
    found = sources(run_dir)
    assert count <= sum(each["the origin"] for each in found) <= 1.5 * count + 1
    assert all(sum(each.values()) >= count for each in found)


@pytest.mark.skipif(not CAN_HIDE, reason="no mount namespaces can be made here")
@pytest.mark.parametrize("kind", ["folder", "file"])
def test_data_that_only_the_script_sees_is_served_by_its_process(several: Load, run_dir: Path, kind: str) -> None:
    made = a_set(run_dir / "home/mine")
    executor = several(launch_cmd=hidden_from_nodes(run_dir / "home"))
    path = run_dir / "home/mine" / ("" if kind == "folder" else "part0/a b#39")
    held = call_everywhere(executor, context(data=[path])(read_all)(str(path)))
    assert [files for _, files in held] == [made if kind == "folder" else {".": made["part0/a b#39"]}] * BLOCKS
    found = sources(run_dir)
    assert all(each["the origin"] == 0 for each in found)
    assert sum(each["the script"] for each in found) >= 1


@pytest.mark.skipif(not CAN_HIDE, reason="no mount namespaces can be made here")
def test_data_that_has_changed_since_is_not_served(several: Load, run_dir: Path) -> None:
    a_set(run_dir / "home/mine")
    executor = several(blocks=1, launch_cmd=hidden_from_nodes(run_dir / "home"))
    spec = context(data=[run_dir / "home/mine"])(read_all)(str(run_dir / "home/mine"))
    assert spec.digest
    (run_dir / "home/mine/new").touch()
    with pytest.raises(ContextBuildError, match=r"is not what it was when the call was made.*Make the context anew"):
        executor.submit(context_app(context=spec)(told).func, {}).result(timeout=30)


def test_a_small_file_that_only_the_script_sees_comes_too(several: Load, run_dir: Path) -> None:
    (run_dir / "mine").mkdir()
    (run_dir / "mine" / "words").write_text("some")
    held = call_everywhere(several(blocks=1, worker_init="cd /"), content(File("mine/words")), blocks=1)
    assert Path(held[0][0]).read_text() == "some"


def test_a_node_that_joins_late_costs_the_origin_nothing(several: Load, run_dir: Path) -> None:
    (run_dir / "weights").write_bytes(os.urandom(6 * MIB))
    executor = several(blocks=1)
    spec = content(File(str(run_dir / "weights")))
    call_everywhere(executor, spec, blocks=1)
    executor.scale_out_facade(1)
    call_everywhere(executor, spec, blocks=2)
    assert sorted(each["the origin"] for each in sources(run_dir)) == [0, 6]


def test_a_killed_manager_does_not_keep_others_from_a_file(several: Load, run_dir: Path) -> None:
    (run_dir / "weights").write_bytes(os.urandom(40 * MIB))
    # So slowly that it is still on its way when one is killed: 5 chunks a second.
    executor = several(worker_init="export PARSL_CONTEXT_TRANSFER_MBIT=40")
    spec = content(File(str(run_dir / "weights")))
    executor.preload(spec)
    wait_for(lambda: list(run_dir.glob("store-*/temporary-*/weights")))
    managers = [process.pid for process in family(run_dir) if "context-manager" in " ".join(process.cmdline())]
    os.kill(managers[0], signal.SIGKILL)
    held = call_everywhere(executor, spec, blocks=BLOCKS - 1)
    assert len({digest for _, digest in held}) == 1


def test_a_server_without_ranges_is_asked_for_the_whole(several: Load, run_dir: Path) -> None:
    with origin_of(b"x" * (5 * MIB)) as url:
        held = call_everywhere(several(blocks=2), content(File(url)), blocks=2)
    assert len({path for path, _ in held}) == 2
    assert not sources(run_dir)


def test_without_peers_each_node_fetches_by_itself(several: Load, run_dir: Path) -> None:
    (run_dir / "weights").write_bytes(os.urandom(5 * MIB))
    executor = several(blocks=2, worker_init="export PARSL_CONTEXT_PEERS=0")
    call_everywhere(executor, content(File(str(run_dir / "weights"))), blocks=2)
    assert not sources(run_dir)
