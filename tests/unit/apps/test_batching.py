"""What `batch=` may be, which bodies take it, and how arguments and results of calls are put side by side."""

from __future__ import annotations

import pickle
from typing import Any

import dill
import numpy as np
import pytest

from parsl_context import BatchResultError, ConfigurationError, context, context_app
from parsl_context.retain.batches import Batching, columns_of, run_together


@context
def number(start: int = 0) -> int:
    return start


def rows(body: Any, *given: tuple[tuple[Any, ...], dict[str, Any]], shared: tuple[str, ...] = ()) -> Any:
    return columns_of(body, (None,), shared).of(given)


def test_arguments_become_lists() -> None:
    def body(state: int, a: Any, b: Any = 7, *, c: Any = 8) -> None: ...

    assert rows(body, ((1, 2), {"c": 3}), ((4,), {}), ((), {"a": 5, "b": 6})) == (
        ([1, 4, 5], [2, 7, 6]),
        {"c": [3, 8, 8]},
    )
    assert rows(lambda state, a: None, ((1,), {}), ((2,), {})) == (([1, 2],), {})


def test_keys_are_as_they_are() -> None:
    def body(state: int, a: Any, key: str) -> None: ...

    assert rows(body, ((1, "k"), {}), ((2,), {"key": "k"}), shared=("key",)) == (([1, 2], "k"), {})


@pytest.mark.parametrize("batch", [0, -1, 1.5, True, "many", 10**6])
def test_sizes_that_are_none(batch: Any) -> None:
    with pytest.raises(ConfigurationError, match="batch="):
        context_app(context=number, batch=batch)


@pytest.mark.parametrize("options", [{"batch_wait_s": 1}, {"batch_retry": True}])
def test_options_of_batches_alone_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="give batch="):
        context_app(context=number, **options)


@pytest.mark.parametrize(
    "options", [{"batch_wait_s": -1}, {"batch_wait_s": float("inf")}, {"batch_wait_s": "1"}, {"batch_retry": 1}]
)
def test_options_that_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="must be"):
        context_app(context=number, batch=2, **options)


def test_bodies_that_take_no_lists_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="takes \\*items"):
        context_app(context=number, batch=2)(lambda state, *items: items)
    with pytest.raises(ConfigurationError, match="takes \\*\\*items"):
        context_app(context=number, batch=2)(lambda state, **items: items)
    with pytest.raises(ConfigurationError, match="no parameter"):
        context_app(context=number.by("start"), batch=2)(lambda state, start: start)
    with pytest.raises(ConfigurationError, match="no parameter"):
        context_app(context=number, batch=2)(lambda state: [state])


def together(body: Any, *values: Any, retries: bool = False) -> list[Any]:
    batching = Batching(8, retries=retries)
    outcomes = run_together(body, [((value,), {}) for value in values], columns_of(body, (), ()), batching, "body")
    return [outcome.value if outcome.error is None else outcome.error for outcome in outcomes]


@pytest.mark.parametrize("make", [list, tuple, np.array, lambda values: (value for value in values)])
def test_results_may_be_anything_that_has_them_in_order(make: Any) -> None:
    assert together(lambda items: make([10 * item for item in items]), 1, 2, 3) == [10, 20, 30]


@pytest.mark.parametrize("given", ["abc", b"abc", {1, 2, 3}, {1: 2, 3: 4, 5: 6}, None, 3, [1, 2], np.zeros(())])
def test_results_that_are_none_fail_the_batch(given: Any) -> None:
    found = together(lambda items: given, 1, 2, 3)
    assert [type(each) for each in found] == [BatchResultError] * 3


def test_calls_are_tried_one_by_one_only_after_a_batch_that_raised() -> None:
    seen = []

    def body(items: list[int]) -> list[int]:
        seen.append(list(items))
        if 2 in items:
            raise KeyError("two")
        return items

    assert together(body, 1, 3, retries=True) == [1, 3]
    found = together(body, 1, 2, 3, retries=True)
    assert (found[0], repr(found[1]), found[2]) == (1, "KeyError('two')", 3)
    assert seen == [[1, 3], [1, 2, 3], [1], [2], [3]]


def test_an_app_with_batches_works_without_an_executor() -> None:
    @context_app(context=number(5), batch=3)
    def add(start: int, items: list[int], more: list[int]) -> list[Any]:
        return [start + item + extra if item else ValueError("none") for item, extra in zip(items, more, strict=True)]

    assert add.func(1, more=2) == 8
    with pytest.raises(ValueError, match="none"):
        add.func(0, 0)
    for load in (pickle.loads, dill.loads):
        assert load(dill.dumps(add.func))(1, 2) == 8
    assert "batch 3" in repr(add)


def test_blocks_may_take_batches() -> None:
    @context_app(batch=4)
    def scaled(items: list[int], by: int = 2) -> list[int]:
        with context:
            factor = by * 10
        return [factor * item for item in items]

    assert scaled.func(3) == 60
    assert scaled.func(3, by=1) == 30
