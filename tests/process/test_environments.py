"""Contexts run in environments of their own: packed, unpacked once for the node, started by another interpreter."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from parsl import python_app
from parsl.providers import LocalProvider

from benchmarks.distribute import origin_server
from parsl_context import (
    ConfigurationError,
    ContextBuildError,
    ContextExecutor,
    UnservableTaskError,
    context,
    context_app,
)
from parsl_context.cli.main import main
from parsl_context.errors import EnvironmentUnusableError
from tests.environments import SITE, install, make_prefix
from tests.process.conftest import wait_for
from tests.process.in_environments import both, plain, remember, value, where

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]


@pytest.fixture
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with a package that is nowhere else."""
    folder = tmp_path_factory.mktemp("environment")
    prefix = make_prefix(folder / "prefix")
    install(prefix, "farmost", {"farmost.py": "VALUE = 42\n"})
    assert main(["pack", "--prefix", str(prefix), "-o", str(folder / "env.tar.zst")]) == 0
    return folder / "env.tar.zst"


@pytest.fixture
def store(run_dir: Path) -> str:
    return str(run_dir / "store")


def test_a_context_runs_in_the_environment_that_it_names(load: Load, store: str, packed: Path) -> None:
    app = context_app(context=context(environment=packed)(remember)(0))(where)
    load(node_store=store)
    first, second = app().result(), app().result()
    assert first[0] + second[0] >= 2, "built in this or that worker"
    assert first[1].startswith(f"{store}/")
    assert first[1].endswith(f"{SITE}/farmost.py")
    assert first[2].startswith(f"{store}/")


def test_calls_without_contexts_go_on_in_the_manager_s_python(load: Load, store: str, packed: Path) -> None:
    """All workers have changed to the environment when they come."""
    app = context_app(context=context(environment=packed)(remember)())(where)
    load(node_store=store)
    there = {future.result()[2] for future in [app() for _ in range(20)]}
    here = {future.result() for future in [python_app(plain)() for _ in range(20)]}
    assert here == {(sys.executable, False)}
    assert there.isdisjoint(interpreter for interpreter, _ in here)
    assert app().result()[2] in there


def test_contexts_of_an_executor_with_an_environment(load: Load, store: str, packed: Path) -> None:
    app = context_app(context=context(remember)())(where)
    load(node_store=store, environment=packed)
    assert app().result()[1].startswith(store)


@pytest.mark.parametrize("reuse", ["none", "disk", "memory", "node"])
def test_all_calls_of_an_executor_with_an_environment_run_there(
    load: Load, store: str, packed: Path, reuse: str
) -> None:
    app = context_app(context=context(remember)())(where)
    load(node_store=store, environment=packed, reuse=reuse)
    first = python_app(plain)().result()
    assert first[0].startswith(f"{store}/")
    assert first[1], "what is installed there is found"
    assert app().result()[2].startswith(f"{store}/")
    assert {python_app(plain)().result() for _ in range(8)} == {first}, "whatever contexts do to workers"


def test_level_none_makes_no_environment_that_no_call_is_for(
    load: Load, store: str, run_dir: Path, packed: Path
) -> None:
    app = context_app(context=context(remember)())(where)
    load(node_store=store, environment=packed, reuse="none", max_workers_per_node=1)
    for _ in range(2):
        app().result()
    logs = "".join(path.read_text() for path in run_dir.glob("**/manager.log"))
    assert logs.count(f"Unpacked {packed}") == 2


def test_isolated_calls_of_an_executor_with_an_environment_run_there(load: Load, store: str, packed: Path) -> None:
    app = context_app(context=context(isolation="call")(remember)())(where)
    load(node_store=store, environment=packed)
    assert app().result()[2].startswith(f"{store}/")
    assert python_app(plain)().result()[0].startswith(f"{store}/")


def test_ordinary_calls_whose_environment_is_broken_fail_with_the_reason(load: Load, store: str, packed: Path) -> None:
    data = bytearray(packed.read_bytes())
    data[-20] ^= 1  # in the last shard
    packed.write_bytes(data)
    load(node_store=store, environment=packed)
    for _ in range(2):
        with pytest.raises(UnservableTaskError, match=r"env\.tar\.zst cannot be used on node .*another content"):
            python_app(plain)().result(timeout=20)


@pytest.mark.parametrize("reuse", ["none", "disk", "memory", "node"])
def test_levels_of_reuse(load: Load, store: str, packed: Path, reuse: str) -> None:
    app = context_app(context=context(environment=packed, reuse=reuse)(remember)())(where)
    load(node_store=store, max_workers_per_node=1)
    calls = [app().result() for _ in range(3)]
    counts, files, _, pids = zip(*calls, strict=True)
    assert counts == ((1, 2, 3) if reuse in ("memory", "node") else (1, 1, 1))
    assert len(set(files)) == (3 if reuse == "none" else 1), "at level none it is unpacked for each call"
    assert len(set(pids)) == (1 if reuse in ("memory", "node") else 3)
    if reuse == "none":
        assert not any(map(os.path.exists, files[:2])), "and removed after it"


