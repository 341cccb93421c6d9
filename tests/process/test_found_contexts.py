"""Contexts that are found (`discover=True`), on real workers."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import os
import pickle
import random
import re
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import parsl
import pytest
from parsl import python_app
from parsl.executors import ThreadPoolExecutor

from parsl_context import ContextExecutor, ContextSerializationError, SplitError, context_app
from tests.process.conftest import wait_for
from tests.unit.discover import generated
from tests.unit.discover.automatic_samples import SAMPLES

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]
LIMIT = 3


def said(call: Callable[[], Any]) -> Any:
    try:
        return repr(call())
    except ContextSerializationError:
        return "cannot be sent"
    except Exception as error:
        return type(error).__name__, str(error)


def sent(value: Any) -> Any:
    """A result as it would arrive."""
    try:
        return pickle.loads(pickle.dumps(value))
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        raise ContextSerializationError(
            f"The result of the call, of type builtins.{type(value).__name__},", error
        ) from error


def plain(text: Any) -> Any:
    """A text without addresses, and without what tells the two modules apart."""
    if isinstance(text, tuple):
        return tuple(map(plain, text))
    return re.sub(r"0x[0-9a-f]+", "", text.replace("undivided_", "found_"))


def loads(executor: ContextExecutor) -> int:
    return sum(row.loads for row in executor.contexts())


def test_functions_do_on_workers_what_they_do_here(load: Load) -> None:
    """Each has a context of its own: many more than workers."""
    load()
    made = [(f, context_app(discover=True)(f), calls) for f, _, says, calls in SAMPLES if says is None]
    calls = [(f, app, args) for f, app, given in made for args in given * 3]
    random.Random(5).shuffle(calls)
    futures = [app(*args) for _, app, args in calls]
    for (function, _, args), future in zip(calls, futures, strict=True):
        assert said(lambda f=future: f.result(timeout=60)) == said(lambda f=function, a=args: f(*a)), function.__name__


def generated_apps(
    folder: Path, seed: int, count: int
) -> tuple[types.ModuleType, list[tuple[Any, Callable[..., Any]]]]:
    """Generated functions that can be split, as apps, each with the same function of a second module.

    Not those that draw random numbers, which are others in each process.
    """
    modules = []
    for name in (f"found_{seed}", f"undivided_{seed}"):
        (folder / f"{name}.py").write_text(
            generated.module(seed, count, folder / "file").replace(f"generated_{seed}", name)
        )
        modules.append(importlib.import_module(name))
    made = []
    for number in range(count):
        if "random." in inspect.getsource(getattr(modules[0], f"f{number}")):
            continue
        with contextlib.suppress(SplitError):
            app = context_app(discover=True)(getattr(modules[0], f"f{number}"))
            made.append((app, getattr(modules[1], f"f{number}")))
    return modules[1], made


@python_app
def effects_on_worker(name: str) -> list[str]:
    module = importlib.import_module(name)
    seen = (module.EFFECTS, module.STORE, module.TICKS, module.TABLE, module.ROWS, module.CODES)
    return [repr(each) for each in seen]


@pytest.mark.parametrize("seed", range(4))
def test_generated_functions_do_on_one_worker_what_they_do_here(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Three calls each, functions mixed, one after the other: so the effects of all of them have an order."""
    load(max_workers_per_node=1)
    monkeypatch.syspath_prepend(str(tmp_path))
    undivided, made = generated_apps(tmp_path, seed, 500)
    assert len(made) >= 40
    calls = [(app, function, x) for app, function in made for x in random.Random(seed).sample(range(7), 3)]
    random.Random(seed).shuffle(calls)
    for app, function, x in calls:
        found = plain(said(lambda app=app, x=x: app(x).result(timeout=60)))
        here = plain(said(lambda function=function, x=x: sent(function(x))))
        if here != "cannot be sent":  # by pickle alone: functions and classes within functions can
            assert found == here, f"{app.__name__}({x})"
    expected = (undivided.EFFECTS, undivided.STORE, undivided.TICKS, undivided.TABLE, undivided.ROWS, undivided.CODES)
    there = effects_on_worker(f"found_{seed}").result(timeout=60)
    assert [plain(each) for each in there] == [plain(repr(each)) for each in expected]


@context_app(discover=True)
def costly(x: int) -> tuple[int, int]:
    import hashlib

    key = hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 300_000)
    return key[0] + x, len(key)


def test_leading_work_is_done_once(load: Load) -> None:
    executor = load(max_workers_per_node=1)
    results = [future.result(timeout=60) for future in [costly(i) for i in range(20)]]
    assert results == [costly.__wrapped__(i) for i in range(20)]
    (row,) = executor.contexts()
    assert (row.name, row.loads, row.calls) == ("costly()", 1, 20)


@context_app(discover=True)
def uses_a_global(x: int) -> int:
    table = list(range(LIMIT))
    return len(table) + x


def test_a_global_that_is_bound_anew_makes_another_context(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    load(max_workers_per_node=1)
    assert uses_a_global(1).result(timeout=30) == 4
    monkeypatch.setitem(globals(), "LIMIT", 5)
    assert uses_a_global(1).result(timeout=30) == 6


def test_a_file_that_changed_makes_another_context(load: Load, run_dir: Path) -> None:
    path = run_dir / "table.json"
    path.write_text("[1]")
    os.chdir(run_dir)

    @context_app(discover=True)
    def rows(x: int) -> int:
        from pathlib import Path

        table = json.loads(Path("table.json").read_text())
        return len(table) + x

    executor = load(max_workers_per_node=1)
    workers_here = wait_for(executor.connected_managers)
    assert workers_here
    first = said(lambda: rows(1).result(timeout=30))
    time.sleep(0.01)
    path.write_text("[1, 2, 3]")
    second = said(lambda: rows(1).result(timeout=30))
    assert (first, second) == (said(lambda: 2), said(lambda: 4))


@context_app(discover=True)
def breaks(x: int) -> int:
    if x == 0:
        raise KeyError("zero")
    table = json.loads("no json")
    return len(table) + x


def test_where_a_build_fails_the_call_runs_undivided(load: Load) -> None:
    """Its errors are those of the function: a guard's, or what the statement raised."""
    load(max_workers_per_node=1)
    for x in (0, 1, 0):
        assert said(lambda x=x: breaks(x).result(timeout=30)) == said(lambda x=x: breaks.__wrapped__(x))


def test_other_executors_keep_what_was_found_too(run_dir: Path) -> None:
    config = parsl.Config(executors=[ThreadPoolExecutor(label="x")], run_dir=str(run_dir), usage_tracking=0)
    with parsl.load(config):
        assert [costly(i).result(timeout=30) for i in range(3)] == [costly.__wrapped__(i) for i in range(3)]
        assert breaks.split is not None
        assert said(lambda: breaks(0).result(timeout=30)) == said(lambda: breaks.__wrapped__(0))
