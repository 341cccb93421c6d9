"""Context apps under what the DataFlowKernel does to apps: one test for each feature."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import parsl
import pytest
import sqlalchemy
from parsl.app.errors import AppTimeout
from parsl.concurrent import ParslPoolExecutor
from parsl.data_provider.files import File
from parsl.executors import ThreadPoolExecutor
from parsl.executors.errors import InvalidResourceSpecification
from parsl.monitoring import MonitoringHub
from parsl.serialize.base import SerializerBase
from parsl.serialize.facade import methods_for_data, register_method_for_data

from parsl_context import ConfigurationError, ContextExecutor, WorkerLost, context, context_app
from tests.process.conftest import wait_for

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]


@context
def base(value: int = 10) -> int:
    return value


@context_app(context=base())
def add(value: int, x: int) -> int:
    return value + x


def rows(database: Path, query: str) -> list[Any]:
    engine = sqlalchemy.create_engine(f"sqlite:///{database}")
    try:
        with engine.connect() as connection:
            return list(connection.execute(sqlalchemy.text(query)))
    finally:
        engine.dispose()


def test_monitoring_records_tasks_nodes_and_resources(load: Load, run_dir: Path) -> None:
    database = run_dir / "monitoring.db"
    hub = MonitoringHub(
        resource_monitoring_interval=0.2, logging_endpoint=f"sqlite:///{database}", monitoring_debug=False
    )
    executor = load(config={"monitoring": hub})

    @context_app(context=base())
    def slow(value: int, x: int) -> int:
        import time

        time.sleep(0.7)
        return value + x

    assert [future.result() for future in [slow(i) for i in range(3)]] == [10, 11, 12]
    assert parsl.python_app(lambda x: x)(4).result() == 4
    assert sum(row.loads for row in executor.contexts()) <= 2, "the wrapper of each call does not hide the context"
    assert len({code.digest for code in executor._codes._codes.values() if code.contexts}) == 1, "one blob"
    parsl.dfk().cleanup()
    parsl.clear()
    names = [name for (name,) in rows(database, "select task_func_name from task order by task_id")]
    assert names == ["slow"] * 3 + ["<lambda>"]
    assert rows(database, "select count(*) from node")[0][0] >= 1
    assert rows(database, "select count(*) from resource where task_id = 0")[0][0] >= 2
    states = {state for (state,) in rows(database, "select task_status_name from status where task_id = 0")}
    assert {"launched", "running", "exec_done"} <= states


def test_walltime_ends_a_body_and_leaves_the_context(load: Load) -> None:
    executor = load(max_workers_per_node=1)

    @context_app(context=base())
    def spin(value: int, seconds: float, walltime: float | None = None) -> int:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass
        return value

    assert spin(0.0, walltime=5).result() == 10
    with pytest.raises(AppTimeout):
        spin(20.0, walltime=0.3).result(timeout=10)
    assert spin(0.0).result() == 10
    assert [row.loads for row in executor.contexts()] == [1]


def test_a_retry_handler_sees_our_errors(load: Load, run_dir: Path) -> None:
    seen: list[BaseException] = []

    def handler(error: Exception, record: Any) -> float:
        seen.append(error)
        return 0.5

    load(config={"retries": 1, "retry_handler": handler})
    marks = run_dir / "marks"

    @context_app(context=base())
    def die_twice(value: int) -> int:
        with open(marks, "a") as file:
            file.write("x")
        if os.path.getsize(marks) < 3:
            os._exit(1)
        return value

    assert die_twice().result(timeout=30) == 10
    assert [type(error) for error in seen] == [WorkerLost, WorkerLost]


def test_memoization_knows_the_context(load: Load, run_dir: Path) -> None:
    load()
    counter = run_dir / "calls"

    def make(value: int) -> Any:
        @context_app(context=base(value), cache=True)
        def counted(value: int, x: int) -> int:
            with open(counter, "a") as file:
                file.write("x")
            return value + x

        return counted

    ten, twenty = make(10), make(20)
    assert [ten(1).result(), ten(1).result(), twenty(1).result(), ten(2).result()] == [11, 11, 21, 12]
    assert counter.stat().st_size == 3


def test_checkpoints_are_reused_by_a_later_run_with_the_same_context(run_dir: Path) -> None:
    script = run_dir / "job.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys, parsl
            from parsl.providers import LocalProvider
            from parsl.dataflow.memoization import BasicMemoizer
            from parsl.utils import get_all_checkpoints
            from parsl_context import ContextExecutor, context, context_app

            @context
            def offset(n):
                return n

            @context_app(context=offset(int(sys.argv[1])), cache=True)
            def add(n, x):
                with open("calls", "a") as file:
                    file.write("x")
                return n + x

            executor = ContextExecutor(max_workers_per_node=1, address="127.0.0.1", cores_per_worker=0.1,
                                       provider=LocalProvider(max_blocks=1))
            with parsl.load(parsl.Config(executors=[executor], strategy_period=0.2, usage_tracking=0, run_dir="runs",
                            memoizer=BasicMemoizer(checkpoint_mode="task_exit",
                                                   checkpoint_files=get_all_checkpoints("runs")))):
                print(sum(add(i).result() for i in range(3)))
            """
        )
    )

    def run(n: int) -> tuple[int, int]:
        done = subprocess.run(
            [sys.executable, script, str(n)], cwd=run_dir, capture_output=True, text=True, check=True, timeout=60
        )
        return int(done.stdout), (run_dir / "calls").stat().st_size

    assert [run(5), run(5), run(6)] == [(18, 3), (18, 3), (21, 6)]


