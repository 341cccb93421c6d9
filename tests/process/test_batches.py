"""Calls that wait for a worker reach the body together, and each has an outcome of its own."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parsl_context import BatchResultError, BodyExitError, ContextExecutor, WorkerLost, context, context_app
from tests.process.conftest import wait_for

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]


@context
def scale(factor: int = 1) -> dict[str, int]:
    return {"factor": factor, "built_by": os.getpid()}


@context_app(context=scale(3), batch=8)
def triple(scale: dict[str, int], numbers: list[int], run_s: list[float]) -> list[tuple[int, int, int]]:
    time.sleep(max(run_s))
    return [(scale["factor"] * number, len(numbers), os.getpid()) for number in numbers]


@context_app(context=scale(1), batch=8)
def strict(scale: dict[str, int], numbers: list[int]) -> list[Any]:
    if any(number < 0 for number in numbers):
        raise ValueError(f"negative among {len(numbers)}")
    time.sleep(0.02)
    return [ZeroDivisionError(f"number {number}") if number == 0 else 1 / number for number in numbers]


@context_app(context=scale(1), batch=8, batch_retry=True)
def retried(scale: dict[str, int], numbers: list[int]) -> list[Any]:
    time.sleep(0.05)
    if any(number < 0 for number in numbers):
        raise ValueError("negative")
    return numbers


@context_app(context=scale.by("factor"), batch=8)
def keyed(scale: dict[str, int], numbers: list[int], factor: int, plus: list[int] | None = None) -> list[Any]:
    time.sleep(0.02)
    assert plus is not None
    assert scale["factor"] == factor
    return [(factor, factor * number + (extra or 0)) for number, extra in zip(numbers, plus, strict=True)]


def occupied(load: Load, **options: Any) -> ContextExecutor:
    """An executor with one worker that is busy with the first of many calls."""
    executor = load(max_workers_per_node=1, **options)
    assert triple(0, 0.0).result(timeout=60)[:2] == (0, 1)
    return executor


def test_calls_that_wait_run_together(load: Load) -> None:
    executor = occupied(load)
    first = triple(0, 0.5)
    futures = [triple(number, 0.0) for number in range(1, 21)]
    sizes = [future.result(timeout=60)[1] for future in futures]
    assert [future.result()[0] for future in futures] == [3 * number for number in range(1, 21)]
    assert first.result()[1] <= 8
    assert max(sizes) == 8
    (row,) = [row for row in executor.contexts() if row.name.startswith("scale")]
    assert row.calls == 22
    assert row.batch is not None
    assert 1 < row.batch <= 8
    assert "in a batch" in repr(row)


def test_batches_are_split_among_idle_workers(load: Load) -> None:
    executor = load(max_workers_per_node=2)
    triple.warm()
    wait_for(lambda: [row.workers for row in executor.contexts()] == [2])
    blocks = [triple(0, 0.5) for _ in range(16)]
    for future in blocks:
        future.result(timeout=60)
    pids = {future.result()[2] for future in blocks}
    assert len(pids) == 2


def test_what_one_call_raises_is_its_own(load: Load) -> None:
    occupied(load)
    triple(0, 0.3)
    futures = [strict(number) for number in (1, 0, 2, 4)]
    assert [futures[i].result(timeout=60) for i in (0, 2, 3)] == [1.0, 0.5, 0.25]
    with pytest.raises(ZeroDivisionError, match="number 0"):
        futures[1].result()


def test_a_body_that_raises_fails_its_batch(load: Load) -> None:
    occupied(load)
    triple(0, 0.3)
    futures = [strict(number) for number in (1, -1, 2)]
    for future in futures:
        with pytest.raises(ValueError, match="negative among 3") as caught:
            future.result(timeout=60)
        assert "raised for a batch of 3 calls of strict" in caught.value.__notes__  # type: ignore[attr-defined]


def test_calls_of_a_batch_are_tried_one_by_one_where_that_is_asked_for(load: Load) -> None:
    occupied(load)
    triple(0, 0.3)
    futures = [retried(number) for number in (1, -1, 2)]
    assert (futures[0].result(timeout=60), futures[2].result(timeout=60)) == (1, 2)
    with pytest.raises(ValueError, match="negative") as caught:
        futures[1].result()
    assert not getattr(caught.value, "__notes__", [])


def test_one_that_exits_costs_no_other_call_where_calls_are_tried_one_by_one(load: Load) -> None:
    @context_app(context=scale(1), batch=4, batch_retry=True)
    def leaves(scale: dict[str, int], numbers: list[int]) -> list[int]:
        if 2 in numbers:
            sys.exit(3)
        return numbers

    occupied(load)
    triple(0, 0.3)
    futures = [leaves(number) for number in range(4)]
    assert [futures[i].result(timeout=60) for i in (0, 1, 3)] == [0, 1, 3]
    with pytest.raises(BodyExitError, match="SystemExit: 3"):
        futures[2].result()


def test_keys_never_mix(load: Load) -> None:
    load(max_workers_per_node=1)
    futures = [keyed(number, factor=number % 3, plus=number) for number in range(30)]
    futures += [keyed(number, number % 3) for number in range(30)]
    expected = [(n % 3, (n % 3) * n + n) for n in range(30)] + [(n % 3, (n % 3) * n) for n in range(30)]
    assert [future.result(timeout=60) for future in futures] == expected


@pytest.mark.parametrize("given", ["too few", "a text", "a table", "nothing"])
def test_a_body_that_returns_something_else_is_told(load: Load, given: str) -> None:
    results = {"too few": [1], "a text": "ab", "a table": {1: 2, 3: 4}, "nothing": None}

    @context_app(context=scale(1), batch=2)
    def wrong(scale: dict[str, int], numbers: list[int]) -> Any:
        return results[given]

    occupied(load)
    triple(0, 0.3)
    futures = [wrong(1), wrong(2)]
    for future in futures:
        with pytest.raises(BatchResultError, match=r"returned .* for 2 calls"):
            future.result(timeout=60)


def test_a_result_that_cannot_be_sent_fails_its_call_alone(load: Load) -> None:
    @context_app(context=scale(1), batch=4)
    def odd(scale: dict[str, int], numbers: list[int]) -> list[Any]:
        return [(_ for _ in ()) if number == 1 else number for number in numbers]

    occupied(load)
    triple(0, 0.3)
    futures = [odd(number) for number in range(4)]
    assert [futures[i].result(timeout=60) for i in (0, 2, 3)] == [0, 2, 3]
    with pytest.raises(Exception, match="cannot be serialized"):
        futures[1].result()


def test_a_killed_batch_loses_its_calls(load: Load) -> None:
    @context_app(context=scale(1), batch=4)
    def dies(scale: dict[str, int], numbers: list[int]) -> list[int]:
        if 2 in numbers:
            os.kill(os.getpid(), signal.SIGKILL)
        return numbers

    occupied(load)
    triple(0, 0.3)
    futures = [dies(number) for number in range(8)]
    for future in futures[:4]:
        with pytest.raises(WorkerLost):
            future.result(timeout=60)
    assert [future.result(timeout=60) for future in futures[4:]] == [4, 5, 6, 7]


def test_a_call_of_a_batch_that_has_not_started_is_cancelled_alone(load: Load, tmp_path: Path) -> None:
    folder = tmp_path / "marks"
    folder.mkdir()

    @context_app(context=scale(1), batch=4)
    def marks(scale: dict[str, int], numbers: list[int]) -> list[int]:
        for number in numbers:
            (folder / str(number)).touch()
        time.sleep(0.01)
        return numbers

    load(max_workers_per_node=1, prefetch_capacity=4)
    assert marks(0).result(timeout=60) == 0
    triple(0, 0.6)
    time.sleep(0.2)
    futures = [marks(number) for number in range(1, 13)]
    time.sleep(0.2)
    assert [future.cancel() for future in futures[1:9:3]] == [True] * 3
    kept = [number for number in range(1, 13) if number not in (2, 5, 8)]
    assert [futures[number - 1].result(timeout=60) for number in kept] == kept
    assert sorted(int(path.name) for path in folder.iterdir()) == [0, *kept]


def test_a_fork_serves_one_batch(load: Load) -> None:
    @context(isolation="call")
    def table() -> dict[int, int]:
        return {}

    @context_app(context=table, batch=4)
    def grows(table: dict[int, int], numbers: list[int]) -> list[tuple[int, int]]:
        table.update(dict.fromkeys(numbers, 1))
        time.sleep(0.05)
        return [(len(table), os.getpid())] * len(numbers)

    load(max_workers_per_node=1)
    assert grows(0).result(timeout=60)[0] == 1
    futures = [grows(number) for number in range(20)]
    found = [future.result(timeout=60) for future in futures]
    assert max(size for size, _ in found) == 4
    sizes: dict[int, int] = {}
    for size, pid in found:
        assert sizes.setdefault(pid, size) == size


def test_uses_are_counted_by_call(load: Load) -> None:
    @context(max_uses=4)
    def built() -> float:
        return time.time()

    @context_app(context=built, batch=16)
    def which(built: float, numbers: list[int]) -> list[tuple[float, int]]:
        time.sleep(0.05)
        return [(built, len(numbers))] * len(numbers)

    load(max_workers_per_node=1)
    futures = [which(number) for number in range(24)]
    found = [future.result(timeout=60) for future in futures]
    assert max(size for _, size in found) <= 4
    served: dict[float, int] = {}
    for made, _ in found:
        served[made] = served.get(made, 0) + 1
    assert max(served.values()) < 4 + 4


def test_a_walltime_is_for_one_call(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    occupied(load)
    triple(0, 0.3)

    @context_app(context=scale(1), batch=4)
    def limited(scale: dict[str, int], numbers: list[int], walltime: float = 20) -> list[int]:
        return [len(numbers)] * len(numbers)

    with caplog.at_level(logging.WARNING):
        assert [future.result(timeout=60) for future in [limited(1), limited(2), limited(3)]] == [1, 1, 1]
    assert [record.getMessage() for record in caplog.records if "batches" in record.getMessage()] == [
        "Calls of limited do not run in batches: a walltime is for one call"
    ]


def test_calls_may_wait_for_others(load: Load) -> None:
    @context_app(context=scale(1), batch=4, batch_wait_s=0.5)
    def together(scale: dict[str, int], numbers: list[int]) -> list[int]:
        return [len(numbers)] * len(numbers)

    load(max_workers_per_node=1)
    triple(0, 0.0).result(timeout=60)
    start = time.monotonic()
    lone = together(0)
    time.sleep(0.1)
    more = [together(number) for number in range(2)]
    assert [future.result(timeout=60) for future in [lone, *more]] == [3, 3, 3]
    assert time.monotonic() - start >= 0.4
    start = time.monotonic()
    assert [future.result(timeout=60) for future in [together(number) for number in range(4)]] == [4] * 4
    assert time.monotonic() - start < 0.4, "a full batch does not wait"


def test_maps_and_calls_here_take_lists_too(load: Load) -> None:
    load(max_workers_per_node=1)
    assert list(keyed.map(range(20), factor=2)) == [(2, 2 * number) for number in range(20)]
    sizes = [size for _, size, _ in triple.map(range(40), [0.0] * 40, chunksize=20)]
    assert sizes == [8] * 8 + [8] * 8 + [4] * 4 + [8] * 8 + [8] * 8 + [4] * 4
    assert triple.func(2, 0.0)[:2] == (6, 1)
    assert triple.body({"factor": 2}, [1, 2], [0.0, 0.0])[1][0] == 4
    with pytest.raises(ValueError, match="negative"):
        list(strict.map([1, 2, -1]))
    found = list(strict.map([1, 0, 2], chunksize=3, return_exceptions=True))
    assert (found[0], found[2]) == (1.0, 0.5)
    assert isinstance(found[1], ZeroDivisionError)
