"""Functions with a block, and keyed contexts, on real workers."""

from __future__ import annotations

import collections
import os
import random
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import parsl
import pytest
from parsl import python_app
from parsl.data_provider.files import File
from parsl.executors import HighThroughputExecutor, ThreadPoolExecutor
from parsl.providers import LocalProvider

from parsl_context import ContextBuildError, ContextExecutor, context, context_app, split
from tests.process.conftest import wait_for
from tests.unit.discover.block_samples import SPLIT

pytestmark = pytest.mark.process
NOTHING = 0
Load = Callable[..., ContextExecutor]


@context_app
def embed(word: str, name: str = "mini") -> tuple[str, int, int]:
    with context:
        import os

        model = name.upper()
        pid = os.getpid()
    return model + word, pid, os.getpid()


@context
def model(weights: str) -> str:
    return weights.upper()


@context_app(context=model.by("weights"))
def score(model: str, x: int) -> tuple[str, int]:
    return model, x


def write(path: str, text: str) -> None:
    with open(path, "a") as file:
        file.write(f"{text}\n")


@context_app
def with_clean_up(path: str) -> int:
    with context:
        context.cleanup(write, path, "last")
        context.cleanup(write, path, "first")
        number = 3
    return number + 1


@context_app
def shared(x: int, size: int = 10) -> tuple[int, int, int]:
    with context(share="node"):
        values = list(range(size))
        builder = os.getpid()
    time.sleep(0.05)
    return values[x], builder, os.getpid()


@python_app
def slow_name(name: str) -> str:
    time.sleep(0.2)
    return name


def loads(executor: ContextExecutor) -> dict[str, int]:
    found: collections.Counter[str] = collections.Counter()
    for row in executor.contexts():
        found[row.name] += row.loads
    return dict(found)


def outcome(future: Any) -> Any:
    try:
        return repr(future.result(timeout=60))
    except Exception as error:
        return type(error).__name__, str(error)


def expected(function: Any, args: Any, kwargs: Any) -> Any:
    try:
        return repr(function(*args, **kwargs))
    except Exception as error:
        return type(error).__name__, str(error)


def test_halves_do_on_workers_what_the_whole_does_here(load: Load) -> None:
    """Each has a context of its own: many more than workers."""
    load()
    calls = [(f, args, kwargs) for f, _, _, given in SPLIT for args, kwargs in given * 2]
    random.Random(3).shuffle(calls)
    futures = [context_app(function)(*args, **kwargs) for function, args, kwargs in calls]
    for (function, args, kwargs), future in zip(calls, futures, strict=True):
        wanted, found = expected(function, args, kwargs), outcome(future)
        if found[0] == "ContextBuildError":  # raised in its block
            assert all(each in found[1] for each in wanted), function.__name__
        else:
            assert found == wanted, function.__name__


def test_a_block_is_run_once_for_each_key_in_a_worker(load: Load) -> None:
    executor = load(max_workers_per_node=1)
    futures = [embed(str(i), name=("mini", "large")[i % 2]) for i in range(20)]
    results = [future.result(timeout=30) for future in futures]
    assert [text for text, _, _ in results] == [("MINI", "LARGE")[i % 2] + str(i) for i in range(20)]
    assert all(built == ran for _, built, ran in results)
    assert loads(executor) == {"embed(name='mini')": 1, "embed(name='large')": 1}
    assert embed("x").result(timeout=30)[0] == "MINIx"
    assert embed("x", "mini").result(timeout=30)[0] == "MINIx"
    assert loads(executor) == {"embed(name='mini')": 1, "embed(name='large')": 1}


def test_a_future_is_resolved_before_it_says_which_context(load: Load) -> None:
    executor = load()
    assert score(1, weights=slow_name("a.pt")).result(timeout=30) == ("A.PT", 1)
    assert score(2, weights="a.pt").result(timeout=30) == ("A.PT", 2)
    assert embed("x", slow_name("mini")).result(timeout=30)[0] == "MINIx"
    assert set(loads(executor)) == {"model(weights='a.pt')", "embed(name='mini')"}


def test_a_file_that_is_a_key_is_fetched_by_its_context(load: Load, run_dir: Path) -> None:
    paths = []
    for name in ("a", "b"):
        paths.append(run_dir / f"{name}.txt")
        paths[-1].write_text(name * 3)

    @context
    def text(path: Any) -> str:
        with open(path) as file:
            return file.read()

    @context_app(context=text.by("path"))
    def read(text: str, x: int) -> str:
        return text * x

    load()
    futures = [read(i, path=File(f"file://{path}")) for i in (1, 2) for path in paths]
    assert [future.result(timeout=30) for future in futures] == ["aaa", "bbb", "aaaaaa", "bbbbbb"]


def test_clean_ups_run_when_a_context_is_given_up(load: Load, run_dir: Path) -> None:
    executor = load(max_workers_per_node=1)
    path = run_dir / "ended"
    assert with_clean_up(str(path)).result(timeout=30) == 4
    assert not path.exists()
    executor.evict(with_clean_up.contexts[0].at({"path": str(path)}))
    wait_for(lambda: path.exists() and path.read_text() == "first\nlast\n")


