"""Pools and frameworks that are given a context app as a function, or bring a function of their own."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import parsl
import pytest
from parsl.concurrent import ParslPoolExecutor
from parsl.executors import HighThroughputExecutor, ThreadPoolExecutor
from parsl.providers import LocalProvider

from parsl_context import ContextExecutor, context, context_app

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]


@context
def base(value: int = 10) -> tuple[int, float]:
    return value, time.time()


@context_app(context=base())
def add(value: tuple[int, float], x: int) -> tuple[int, float]:
    return value[0] + x, value[1]


@context_app(context=base.by("value"))
def add_to(made: tuple[int, float], x: int) -> int:
    return made[0] + x


class FunctionWrapper:
    """As in emcee, which has it around the function that it is given."""

    def __init__(self, f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.f, self.args, self.kwargs = f, args, kwargs

    def __call__(self, x: Any) -> Any:
        return self.f(x, *self.args, **self.kwargs)


class Method:
    """As in Colmena: a method of an object that holds the function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def run(self, x: int) -> Any:
        return self.function(x)


def builds(executor: ContextExecutor) -> list[tuple[int, int]]:
    """Times that each context was built, and the calls that it has served."""
    return [(row.loads, row.calls) for row in executor.contexts()]


def log_probability(theta: int, offset: int = 0) -> int:
    """What a user of a sampler writes: a function that calls the app."""
    value: tuple[int, float] = add(theta)  # type: ignore[assignment]
    return value[0] + offset


@pytest.mark.parametrize(
    "function",
    [
        add,
        add.func,
        functools.partial(add),
        FunctionWrapper(add, (), {}),
        Method(add).run,
        (lambda app: lambda x: app(x))(add),
        functools.partial(lambda app, x: app(x), add),
    ],
    ids=["app", "func", "partial", "object", "method", "closure", "argument"],
)
def test_a_pool_of_parsl_runs_an_app_in_any_wrapper_on_the_context_of_the_worker(load: Load, function: Any) -> None:
    executor = load(max_workers_per_node=1)
    pool = ParslPoolExecutor(dfk=parsl.dfk())
    results = [*pool.map(function, range(3)), pool.submit(function, 3).result()]
    assert [value for value, _ in results] == [10, 11, 12, 13]
    assert len({made for _, made in results}) == 1, "one instance"
    assert builds(executor) == [(1, 4)]


@pytest.mark.parametrize(
    ("function", "is_placed"),
    [
        (functools.partial(add_to, value=5), True),
        (functools.partial(add_to, 1), True),
        (FunctionWrapper(add_to, (), {"value": 5}), False),
        ((lambda app: lambda x, value=0: app(x, value=value + 5))(add_to), False),
    ],
    ids=["partial", "partial by position", "object", "closure"],
)
def test_wrappers_may_give_the_key_of_an_app(load: Load, function: Any, is_placed: bool) -> None:
    executor = load(max_workers_per_node=1)
    pool = ParslPoolExecutor(dfk=parsl.dfk())
    if getattr(function, "args", None):
        assert pool.submit(function, value=5).result() == 6
    else:
        assert list(pool.map(function, range(2))) == [5, 6]
    assert [row.name for row in executor.contexts()] == ["base(value=5)"] * is_placed


def test_submit_takes_an_app_for_its_func(load: Load) -> None:
    executor = load(max_workers_per_node=1)
    assert executor.submit(add, {}, 1).result()[0] == 11
    assert builds(executor) == [(1, 1)]


@pytest.mark.parametrize("chunksize", [1, 4])
@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (FunctionWrapper(log_probability, (100,), {}), 110),
        (log_probability, 10),
        (add, 10),
        (add.body, 10),
        (lambda x: (x + 10, os.getpid()), 10),
    ],
    ids=["object", "function", "app", "body", "alone"],
)
def test_a_pool_of_an_app_runs_functions_where_its_context_is_warm(
    load: Load, function: Any, expected: int, chunksize: int
) -> None:
    executor = load(max_workers_per_node=2)
    with add.pool() as pool:
        results: Iterable[Any] = list(pool.map(function, range(9), chunksize=chunksize))
        assert pool.submit(function, 9).result() is not None
    numbers = [result[0] if isinstance(result, tuple) else result for result in results]
    assert numbers == list(range(expected, expected + 9))
    [(loads, calls)] = builds(executor)
    assert loads <= 2
    assert calls == 10, "every call counts the context among its own, and none has built another"


def test_a_pool_gives_the_key_and_runs_apps_within_its_functions(load: Load) -> None:
    executor = load(max_workers_per_node=1)
    with add_to.pool(value=3) as pool:
        assert list(pool.map(add_to, range(2))) == [3, 4]
        assert list(pool.map(lambda x: add_to(x, value=3), range(2))) == [3, 4]
    assert builds(executor) == [(1, 4)]


def test_an_object_that_has_changed_is_called_as_it_is(load: Load) -> None:
    load(max_workers_per_node=1)
    function = FunctionWrapper(log_probability, (100,), {})
    with add.pool() as pool:
        first = list(pool.map(function, [1]))
        function.args = (200,)
        assert [*first, *pool.map(function, [1])] == [111, 211]


@pytest.mark.parametrize("kind", ["threads", "htex"])
def test_on_other_executors_too_functions_of_a_pool_may_call_the_app(kind: str, run_dir: Path) -> None:
    htex = HighThroughputExecutor(
        label="htex", address="127.0.0.1", max_workers_per_node=1, provider=LocalProvider(max_blocks=1)
    )
    executor = htex if kind == "htex" else ThreadPoolExecutor(label="threads", max_threads=2)
    config = parsl.Config(executors=[executor], run_dir=str(run_dir), usage_tracking=0, strategy_period=0.2)
    with parsl.load(config), add.pool() as pool:
        assert list(pool.map(FunctionWrapper((lambda app: lambda x: app(x)[0])(add), (), {}), range(3))) == [10, 11, 12]
