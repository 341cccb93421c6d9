"""The store of a node, under runs with managers and workers of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from parsl.providers import LocalProvider

from parsl_context import ConfigurationError, ContextBuildError, ContextExecutor, context, context_app, local_path
from parsl_context.distribute import folders, records

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]


def look(held: dict[str, Any], i: int) -> tuple[dict[str, Any], int]:
    return held, i


def app_of(data: list[Path], **options: Any) -> Any:
    @context(data=data, **options)
    def contents(names: list[str]) -> dict[str, Any]:
        paths = [local_path(name) for name in names]
        return {path: Path(path).read_bytes() for path in paths}

    return context_app(context=contents([str(data[0]), f"{data[1]}/config.json"]))(look)


@pytest.fixture
def data(run_dir: Path) -> list[Path]:
    (run_dir / "w.pt").write_bytes(b"weights")
    (run_dir / "set").mkdir()
    (run_dir / "set" / "config.json").write_bytes(b"{}")
    return [run_dir / "w.pt", run_dir / "set"]


def start(load: Load, node_store: Any, **options: Any) -> ContextExecutor:
    provider = LocalProvider(init_blocks=1, max_blocks=1, worker_init="export FAST=/nowhere/at/all")
    return load(provider=provider, node_store=node_store, **options)


def whole(folder: Path) -> int:
    """How many entries there are, each of which is hashed."""
    found = list(folders.entries(folder))
    for entry in found:
        assert (record := records.read(entry)) is not None
        assert records.problem_of(entry, record, thorough=True) is None
    return len(found)


@pytest.mark.parametrize("reuse", ["none", "disk", "memory", "node"])
def test_data_is_on_the_node_before_the_context_is_built(
    load: Load, tmp_path: Path, data: list[Path], reuse: str
) -> None:
    start(load, str(tmp_path / "store"), reuse=reuse)
    app = app_of(data)
    answers = [future.result(timeout=60)[0] for future in [app(i) for i in range(4)]]
    assert all(list(held.values()) == [b"weights", b"{}"] for held in answers)
    (paths,) = {tuple(held) for held in answers}
    if reuse == "none":
        assert paths == (str(data[0]), f"{data[1]}/config.json")
        assert not (tmp_path / "store").exists()
    else:
        assert all(path.startswith(str(tmp_path / "store")) for path in paths)
        assert whole(tmp_path / "store") == 2


def test_data_that_has_changed_makes_another_context(load: Load, tmp_path: Path, data: list[Path]) -> None:
    start(load, [tmp_path / "store"])
    assert list(app_of(data)(0).result(timeout=60)[0].values()) == [b"weights", b"{}"]
    data[0].write_bytes(b"renewed")
    os.utime(data[0], ns=(1, 1))
    assert list(app_of(data)(0).result(timeout=60)[0].values()) == [b"renewed", b"{}"]


def test_variables_are_those_of_the_node_and_what_cannot_be_used_is_passed_over(
    load: Load, tmp_path: Path, data: list[Path], run_dir: Path
) -> None:
    loose = tmp_path / "loose"
    loose.mkdir()
    loose.chmod(0o777)
    where = ["$NOT_SET/x", loose, str(tmp_path / "store")]
    start(load, where)
    held, _ = app_of(data)(0).result(timeout=60)
    assert all(path.startswith(str(tmp_path / "store")) for path in held)
    logs = "\n".join(path.read_text() for path in run_dir.glob("**/worker_*.log"))
    assert logs.count("$NOT_SET/x cannot be used: NOT_SET is not set on this node") == 1
    assert logs.count(f"The store passes over {loose} for") == 1


def test_where_no_folder_can_be_used_the_call_says_so(load: Load, data: list[Path]) -> None:
    start(load, "relative/folder")
    with pytest.raises(ContextBuildError, match=r"no absolute path\. Give the store another folder.*node_store="):
        app_of(data)(0).result(timeout=60)


def test_a_path_that_was_not_named_fails_the_build(load: Load, tmp_path: Path, data: list[Path]) -> None:
    start(load, tmp_path / "store")

    @context(data=[data[0]])
    def other() -> str:
        return local_path("other.pt")

    with pytest.raises(ContextBuildError, match=r"other\.pt.*names as its data") as caught:
        context_app(context=other())(look)(0).result(timeout=60)
    assert isinstance(caught.value.__cause__, ConfigurationError)


RUN = """
import os, sys
from pathlib import Path
import parsl
from parsl.providers import LocalProvider
from parsl_context import ContextExecutor, context, context_app, local_path

folder, store = sys.argv[1:]

@context(data=[f"{folder}/w.bin", f"{folder}/set"])
def data():
    path = local_path(f"{folder}/w.bin")
    return path, Path(path).read_bytes(), sorted(os.listdir(local_path(f"{folder}/set")))

@context_app(context=data())
def look(held, i):
    import time
    time.sleep(0.02)
    return held

if __name__ == "__main__":
    provider = LocalProvider(init_blocks=2, min_blocks=2, max_blocks=2)
    executor = ContextExecutor(
        address="127.0.0.1", max_workers_per_node=2, cores_per_worker=0.1, node_store=store, provider=provider
    )
    with parsl.load(parsl.Config(executors=[executor], run_dir=sys.argv[1] + f"/run-{os.getpid()}")):
        found = [future.result() for future in [look(i) for i in range(100)]]
        assert all(content == b"w" * 5_000_000 for _, content, _ in found)
        assert all(names == ["a", "b"] for _, _, names in found)
        print(*sorted({path for path, _, _ in found}), len(executor.connected_managers()))
"""


@pytest.mark.slow
def test_two_runs_with_four_managers_on_one_node_share_one_copy(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"w" * 5_000_000)
    (tmp_path / "set").mkdir()
    for name in "ab":
        (tmp_path / "set" / name).write_bytes(name.encode() * 1000)
    (tmp_path / "run.py").write_text(RUN)
    command = [sys.executable, str(tmp_path / "run.py"), str(tmp_path), str(tmp_path / "store")]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) for _ in range(2)]
    said = [run.communicate(timeout=55)[0].split() for run in runs]
    (paths,) = {tuple(paths) for *paths, _ in said}
    assert len(paths) == 1
    assert [managers for *_, managers in said] == ["2", "2"]
    assert whole(tmp_path / "store") == 2
    assert list(folders.unfinished(tmp_path / "store")) == []
