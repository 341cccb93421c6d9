"""Real processes killed in the middle of work: what each fault looks like to the user."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import parsl
import psutil
import pytest
from parsl.executors.high_throughput.errors import ManagerLost as HTEXManagerLost
from parsl.executors.high_throughput.errors import WorkerLost as HTEXWorkerLost

from parsl_context import (
    ContextBuildError,
    ContextExecutor,
    InterchangeLost,
    ManagerLost,
    WorkerLost,
    context,
    context_app,
)
from tests.process.conftest import family, wait_for

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]


@context
def process_id() -> int:
    return os.getpid()


@context_app(context=process_id())
def where(pid: int) -> tuple[int, int]:
    return pid, os.getpid()


@context_app(context=process_id())
def wait_in_body(pid: int, started: str, seconds: float) -> int:
    Path(started).write_text(f"{os.getpid()} {os.getppid()}")
    time.sleep(seconds)
    return pid


def start_waiting(run_dir: Path, seconds: float = 60.0) -> tuple[Any, int, int]:
    """A call that waits in its body: its future, its worker's process and its manager's."""
    started = run_dir / "started"
    future = wait_in_body(str(started), seconds)
    pid, manager = wait_for(lambda: started.exists() and started.read_text()).split()
    return future, int(pid), int(manager)


def test_an_exception_of_the_body_reaches_the_user_and_the_instance_stays(load: Load) -> None:
    executor = load(max_workers_per_node=1)
    divide = context_app(context=process_id())(lambda pid, x: (pid, 1 / x))
    before = divide(1).result()[0]
    with pytest.raises(ZeroDivisionError) as caught:
        divide(0).result()
    assert any(frame.name == "<lambda>" for frame in caught.traceback), "the remote traceback is kept"
    assert divide(1).result()[0] == before
    assert sum(row.loads for row in executor.contexts()) == 1


def test_a_context_function_that_raises_fails_every_waiting_call_with_its_error(load: Load, run_dir: Path) -> None:
    load()
    tries = run_dir / "tries"

    @context
    def broken(path: str) -> Any:
        with open(path, "a") as file:
            file.write("x")
        raise FileNotFoundError("weights.pt")

    app = context_app(context=broken(str(tries)))(lambda model, x: x)
    futures = [app(i) for i in range(20)]
    for future in futures:
        with pytest.raises(ContextBuildError, match=r"Context broken\(.*FileNotFoundError: weights.pt") as caught:
            future.result(timeout=30)
    error = caught.value
    assert error.attempts == 3
    assert error.manager
    assert error.host
    assert error.block == "0"
    assert isinstance(error.__cause__, FileNotFoundError)
    assert "broken" in [frame.name for frame in caught.traceback[-1:]] or error.__cause__.__traceback__ is not None
    assert pickle.loads(pickle.dumps(error)).attempts == 3
    assert 3 <= len(tries.read_text()) <= 5, "tried a bounded number of times"


def test_a_context_that_fails_for_a_while_is_tried_again(load: Load, run_dir: Path) -> None:
    load()
    ready = run_dir / "ready"

    @context
    def flaky(path: str) -> str:
        with open(path, "a") as file:
            file.write("x")
        if os.path.getsize(path) < 3:
            raise ConnectionError("not yet")
        return "up"

    app = context_app(context=flaky(str(ready)))(lambda state: state)
    assert app().result(timeout=30) == "up"


def test_a_killed_worker_is_noticed_at_once_and_replaced(load: Load, run_dir: Path) -> None:
    executor = load(heartbeat_period=30)
    future, pid, manager = start_waiting(run_dir)
    os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    with pytest.raises(WorkerLost, match="SIGKILL") as caught:
        future.result(timeout=20)
    assert time.monotonic() - killed < 5
    error = caught.value
    assert isinstance(error, HTEXWorkerLost)
    assert (error.pid, error.signal, error.exit_code) == (pid, signal.SIGKILL, None)
    assert psutil.Process(manager).is_running()
    assert {future.result(timeout=20)[0] for future in [where() for _ in range(20)]} != {pid}
    assert executor.connected_managers()[0]["worker_count"] == 2


def test_calls_that_had_not_started_survive_the_death_of_their_worker(load: Load) -> None:
    load(max_workers_per_node=1)

    @context_app(context=process_id())
    def maybe_die(pid: int, i: int) -> int:
        if i == 30:
            os.kill(os.getpid(), signal.SIGKILL)
        return i

    [future.result() for future in [maybe_die(0) for _ in range(50)]]  # short calls: pipelined from now on
    futures = [maybe_die(i) for i in range(100)]
    failed = [i for i, future in enumerate(futures) if future.exception(timeout=30) is not None]
    assert failed == [30]
    assert isinstance(futures[30].exception(), WorkerLost)


def test_parsls_retries_run_a_call_again_after_its_worker_was_lost(load: Load, run_dir: Path) -> None:
    load(config={"retries": 1})
    mark = str(run_dir / "mark")

    @context_app(context=process_id())
    def die_once(pid: int) -> str:
        if not os.path.exists(mark):
            Path(mark).touch()
            os._exit(3)
        return "second life"

    assert die_once().result(timeout=30) == "second life"


def test_a_context_that_kills_its_workers_is_given_up(load: Load) -> None:
    load()
    app = context_app(context=context(lambda: os._exit(7))())(lambda nothing: nothing)
    with pytest.raises(ContextBuildError) as caught:
        app().result(timeout=30)
    assert isinstance(caught.value.__cause__, WorkerLost)
    assert caught.value.__cause__.exit_code == 7
    assert where().result(timeout=20)


def test_a_killed_manager_fails_its_calls_at_once_and_takes_its_workers_along(load: Load, run_dir: Path) -> None:
    load(heartbeat_threshold=120)
    future, pid, manager = start_waiting(run_dir)
    workers = psutil.Process(manager).children()
    assert pid in {process.pid for process in workers}
    os.kill(manager, signal.SIGKILL)
    killed = time.monotonic()
    with pytest.raises(ManagerLost, match="connection broke") as caught:
        future.result(timeout=20)
    assert time.monotonic() - killed < 5
    assert isinstance(caught.value, HTEXManagerLost)
    assert caught.value.block == "0"
    wait_for(lambda: not any(process.is_running() and process.status() != "zombie" for process in workers), 5)


def test_work_goes_on_in_a_new_block_after_a_manager_was_killed(load: Load, run_dir: Path) -> None:
    # Else Parsl gives the executor up if it looks between the end of its only block and the start of another.
    executor = load(block_error_handler=False)
    future, _, manager = start_waiting(run_dir)
    os.kill(manager, signal.SIGKILL)
    assert isinstance(future.exception(timeout=20), ManagerLost)
    executor.scale_out_facade(1)
    assert where().result(timeout=30)


def test_a_killed_interchange_fails_all_futures_and_leaves_no_process(load: Load, run_dir: Path) -> None:
    executor = load()
    future, _, _ = start_waiting(run_dir, seconds=3.0)
    waiting = [where() for _ in range(5)]
    executor.interchange_proc.kill()
    killed = time.monotonic()
    for lost in [future, *waiting]:
        error = lost.exception(timeout=10)
        assert isinstance(error, InterchangeLost) or lost.done()
    assert time.monotonic() - killed < 5
    with pytest.raises(InterchangeLost, match="SIGKILL"):
        future.result()
    with pytest.raises(InterchangeLost, match=r"interchange\.log"):
        where().result()
    wait_for(lambda: not family(run_dir), 20)


def test_nothing_outlives_a_client_that_is_killed(run_dir: Path) -> None:
    script = run_dir / "script.py"
    script.write_text(
        "import parsl, time\n"
        "from parsl.providers import LocalProvider\n"
        "from parsl_context import ContextExecutor, context, context_app\n"
        "executor = ContextExecutor(address='127.0.0.1', max_workers_per_node=2, cores_per_worker=0.1,\n"
        "    provider=LocalProvider(init_blocks=1, max_blocks=1))\n"
        f"parsl.load(parsl.Config(executors=[executor], run_dir={str(run_dir)!r}, usage_tracking=0,\n"
        "    strategy='none', strategy_period=0.2))\n"
        "app = context_app(context=context(lambda: 1)())(lambda one, x: one + x)\n"
        "print(app(1).result(), flush=True)\n"
        "time.sleep(60)\n"
    )
    client = psutil.Popen([sys.executable, str(script)], stdout=-1, cwd=run_dir)
    assert client.stdout.readline() == b"2\n"
    assert len(family(run_dir)) >= 5
    client.kill()
    client.wait()
    client.stdout.close()
    wait_for(lambda: not family(run_dir), 20)


def test_workers_that_hang_in_a_body_are_gone_after_shutdown(load: Load, run_dir: Path) -> None:
    load()
    start_waiting(run_dir, seconds=60.0)
    parsl.dfk().executors["contexts"].scale_in_facade(1)
    wait_for(lambda: len(family(run_dir)) == 1, 20)  # the interchange
    parsl.dfk().cleanup()
    parsl.clear()
    assert not family(run_dir)


def test_a_child_that_the_client_forked_does_not_keep_the_run_alive(run_dir: Path) -> None:
    script = run_dir / "script.py"
    script.write_text(
        "import os, parsl, time\n"
        "from parsl.providers import LocalProvider\n"
        "from parsl_context import ContextExecutor\n"
        "executor = ContextExecutor(address='127.0.0.1', max_workers_per_node=1, cores_per_worker=0.1,\n"
        "    provider=LocalProvider(init_blocks=1, max_blocks=1))\n"
        f"parsl.load(parsl.Config(executors=[executor], run_dir={str(run_dir)!r}, usage_tracking=0,\n"
        "    strategy='none', strategy_period=0.2))\n"
        "print(parsl.python_app(abs)(-1).result(), flush=True)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os.chdir('/')\n"
        "    time.sleep(40)\n"
        "    os._exit(0)\n"
        "print(child, flush=True)\n"
        "time.sleep(60)\n"
    )
    client = psutil.Popen([sys.executable, str(script)], stdout=-1, cwd=run_dir)
    assert client.stdout.readline() == b"1\n"
    child = int(client.stdout.readline())
    try:
        client.kill()
        client.wait()
        wait_for(lambda: not family(run_dir), 20)
    finally:
        os.kill(child, signal.SIGKILL)
        client.stdout.close()


# --- a node that is short of something, and bodies that fork


def test_a_manager_that_is_short_of_descriptors_starts_its_workers_when_it_is_not(load: Load) -> None:
    load(max_workers_per_node=2)
    pids = {where().result(timeout=20)[1] for _ in range(4)}
    manager = psutil.Process(psutil.Process(pids.pop()).ppid())
    soft, hard = manager.rlimit(psutil.RLIMIT_NOFILE)

    def found() -> list[psutil.Process]:
        return [child for child in manager.children() if "worker" in child.cmdline()[0]]

    workers = wait_for(lambda: found() if len(found()) == 2 else None)
    manager.rlimit(psutil.RLIMIT_NOFILE, (3, hard))
    for worker in workers:
        worker.kill()
    futures = [where() for _ in range(4)]
    time.sleep(1.5)
    assert found() == []
    manager.rlimit(psutil.RLIMIT_NOFILE, (soft, hard))
    assert where().result(timeout=20)[1] not in {worker.pid for worker in workers}
    lost = [future.exception(timeout=20) for future in futures]
    assert all(error is None or isinstance(error, WorkerLost) for error in lost)


def two_processes(leave: str, mark: str) -> str:
    """Forks; both processes come back from here, or leave by an exception."""
    child = os.fork()
    if child == 0 and leave == "raise":
        raise ValueError("in the child")
    if child == 0 and leave == "exit":
        sys.exit(3)
    if child == 0:
        Path(mark, f"came back as {os.getpid()}").touch()
        return "child"
    _, status = os.waitpid(child, 0)
    return f"parent {os.waitstatus_to_exitcode(status)}"


@pytest.mark.parametrize("reuse", ["memory", "node", "none"])
@pytest.mark.parametrize(("leave", "status"), [("return", 0), ("raise", 1), ("exit", 3)])
def test_a_body_that_forks_and_comes_back_twice_answers_once(
    load: Load, run_dir: Path, reuse: str, leave: str, status: int
) -> None:
    load(max_workers_per_node=1, reuse=reuse)
    ended = run_dir / "ended"

    @context
    def held(ended: str) -> Any:
        yield os.getpid()
        Path(ended).write_text(Path(ended).read_text() + "." if Path(ended).exists() else ".")

    forks = context_app(context=held(str(ended)))(lambda pid, *args: two_processes(*args))
    plain = context_app(context=held(str(ended)))(lambda pid: pid)
    for _ in range(2):
        assert forks(leave, str(run_dir)).result(timeout=20) == f"parent {status}"
        assert plain().result(timeout=20) != 0
    assert reuse == "none" or not ended.exists(), "a child cleans up nothing that its parent uses"


def test_isolated_bodies_contexts_and_clean_ups_that_fork_and_come_back_twice(load: Load, run_dir: Path) -> None:
    executor = load(max_workers_per_node=1)

    @context(isolation="call")
    def isolated(mark: str) -> Any:
        yield two_processes("return", mark)
        two_processes("return", mark)

    app = context_app(context=isolated(str(run_dir)))(lambda held, mark: (held, two_processes("return", mark)))
    for _ in range(3):
        assert app(str(run_dir)).result(timeout=20) == ("parent 0", "parent 0")
    executor.evict(isolated(str(run_dir)))
    assert app(str(run_dir)).result(timeout=20) == ("parent 0", "parent 0")
    assert [row.loads for row in executor.contexts()] == [2]


# --- streams that break


@context_app(context=process_id())
def speak_nonsense(pid: int, data: bytes) -> None:
    """Write into whatever Unix stream socket of this worker leads to its manager, as a broken library might."""
    import socket
    import stat

    for name in os.listdir("/proc/self/fd"):
        try:
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                socket.socket(fileno=os.dup(int(name))).send(data)
        except OSError:
            continue


@pytest.mark.parametrize("data", [b"\xff" * 64, b"\x01\0\0\0\x03\0\0\0\0\0\0\0\xc1\xc1\xc1"], ids=["frames", "message"])
def test_a_worker_whose_link_breaks_is_lost_and_replaced(load: Load, data: bytes) -> None:
    load(max_workers_per_node=1)
    before = where().result(timeout=20)[1]
    with pytest.raises(WorkerLost):
        speak_nonsense(data).result(timeout=20)
    assert where().result(timeout=20)[1] != before


def test_calls_with_more_buffers_than_a_message_takes(load: Load) -> None:
    """Together, while the script gathers them; and one that has too many by itself."""
    import numpy as np

    load(max_workers_per_node=2)
    count = context_app(context=process_id())(lambda pid, arrays: len(arrays))
    assert count([np.zeros(1)] * 3).result(timeout=20) == 3
    small = [np.zeros(1) for _ in range(700)]
    futures = [count(small) for _ in range(1600)]
    assert {future.result(timeout=60) for future in futures} == {700}
    assert count([np.zeros(1) for _ in range(70_000)]).result(timeout=60) == 70_000
