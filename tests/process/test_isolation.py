"""Calls of a context with isolation="call" run in forks that cannot spoil it, on real processes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
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
    (waits,) = wait_for(lambda: len(found := worker.children()) == 1 and found)
    assert waits.pid not in children, "one waits for the next call, and no zombie is left"


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


# --- forked ahead


@context(isolation="call")
def builder(_key: str = "") -> int:
    return os.getpid()


@context_app(context=builder())
def processes_of_call(pid: int, run_s: float = 0.0, **_: Any) -> tuple[int, int]:
    end = time.monotonic() + run_s
    while time.monotonic() < end:
        time.sleep(0.01)  # a walltime ends what runs Python
    return pid, os.getpid()


def waiting(worker: int) -> int:
    """The child that waits for the next call."""
    (child,) = wait_for(lambda: len(found := psutil.Process(worker).children()) == 1 and found)
    return int(child.pid)


def test_a_call_runs_in_the_process_that_waits_for_it(load: Load) -> None:
    load(max_workers_per_node=1)
    worker, _ = processes_of_call().result(timeout=30)
    for _ in range(3):
        ahead = waiting(worker)
        assert processes_of_call().result(timeout=30) == (worker, ahead)


def test_one_waits_as_soon_as_the_context_is_built(load: Load) -> None:
    executor = load(max_workers_per_node=1)
    executor.preload(builder())
    worker = wait_for(lambda: [row for row in executor.contexts() if row.workers]) and processes_of_call()
    pid, first = worker.result(timeout=30)
    assert first != waiting(pid)


def test_what_the_worker_learns_meanwhile_the_next_call_knows(load: Load) -> None:
    load(max_workers_per_node=1)
    worker, _ = processes_of_call().result(timeout=30)
    outdated = waiting(worker)
    other = context_app(context=builder())(lambda pid: (pid, os.getpid(), os.environ.get("LEARNT")))
    assert other().result(timeout=30)[0] == worker
    assert not psutil.pid_exists(outdated)

    @context_app(context=context(lambda: 0)())
    def learn(_: int) -> int:
        os.environ["LEARNT"] = "yes"
        return os.getpid()

    assert learn().result(timeout=30) == worker
    assert other().result(timeout=30)[::2] == (worker, "yes")


def test_none_waits_for_calls_of_a_context_that_is_gone(load: Load) -> None:
    executor = load(max_workers_per_node=1)
    worker, _ = processes_of_call().result(timeout=30)
    outdated = waiting(worker)
    executor.evict(builder())
    wait_for(lambda: not psutil.Process(worker).children())
    assert not psutil.pid_exists(outdated)
    assert processes_of_call().result(timeout=30)[0] == worker
    (row,) = executor.contexts()
    assert (row.loads, row.calls) == (2, 2)


def test_a_context_that_is_used_up_is_built_anew(load: Load) -> None:
    executor = load(max_workers_per_node=1)

    @context(isolation="call", max_uses=3)
    def stamped() -> float:
        return time.monotonic()

    app = context_app(context=stamped())(lambda stamp: stamp)
    stamps = [app().result(timeout=30) for _ in range(7)]
    assert [stamps.count(stamp) for stamp in sorted(set(stamps))] == [3, 3, 1]
    assert [row.loads for row in executor.contexts()] == [3]


def test_the_death_of_one_that_waits_costs_no_call(load: Load) -> None:
    load(max_workers_per_node=1)
    worker, _ = processes_of_call().result(timeout=30)
    for number in (signal.SIGKILL, signal.SIGTERM):
        killed = waiting(worker)
        os.kill(killed, number)
        wait_for(lambda pid=killed: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)  # type: ignore[misc]
        pid, child = processes_of_call().result(timeout=30)
        assert pid == worker
        assert child != killed
    assert waiting(worker)


def test_none_outlives_its_worker(load: Load) -> None:
    load(max_workers_per_node=1)
    worker, _ = processes_of_call().result(timeout=30)
    left = waiting(worker)
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: not psutil.pid_exists(left))
    assert processes_of_call().result(timeout=30)[0] != worker


@pytest.mark.parametrize("way", ["cancelled", "out of time"])
def test_the_end_of_a_call_that_takes_too_long_is_its_own(load: Load, way: str) -> None:
    load(max_workers_per_node=1)
    options = {"walltime": 0.5} if way == "out of time" else {}
    processes_of_call(**options).result(timeout=30)
    worker, _ = processes_of_call().result(timeout=30)
    runs = waiting(worker)
    late = processes_of_call(1000, **options)
    (ahead,) = wait_for(lambda: [child.pid for child in psutil.Process(worker).children() if child.pid != runs])
    if way == "cancelled":
        assert late.cancel()
    else:
        with pytest.raises(AppTimeout):
            late.result(timeout=30)
    assert processes_of_call().result(timeout=30) == (worker, ahead)
    wait_for(lambda: not psutil.pid_exists(runs))


def test_a_call_that_is_withdrawn_before_it_starts_leaves_the_one_that_waits(load: Load) -> None:
    load(max_workers_per_node=1)
    worker, _ = processes_of_call().result(timeout=30)
    first, withdrawn, last = processes_of_call(0.5), processes_of_call(1000), processes_of_call()
    assert withdrawn.cancel()
    children = [first.result(timeout=30), last.result(timeout=30)]
    assert [pid for pid, _ in children] == [worker, worker]
    assert waiting(worker) not in {child for _, child in children}


def test_descriptors_do_not_add_up(load: Load) -> None:
    load(max_workers_per_node=1)
    app = context_app(context=builder())(
        lambda pid: (len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir("/proc/self/fd")))
    )
    counts = [future.result(timeout=30) for future in [app() for _ in range(60)]]
    # Of a child that has answered and one that waits there are some, for as long as it takes to end.
    assert all(max(each) - min(each) <= 12 for each in zip(*counts[3:], strict=True))


@pytest.mark.parametrize("handling", ["ignored", "reaped"])
def test_a_context_may_look_after_children_in_its_own_way(load: Load, handling: str) -> None:
    load(max_workers_per_node=1)

    def reap(*_: object) -> None:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass

    @context(isolation="call")
    def careless() -> int:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN if handling == "ignored" else reap)
        return os.getpid()

    app = context_app(context=careless())(lambda pid: (pid, signal.getsignal(signal.SIGCHLD) != signal.SIG_DFL))
    answers = [app().result(timeout=30) for _ in range(5)]
    assert len(set(answers)) == 1
    assert answers[0][1], "calls find it as the context left it"
    os.kill(killed := waiting(answers[0][0]), signal.SIGKILL)
    wait_for(lambda: not psutil.pid_exists(killed))
    assert app().result(timeout=30) == answers[0]


def test_what_a_call_has_started_ends_with_it_and_what_its_context_has_goes_on(load: Load) -> None:
    load(max_workers_per_node=1)

    @context(isolation="call")
    def server() -> int:
        return subprocess.Popen(["sleep", "1000"]).pid

    @context_app(context=server())
    def start(pid: int) -> tuple[int, int, int]:
        (child := subprocess.Popen("sleep 1000 & echo $!", shell=True, stdout=subprocess.PIPE, text=True)).wait()
        assert child.stdout is not None
        return pid, os.getppid(), int(child.stdout.readline())

    for _ in range(3):
        pid, worker, orphan = start().result(timeout=30)
        assert not psutil.pid_exists(orphan)
        assert psutil.pid_exists(pid)
    wait_for(lambda: {child.pid for child in psutil.Process(worker).children()} > {pid})


def test_what_a_call_is_given_is_told_to_no_other(load: Load) -> None:
    executor = load(max_workers_per_node=1)
    app = context_app(context=builder())(lambda pid: os.environ.get("PARSL_PRIORITY"))
    told = [executor.submit(app.func, spec).result(timeout=30) for spec in ({}, {"priority": 3}, {}, {"priority": 4})]
    assert told == [None, "3", None, "4"]
