"""Advice is given to real runs that deserve it, and to none that does not."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import parsl
import pytest

from parsl_context import ContextExecutor, context, context_app
from parsl_context.report.making import make_report
from parsl_context.report.reading import find_logs

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]


@context
def table(name: str, seconds: float = 0.3, size_bytes: int = 0) -> bytes:
    time.sleep(seconds)
    return b"x" * size_bytes


def waits(held: Any, seconds: float = 0.01) -> int:
    time.sleep(seconds)
    return len(held)


def app(*arguments: Any, **options: Any) -> Any:
    return context_app(context=context(**options)(table.function)(*arguments))(waits)


def takes_turns(executor: ContextExecutor) -> None:
    mine, other = app("a"), app("b")
    for _ in range(5):
        mine().result()
        other().result()


def takes_turns_in_memory(executor: ContextExecutor) -> None:
    mine, other = app("a", 0.3, 200_000_000), app("b", 0.3, 200_000_000)
    for _ in range(4):
        mine().result()
        other().result()


def captures(executor: ContextExecutor) -> None:
    data = bytes(15_000_000)
    context_app(context=table("a"))(lambda held: len(data))().result()


def is_short(executor: ContextExecutor) -> None:
    quick = context_app(context=table("a"))(len)
    for future in [executor.submit(quick.func, {}) for _ in range(10_500)]:
        future.result()


def has_one_copy(executor: ContextExecutor) -> None:
    large = app("a", 0.3, 200_000_000, memory_gb=0.2)
    for future in [large(0.2) for _ in range(45)]:
        future.result()


def builds_each_time(executor: ContextExecutor) -> None:
    fresh = app("a", reuse="disk")
    for future in [fresh() for _ in range(6)]:
        future.result()


def calls_now_and_then(executor: ContextExecutor) -> None:
    mine = app("a")
    for _ in range(18):
        mine().result()
        time.sleep(0.8)


DESERVED: dict[str, tuple[Callable[[ContextExecutor], None], dict[str, Any], str]] = {
    "thrashing": (takes_turns, {"max_workers_per_node": 1, "max_contexts_per_worker": 1}, "max_contexts_per_worker"),
    "budget": (takes_turns_in_memory, {"max_workers_per_node": 1, "context_memory_gb": 0.3}, "MB together"),
    "captured values": (captures, {}, "carries 15.0 MB of values"),
    "short calls": (is_short, {}, ".map(...)"),
    "second copy": (has_one_copy, {"context_memory_gb": 0.3}, "1 of 2 workers could have it"),
    "too many workers": (calls_now_and_then, {"max_workers_per_node": 8}, "Start fewer workers"),
    "level of reuse": (builds_each_time, {}, "reuse='memory' it is built once per worker"),
}


@pytest.mark.parametrize("name", DESERVED)
def test_a_run_that_deserves_advice_hears_it(load: Load, run_dir: Path, name: str) -> None:
    run, options, words = DESERVED[name]
    assert words in " ".join(advice_of(load, run_dir, run, options))


def makes_long_calls(executor: ContextExecutor) -> None:
    for future in [app("a")(0.1) for _ in range(20)]:
        future.result()


def maps(executor: ContextExecutor) -> None:
    assert sum(context_app(context=table("a"))(lambda held, item: item).map(range(20_000))) > 0


def uses_two_that_fit(executor: ContextExecutor) -> None:
    for future in [each(0.05) for each in (app("a"), app("b")) * 10]:
        future.result()


def shares_one(executor: ContextExecutor) -> None:
    shared = app("a", 0.3, 50_000_000, share="node")
    for future in [shared(0.05) for _ in range(20)]:
        future.result()


def gives_one_up(executor: ContextExecutor) -> None:
    made = table("a")
    use = context_app(context=made)(waits)
    use(0.1).result()
    executor.evict(made)
    for future in [use(0.1) for _ in range(20)]:
        future.result()


@pytest.mark.parametrize("run", [makes_long_calls, maps, uses_two_that_fit, shares_one, gives_one_up])
def test_a_run_that_does_well_hears_none(load: Load, run_dir: Path, run: Callable[[ContextExecutor], None]) -> None:
    assert advice_of(load, run_dir, run, {}) == []


def advice_of(load: Load, run_dir: Path, run: Callable[[ContextExecutor], None], options: dict[str, Any]) -> list[str]:
    run(load(**options))
    parsl.dfk().cleanup()
    return make_report(find_logs(run_dir)[0]).advice
