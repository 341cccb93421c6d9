"""Files that Parsl's staging providers move, as tasks of their own and inside the task, for apps of both kinds."""

from __future__ import annotations

import functools
import http.server
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import parsl
import pytest
from parsl.data_provider.file_noop import NoOpFileStaging
from parsl.data_provider.files import File
from parsl.data_provider.http import HTTPInTaskStaging, HTTPSeparateTaskStaging
from parsl.data_provider.zip import ZipFileStaging

from parsl_context import ContextExecutor, context, context_app

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]


@context
def factor() -> int:
    return 10


def multiply(inputs: Any = (), outputs: Any = ()) -> str:
    """The number in the input times ten, written to the output."""
    Path(outputs[0]).write_text(str(10 * int(Path(inputs[0]).read_text())))
    return str(inputs[0])


def multiply_by(value: int, inputs: Any = (), outputs: Any = ()) -> str:
    Path(outputs[0]).write_text(str(value * int(Path(inputs[0]).read_text())))
    return str(inputs[0])


APPS = {
    "ordinary": lambda: parsl.python_app(multiply),
    "context": lambda: context_app(context=factor())(multiply_by),
}
both_kinds = pytest.mark.parametrize("kind", list(APPS))


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """URL of a web server with a file `in.txt`."""
    served = tmp_path / "site"
    served.mkdir()
    (served / "in.txt").write_text("4")
    server = http.server.HTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(served)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def check_context(executor: ContextExecutor, kind: str) -> None:
    rows = executor.contexts()
    assert len(rows) == (kind == "context"), "staging does not make another context of it"
    assert all(row.loads == 1 for row in rows)


@both_kinds
def test_zip_archives_are_staged_in_and_out(load: Load, run_dir: Path, kind: str) -> None:
    executor = load(max_workers_per_node=1, working_dir=str(run_dir / "work"))
    with zipfile.ZipFile(run_dir / "data.zip", "w") as archive:
        archive.writestr("in.txt", "7")
    (run_dir / "work").mkdir()
    app = APPS[kind]()
    out = File(f"zip:{run_dir}/results.zip/deep/out.txt")
    made = app(inputs=[File(f"zip:{run_dir}/data.zip/in.txt")], outputs=[out])
    again = app(inputs=[made.outputs[0]], outputs=[File(str(run_dir / "again.txt"))])
    assert made.result() == str(run_dir / "work" / "in.txt")
    again.result()
    assert (run_dir / "again.txt").read_text() == "700"
    assert zipfile.ZipFile(run_dir / "results.zip").read("deep/out.txt") == b"70"
    check_context(executor, kind)


@both_kinds
@pytest.mark.parametrize("provider", [HTTPSeparateTaskStaging, HTTPInTaskStaging], ids=["separate", "in_task"])
def test_files_are_fetched_into_the_working_directory(
    load: Load, run_dir: Path, site: str, kind: str, provider: Any
) -> None:
    executor = load(
        max_workers_per_node=1,
        working_dir=str(run_dir / "work"),
        storage_access=[provider(), NoOpFileStaging(), ZipFileStaging()],
    )
    app = APPS[kind]()
    for number in range(2):
        out = run_dir / f"out{number}.txt"
        fetched = app(inputs=[File(f"{site}/in.txt")], outputs=[File(str(out))]).result()
        assert fetched == str(run_dir / "work" / "in.txt")
        assert out.read_text() == "40"
    check_context(executor, kind)


def test_a_file_that_cannot_be_staged_fails_its_task_alone(load: Load, run_dir: Path) -> None:
    executor = load(working_dir=str(run_dir / "work"))
    (run_dir / "in.txt").write_text("1")
    app = APPS["context"]()
    broken = app(inputs=[File(f"zip:{run_dir}/missing.zip/in.txt")], outputs=[File(str(run_dir / "no.txt"))])
    fine = app(inputs=[File(str(run_dir / "in.txt"))], outputs=[File(str(run_dir / "out.txt"))])
    fine.result()
    assert (run_dir / "out.txt").read_text() == "10"
    with pytest.raises(parsl.dataflow.errors.DependencyError):
        broken.result()
    check_context(executor, "context")