def test_a_virtual_environment_is_used_where_it_is(load: Load, run_dir: Path) -> None:
    prefix = run_dir / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", prefix], check=True)
    install(prefix, "farmost", {"farmost.py": "VALUE = 42\n"})
    app = context_app(context=context(environment=prefix)(remember)())(where)
    load()
    _, file, interpreter, _ = app().result()
    assert file == str(prefix / SITE / "farmost.py")
    assert interpreter == str(prefix / "bin" / "python")


def test_another_environment_is_another_context(packed: Path, tmp_path: Path) -> None:
    other = make_prefix(tmp_path / "prefix")
    install(other, "farmost", {"farmost.py": "VALUE = 43\n"})
    assert main(["pack", "--prefix", str(other), "-o", str(tmp_path / "env.tar.zst")]) == 0
    first, second, none = (
        context(environment=each)(remember)().digest for each in (packed, tmp_path / "env.tar.zst", None)
    )
    assert len({first, second, none}) == 3


def test_two_environments_on_one_node(load: Load, store: str, packed: Path, tmp_path: Path) -> None:
    other = make_prefix(tmp_path / "prefix")
    install(other, "farmost", {"farmost.py": "VALUE = 43\n"})
    main(["pack", "--prefix", str(other), "-o", str(tmp_path / "env.tar.zst")])
    first, second = (
        context_app(context=context(environment=each)(remember)())(value) for each in (packed, tmp_path / "env.tar.zst")
    )
    load(node_store=store)
    futures = [app() for _ in range(10) for app in (first, second)]
    assert [future.result() for future in futures] == [42, 43] * 10


def test_a_broken_archive_fails_calls_with_the_reason(load: Load, store: str, packed: Path) -> None:
    data = bytearray(packed.read_bytes())
    data[-20] ^= 1  # in the last shard
    packed.write_bytes(data)
    app = context_app(context=context(environment=packed)(remember)())(where)
    load(node_store=store)
    with pytest.raises(ContextBuildError, match=r"shard \d+ of \d+ has another content") as raised:
        app().result()
    assert isinstance(raised.value.__cause__, EnvironmentUnusableError)
    assert python_app(plain)().result()[0] == sys.executable, "the node goes on"


def test_contexts_of_different_environments_do_not_go_together(load: Load, packed: Path) -> None:
    mixed = {"state": context(environment=packed)(remember)(), "other": context(remember)(1)}
    app = context_app(context=mixed)(both)
    load()
    with pytest.raises(ConfigurationError, match="give both the same environment="):
        app().result()


def test_an_environment_that_is_not_there(packed: Path) -> None:
    missing = packed.with_name("other.tar.zst")
    with pytest.raises(ConfigurationError, match=r"other\.tar\.zst.*No such file"):
        _ = context(environment=missing)(remember)().digest


def test_nodes_give_each_other_an_environment_and_unpack_it_as_it_comes(load: Load, run_dir: Path) -> None:
    prefix = make_prefix(run_dir / "prefix")
    install(prefix, "farmost", {"farmost.py": "VALUE = 42\n", "large": os.urandom(9 << 20)})
    assert main(["pack", "--prefix", str(prefix), "-o", str(run_dir / "env.tar.zst")]) == 0
    init = f"export PARSL_CONTEXT_STORE={run_dir}/store-$$"
    provider = LocalProvider(init_blocks=2, min_blocks=2, max_blocks=2, worker_init=init)
    with origin_server(run_dir / "env.tar.zst", "127.0.0.1") as url:
        spec = context(environment=url)(remember)()
        app = context_app(context=spec)(where)
        executor = load(provider=provider, max_workers_per_node=1)
        wait_for(lambda: len(executor.connected_managers()) == 2)
        executor.preload(spec)
        files: set[str] = set()

        def look() -> bool:
            files.update(future.result(timeout=40)[1] for future in [app() for _ in range(4)])
            return len(files) == 2

        wait_for(look, 40)
    logs = "".join(path.read_text() for path in run_dir.glob("**/manager.log"))
    chunks = re.findall(r"Got \S+ in \S+ s; chunks: (.*)", logs)
    assert len(chunks) == 2
    read = sum(int(count) for text in chunks for count in re.findall(r"(\d+) of the origin", text))
    assert 10 <= read <= 15, "about one copy"
    assert logs.count(f"Unpacked {url}") == 2


def test_what_is_preloaded_waits_for_its_environment(load: Load, store: str, packed: Path) -> None:
    spec = context(environment=packed)(remember)()
    executor = load(node_store=store, preload=[spec])
    wait_for(lambda: [row.workers for row in executor.contexts()] == [2], 30)


def test_nothing_is_left_of_a_manager_that_is_killed(load: Load, run_dir: Path, store: str, packed: Path) -> None:
    """Its zygotes and workers end, and the next one finds the environment."""
    app = context_app(context=context(environment=packed)(remember)())(where)
    executor = load(node_store=store, config={"retries": 3, "strategy": "simple"})
    first = app().result()
    manager = psutil.Process(first[3]).parent()
    assert manager is not None
    family = manager.children(recursive=True)
    assert len(family) >= 3
    manager.kill()
    wait_for(lambda: not any(process.is_running() for process in family), 20)
    assert app().result()[1] == first[1]
    assert executor.contexts()
