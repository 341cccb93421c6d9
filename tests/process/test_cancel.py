"""Calls that nobody waits for do not run: `cancel()`, and maps that are left."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import random
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import parsl
import psutil
import pytest
from parsl import join_app, python_app
from parsl.dataflow.errors import DependencyError, JoinError
from parsl.dataflow.futures import AppFuture
from parsl.executors import ThreadPoolExecutor

from parsl_context import BodyExitError, ContextExecutor, ContextSerializationError, WorkerLost, context, context_app
from tests.process.conftest import wait_for

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]


@pytest.fixture
def marks_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "marks"
    folder.mkdir()
    return folder


def mark(folder: str, number: int, run_s: float = 0.0) -> int:
    with (Path(folder) / str(number)).open("a") as file:
        file.write("x")
    time.sleep(run_s)
    return number


@context
def offset() -> int:
    return 0


@context_app(context=offset)
def app(offset: int, folder: str, number: int, run_s: float = 0.0) -> int:
    return mark(folder, number, run_s)


@context_app(context=offset, cache=True)
def remembered(offset: int, folder: str, number: int) -> int:
    return mark(folder, number)


@python_app
def pause(run_s: float) -> float:
    time.sleep(run_s)
    return run_s


def marks(folder: Path) -> dict[int, int]:
    return {int(path.name): len(path.read_text()) for path in folder.iterdir()}


def started(folder: Path, number: int) -> None:
    wait_for(lambda: number in marks(folder))


@pytest.mark.slow
def test_of_many_calls_that_are_cancelled_as_they_run_none_runs_after_all(load: Load, marks_folder: Path) -> None:
    """Each future ends once, and what was cancelled has left no mark."""
    executor = load(max_workers_per_node=2)
    executor.submit(mark, {}, str(marks_folder), -1).result(timeout=60)
    futures = [executor.submit(mark, {}, str(marks_folder), i) for i in range(4000)]
    ends = [0] * len(futures)

    def count(i: int) -> Callable[[object], None]:
        def ended(_: object) -> None:
            ends[i] += 1

        return ended

    for i, future in enumerate(futures):
        future.add_done_callback(count(i))
    chosen = random.Random(3).sample(range(len(futures)), 2000)
    cancelled = {i for i in chosen if futures[i].cancel()}
    assert not concurrent.futures.wait(futures, timeout=60).not_done
    ran = marks(marks_folder)
    assert set(ran) - {-1} == set(range(len(futures))) - cancelled
    assert set(ran.values()) == {1}
    assert ends == [1] * len(futures)
    assert cancelled
    assert {i for i, future in enumerate(futures) if future.cancelled()} == cancelled


def test_a_call_behind_another_is_cancelled_and_one_that_runs_is_not(load: Load, marks_folder: Path) -> None:
    load(max_workers_per_node=1, config={"retries": 3})
    running = app(str(marks_folder), 0, 1.0)
    started(marks_folder, 0)
    waiting = app(str(marks_folder), 1)
    assert waiting.cancel()
    assert waiting.cancelled()
    assert not running.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        waiting.result(timeout=0)
    assert concurrent.futures.wait([waiting], timeout=0).done == {waiting}
    assert running.result(timeout=30) == 0
    assert app(str(marks_folder), 2).result(timeout=30) == 2
    assert marks(marks_folder) == {0: 1, 2: 1}


def test_a_call_that_waits_for_others_is_cancelled_at_once(load: Load, marks_folder: Path) -> None:
    load(max_workers_per_node=1)
    first = pause(0.5)
    second = app(str(marks_folder), 1, first)
    third = app(str(marks_folder), second)
    assert second.cancel()
    with pytest.raises(DependencyError):
        third.result(timeout=30)
    assert first.result(timeout=30) == 0.5
    assert app(str(marks_folder), 2).result(timeout=30) == 2
    assert marks(marks_folder) == {2: 1}


def test_a_cancelled_call_is_not_remembered(load: Load, marks_folder: Path) -> None:
    load(max_workers_per_node=1)
    app(str(marks_folder), 0, 0.5)
    started(marks_folder, 0)
    assert remembered(str(marks_folder), 1).cancel()
    assert remembered(str(marks_folder), 1).result(timeout=30) == 1


def test_a_join_fails_whose_call_is_cancelled(load: Load, marks_folder: Path) -> None:
    load(max_workers_per_node=1, config={"retries": 2})
    made: list[AppFuture] = []

    @join_app
    def joins() -> AppFuture:
        made.append(app(str(marks_folder), 1))
        return made[0]

    app(str(marks_folder), 0, 1.0)
    started(marks_folder, 0)
    joined = joins()
    wait_for(lambda: made)
    assert made[0].cancel()
    with pytest.raises(JoinError):
        joined.result(timeout=30)
    assert app(str(marks_folder), 2).result(timeout=30) == 2
    assert marks(marks_folder) == {0: 1, 2: 1}


def test_asyncio_sees_it(load: Load, marks_folder: Path) -> None:
    load(max_workers_per_node=1)

    async def script() -> None:
        app(str(marks_folder), 0, 0.5)
        started(marks_folder, 0)
        future = app(str(marks_folder), 1)
        awaited = asyncio.wrap_future(future)
        assert future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await awaited

    asyncio.run(script())


def test_on_other_executors_what_they_can_cancel_is(run_dir: Path, marks_folder: Path) -> None:
    executor = ThreadPoolExecutor(label="x", max_threads=1)
    with parsl.load(parsl.Config(executors=[executor], run_dir=str(run_dir), usage_tracking=0, retries=1)):
        running = app(str(marks_folder), 0, 0.5)
        started(marks_folder, 0)
        waiting = app(str(marks_folder), 1)
        wait_for(lambda: waiting.task_record["status"].name != "pending")
        assert waiting.cancel()
        assert not running.cancel()
        assert running.result(timeout=30) == 0
    parsl.clear()
    assert marks(marks_folder) == {0: 1}


def test_a_callback_may_cancel_others(load: Load, marks_folder: Path) -> None:
    """It runs in the thread that gets the answers, also before the first of them."""
    executor = load(max_workers_per_node=1)
    executor.submit(mark, {}, str(marks_folder), -1).result(timeout=60)
    first = executor.submit(mark, {}, str(marks_folder), 0, 0.5)
    others = [executor.submit(mark, {}, str(marks_folder), i, 1.0) for i in range(1, 4)]
    took: list[float] = []

    def ended(_: object) -> None:
        begun = time.monotonic()
        for other in others[1:]:
            other.cancel()
        took.append(time.monotonic() - begun)

    first.add_done_callback(ended)
    assert first.result(timeout=30) == 0
    wait_for(lambda: took and all(other.cancelled() for other in others[1:]))
    assert took[0] < 1
    assert others[0].result(timeout=30) == 1
    assert marks(marks_folder) == {-1: 1, 0: 1, 1: 1}


def test_what_was_asked_is_forgotten(load: Load, marks_folder: Path) -> None:
    """Whether a call was withdrawn, had started, or ended in between."""
    executor = load(max_workers_per_node=1)
    for _ in range(20):
        futures = [executor.submit(mark, {}, str(marks_folder), i) for i in range(10)]
        executor.withdraw(futures)
        concurrent.futures.wait(futures, timeout=30)
    running = executor.submit(mark, {}, str(marks_folder), 99, 0.3)
    started(marks_folder, 99)
    executor.withdraw([running])
    assert running.result(timeout=30) == 99
    assert executor.submit(mark, {}, str(marks_folder), 100).result(timeout=30) == 100
    assert not executor._cancels._awaited


def dies(x: int) -> int:
    if x == 3:
        os._exit(1)
    return x


@context_app(context=offset)
def deadly(offset: int, x: int) -> int:
    return dies(x)


# --- maps


@pytest.mark.parametrize("ordered", [True, False])
def test_a_worker_that_dies_costs_its_own_task_alone(load: Load, ordered: bool) -> None:
    """Each of its calls has an error of its own, with its own note."""
    load(max_workers_per_node=1)
    found = list(deadly.map(range(9), chunksize=3, return_exceptions=True, ordered=ordered))
    lost = [each for each in found if isinstance(each, WorkerLost)]
    assert sorted(each for each in found if isinstance(each, int)) == [0, 1, 2, 6, 7, 8]
    notes = [each.__notes__ for each in lost]  # type: ignore[attr-defined]
    assert notes == [[f"item {i} of the map: {i}"] for i in (3, 4, 5)]


@context_app(context=offset)
def leaving(offset: int, x: int) -> int:
    if x % 10 == 7:
        raise [SystemExit, KeyboardInterrupt, GeneratorExit][x // 10](f"no {x}")
    return x


@pytest.mark.parametrize("chunksize", [1, 4, 30])
def test_a_call_that_leaves_costs_its_own_item_alone(load: Load, chunksize: int) -> None:
    """As a call by itself, whose worker lives on: so does the rest of its task."""
    load(max_workers_per_node=1)
    found = list(leaving.map(range(30), chunksize=chunksize, return_exceptions=True))
    for i, value in enumerate(found):
        if i % 10 == 7:
            assert type(value) is BodyExitError
            assert f"no {i}" in str(value.__cause__)
            assert value.__notes__ == [f"item {i} of the map: {i}"]  # type: ignore[attr-defined]
        else:
            assert value == i
    results, taken = leaving.map(range(30), chunksize=chunksize), []
    with pytest.raises(BodyExitError, match="no 7") as raised:
        taken.extend(iter_to(results, taken))
    assert taken == list(range(7))
    assert "item 7 of the map: 7" in raised.value.__notes__


@context_app(context=offset)
def forking(offset: int, folder: str, x: int) -> int:
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
    else:
        if x == 2:
            raise ValueError("in the child")
        with open(f"{folder}/{x}", "a") as file:
            file.write("x")
    return x


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_child_that_comes_back_from_a_call_makes_no_other_calls(load: Load, run_dir: Path, goes_on: bool) -> None:
    load(max_workers_per_node=1)
    folder = run_dir / "marks"
    folder.mkdir()
    found = forking.map([str(folder)] * 4, range(4), chunksize=4, return_exceptions=goes_on)
    assert list(found) == list(range(4))
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"0": "x", "1": "x", "3": "x"}


@context_app(context=offset)
def unsendable(offset: int, x: int) -> object:
    if x == 3:
        raise KeyError(x)
    return re.match("a", "a") if x == 1 else x


@pytest.mark.parametrize("chunksize", [1, 2, 4])
def test_a_result_that_cannot_be_sent_costs_its_own_item_alone(load: Load, chunksize: int) -> None:
    load(max_workers_per_node=1)
    found = list(unsendable.map(range(4), chunksize=chunksize, return_exceptions=True))
    kinds = [int, ContextSerializationError, int, KeyError]
    assert [type(each) for each in found] == kinds
    assert found[1].__notes__ == ["item 1 of the map: 1"]
    results, taken = unsendable.map(range(4), chunksize=chunksize), []
    with pytest.raises(ContextSerializationError, match=r"The result of the call, of type re\.Match"):
        taken.extend(iter_to(results, taken))
    assert taken == [0]


@context_app(context=offset, batch=2)
def paired(offset: int, x: list[object]) -> list[object]:
    return x


@context_app(context=offset)
def echoed(offset: int, x: object) -> object:
    return x


@pytest.mark.parametrize("each", [echoed, paired])
@pytest.mark.parametrize("chunksize", [1, 2, 4])
def test_an_argument_that_cannot_be_sent_costs_its_own_item_alone(load: Load, each: Any, chunksize: int) -> None:
    load(max_workers_per_node=1)
    items = [0, {"key": (i for i in range(3))}, 2, 3]
    found = list(each.map(items, chunksize=chunksize, return_exceptions=True))
    assert [type(value) for value in found] == [int, ContextSerializationError, int, int]
    assert f"Argument 0 of a call of {each.__name__}, of type builtins.dict, ['key']," in str(found[1])
    assert found[1].__notes__[0].startswith("item 1 of the map: {'key'")
    results, taken = each.map(items, chunksize=chunksize), []
    with pytest.raises(ContextSerializationError) as raised:
        taken.extend(iter_to(results, taken))
    assert taken == [0]
    assert raised.value.__notes__[0].startswith("item 1 of the map: {'key'")


@pytest.mark.parametrize("how", ["close", "break", "error"])
def test_a_map_that_is_left_runs_no_more_than_has_begun(load: Load, marks_folder: Path, how: str) -> None:
    load(max_workers_per_node=1)
    results = app.map([str(marks_folder)] * 1000, range(1000), [0.02] * 1000, chunksize=1)
    assert next(results) == 0
    if how == "close":
        results.close()  # type: ignore[attr-defined]
    elif how == "break":
        for _ in results:
            break
        del results
    else:
        with pytest.raises(KeyError):
            leave(results)
        del results
    begun = time.monotonic()
    assert app(str(marks_folder), 5000).result(timeout=30) == 5000
    assert time.monotonic() - begun < 5
    ran = len(marks(marks_folder))
    time.sleep(0.3)
    assert len(marks(marks_folder)) == ran < 30


def leave(results: object) -> None:
    for _ in results:  # type: ignore[attr-defined]
        raise KeyError


@context_app(context=offset)
def odd(offset: int, x: int) -> int:
    if x % 10 == 7:
        raise ValueError(f"no {x}")
    return x


@context_app
def keyed(name: str, x: int) -> tuple[str, int]:
    with context:
        made = name
    if x == 5:
        raise ValueError("five")
    return made, x


@pytest.mark.parametrize("chunksize", [None, 1, 4, 100])
def test_what_calls_raise_is_given_in_the_place_of_results(load: Load, chunksize: int | None) -> None:
    load(max_workers_per_node=1)
    found = list(odd.map(range(30), chunksize=chunksize, return_exceptions=True))
    for i, value in enumerate(found):
        if i % 10 == 7:
            assert type(value) is ValueError
            assert value.__notes__ == [f"item {i} of the map: {i}"]
        else:
            assert value == i


@pytest.mark.parametrize("ordered", [True, False])
def test_results_before_an_error_are_delivered(load: Load, ordered: bool) -> None:
    load(max_workers_per_node=1)
    results, found = odd.map(range(30), chunksize=10, ordered=ordered), []
    with pytest.raises(ValueError, match="no 7") as raised:
        found.extend(iter_to(results, found))
    assert found[:7] == list(range(7))
    assert raised.value.__notes__ == ["item 7 of the map: 7"]  # type: ignore[attr-defined]


def iter_to(results: object, found: list[int]) -> list[int]:
    for each in results:  # type: ignore[attr-defined]
        found.append(each)
    return []


def test_results_come_as_they_end_if_that_is_wanted(load: Load, marks_folder: Path) -> None:
    load(max_workers_per_node=2)
    app(str(marks_folder), 0).result(timeout=60)
    found = list(app.map([str(marks_folder)] * 4, range(1, 5), [2.0, 0.0, 0.0, 0.0], chunksize=1, ordered=False))
    assert sorted(found) == [1, 2, 3, 4]
    assert found[-1] == 1


@pytest.mark.parametrize("ordered", [True, False])
def test_maps_by_key_do_so_too(load: Load, ordered: bool) -> None:
    load(max_workers_per_node=1)
    names = ["ab"[i % 2] for i in range(8)]
    found = list(keyed.map(names, range(8), ordered=ordered, return_exceptions=True))
    results = [each for each in found if isinstance(each, tuple)]
    (error,) = [each for each in found if isinstance(each, ValueError)]
    assert sorted(results, key=lambda each: each[1]) == [(names[i], i) for i in range(8) if i != 5]
    assert error.__notes__[0].startswith("item 5 of the map")  # type: ignore[attr-defined]
    if ordered:
        assert found.index(error) == 5


# --- calls that run in processes of their own


@context(isolation="call")
def alone() -> list[int]:
    return [os.getpid()]


@context_app(context=alone)
def lonely(held: list[int], folder: str, number: int, run_s: float = 0.0) -> tuple[int, int]:
    """Gives the process that holds the context."""
    return held[0], mark(folder, number, run_s)


@context_app(context=alone)
def with_child(held: list[int], folder: str) -> None:
    child = subprocess.Popen(["sleep", "60"])
    (Path(folder) / str(child.pid)).touch()
    child.wait()


def test_a_call_that_runs_in_a_process_of_its_own_is_ended(load: Load, marks_folder: Path) -> None:
    """Its worker goes on, with what it holds, and it is not tried again."""
    executor = load(max_workers_per_node=1, config={"retries": 3})
    holder, _ = lonely(str(marks_folder), 0).result(timeout=60)
    running = lonely(str(marks_folder), 1, 60.0)
    started(marks_folder, 1)
    behind = lonely(str(marks_folder), 2)
    begun = time.monotonic()
    assert running.cancel()
    assert time.monotonic() - begun < 3
    with pytest.raises(concurrent.futures.CancelledError):
        running.result(timeout=0)
    assert behind.result(timeout=10) == (holder, 2)
    assert lonely(str(marks_folder), 3).result(timeout=10) == (holder, 3)
    assert [row.loads for row in executor.contexts()] == [1]
    assert marks(marks_folder) == {0: 1, 1: 1, 2: 1, 3: 1}
    assert not executor._cancels._awaited
    (manager,) = executor.connected_managers()
    assert manager["tasks"] == 0


def test_what_such_a_call_has_started_ends_with_it(load: Load, marks_folder: Path) -> None:
    load(max_workers_per_node=1)
    running = with_child(str(marks_folder))
    (child,) = wait_for(lambda: list(marks(marks_folder)))
    assert running.cancel()
    wait_for(lambda: not psutil.pid_exists(child), 5)
    assert lonely(str(marks_folder), 0).result(timeout=10)[1] == 0


def test_a_call_that_waits_for_its_context_is_not_begun(load: Load, marks_folder: Path) -> None:
    load(max_workers_per_node=1)

    @context(isolation="call")
    def slow() -> str:
        Path(marks_folder / "-1").touch()
        time.sleep(1.0)
        return "built"

    use = context_app(context=slow)(lambda held, number: mark(str(marks_folder), number))
    first, second = use(1), use(2)
    started(marks_folder, -1)
    assert first.cancel()
    assert second.result(timeout=20) == 2
    assert set(marks(marks_folder)) == {-1, 2}


def test_a_map_that_is_left_lets_such_calls_end(load: Load, marks_folder: Path) -> None:
    load(max_workers_per_node=1)
    lonely(str(marks_folder), 0).result(timeout=60)
    results = lonely.map([str(marks_folder)] * 100, range(1, 101), [0.5] * 100, chunksize=1, max_pending=4)
    next(results)
    started(marks_folder, 2)
    results.close()  # type: ignore[attr-defined]
    assert lonely(str(marks_folder), 999).result(timeout=10)[1] == 999
    ran = marks(marks_folder)
    assert {0, 1, 2, 999} <= set(ran) <= {0, 1, 2, 3, 999}


@pytest.mark.slow
def test_of_many_such_calls_that_are_cancelled_at_any_moment_each_ends_once(load: Load, marks_folder: Path) -> None:
    executor = load(max_workers_per_node=2)
    lonely(str(marks_folder), -1).result(timeout=60)
    chance = random.Random(5)
    futures = [lonely(str(marks_folder), i, 0.01 * chance.random()) for i in range(400)]
    cancelled = set()
    for i in chance.sample(range(400), 200):
        if futures[i].cancel():
            cancelled.add(i)
    assert not concurrent.futures.wait(futures, timeout=60).not_done
    assert {i for i, future in enumerate(futures) if future.cancelled()} == cancelled
    for i in set(range(400)) - cancelled:
        assert futures[i].result()[1] == i
    ran = marks(marks_folder)
    assert max(ran.values()) == 1, "none is begun twice"  # one that was ended may have left an empty file
    assert set(ran) >= set(range(400)) - cancelled
    assert sum(row.loads for row in executor.contexts()) <= 2
    assert not executor.tasks
