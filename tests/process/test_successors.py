"""Blocks follow one another before Parsl sees that one has ended: it asks batch systems once a minute."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from parsl.providers import LocalProvider

from parsl_context import ContextExecutor, ManagerLost, context_app
from tests.process.conftest import family, wait_for

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]
CALL_S = 0.3
WALLTIME_S = 9


class SlowProvider(LocalProvider):
    """Is asked how jobs are while the first block runs, and then not again before its successor has long begun."""

    @property
    def status_polling_interval(self) -> float:
        return 30.0


def provider(*, most: int, starts_s: float = 0.0, walltime_s: int | None = None) -> LocalProvider:
    made = SlowProvider(init_blocks=1, max_blocks=most, worker_init=f"sleep {starts_s}")
    if walltime_s is not None:
        made.walltime = f"00:00:{walltime_s:02}"  # as a provider of a batch system has it; here nobody enforces it
    return made


@context_app(context=lambda: 0)
def app(_: int, seconds: float) -> tuple[int, float, float]:
    began = time.time()
    time.sleep(seconds)
    return os.getppid(), began, time.time()


def loaded(load: Load, **options: Any) -> ContextExecutor:
    return load(max_workers_per_node=1, config={"strategy": "simple", "strategy_period": 0.2}, **options)


def most_active(executor: ContextExecutor, futures: list[Any]) -> int:
    """Blocks at a time, until all calls have ended."""
    most = 0
    while not all(future.done() for future in futures):
        most = max(most, sum(not job.terminal for job in executor.status_facade.values()))
        time.sleep(0.05)
    return most


def holes(found: list[tuple[int, float, float]]) -> list[float]:
    """Times from the end of each manager's last call until the first of the next one. [s]"""
    spans: dict[int, tuple[float, float]] = {}
    for manager, began, ended in found:
        first, last = spans.get(manager, (began, ended))
        spans[manager] = min(first, began), max(last, ended)
    ordered = sorted(spans.values())
    return [after[0] - before[1] for before, after in itertools.pairwise(ordered)]


def test_a_block_that_has_ended_is_replaced_at_once(load: Load) -> None:
    executor = loaded(load, provider=provider(most=1, walltime_s=WALLTIME_S))
    calls = [app(CALL_S) for _ in range(int(1.5 * WALLTIME_S / CALL_S))]
    assert most_active(executor, calls) == 1
    found = [future.result() for future in calls]
    assert 1 <= len(holes(found)) <= 2
    assert max(holes(found)) < 6, "the end of one manager and the start of another"


def test_with_overlap_the_next_block_is_ready_when_one_ends(load: Load) -> None:
    executor = loaded(load, provider=provider(most=1, starts_s=2.0, walltime_s=WALLTIME_S), overlap_blocks=1)
    calls = [app(CALL_S) for _ in range(int(1.5 * WALLTIME_S / CALL_S))]
    assert most_active(executor, calls) == 2
    found = [future.result() for future in calls]
    assert 1 <= len(holes(found)) <= 2
    assert max(holes(found)) < 1


def test_parsl_gets_no_block_for_calls_that_will_have_run_when_it_starts(load: Load) -> None:
    executor = loaded(load, provider=provider(most=3, starts_s=4.0))
    app(0.05).result(timeout=30)
    few = [app(0.05) for _ in range(20)]
    assert most_active(executor, few) == 1
    many = [app(1.0) for _ in range(60)]
    wait_for(lambda: len(executor.status_facade) == 3)
    for future in many:
        future.cancel()


def test_a_block_that_has_run_calls_did_not_fail_to_start(load: Load, run_dir: Path) -> None:
    """Parsl gives up an executor all of whose blocks have failed; with one block that is each node that dies."""
    executor = load(
        provider=LocalProvider(init_blocks=1, max_blocks=1),
        max_workers_per_node=1,
        config={"strategy": "simple", "strategy_period": 0.2},
    )
    app(0.0).result(timeout=30)
    lost = app(60.0)
    wait_for(lambda: [row["tasks"] for row in executor.connected_managers()] == [1])
    (manager,) = [p for p in family(run_dir) if p.cmdline()[:1] == ["parsl:context-manager"]]
    psutil.Process(manager.pid).kill()
    with pytest.raises(ManagerLost):
        lost.result(timeout=20)
    assert app(0.0).result(timeout=40)[0] != manager.pid
    assert not executor.bad_state_is_set
