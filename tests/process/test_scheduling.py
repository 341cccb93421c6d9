"""Where calls run and how often contexts are built, on real processes."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parsl_context import ContextExecutor, context, context_app
from tests.process.conftest import wait_for

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]


@context
def slow_to_build(name: str) -> tuple[str, int]:
    time.sleep(1.0)
    return name, os.getpid()


def test_each_of_three_contexts_is_built_once_for_calls_that_two_workers_can_serve_in_time(load: Load) -> None:
    """The backlog of a context never outlasts a build here, so the least that the policy states is one each."""
    executor = load(max_workers_per_node=2)
    apps = {}
    for name in "abc":

        @context_app(context=slow_to_build(name))
        def look(held: tuple[str, int], i: int) -> tuple[str, bool]:
            time.sleep(0.005)
            return held[0], held[1] == os.getpid()

        apps[name] = look
        assert look(0).result(timeout=30) == (name, True)
    names = random.Random(7).choices("abc", k=60)
    futures = [apps[name](i) for i, name in enumerate(names)]
    assert [future.result(timeout=30) for future in futures] == [(name, True) for name in names]
    assert [row.loads for row in executor.contexts()] == [1, 1, 1]


def test_no_call_waits_for_a_build_that_a_warm_worker_made_unnecessary(load: Load, run_dir: Path) -> None:
    executor = load(max_workers_per_node=2)
    gate, built = run_dir / "gate", run_dir / "built"

    @context
    def gated(gate: str, built: str) -> int:
        """The first build is quick, every other one lasts until the gate is open."""
        first = not os.path.exists(built)
        Path(built).touch()
        while not first and not os.path.exists(gate):
            time.sleep(0.01)
        return os.getpid()

    @context_app(context=gated(str(gate), str(built)))
    def where(pid: int, i: int) -> int:
        time.sleep(0.1)
        return pid

    pid = where(0).result(timeout=30)
    futures = [where(i) for i in range(12)]
    wait_for(lambda: executor.contexts()[0].loads == 1 and built.exists())
    assert {future.result(timeout=30) for future in futures} == {pid}, "while the other worker builds"
    gate.touch()
    wait_for(lambda: executor.contexts()[0].workers == 2)
    assert executor.contexts()[0].loads == 2


def test_calls_behind_a_slow_one_are_taken_back_for_an_idle_worker(load: Load, run_dir: Path) -> None:
    """Short calls that a worker was sent ahead do not wait for a long one among them."""
    load(max_workers_per_node=2)
    gate = run_dir / "gate"

    @context_app(context=context(lambda: None)())
    def work(_: Any, slow: bool) -> int:
        while slow and not os.path.exists(gate):
            time.sleep(0.01)
        return os.getpid()

    for _ in range(3):  # the run time of its calls becomes known
        assert len({future.result(timeout=30) for future in [work(False) for _ in range(200)]}) >= 1
    slow = work(True)
    quick = [work(False) for _ in range(400)]
    assert len({future.result(timeout=30) for future in quick}) == 1, "all ran on the other worker"
    assert not slow.done()
    gate.touch()
    slow.result(timeout=30)
