"""Calls on real workers: contexts are built once per worker, ordinary apps run beside them."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import parsl
import pytest
from parsl.serialize import pack_apply_message

from parsl_context import ConfigurationError, ContextExecutor, ContextSerializationError, context, context_app
from tests.process.conftest import wait_for

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]


@context
def table(size: int, mark: str | None = None) -> Any:
    values = [i * i for i in range(size)]
    yield values
    if mark is not None:
        Path(mark, str(os.getpid())).touch()


@context_app(context=table(100))
def look_up(values: list[int], i: int) -> tuple[int, int]:
    return values[i], os.getpid()


def test_a_context_is_built_once_per_worker_and_serves_all_calls(load: Load) -> None:
    executor = load()
    answers = [future.result() for future in [look_up(i) for i in range(60)]]
    assert [value for value, _ in answers] == [i * i for i in range(60)]
    (row,) = executor.contexts()
    pids = {pid for _, pid in answers}
    assert row.name == "table(100)"
    assert row.state == "ready"
    assert len(pids) <= row.loads == row.workers <= 2
    assert row.calls == 60
    assert row.where == executor.connected_managers()[0]["manager"]


def test_rows_of_contexts_say_where_and_how_old_they_are(load: Load) -> None:
    executor = load(max_workers_per_node=1)
    assert repr(executor.contexts()) == "<no contexts>"
    assert look_up(3).result()[0] == 9
    [row] = rows = executor.contexts()
    assert (row.host, row.block, row.state) == (platform.node(), "0", "ready")
    assert 0 <= row.age_s < 60
    assert repr(row).startswith(
        f"<ContextRow {row.name}: ready on {platform.node()} (block 0, manager {row.where}), 1 w"
    )
    assert platform.node() in repr(rows).splitlines()[2]


def test_level_none_builds_for_every_call_in_a_process_of_its_own(load: Load) -> None:
    executor = load(reuse="none")
    answers = [future.result() for future in [look_up(i) for i in range(6)]]
    assert len({pid for _, pid in answers}) == 6
    (row,) = executor.contexts()
    assert (row.loads, row.calls) == (6, 6)


def test_a_level_of_the_context_overrules_that_of_the_executor(load: Load) -> None:
    load()
    fresh = context(reuse="none")(lambda: os.getpid())
    app = context_app(context=fresh)(lambda pid: pid)
    plain = parsl.python_app(os.getpid)
    pids = [app().result() for _ in range(3)]
    assert len(set(pids)) == 3
    assert plain().result() not in pids[:2]


def test_several_contexts_arrive_by_name_and_contexts_may_be_arguments_of_contexts(load: Load) -> None:
    executor = load(max_workers_per_node=1)

    @context
    def total(values: list[int], offset: int) -> int:
        return sum(values) + offset

    squares = table(4)

    @context_app(context={"values": squares, "summed": total(squares, offset=100)})
    def both(i: int, *, values: list[int], summed: int) -> tuple[int, int]:
        return values[i], summed

    assert both(3).result() == (9, 114)
    assert both(2).result() == (4, 114)
    assert {row.name: row.loads for row in executor.contexts()} == {
        "table(4)": 1,
        "total(table(4), offset=100)": 1,
    }


def test_clean_up_runs_when_the_executor_shuts_down(load: Load, run_dir: Path) -> None:
    marks = run_dir / "marks"
    marks.mkdir()
    load()
    app = context_app(context=table(3, mark=str(marks)))(lambda values: os.getpid())
    pids = {future.result() for future in [app() for _ in range(10)]}
    parsl.dfk().cleanup()
    parsl.clear()
    wait_for(lambda: {int(path.name) for path in marks.iterdir()} >= pids)


def test_ordinary_python_and_bash_apps_run_beside_context_apps(load: Load, run_dir: Path) -> None:
    load()
    factor = 3

    @parsl.python_app
    def triple(x: int) -> int:
        return factor * x

    @parsl.bash_app
    def say(word: str, stdout: str = parsl.AUTO_LOGNAME) -> str:
        return f"echo {word}"

    spoken = say("hello", stdout=str(run_dir / "out"))
    assert [future.result() for future in [triple(i) for i in range(5)]] == [0, 3, 6, 9, 12]
    assert look_up(5).result()[0] == 25
    assert spoken.result() == 0
    assert (run_dir / "out").read_text() == "hello\n"


def test_map_keeps_order_reads_lazily_and_raises_in_turn(load: Load) -> None:
    load()
    read: list[int] = []

    def items() -> Any:
        for i in range(10_000):
            read.append(i)
            yield i

    results = look_up.map(items(), chunksize=5, max_pending=4)
    assert next(results)[0] == 0
    assert len(read) <= 30
    results.close()
    assert [value for value, _ in look_up.map(range(95))] == [i * i for i in range(95)]
    with pytest.raises(IndexError):
        list(look_up.map([1, 2, 1000]))


def test_preload_builds_on_every_worker_before_the_first_call(load: Load) -> None:
    executor = load()
    look_up.warm()
    (row,) = wait_for(lambda: [row for row in executor.contexts() if row.workers == 2])
    assert (row.loads, row.calls) == (2, 0)
    assert look_up(3).result()[0] == 9
    assert executor.contexts()[0].loads == 2


def test_submit_works_without_a_data_flow_kernel(make_executor: Load, run_dir: Path) -> None:
    with make_executor() as executor:
        executor.run_dir = str(run_dir)
        executor.provider.script_dir = str(run_dir)
        executor.start()
        executor.scale_out_facade(1)
        futures = [executor.submit(look_up.func, {}, i) for i in range(10)]
        assert [future.parsl_executor_task_id for future in futures] == list(range(1, 11))
        assert [future.result(timeout=30)[0] for future in futures] == [i * i for i in range(10)]
        payload = pack_apply_message(divmod, (7, 2), {})
        assert executor.submit_payload({}, payload).result(timeout=30) == (3, 1)
        executor.scale_in_facade(1)


def test_large_arrays_arrive_unchanged_in_both_directions(load: Load) -> None:
    load()
    matrix = np.arange(3_000_000, dtype=np.float64).reshape(3000, 1000)
    shape = context_app(context=context(lambda: 2.0))(lambda factor, array: (array * factor).T)
    np.testing.assert_array_equal(shape(matrix).result(), matrix.T * 2)


def test_contexts_with_other_arguments_are_other_contexts(load: Load) -> None:
    executor = load()
    apps = [context_app(context=table(size))(lambda values: len(values)) for size in (3, 4)]
    assert [app().result() for app in apps] == [3, 4]
    assert len({row.digest for row in executor.contexts()}) == 2


def test_a_context_that_cannot_be_pickled_is_an_error_that_names_the_part(load: Load) -> None:
    load()
    app = context_app(context=context(lambda size, lock: size)(1, threading.Lock()))(lambda size: size)
    with pytest.raises(ContextSerializationError, match="Argument 1 of context"):
        app().result()
    lock = threading.Lock()
    body = context_app(context=table(1))(lambda values: lock)
    with pytest.raises(ContextSerializationError, match="The body"):
        body().result()


def test_a_result_that_cannot_be_pickled_is_an_error_that_says_so(load: Load) -> None:
    load()
    app = context_app(context=table(1))(lambda values: (value for value in values))
    with pytest.raises(ContextSerializationError, match=r"result of the call, of type builtins\.generator") as raised:
        app().result()
    assert isinstance(raised.value.__cause__, TypeError)


def test_levels_that_are_not_there_are_refused(make_executor: Load) -> None:
    with pytest.raises(ConfigurationError, match="available are 'none', 'disk', 'memory', 'node'"):
        make_executor(reuse="all")


def test_calls_wait_for_futures_that_are_arguments_of_their_context(load: Load) -> None:
    executor = load()

    @parsl.python_app
    def train(seed: int) -> list[int]:
        return [seed, seed + 1]

    @context
    def model(weights: list[int]) -> int:
        return sum(weights)

    trained = train(5)
    app = context_app(context=model(trained))(lambda loaded, x: loaded * x)
    assert [future.result() for future in [app(1), app(2), app(3)]] == [11, 22, 33]
    assert [row.name for row in executor.contexts()] == ["model(<list>)"]


@context
def counter() -> dict[str, int]:
    return {"calls": 0, "pid": os.getpid()}


@context_app(context=counter())
def factorial(count: dict[str, int], n: int) -> tuple[int, int, bool]:
    count["calls"] += 1
    smaller = 1 if n < 2 else factorial.func(n - 1)[0]
    return n * smaller, count["calls"], count["pid"] == os.getpid()


@context_app(context=table(10))
def with_another_app(values: list[int], n: int) -> tuple[int, int]:
    return values[n], factorial(n)[0]  # type: ignore[index]  # there, an app is what it calls


def test_an_app_may_call_itself_and_others_which_run_on_the_same_worker(load: Load) -> None:
    executor = load(max_workers_per_node=1)
    threads: list[Any] = [factorial(5), with_another_app(3)]
    assert threads[0].result(timeout=20) == (120, 5, True)
    assert threads[1].result(timeout=20) == (9, 6)
    assert {row.name: row.loads for row in executor.contexts()} == {"counter()": 1, "table(10)": 1}


def test_an_executor_that_was_used_is_refused_with_the_reason(load: Load) -> None:
    executor = load()
    with pytest.raises(ConfigurationError, match=f"{executor.label!r} was started before"):
        executor.start()


def test_arguments_that_share_parts_or_hold_themselves_travel_to_calls_and_contexts(load: Load) -> None:
    load(max_workers_per_node=1)
    loop: list[Any] = [1]
    loop.append({"loop": loop})
    shared: list[Any] = [1]
    for _ in range(40):
        shared = [shared, shared]
    app = context_app(context=context(lambda given: given)((loop, shared)))(lambda held, *given: (held, given))
    for again, parts in app(loop, shared).result(timeout=30):
        assert again[1]["loop"] is again
        assert parts[0] is parts[1]