def test_a_join_app_may_return_context_apps(load: Load) -> None:
    load()

    @parsl.join_app
    def both(x: int) -> list[Any]:
        return [add(x), add(x + 1)]

    assert both(1).result() == [11, 12]


def test_files_in_and_out_are_staged(load: Load, run_dir: Path) -> None:
    (run_dir / "in.txt").write_text("5")
    load(working_dir=str(run_dir / "work"))

    @context_app(context=base())
    def convert(value: int, inputs: Any = (), outputs: Any = ()) -> int:
        number = int(Path(inputs[0]).read_text())
        Path(outputs[0]).write_text(str(value * number))
        return number

    made = convert(inputs=[File(str(run_dir / "in.txt"))], outputs=[File(str(run_dir / "out.txt"))])
    again = convert(inputs=[made.outputs[0]], outputs=[File(str(run_dir / "out2.txt"))])
    assert (made.result(), again.result()) == (5, 50)
    assert Path(again.outputs[0].result()).read_text() == "500"


def test_parsl_pool_executor_maps_a_context_app(load: Load) -> None:
    load()
    with ParslPoolExecutor(dfk=parsl.dfk()) as pool:
        assert list(pool.map(add, range(4))) == [10, 11, 12, 13]


def test_several_executors_share_a_config(run_dir: Path, make_executor: Load) -> None:
    ours = make_executor(label="ours")
    other = make_executor(label="other", max_workers_per_node=1)
    threads = ThreadPoolExecutor(label="threads", max_threads=1)
    config = parsl.Config(
        executors=[ours, other, threads], run_dir=str(run_dir), strategy="none", strategy_period=0.2, usage_tracking=0
    )
    with parsl.load(config):
        process = {
            label: context_app(context=base(), executors=[label])(lambda value: os.getppid())().result()
            for label in ("ours", "other", "threads")
        }
        assert len(set(process.values())) == 3
        assert process["threads"] == os.getppid()
        anywhere = context_app(context=base())(lambda value: os.getppid())
        assert repr(anywhere.warm()) == "<warming base() on ours; base() on other>"
        assert {future.result() for future in [anywhere() for _ in range(16)]} == {process["ours"], process["other"]}
        with pytest.raises(ConfigurationError, match="no executor 'gpu'"):
            context_app(context=base(), executors=["gpu"])(lambda value: value)()
        assert [len(executor.contexts()) for executor in (ours, other)] == [1, 1]


