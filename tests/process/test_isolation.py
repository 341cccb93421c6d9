"""Calls of a context with isolation="call" run in forks that cannot spoil it, on real processes."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
import pytest
from parsl.app.errors import AppTimeout

from parsl_context import ContextExecutor, ContextIsolationError, WorkerLost, context, context_app, context_dirty
from tests.process.conftest import wait_for

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]


@context(isolation="call")
def numbers(count: int) -> list[int]:
    import numpy  # its thread pool must not keep the worker from being forked

    return [int(i) for i in numpy.arange(count)] + [os.getpid()]


@context_app(context=numbers(3))
def spoil(held: list[int], i: int) -> tuple[list[int], int, int, float, float]:
    held.append(i)
    return held[:-2], held[-2], os.getpid(), random.random(), float(np.random.rand())


def test_a_body_cannot_spoil_what_the_next_one_gets(load: Load) -> None:
    executor = load(max_workers_per_node=1)
    answers = [future.result(timeout=30) for future in [spoil(i) for i in range(8)]]
    assert [held for held, *_ in answers] == [[0, 1, 2]] * 8
    assert len({builder for _, builder, *_ in answers}) == 1
    children = {pid for _, _, pid, _, _ in answers}
    assert len(children) == 8, "each call has a process of its own"
    assert len({number for *_, number, _ in answers}) == len({number for *_, number in answers}) == 8
    (row,) = executor.contexts()
    assert (row.loads, row.calls, row.workers) == (1, 8, 1)
    worker = psutil.Process(answers[0][1])
    assert worker.children() == [], "no zombie is left"


@pytest.mark.parametrize("way", ["signal", "exit", "SystemExit"])
def test_the_death_of_a_call_is_its_own(load: Load, way: str) -> None:
    load(max_workers_per_node=1)

    @context_app(context=numbers(1))
    def die(held: list[int], how: str) -> int:
        if how == "signal":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif how == "exit":
            os._exit(7)
        elif how == "SystemExit":
            raise SystemExit(7)
        return held[-1]

    before = die("").result(timeout=30)
    futures = [die(how) for how in ("", way, "")]
    with pytest.raises(WorkerLost) as caught:
        futures[1].result(timeout=30)
    assert (caught.value.signal, caught.value.exit_code) == ((11, None) if way == "signal" else (None, 7))
    assert caught.value.pid != before
    assert [futures[0].result(timeout=30), futures[2].result(timeout=30)] == [before, before]


def test_results_errors_and_walltime_are_those_of_any_call(load: Load) -> None:
    load(max_workers_per_node=1)

    @context_app(context=numbers(1))
    def work(held: list[int], what: str, **kwargs: Any) -> Any:
        if what == "array":
            return np.ones(2_000_000)
        if what == "raise":
            raise KeyError("weights")
        while True:
            time.sleep(0.01)

    assert float(work("array").result(timeout=30).sum()) == 2e6
    with pytest.raises(KeyError, match="weights"):
        work("raise").result(timeout=30)
    with pytest.raises(AppTimeout):
        work("sleep", walltime=0.3).result(timeout=30)


def test_what_cannot_be_forked_is_refused_with_reason_and_remedy(load: Load) -> None:
    load(max_workers_per_node=1)

    @context(isolation="call")
    def with_thread() -> int:
        import threading

        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
        return 1

    app = context_app(context=with_thread())(lambda held: held)
    with pytest.raises(ContextIsolationError, match=r"it runs 1 threads of its own.*in the body, or in.*after_fork="):
        app().result(timeout=30)
    assert context_app(context=context(lambda: 5)())(lambda held: held)().result(timeout=30) == 5


def test_a_worker_that_other_calls_left_unfit_is_replaced(load: Load) -> None:
    load(max_workers_per_node=1)

    @context_app(context=context(lambda: 0)())
    def start_thread(_: int) -> int:
        import threading

        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
        return os.getpid()

    pid = start_thread().result(timeout=30)
    assert spoil(0).result(timeout=30)[0] == [0, 1, 2]
    assert spoil(0).result(timeout=30)[1] != pid
    assert start_thread().result(timeout=30) != pid
    wait_for(lambda: not psutil.pid_exists(pid))


def test_shared_contexts_can_be_isolated_too(load: Load) -> None:
    load(max_workers_per_node=2)

    @context(share="node", isolation="call")
    def shared() -> Any:
        yield [os.getpid()]

    @context_app(context=shared())
    def spoil_shared(held: list[int], i: int) -> tuple[int, int]:
        time.sleep(0.02)
        held.append(i)
        return held[0], len(held)

    answers = {future.result(timeout=30) for future in [spoil_shared(i) for i in range(10)]}
    assert len(answers) == 1
    assert answers.pop()[1] == 2


def test_a_call_in_a_fork_can_ask_for_its_context_anew(load: Load) -> None:
    load(max_workers_per_node=1)

    @context(isolation="call")
    def stamped() -> float:
        return time.monotonic()

    @context_app(context=stamped())
    def look(stamp: float, bad: bool) -> float:
        if bad:
            context_dirty()
        return stamp

    first, second, third = (look(bad).result(timeout=30) for bad in (True, False, False))
    assert first < second == third


def test_no_child_outlives_its_executor(load: Load) -> None:
    executor = load(max_workers_per_node=1)
    app = context_app(context=numbers(1))(lambda held: time.sleep(1000))
    future = app()
    wait_for(lambda: [row for row in executor.contexts() if row.workers])
    time.sleep(0.2)
    assert not future.done()
    # the fixture checks that no process of the run is left
