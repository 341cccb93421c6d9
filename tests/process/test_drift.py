"""Contexts that calls change, on real workers: the script is warned, and told what."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import parsl
import pytest
from parsl.executors import ThreadPoolExecutor

from parsl_context import ContextDriftWarning, ContextExecutor, context, context_app

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]


class Model:
    def __init__(self) -> None:
        self.weights = [1.0, 2.0]
        self.seen: dict[int, int] = {}


@context(check=2)
def model() -> Model:
    return Model()


@context_app(context=model)
def remembers(made: Model, x: int) -> int:
    made.seen[x] = x
    return x


@context_app(context=model)
def reads(made: Model, x: int) -> float:
    return made.weights[0] + x


@context_app(context=model)
def raises(made: Model, x: int) -> None:
    made.weights[0] = -1.0
    raise KeyError(x)


def told(call: Callable[[], Any]) -> list[str]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        call()
    return [str(each.message) for each in found if each.category is ContextDriftWarning]


def test_the_script_is_told_what_a_call_changed(load: Load) -> None:
    load(max_workers_per_node=1)
    assert told(lambda: reads(1).result(timeout=30)) == []
    (text,) = told(lambda: remembers(2).result(timeout=30))
    assert "Context model() changed in call 2 of this process, of remembers: context.seen: 0 items" in text


def test_calls_of_a_map_are_looked_at(load: Load) -> None:
    load(max_workers_per_node=1)
    results: list[int] = []
    found = told(lambda: results.extend(remembers.map(range(100), chunksize=10)))
    assert results == list(range(100))
    assert len(found) == 3  # calls 1 and 2, and what changed before call 4


def test_an_error_says_what_the_call_changed(load: Load) -> None:
    load(max_workers_per_node=1)
    error = raises(1).exception(timeout=30)
    assert isinstance(error, KeyError)
    (note,) = error.__notes__  # type: ignore[attr-defined]
    assert "context.weights[0]: 1.0 became -1.0" in note


def test_instances_that_a_node_shares_are_looked_at(load: Load) -> None:
    load(max_workers_per_node=1, reuse="node")
    (text,) = told(lambda: remembers(2).result(timeout=30))
    assert "changed in call 1" in text


@context_app
def block(x: int) -> int:
    with context(check=1):
        seen: list[int] = []
    seen.append(x)
    return len(seen)


def test_blocks_are_looked_at(load: Load) -> None:
    load(max_workers_per_node=1)
    (text,) = told(lambda: block(2).result(timeout=30))
    assert "context['seen']: 0 items became 1 item" in text


def test_other_executors_tell_too(load: Load, run_dir: Any) -> None:
    config = parsl.Config(executors=[ThreadPoolExecutor(label="x")], run_dir=str(run_dir), usage_tracking=0)
    with parsl.load(config):
        assert remembers(2).result(timeout=30) == 2
        assert len(told(lambda: remembers(3).result(timeout=30))) == 1
    parsl.clear()