class Scale:
    """A body may be a method of an object that travels with it."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def apply(self, value: int, x: int) -> int:
        return self.factor * (value + x)


def power(value: int, x: int, exponent: int) -> int:
    return (value + x) ** exponent


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (Scale(3).apply, 33),
        (lambda value, x: value - x, 9),
        (functools.partial(power, exponent=2), 121),
        ((lambda step: lambda value, x: value + x * step)(5), 15),
    ],
    ids=["method", "lambda", "partial", "closure"],
)
def test_bodies_of_every_kind_run(load: Load, body: Any, expected: int) -> None:
    load()
    assert context_app(context=base())(body)(1).result() == expected


def test_apps_of_a_script_and_of_a_notebook_run(run_dir: Path) -> None:
    """Functions of `__main__` with globals, imports and classes of it, from a file and from cells run by exec."""
    cells = textwrap.dedent(
        """
        import parsl
        from dataclasses import dataclass
        from parsl.providers import LocalProvider
        from parsl_context import ContextExecutor, context, context_app
        SHIFT = 100

        @dataclass
        class Point:
            x: int

        def shifted(x):
            return Point(x + SHIFT)

        @context
        def origin():
            return shifted(0)

        @context_app(context=origin())
        def move(start, point):
            return Point(start.x + point.x)

        executor = ContextExecutor(max_workers_per_node=1, address="127.0.0.1", cores_per_worker=0.1,
                                   provider=LocalProvider(max_blocks=1))
        with parsl.load(parsl.Config(executors=[executor], strategy_period=0.2, usage_tracking=0)):
            moved = move(Point(1)).result()
            print(moved, isinstance(moved, Point))
        """
    )
    (run_dir / "script.py").write_text(cells)
    notebook = f"import __main__\nfor cell in {cells.split(chr(10) * 2)!r}:\n    exec(cell, vars(__main__))\n"
    (run_dir / "notebook.py").write_text(notebook)
    for name in ("script.py", "notebook.py"):
        done = subprocess.run([sys.executable, name], cwd=run_dir, capture_output=True, text=True, timeout=60)
        assert done.stdout == "Point(x=101) True\n", done.stderr


class Shouting(SerializerBase):
    """Serializes texts in capitals; a worker loads it by its name."""

    identifier = b"tests.process.test_kernel_features Shouting"

    def serialize(self, data: Any) -> bytes:
        import pickle

        args, kwargs = data
        return pickle.dumps((tuple(str(arg).upper() for arg in args), kwargs))

    def deserialize(self, body: bytes) -> Any:
        import pickle

        return pickle.loads(body)


def test_serializers_that_the_user_registered_are_used(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(Path(__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", root)
    before = dict(methods_for_data)
    load()
    try:
        methods_for_data.clear()
        register_method_for_data(Shouting())
        echo = context_app(context=base())(lambda value, word: (value, word))
        assert echo("hello").result() == (10, "HELLO")
    finally:
        methods_for_data.clear()
        methods_for_data.update(before)


def test_cancelled_futures_do_no_harm(make_executor: Load, run_dir: Path) -> None:
    executor = make_executor()
    executor.run_dir = executor.provider.script_dir = str(run_dir)
    executor.start()
    futures = [executor.submit(add.func, {}, i) for i in range(5)]
    assert futures[2].cancel()
    executor.scale_out_facade(1)
    assert [future.result(timeout=30) for future in futures if not future.cancelled()] == [10, 11, 13, 14]
    wait_for(lambda: not executor.tasks)
    executor.scale_in_facade(1)
    executor.shutdown()


def test_a_resource_specification_that_no_message_can_carry_is_refused(load: Load) -> None:
    executor = load()
    with pytest.raises(InvalidResourceSpecification, match=r"numbers or texts.*speed"):
        executor.submit_payload({"resource_spec": {"speed": object()}}, b"")