def test_workers_share_the_block_of_a_node(load: Load) -> None:
    executor = load(max_workers_per_node=3)
    wait_for(executor.connected_managers)
    results = [future.result(timeout=30) for future in [shared(i % 5) for i in range(12)]]
    assert [value for value, _, _ in results] == [i % 5 for i in range(12)]
    assert len({builder for _, builder, _ in results}) == 1
    assert loads(executor) == {"shared(size=10)": 1}


def test_keys_of_a_map_are_grouped_and_in_order(load: Load) -> None:
    executor = load()
    names = [random.Random(i).choice(["a", "b", "c", "d"]) for i in range(400)]
    results = list(embed.map(map(str, range(400)), names))
    assert [text for text, *_ in results] == [name.upper() + str(i) for i, name in enumerate(names)]
    assert sum(loads(executor).values()) <= 8


def test_memoization_tells_keys_apart(load: Load, run_dir: Path) -> None:
    load()

    @context_app(context=model.by("weights"), cache=True)
    def stamp(model: str, x: int) -> tuple[str, float]:
        return model, time.time()

    first = stamp(1, weights="a").result(timeout=30)
    assert stamp(1, weights="a").result(timeout=30) == first
    assert stamp(1, weights="b").result(timeout=30)[0] == "B"
    assert stamp(2, weights="a").result(timeout=30) != first


def test_walltime_and_retries_hold_for_keyed_apps(load: Load) -> None:
    load(config={"retries": 1})

    @context_app
    def tired(x: float, key: str, walltime: float = 0.5) -> str:
        with context:
            name = key
        time.sleep(x)
        return name

    assert tired(0.0, "a").result(timeout=30) == "a"
    with pytest.raises(parsl.app.errors.AppTimeout):
        tired(5.0, "a").result(timeout=30)


@pytest.mark.parametrize("kind", ["threads", "htex"])
def test_other_executors_keep_contexts_by_key_too(kind: str, run_dir: Path) -> None:
    executor: Any = ThreadPoolExecutor(label="x")
    if kind == "htex":
        executor = HighThroughputExecutor(
            label="x", address="127.0.0.1", max_workers_per_node=1, provider=LocalProvider(init_blocks=1, max_blocks=1)
        )
    with parsl.load(parsl.Config(executors=[executor], run_dir=str(run_dir), usage_tracking=0)):
        futures = [embed(str(i), name=("mini", "large")[i % 2]) for i in range(6)]
        assert [f.result(timeout=30)[0] for f in futures] == [("MINI", "LARGE")[i % 2] + str(i) for i in range(6)]
        assert [score(i, weights="a").result(timeout=30) for i in range(3)] == [("A", i) for i in range(3)]
        assert len(list(embed.map(["a", "b", "c"], ["mini", "large", "mini"]))) == 3


def test_an_app_may_be_called_by_another(load: Load) -> None:
    load(max_workers_per_node=1)

    @context_app
    def outer(x: int) -> tuple[str, int]:
        with context:
            offset = 10
        return score.func(x + offset, weights="a")  # type: ignore[no-any-return]

    assert outer(1).result(timeout=30) == ("A", 11)


def test_redefined_blocks_are_what_new_calls_use_and_old_ones_are_given_up(load: Load) -> None:
    """As when the cell of a notebook is run again."""
    import linecache
    import sys
    import types

    module = sys.modules["cells"] = types.ModuleType("cells")
    module.__dict__["context"], module.__dict__["context_app"] = context, context_app

    def run_cell(number: int, block: str, body: str) -> None:
        text = f"@context_app\ndef app(x):\n    with context:\n        a = {block}\n    return a {body} x\n"
        file = f"<cell {number}>"
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        exec(compile(text, file, "exec"), module.__dict__)

    try:
        executor = load(max_workers_per_node=1)
        run_cell(1, "1", "+")
        assert module.app(5).result(timeout=30) == 6
        run_cell(2, "1", "-")
        assert module.app(5).result(timeout=30) == -4
        assert loads(executor) == {"app()": 1}, "an edited body keeps its context"
        run_cell(3, "2", "-")
        assert module.app(5).result(timeout=30) == -3
        wait_for(lambda: len(executor.contexts()) == 1)
    finally:
        del sys.modules["cells"]


def test_an_error_in_a_block_shows_its_line(load: Load) -> None:
    load()

    @context_app
    def broken(x: int) -> int:
        with context:
            a = ()[NOTHING]
        return a + x

    with pytest.raises(ContextBuildError, match=r"(?s)broken\(\).*IndexError") as caught:
        broken(1).result(timeout=60)
    shown = "".join(traceback.format_exception(caught.value))
    assert "a = ()[NOTHING]" in shown
    assert "test_blocks.py" in shown
    assert split(broken).names == ("a",)


def test_a_key_that_all_calls_of_a_map_share_reaches_the_body(load: Load) -> None:
    @context_app(context=model.by("weights"))
    def told(model: str, x: int, *, weights: str) -> tuple[str, int, str]:
        return model, x, weights

    load(max_workers_per_node=1)
    assert list(told.map(range(5), weights="a", chunksize=2)) == [("A", i, "a") for i in range(5)]
