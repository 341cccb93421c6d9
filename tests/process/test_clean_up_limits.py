"""Clean-ups run, and have a time limit, wherever an instance may end; on real processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import parsl
import psutil
import pytest

from parsl_context import ContextExecutor, context, context_app
from tests.process.conftest import wait_for

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]
LIMIT_S = 2.0
FOR_EVER_S = 1000.0


def slow_end(path: str, seconds: float) -> Any:
    yield os.getpid()
    time.sleep(seconds)
    Path(path).touch()


def hold(load: Load, run_dir: Path, seconds: float, reuse: str = "memory") -> tuple[ContextExecutor, Any, Any, int]:
    """An executor with one worker that holds a context whose clean-up takes so long; its process or template's, too."""
    executor = load(max_workers_per_node=1, context_cleanup_timeout=LIMIT_S, reuse=reuse)
    held = context(slow_end)(str(run_dir / "ended"), seconds)
    app = context_app(context=held)(lambda pid: (pid, os.getpid(), os.getppid()))
    return executor, held, app, app().result(timeout=30)


def managers_log(executor: ContextExecutor) -> str:
    return "".join(path.read_text() for path in Path(executor.run_dir).glob("contexts/block-0/*/manager.log"))


@pytest.mark.parametrize("reuse", ["memory", "node"])
def test_a_clean_up_that_hangs_at_eviction_costs_its_process_and_no_call(load: Load, run_dir: Path, reuse: str) -> None:
    executor, held, app, (pid, worker, _) = hold(load, run_dir, FOR_EVER_S, reuse)
    executor.evict(held)
    start = time.monotonic()
    again, other, _ = app().result(timeout=30)
    if reuse == "memory":
        assert time.monotonic() - start > LIMIT_S / 2, "the call waited for its worker"
    wait_for(lambda: not psutil.pid_exists(pid), LIMIT_S + 5)
    assert pid != again
    assert worker != other
    assert "the clean-up of context slow_end(" in managers_log(executor)
    executor.evict(held)


def test_a_clean_up_of_a_second_is_waited_for_at_eviction(load: Load, run_dir: Path) -> None:
    executor, held, app, (_, worker, _) = hold(load, run_dir, 1.0)
    executor.evict(held)
    assert app().result(timeout=30)[1] == worker
    assert (run_dir / "ended").exists()


class Heavy:
    """A value without a clean-up function, whose end hangs all the same."""

    def __del__(self) -> None:
        time.sleep(FOR_EVER_S)


def test_a_value_whose_end_hangs_costs_its_process_and_no_call(load: Load) -> None:
    executor = load(max_workers_per_node=1, context_cleanup_timeout=LIMIT_S)
    heavy = context(lambda: {"a": Heavy()})()
    app = context_app(context=heavy)(lambda held: (len(held), os.getpid()))
    _, worker = app().result(timeout=30)
    executor.evict(heavy)
    _, other = app().result(timeout=30)
    assert worker != other
    assert "the clean-up of context" in managers_log(executor)
    executor.evict(heavy)


def test_clean_ups_in_time_leave_no_limit_behind(load: Load) -> None:
    executor = load(max_workers_per_node=1, context_cleanup_timeout=0.5)

    @context
    def cleaned(*others: int) -> Any:
        yield 1 + sum(others)

    inner = cleaned()
    app = context_app(context=cleaned(inner))(lambda held, seconds: time.sleep(seconds) or (held, os.getpid()))
    _, worker = app(0.0).result(timeout=30)
    executor.evict(inner)
    assert app(1.5).result(timeout=30) == (2, worker)


@pytest.mark.parametrize(("how", "reuse"), [("shutdown", "memory"), ("SIGTERM", "node")])
def test_a_clean_up_of_a_second_is_waited_for_at_the_end(load: Load, run_dir: Path, how: str, reuse: str) -> None:
    _, _, _, (_, _, manager) = hold(load, run_dir, 1.0, reuse)
    end(how, manager)
    wait_for(lambda: not psutil.pid_exists(manager), 10)
    assert (run_dir / "ended").exists()


