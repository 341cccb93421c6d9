"""Contexts are built anew when they are used up, too old or spoilt, on real processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parsl_context import ContextExecutor, context, context_app, context_dirty
from tests.process.conftest import wait_for

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]
Made = tuple[float, int]  # when an instance was built, and by which process


def stamp(folder: str) -> Any:
    made = time.monotonic(), os.getpid()
    yield made
    Path(folder, str(made[0])).touch()


def look(made: Made, spoils: bool = False, seconds: float = 0.0) -> Made:
    time.sleep(seconds)
    if spoils:
        context_dirty()
    return made


def ask(app: Any, *arguments: Any) -> Made:
    made: Made = app(*arguments).result(timeout=30)
    return made


def test_a_worker_builds_anew_what_is_used_up_spoilt_or_old(load: Load, run_dir: Path) -> None:
    executor = load(max_workers_per_node=1)
    used_up = context_app(context=context(max_uses=3)(stamp)(str(run_dir)))(look)
    futures = [used_up() for _ in range(9)]
    built = [future.result(timeout=30)[0] for future in futures]
    assert sorted(built.count(made) for made in set(built)) == [3, 3, 3]
    wait_for(lambda: Path(run_dir, str(built[-1])).exists())

    spoilt = context_app(context=context(stamp)(str(run_dir)))(look)
    first, second, third, fourth = ask(spoilt), ask(spoilt, True), ask(spoilt), ask(spoilt)
    assert first == second < third == fourth
    assert Path(run_dir, str(first[0])).exists()

    old = context_app(context=context(max_age_s=0.5)(stamp)(str(run_dir)))(look)
    young = ask(old)
    time.sleep(0.6)
    assert ask(old) > young
    rows = sorted((row.loads, row.evictions) for row in executor.contexts())
    assert rows == [(2, 1), (2, 1), (3, 3)]


def test_a_spoilt_context_that_workers_share_is_shared_anew(load: Load, run_dir: Path) -> None:
    executor = load(max_workers_per_node=1)

    @context(share="node", max_uses=2)
    def counted() -> list[int]:
        return [os.getpid()]

    @context_app(context=counted())
    def count(held: list[int], spoils: bool) -> tuple[int, int, int]:
        held.append(0)
        if spoils:
            context_dirty()
        return held[0], len(held), os.getpid()

    answers = [count(spoils).result(timeout=30) for spoils in (True, False, False, False)]
    assert [calls for _, calls, _ in answers] == [2, 2, 3, 2]
    assert len({builder for builder, _, _ in answers}) == 1, "built once"
    assert len({pid for _, _, pid in answers}) == 3, "each time another process that has the instance as it was built"
    assert executor.contexts()[0].loads == 1


def test_a_context_that_workers_share_is_built_anew_when_it_is_old(load: Load, run_dir: Path) -> None:
    executor = load(max_workers_per_node=1)
    app = context_app(context=context(share="node", max_age_s=0.5)(stamp)(str(run_dir)))(look)
    young = ask(app)
    wait_for(lambda: Path(run_dir, str(young[0])).exists())
    old = ask(app)
    assert old > young
    assert executor.contexts()[0].loads == 2


def test_a_call_may_spoil_a_context_on_any_executor(run_dir: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    app = context_app(context=context(stamp)(str(run_dir)))(look)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(app.func, True).result()
        second, third = pool.submit(app.func, False, 0.1), pool.submit(app.func, False, 0.1)
        assert first < second.result() == third.result()
