"""Every process ends with the one that it belongs to: workers with managers, what bodies start with workers."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import parsl
import psutil
import pytest

from parsl_context import ContextExecutor, WorkerLost, context, context_app
from tests.process.conftest import family, wait_for

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]
LEVELS = ["memory", "node", "none", "isolated"]


def load_level(load: Load, level: str, **options: Any) -> dict[str, Any]:
    """An executor with one worker at a level; gives the options of contexts for it."""
    load(max_workers_per_node=1, reuse="memory" if level == "isolated" else level, **options)
    return {"isolation": "call"} if level == "isolated" else {}


def one() -> int:
    return 1


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


# --- a manager that is killed


def work_for_ever(_: Any, mark: str, how: str) -> None:
    Path(mark).write_text(f"{os.getpid()}")
    if how == "sleep":
        time.sleep(1000)
    sum(range(10**14))  # the interpreter handles no signal meanwhile


def start_work(app: Any, run_dir: Path, how: str) -> int:
    mark = run_dir / "started"
    app(str(mark), how)
    return int(wait_for(lambda: mark.exists() and mark.read_text()))


def kill_at_once(manager: psutil.Process, *names: str) -> None:
    """Kill a manager and the processes that could end its workers, before it notices."""
    manager.suspend()
    for child in manager.children():
        if any(name in child.cmdline()[0] for name in names):
            child.kill()
    manager.kill()


def manager_of(run_dir: Path) -> psutil.Process:
    found = {process.ppid() for process in family(run_dir) if "zygote" in process.cmdline()[0]}
    return psutil.Process(found.pop())


@pytest.mark.parametrize(("level", "how"), [*zip(LEVELS, ["compute", "sleep", "sleep", "compute"], strict=True)])
def test_a_worker_ends_with_its_manager_though_all_others_are_gone(
    load: Load, run_dir: Path, level: str, how: str
) -> None:
    held = context(**load_level(load, level))(one)()
    pid = start_work(context_app(context=held)(work_for_ever), run_dir, how)
    kill_at_once(manager_of(run_dir), "zygote", "template")
    wait_for(lambda: is_gone(pid), 15)


def test_a_worker_ends_with_its_manager_though_its_template_is_gone(load: Load, run_dir: Path) -> None:
    load(max_workers_per_node=1, reuse="node")
    pid = start_work(context_app(context=context(one)())(work_for_ever), run_dir, "compute")
    kill_at_once(manager_of(run_dir), "template")
    wait_for(lambda: is_gone(pid), 15)


def test_clean_ups_run_in_a_worker_whose_manager_was_killed_in_the_midst_of_a_call(load: Load, run_dir: Path) -> None:
    load(max_workers_per_node=1)

    def cleaned(mark: str) -> Any:
        yield 1
        Path(mark).touch()

    held = context(cleaned)(str(run_dir / "ended"))
    pid = start_work(context_app(context=held)(work_for_ever), run_dir, "sleep")
    kill_at_once(manager_of(run_dir), "zygote")
    wait_for(lambda: is_gone(pid), 15)
    assert (run_dir / "ended").exists()


@pytest.mark.parametrize("gone", [["zygote"], []], ids=["no zygote", "zygote"])
def test_what_keeps_a_worker_from_ending_with_its_manager_is_cut_short(
    load: Load, run_dir: Path, gone: list[str]
) -> None:
    load(max_workers_per_node=1)

    def stubborn(mark: str) -> Any:
        yield 1
        Path(mark).write_text("begun")
        while True:
            with contextlib.suppress(BaseException):
                time.sleep(1000)

    def body(_: int, mark: str) -> None:
        Path(mark).write_text(f"{os.getpid()}")
        with contextlib.suppress(BaseException):
            time.sleep(1000)

    held = context(stubborn)(str(run_dir / "ended"))
    mark = run_dir / "started"
    context_app(context=held)(body)(str(mark))
    pid = int(wait_for(lambda: mark.exists() and mark.read_text()))
    kill_at_once(manager_of(run_dir), *gone)
    wait_for(lambda: is_gone(pid), 15)
    assert (run_dir / "ended").read_text() == "begun"


# --- children that a body left


def start_children(_: Any, ways: list[str]) -> list[int]:
    pids = []
    for way in ways:
        if way == "fork":
            pid = os.fork()
            if pid == 0:
                time.sleep(1000)
        elif way == "program":
            pid = subprocess.Popen(["sleep", "1000"]).pid
        elif way == "deaf":
            pid = subprocess.Popen(["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]).pid
        else:
            process = multiprocessing.get_context(way).Process(target=time.sleep, args=(1000,), daemon=True)
            process.start()
            assert process.pid is not None
            pid = process.pid
        pids.append(pid)
    return pids


WAYS = ["fork", "program", "deaf", "spawn"]


@pytest.mark.parametrize("level", LEVELS)
def test_children_that_a_body_left_end_with_the_run(load: Load, level: str) -> None:
    held = context(**load_level(load, level))(one)()
    left = context_app(context=held)(start_children)(WAYS).result(timeout=30)
    parsl.dfk().cleanup()
    wait_for(lambda: all(map(is_gone, left)), 5)


@pytest.mark.parametrize("level", ["none", "isolated"])
def test_children_that_a_body_left_end_with_its_process(load: Load, level: str) -> None:
    held = context(**load_level(load, level))(one)()
    app = context_app(context=held)(start_children)
    left = app(WAYS).result(timeout=30)
    app([]).result(timeout=30)
    wait_for(lambda: all(map(is_gone, left)), 10)


def start_and_die(_: Any, mark: str) -> None:
    Path(mark).write_text(" ".join(map(str, start_children(None, ["fork", "program", "deaf"]))))
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("level", ["memory", "isolated"])
def test_children_of_a_worker_that_died_end(load: Load, run_dir: Path, level: str) -> None:
    held = context(**load_level(load, level))(one)()
    mark = run_dir / "left"
    with pytest.raises(WorkerLost):
        context_app(context=held)(start_and_die)(str(mark)).result(timeout=30)
    wait_for(lambda: all(is_gone(int(pid)) for pid in mark.read_text().split()), 10)


@pytest.mark.parametrize("level", ["memory", "node", "isolated"])
def test_children_of_a_worker_whose_manager_was_killed_end(load: Load, run_dir: Path, level: str) -> None:
    held = context(**load_level(load, level))(one)()
    mark = run_dir / "left"

    def leave(_: Any, path: str) -> None:
        Path(path).write_text(" ".join(map(str, start_children(None, ["fork", "program", "deaf"]))))
        time.sleep(1000)

    context_app(context=held)(leave)(str(mark))
    left = wait_for(lambda: mark.exists() and mark.read_text()).split()
    manager_of(run_dir).kill()
    wait_for(lambda: all(is_gone(int(pid)) for pid in left), 15)


def test_a_program_in_a_session_of_its_own_lasts_as_long_as_its_manager(load: Load) -> None:
    load(max_workers_per_node=1, reuse="none")

    @context_app(context=context(one)())
    def serve(_: int) -> int:
        return subprocess.Popen(["sleep", "1000"], start_new_session=True).pid

    first = serve().result(timeout=30)
    second = serve().result(timeout=30)
    assert not is_gone(first)
    parsl.dfk().cleanup()
    wait_for(lambda: is_gone(first) and is_gone(second), 5)


# --- SIGTERM


@pytest.mark.parametrize("method", ["fork", "default"])
def test_a_pool_that_is_left_in_the_midst_of_work_ends(load: Load, method: str) -> None:
    load(max_workers_per_node=1)

    @context_app(context=context(one)())
    def impatient(_: int, method: str) -> str:
        made = multiprocessing if method == "default" else multiprocessing.get_context(method)
        with made.Pool(2) as pool:
            pool.apply_async(time.sleep, (1000,)).get(timeout=0.5)
        return "in time"

    with pytest.raises(multiprocessing.TimeoutError):
        impatient(method).result(timeout=30)


@pytest.mark.parametrize("level", ["memory", "isolated"])
def test_terminate_ends_a_forked_process(load: Load, level: str) -> None:
    held = context(**load_level(load, level))(one)()

    @context_app(context=held)
    def terminate(_: int) -> list[int | None]:
        codes = []
        for _ in range(10):
            process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(1000,))
            process.start()
            process.terminate()  # it may come before the child has run a line
            process.join(10)
            codes.append(process.exitcode)
            if process.exitcode is None:
                process.kill()
        return codes

    assert terminate().result(timeout=50) == [-signal.SIGTERM] * 10


@pytest.mark.parametrize("level", LEVELS)
def test_a_body_that_terminates_its_process_is_lost(load: Load, level: str) -> None:
    held = context(**load_level(load, level))(one)()

    @context_app(context=held)
    def end(_: int, really: bool) -> int:
        if really:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1000)
        return os.getpid()

    with pytest.raises(WorkerLost, match="SIGTERM") as caught:
        end(True).result(timeout=20)
    assert caught.value.signal == signal.SIGTERM
    assert end(False).result(timeout=20) != caught.value.pid


def test_a_worker_that_somebody_terminates_is_lost_and_replaced(load: Load, run_dir: Path) -> None:
    load(max_workers_per_node=1)
    app = context_app(context=context(one)())(lambda _: os.getpid())
    idle = app().result(timeout=20)
    os.kill(idle, signal.SIGTERM)
    wait_for(lambda: is_gone(idle), 10)
    assert app().result(timeout=20) != idle
    mark = run_dir / "started"
    future = context_app(context=context(one)())(work_for_ever)(str(mark), "sleep")
    busy = int(wait_for(lambda: mark.exists() and mark.read_text()))
    os.kill(busy, signal.SIGTERM)
    with pytest.raises(WorkerLost, match="SIGTERM"):
        future.result(timeout=20)


@pytest.mark.parametrize("level", ["memory", "isolated"])
def test_a_call_ends_in_peace_when_a_batch_system_terminates_every_process(
    load: Load, run_dir: Path, level: str
) -> None:
    held = context(**load_level(load, level))(one)()
    mark, gate = run_dir / "started", run_dir / "gate"

    @context_app(context=held)
    def work(_: int, mark: str, gate: str) -> str:
        Path(mark).touch()
        while not os.path.exists(gate):
            time.sleep(0.01)
        return "done"

    future = work(str(mark), str(gate))
    wait_for(mark.exists)
    manager = manager_of(run_dir)
    for process in [*manager.children(recursive=True), manager]:  # the manager is the last to hear of it
        process.terminate()
    time.sleep(1.5)
    gate.touch()
    assert future.result(timeout=10) == "done"
    wait_for(lambda: is_gone(manager.pid), 15)


# --- multiprocessing, as in the workers of HighThroughputExecutor


def start_method() -> str:
    return multiprocessing.get_start_method()


def test_multiprocessing_spawns_unless_told_otherwise(load: Load) -> None:
    executor = load(max_workers_per_node=1)
    assert executor.submit(start_method, {}).result(timeout=20) == "spawn"


@pytest.mark.parametrize("level", ["node", "none"])
def test_multiprocessing_forks_if_told_so(load: Load, level: str) -> None:
    held = context(**load_level(load, level, start_method="fork"))(one)()
    app = context_app(context=held)(lambda _: multiprocessing.get_start_method())
    assert app().result(timeout=20) == "fork"


@pytest.mark.parametrize(("method", "closes"), [("fork", True), ("spawn", True), ("fork", False)])
def test_a_context_that_is_a_pool_is_cleaned_up(load: Load, run_dir: Path, method: str, closes: bool) -> None:
    executor = load(max_workers_per_node=1, start_method=method)

    def workers(closes: bool, mark: str) -> Any:
        pool = multiprocessing.Pool(2)
        yield pool
        pool.apply_async(time.sleep, (1000,))
        if closes:
            pool.terminate()
            pool.join()
        Path(mark).touch()

    held = context(workers)(closes, str(run_dir / "ended"))
    pid = context_app(context=held)(lambda pool: pool.apply(os.getpid))().result(timeout=30)
    assert not is_gone(pid)
    executor.evict(held)
    wait_for((run_dir / "ended").exists)
    if closes:
        assert is_gone(pid), "the clean-up waits for it; after that the worker may be ended, if it keeps memory"
    parsl.dfk().cleanup()
    wait_for(lambda: is_gone(pid), 10)
