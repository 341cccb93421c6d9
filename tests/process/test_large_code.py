"""A project whose modules are large together: nodes get them from each other, and of the interchange if they cannot."""

from __future__ import annotations

import hashlib
import importlib
import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import parsl
import pytest
from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD
from parsl.providers import LocalProvider

from parsl_context import ContextExecutor, context, context_app
from parsl_context.executor import code_packs
from tests.process.conftest import wait_for
from tests.process.test_far import MANAGER
from tests.process.test_peers import CAN_HIDE, log_lines, sources

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]
BLOCKS = 3
TABLES = 6


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A package with tables of together 6 MB, as generators of code write them."""
    folder = tmp_path / "project" / "tables_of_it"
    folder.mkdir(parents=True)
    for number in range(TABLES):
        random.seed(number)
        (folder / f"table{number}.py").write_text(f"DATA = '{random.randbytes(500_000).hex()}'\n")
    modules = ", ".join(f"table{number}" for number in range(TABLES))
    (folder / "__init__.py").write_text(
        f"from tables_of_it import {modules}\n"
        f"def digest():\n    import hashlib\n"
        f"    return hashlib.sha256(''.join(each.DATA for each in ({modules})).encode()).hexdigest()\n"
    )
    monkeypatch.syspath_prepend(str(folder.parent))
    yield importlib.import_module("tables_of_it")
    for name in [name for name in sys.modules if name.partition(".")[0] == "tables_of_it"]:
        del sys.modules[name]


@pytest.fixture
def several(load: Load, run_dir: Path) -> Callable[..., ContextExecutor]:
    """An executor of several managers that take the interchange to be on another host."""

    def start(worker_init: str = "", hide: Path | None = None, **options: Any) -> ContextExecutor:
        script = run_dir / "manager.py"
        script.write_text(MANAGER)
        command = DEFAULT_LAUNCH_CMD.replace("process_worker_pool.py", f"{sys.executable} {script}")
        if hide is not None:
            unshare = "unshare -m" if os.getuid() == 0 else "unshare -rm"
            command = f"{unshare} sh -c 'mount -t tmpfs none {hide} && exec \"$@\"' sh {command}"
        init = f"export PARSL_CONTEXT_STORE={run_dir}/store-$$; {worker_init}"
        provider = LocalProvider(init_blocks=BLOCKS, min_blocks=BLOCKS, max_blocks=BLOCKS, worker_init=init)
        executor = load(provider=provider, max_workers_per_node=1, launch_cmd=command, **options)
        wait_for(lambda: len(executor.connected_managers()) == BLOCKS)
        return executor

    return start


def call_everywhere(executor: ContextExecutor, project: Any) -> Counter[str]:
    """What the project's function gives on each node."""

    @context
    def tables() -> Any:
        return project.digest()

    @context_app(context=tables())
    def told(digest: str) -> tuple[int, str]:
        import time

        time.sleep(0.2)
        return os.getppid(), digest

    seen: dict[int, str] = {}

    def look() -> bool:
        seen.update(future.result(timeout=60) for future in [executor.submit(told.func, {}) for _ in range(BLOCKS)])
        return len(seen) == BLOCKS

    wait_for(look, 40)
    return Counter(seen.values())


def right(project: Any) -> str:
    data = "".join(getattr(project, f"table{number}").DATA for number in range(TABLES))
    return hashlib.sha256(data.encode()).hexdigest()


def packs(run_dir: Path) -> list[Path]:
    return list(run_dir.rglob("modules-*/*.pack"))


def hiding(several: Load, tmp_path: Path, **options: Any) -> ContextExecutor:
    """Such an executor, whose managers do not see the folder where large modules lie for them."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    executor = several(hide=hidden, **options)
    executor._code_packs._run_folder = hidden
    return executor


def test_nodes_get_it_together(several: Load, run_dir: Path, project: Any) -> None:
    executor = several()
    assert call_everywhere(executor, project) == {right(project): BLOCKS}
    (pack,) = packs(run_dir)
    chunks = -(-pack.stat().st_size // (1 << 20))
    found = sources(run_dir)
    assert len(found) == BLOCKS
    assert chunks <= sum(each["the origin"] for each in found) <= 1.5 * chunks
    assert sum(sum(each.values()) for each in found) >= BLOCKS * chunks


@pytest.mark.skipif(not CAN_HIDE, reason="mount namespaces are not allowed here")
def test_it_comes_from_the_script_where_nodes_do_not_see_the_run(
    several: Load, run_dir: Path, tmp_path: Path, project: Any
) -> None:
    executor = hiding(several, tmp_path)
    assert call_everywhere(executor, project) == {right(project): BLOCKS}
    assert sum(each["the script"] for each in sources(run_dir)) >= 6


@pytest.mark.skipif(not CAN_HIDE, reason="mount namespaces are not allowed here")
def test_nodes_that_cannot_have_it_so_ask_the_interchange(
    several: Load, run_dir: Path, tmp_path: Path, project: Any
) -> None:
    executor = hiding(several, tmp_path, worker_init="export PARSL_CONTEXT_PEERS=0")
    assert call_everywhere(executor, project) == {right(project): BLOCKS}
    assert sources(run_dir) == []
    assert len(log_lines(run_dir, "*.log", "are asked of the interchange, one by one")) == BLOCKS


def test_what_is_small_is_sent(several: Load, run_dir: Path, project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_packs, "LEAST_BYTES", 100 << 20)
    executor = several()
    assert call_everywhere(executor, project) == {right(project): BLOCKS}
    assert packs(run_dir) == sources(run_dir) == []


def test_nothing_is_left_of_it(several: Load, run_dir: Path, project: Any) -> None:
    executor = several()
    call_everywhere(executor, project)
    assert packs(run_dir)
    parsl.dfk().cleanup()
    assert packs(run_dir) == []
