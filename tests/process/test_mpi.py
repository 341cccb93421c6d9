"""`ContextMPIExecutor`: tasks get nodes of their block for themselves."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import parsl
import pytest
from parsl.executors.errors import InvalidResourceSpecification
from parsl.launchers import SimpleLauncher, SingleNodeLauncher
from parsl.providers import LocalProvider

from parsl_context import UnservableTaskError, WorkerLost, context, context_app
from parsl_context.executor.mpi import ContextMPIExecutor

pytestmark = pytest.mark.process
Load = Callable[..., ContextMPIExecutor]

NODES = ["n0", "n1", "n2", "n3"]


@pytest.fixture
def load_mpi(run_dir: Path) -> Iterator[Load]:
    """Loads Parsl with an MPI executor whose block has four nodes."""
    (run_dir / "nodes").write_text("\n".join(NODES) + "\n")

    def start(**options: Any) -> ContextMPIExecutor:
        init = f"unset SLURM_NODELIST; export PBS_NODEFILE={run_dir}/nodes"
        provider = LocalProvider(init_blocks=1, max_blocks=1, launcher=SimpleLauncher(), worker_init=init)
        defaults: dict[str, Any] = {"address": "127.0.0.1", "max_workers_per_block": 4, "provider": provider}
        executor = ContextMPIExecutor(**{**defaults, **options})
        settings: dict[str, Any] = {"strategy": "none", "strategy_period": 0.2, "usage_tracking": 0}
        parsl.load(parsl.Config(executors=[executor], run_dir=str(run_dir), **settings))
        return executor

    yield start
    parsl.dfk().cleanup()
    parsl.clear()


def on(nodes: int, **more: Any) -> dict[str, Any]:
    return {"num_nodes": nodes, "ranks_per_node": 1, **more}


def my_nodes() -> list[str]:
    return os.environ["PARSL_MPI_NODELIST"].split(",")


def occupy(seconds: float = 0.1, parsl_resource_specification: Any = None) -> tuple[list[str], float, float]:
    start = time.time()
    time.sleep(seconds)
    return os.environ["PARSL_MPI_NODELIST"].split(","), start, time.time()


def all_nodes_are_free(executor: ContextMPIExecutor) -> bool:
    return sorted(executor.submit(my_nodes, on(4)).result(timeout=10)) == NODES


def test_a_task_is_told_its_nodes_and_how_to_launch_on_them(load_mpi: Load, run_dir: Path) -> None:
    executor = load_mpi(mpi_launcher="srun")

    def variables() -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if name.startswith("PARSL_")}

    found = executor.submit(variables, {"num_nodes": 2, "ranks_per_node": 3, "launcher_options": "-v"}).result()
    nodes = found["PARSL_MPI_NODELIST"]
    assert len(set(nodes.split(",")) & set(NODES)) == 2
    assert [found[f"PARSL_{name}"] for name in ("NUM_NODES", "RANKS_PER_NODE", "NUM_RANKS")] == ["2", "3", "6"]
    assert found["PARSL_MPIEXEC_PREFIX"] == f"mpiexec -n 6 -ppn 3 -hosts {nodes} -v"
    assert found["PARSL_SRUN_PREFIX"] == f"srun --ntasks 6 --ntasks-per-node 3 --nodelist {nodes} --nodes 2 -v"
    assert found["PARSL_MPI_PREFIX"] == found["PARSL_SRUN_PREFIX"]
    assert executor.get_usage_information() == {"mpi": True}

    @parsl.bash_app
    def command(stdout: str, parsl_resource_specification: dict[str, Any] | None = None) -> str:
        return "echo $PARSL_MPI_PREFIX"

    command(stdout=str(run_dir / "out"), parsl_resource_specification=on(1)).result()
    assert (run_dir / "out").read_text().split()[0] == "srun"


def test_tasks_that_run_at_once_share_no_node(load_mpi: Load) -> None:
    load_mpi()
    app = parsl.python_app(occupy)
    futures = [app(parsl_resource_specification=on(1 + i % 3)) for i in range(9)]
    done = [future.result() for future in futures]
    assert [len(nodes) for nodes, _, _ in done] == [1, 2, 3] * 3
    together = 0
    for i, (nodes, start, end) in enumerate(done):
        for others, other_start, other_end in done[:i]:
            if start < other_end and other_start < end:
                together += 1
                assert not set(nodes) & set(others)
    assert together, "nodes that are free are used"


@context
def tool() -> dict[str, int]:
    return {"calls": 0}


def note(file: str, word: str, seconds: float = 0.0) -> None:
    with open(file, "a") as stream:
        stream.write(word + " ")
    time.sleep(seconds)
    with open(file, "a") as stream:
        stream.write("/" + word + " ")


@pytest.mark.parametrize("workers", [4, 1])
def test_no_task_is_overtaken_by_one_that_needs_fewer_nodes(load_mpi: Load, run_dir: Path, workers: int) -> None:
    executor = load_mpi(max_workers_per_block=workers)
    order = str(run_dir / "order")
    in_context = context_app(context=tool())(lambda _, *args: note(*args))
    futures = [
        executor.submit(note, on(3), order, "a", 0.3),
        executor.submit(in_context.func, on(4), order, "b", 0.1),
        executor.submit(note, on(1), order, "c"),
    ]
    for future in futures:
        future.result(timeout=20)
    assert Path(order).read_text().split() == ["a", "/a", "b", "/b", "c", "/c"]


def test_a_task_for_more_nodes_than_the_block_has_fails(load_mpi: Load) -> None:
    executor = load_mpi()
    with pytest.raises(UnservableTaskError, match=r"\b5 nodes.*\b4\b"):
        executor.submit(my_nodes, on(5)).result(timeout=20)
    assert all_nodes_are_free(executor)


def test_nodes_are_free_after_a_task_raised_or_lost_its_worker(load_mpi: Load) -> None:
    executor = load_mpi()

    def fail() -> None:
        raise ValueError("on purpose")

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def build_nothing() -> int:
        raise OSError("no licence")

    for _ in range(2):
        with pytest.raises(ValueError, match="on purpose"):
            executor.submit(fail, on(3)).result(timeout=20)
        with pytest.raises(WorkerLost):
            executor.submit(die, on(3)).result(timeout=20)
    unbuilt = context_app(context=context(build_nothing))(lambda value: value)
    with pytest.raises(Exception, match="no licence"):
        executor.submit(unbuilt.func, on(3)).result(timeout=20)
    assert all_nodes_are_free(executor)


def test_a_context_stays_warm_between_tasks_on_nodes(load_mpi: Load) -> None:
    executor = load_mpi(max_workers_per_block=1)

    @context_app(context=tool())
    def call(state: dict[str, int], parsl_resource_specification: Any = None) -> tuple[int, int]:
        state["calls"] += 1
        return state["calls"], len(os.environ["PARSL_MPI_NODELIST"].split(","))

    futures = [call(parsl_resource_specification=on(nodes)) for nodes in (1, 4, 2)]
    assert [future.result(timeout=20) for future in futures] == [(1, 1), (2, 4), (3, 2)]
    assert [row.loads for row in executor.contexts()] == [1]


def test_specifications_that_make_no_sense_are_refused(load_mpi: Load) -> None:
    executor = load_mpi()
    wrong: list[dict[str, Any]] = [{}, {"cores": 3}, {**on(2), "priority": 1}]
    wrong += [on(-1), on(0), {"num_nodes": "two"}, {"num_nodes": 1.5}]
    for specification in wrong:
        with pytest.raises(InvalidResourceSpecification):
            executor.submit(my_nodes, specification)
    assert all_nodes_are_free(executor)


def test_settings_that_mpi_cannot_work_with_are_refused() -> None:
    with pytest.raises(TypeError, match="SimpleLauncher"):
        ContextMPIExecutor(provider=LocalProvider(launcher=SingleNodeLauncher()))
    with pytest.raises(ValueError, match="mpi_launcher"):
        ContextMPIExecutor(provider=LocalProvider(launcher=SimpleLauncher()), mpi_launcher="prun")