@pytest.mark.parametrize(("how", "reuse"), [("shutdown", "node"), ("SIGTERM", "memory")])
def test_a_clean_up_that_hangs_does_not_keep_a_manager(load: Load, run_dir: Path, how: str, reuse: str) -> None:
    executor, _, _, (pid, worker, manager) = hold(load, run_dir, FOR_EVER_S, reuse)
    end(how, manager)
    wait_for(lambda: not any(map(psutil.pid_exists, (manager, worker, pid))), LIMIT_S + 8)
    assert not (run_dir / "ended").exists()
    text = f"did not end within {LIMIT_S:g} s, in the clean-up of context slow_end("
    assert text in managers_log(executor)


@pytest.mark.parametrize("reuse", ["memory", "node"])
def test_the_end_of_parsl_waits_for_clean_ups(load: Load, run_dir: Path, reuse: str) -> None:
    hold(load, run_dir, 1.0, reuse)
    parsl.dfk().cleanup()
    assert (run_dir / "ended").exists()


def test_the_end_of_parsl_waits_for_the_clean_up_of_what_was_evicted(load: Load, run_dir: Path) -> None:
    executor, held, _, _ = hold(load, run_dir, 1.0)
    executor.evict(held)
    parsl.dfk().cleanup()
    assert (run_dir / "ended").exists()


def test_the_end_of_parsl_waits_no_longer_than_clean_ups_may_take(load: Load, run_dir: Path) -> None:
    _, _, _, (pid, _, _) = hold(load, run_dir, FOR_EVER_S)
    parsl.dfk().cleanup()
    wait_for(lambda: not psutil.pid_exists(pid), 5)
    assert not (run_dir / "ended").exists()


def test_the_end_of_parsl_waits_for_no_manager_that_is_lost(load: Load, run_dir: Path) -> None:
    executor, _, _, (_, _, manager) = hold(load, run_dir, FOR_EVER_S)
    executor.context_cleanup_timeout = FOR_EVER_S  # how long we wait; the interchange has its own limit
    os.kill(manager, signal.SIGKILL)
    parsl.dfk().cleanup()
    assert executor.interchange_proc.returncode == 0


def end(how: str, manager: int) -> None:
    if how == "shutdown":
        parsl.dfk().cleanup()
    else:
        os.kill(manager, signal.SIGTERM)


@pytest.mark.parametrize("kind", ["worker", "node"])
@pytest.mark.parametrize("cleans_up", [True, False], ids=["a clean-up", "none"])
def test_the_end_waits_where_there_is_a_clean_up(load: Load, run_dir: Path, kind: str, cleans_up: bool) -> None:
    load(max_workers_per_node=1)

    class Slow:
        def __del__(self) -> None:
            time.sleep(3.0)

    def returned() -> Slow:
        return Slow()

    def yielded() -> Iterator[int]:
        yield 1
        time.sleep(3.0)
        Path(run_dir, "cleaned").touch()

    @context_app(context=context(share=kind)(yielded if cleans_up else returned))
    def use(_: object) -> int:
        return 1

    assert use().result(timeout=30) == 1
    begun = time.monotonic()
    parsl.dfk().cleanup()
    assert (time.monotonic() - begun < 3.0) != cleans_up
    assert Path(run_dir, "cleaned").exists() == cleans_up


def noted_end(path: str, number: int) -> Any:
    yield number
    with Path(path).open("a") as file:
        file.write(f"{number}\n")


def test_a_worker_that_holds_very_many_contexts_cleans_all_of_them_up(load: Load, run_dir: Path) -> None:
    """It tells of each clean-up, in more messages than a socket takes that nobody reads."""
    executor = load(max_workers_per_node=1, context_cleanup_timeout=LIMIT_S)
    noted, many = context(noted_end), range(400)
    apps = [context_app(context=noted(str(run_dir / "ended"), number))(lambda held: held) for number in many]
    futures = [app() for app in apps]
    assert [future.result(timeout=60) for future in futures] == list(many)
    parsl.dfk().cleanup()
    assert sorted(map(int, (run_dir / "ended").read_text().split())) == list(many)
    assert "is killed" not in managers_log(executor)
