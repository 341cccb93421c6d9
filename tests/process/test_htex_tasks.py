"""How tasks are run: payloads of other packages, priorities, prefetching, variables of workers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import Any

import parsl
import pytest
from parsl.executors.errors import InvalidResourceSpecification
from parsl.providers import LocalProvider
from parsl.serialize import pack_apply_message

from parsl_context import ContextExecutor, context, context_app
from tests.process.conftest import wait_for
from tests.process.test_htex_scaling import managers_of, work_until

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]


def test_a_payload_runs_with_the_task_executor_it_names(load: Load, run_dir: Path) -> None:
    package = run_dir / "foreign" / "deep"
    package.mkdir(parents=True)
    (package / "runner.py").write_text(
        "def run(buffer, *args, **kwargs):\n"
        "    if kwargs.get('fail'):\n"
        "        raise KeyError(buffer)\n"
        "    return bytes(buffer), args, kwargs\n"
    )
    executor = load(provider=LocalProvider(max_blocks=1, worker_init=f"export PYTHONPATH={run_dir}:$PYTHONPATH"))

    def submit(**chosen: Any) -> Any:
        chosen = {"f": "foreign.deep.runner.run", **chosen}
        return executor.submit_payload({"task_executor": chosen}, b"\x00payload").result(timeout=20)

    assert submit(a=("x", 2), k={"y": 3}) == (b"\x00payload", ("x", 2), {"y": 3})
    assert submit() == (b"\x00payload", (), {})
    with pytest.raises(KeyError, match="payload"):
        submit(k={"fail": True})
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        submit(f="nowhere.run")
    plain = executor.submit_payload({}, pack_apply_message(divmod, (7, 2), {}))
    assert plain.result(timeout=10) == (3, 1)
    assert plain.parsl_executor_task_id == 5


def note(file: str, word: str) -> None:
    with open(file, "a") as stream:
        stream.write(word + " ")


@context
def nothing() -> None:
    return None


def later(results: Iterator[Any]) -> Future[Any]:
    """The first result of a map, in a thread."""
    future: Future[Any] = Future()
    Thread(target=lambda: future.set_result(next(results)), daemon=True).start()
    return future


def test_lower_numbers_of_priority_run_first(load: Load, run_dir: Path) -> None:
    executor = load(max_workers_per_node=1)
    gate, mark, order = run_dir / "gate", run_dir / "started", run_dir / "order"
    executor.submit(work_until, {}, str(gate), str(mark))
    wait_for(mark.exists)
    app = context_app(context=nothing())(lambda _, file, word: note(file, word))

    @context_app(context=nothing())
    def hurried(_: None, file: str, word: str, parsl_resource_specification: Any = {"priority": -5}) -> None:  # noqa: B006
        note(file, word)

    note_app = parsl.python_app(lambda file, word, parsl_resource_specification=None: note(file, word))
    futures = [
        executor.submit(note, {"priority": 3}, str(order), "c"),
        executor.submit(note, {}, str(order), "last"),
        executor.submit(app.func, {"priority": 2}, str(order), "b"),
        note_app(str(order), "a", parsl_resource_specification={"priority": -1}),
        executor.submit(note, {"priority": 3}, str(order), "d"),
        hurried(str(order), "first"),
        later(hurried.map([str(order)], ["soon"])),
        hurried(str(order), "between", parsl_resource_specification={"priority": 2.5}),
    ]
    wait_for(lambda: executor.outstanding() == 9)
    executor.connected_managers()  # the answer comes after the interchange has seen all of them
    gate.touch()
    for future in futures:
        future.result(timeout=10)
    assert order.read_text().split() == ["first", "soon", "a", "b", "between", "c", "d", "last"]


def test_other_resource_specifications_are_refused(load: Load) -> None:
    executor = load()
    through_parsl = context_app(context=nothing())(lambda _, parsl_resource_specification=None: 1)
    for specification in ({"cores": 1}, {"num_nodes": 2}, {"priority": 1, "memory": 3}):
        with pytest.raises(InvalidResourceSpecification):
            executor.submit(int, specification, 1)
        with pytest.raises(InvalidResourceSpecification):
            through_parsl(parsl_resource_specification=specification).result(timeout=10)


@pytest.mark.parametrize(("prefetch", "held"), [(0, 1), (3, 4), (None, 1)])
def test_a_manager_holds_its_workers_tasks_and_what_may_be_prefetched(
    load: Load, run_dir: Path, prefetch: int | None, held: int
) -> None:
    executor = load(max_workers_per_node=1, prefetch_capacity=prefetch)
    managers_of(executor, 1)
    gate, mark = run_dir / "gate", run_dir / "started"
    futures = [executor.submit(work_until, {}, str(gate), str(mark)) for _ in range(6)]
    # Asked after the tasks were sent, so answered after they were placed.
    assert executor.connected_managers()[0]["tasks"] == held
    wait_for(mark.exists)
    assert executor.connected_managers()[0]["tasks"] == held
    gate.touch()
    assert {future.result(timeout=10) for future in futures} == {"0"}


def test_workers_know_their_rank_count_pool_and_block(load: Load) -> None:
    executor = load(max_workers_per_node=2)
    (row,) = managers_of(executor, 1)

    def describe() -> tuple[dict[str, str], int, int]:
        time.sleep(0.2)  # so that both workers get a task
        names = ("RANK", "COUNT", "POOL_ID", "BLOCK_ID")
        return {name: os.environ[f"PARSL_WORKER_{name}"] for name in names}, os.getpid(), os.getppid()

    told = [future.result(timeout=10) for future in [executor.submit(describe, {}) for _ in range(4)]]
    ranks = {variables["RANK"]: pid for variables, pid, _ in told}
    assert sorted(ranks) == ["0", "1"]
    assert len(set(ranks.values())) == 2
    assert {variables["COUNT"] for variables, _, _ in told} == {"2"}
    assert {variables["POOL_ID"] for variables, _, _ in told} == {row["manager"]}
    assert {variables["BLOCK_ID"] for variables, _, _ in told} == {"0"}
    managers = {parent for _, _, parent in told}
    assert len(managers) == 1, "the parent of a worker is its manager"
    command = Path(f"/proc/{managers.pop()}/cmdline").read_bytes()
    assert b"manager" in command or b"parsl_context.pool" in command
