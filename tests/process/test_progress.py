"""Calls of more contexts than fit end all the same, on real processes. The bound is checked in tests/simulation."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import parsl
import pytest

from parsl_context import ContextExecutor, context, context_app

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]


@context
def named(name: str) -> str:
    time.sleep(0.05)
    return name


@context(share="node")
def shared(name: str) -> str:
    time.sleep(0.05)
    return name


@parsl.python_app
def pid() -> int:
    return os.getpid()


def calls_of(function: Any, contexts: int, calls: int) -> list[Any]:
    """Futures of calls of so many contexts, made together, and what each should give."""
    futures = []
    for name in map(str, range(contexts)):

        @context_app(context=function(name))
        def look(held: str, i: int) -> tuple[str, int]:
            return held, i

        futures += [(look(i), (name, i)) for i in range(calls)]
    return futures


@pytest.mark.parametrize(("workers", "contexts", "calls"), [(1, 2, 1), (2, 5, 1), (4, 6, 1), (2, 6, 20)])
def test_more_shared_contexts_than_workers(load: Load, workers: int, contexts: int, calls: int) -> None:
    executor = load(max_workers_per_node=workers)
    futures = calls_of(shared, contexts, calls)
    assert [future.result(timeout=30) for future, _ in futures] == [expected for _, expected in futures]
    assert isinstance(pid().result(timeout=30), int), "ordinary apps go on, too"
    assert [row.loads for row in executor.contexts()] == [1] * contexts


@pytest.mark.parametrize(("workers", "limit", "contexts", "calls"), [(1, 1, 2, 4), (2, 1, 5, 3), (2, 2, 6, 3)])
def test_more_contexts_than_workers_may_keep(load: Load, workers: int, limit: int, contexts: int, calls: int) -> None:
    executor = load(max_workers_per_node=workers, max_contexts_per_worker=limit)
    futures = calls_of(named, contexts, calls)
    assert [future.result(timeout=30) for future, _ in futures] == [expected for _, expected in futures]
    assert sum(row.loads for row in executor.contexts()) <= 2 * contexts, "none is built to be given up unused"


def test_shared_contexts_beside_limited_ones_and_ordinary_apps(load: Load) -> None:
    load(max_workers_per_node=2, max_contexts_per_worker=1)
    futures = calls_of(shared, 3, 3) + calls_of(named, 3, 3)
    others = [pid() for _ in range(6)]
    assert [future.result(timeout=30) for future, _ in futures] == [expected for _, expected in futures]
    assert all(isinstance(other.result(timeout=30), int) for other in others)
