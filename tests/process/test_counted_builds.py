"""`executor.contexts()` counts each build once, at the time that it took, also where contexts require others."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from parsl_context import ContextExecutor, context, context_app

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]
BUILD_S = 0.3


@context
def inner(number: int) -> int:
    time.sleep(BUILD_S)
    return number


@context
def outer(held: int) -> int:
    time.sleep(BUILD_S)
    return held


@pytest.mark.parametrize("reuse", ["memory", "node"])
def test_a_build_is_counted_once(load: Load, reuse: str) -> None:
    executor = load(max_workers_per_node=1, reuse=reuse)
    for number in range(3):  # the digests, which orders are sorted by, are others each time
        chain = {"a": outer(outer(inner(number))), "b": inner(number)}
        app = context_app(context=chain)(lambda *, a, b: (a, b))
        assert app().result(timeout=30) == (number, number)
        assert app().result(timeout=30) == (number, number)
    rows = executor.contexts()
    assert len(rows) == 9
    assert {row.loads for row in rows} == {1}
    assert min(row.load_s for row in rows) >= BUILD_S
    assert {row.state for row in rows} == {"ready"} if reuse == "memory" else {"ready", "cold"}


def test_what_was_built_on_the_way_has_no_limit_left_to_run(load: Load) -> None:
    """A template is told to build all that its workers share, also what it has built by then."""
    executor = load(max_workers_per_node=1, reuse="node", context_build_timeout=1.0)
    chains = {f"c{number}": outer(inner(number)) for number in range(2)}
    app = context_app(context=chains | {f"i{number}": inner(number) for number in range(2)})(lambda **held: held["i1"])
    assert app().result(timeout=30) == 1
    time.sleep(1.5)  # no event says that nothing happens
    assert app().result(timeout=30) == 1
    assert {(row.loads, row.state) for row in executor.contexts()} == {(1, "ready")}
    log = "".join(path.read_text() for path in Path(executor.run_dir).glob("contexts/block-0/*/manager.log"))
    assert "is killed" not in log
