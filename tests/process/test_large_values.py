"""Large arguments and results: in shared memory within a host, in frames elsewhere, and nowhere after the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import parsl
import psutil
import pytest
from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD
from parsl.providers import LocalProvider

from parsl_context import ContextExecutor, InterchangeLost, ManagerLost, PayloadLostError, WorkerLost
from tests.process.conftest import wait_for

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]

# Runs a command with a /dev/shm of its own, as in another container.
ELSEWHERE = ["unshare", *([] if os.getuid() == 0 else ["-r"]), "-m", "sh", "-c"]
OWN_MEMORY = "mount -t tmpfs none /dev/shm && exec "


def twice(array: Any) -> Any:
    array *= 2  # arguments may be written
    return array


def twice_and_who(array: Any) -> Any:
    return array * 2, os.getppid()


def wait_with(array: Any, started: str, seconds: float) -> Any:
    Path(started).write_text(f"{os.getpid()} {os.getppid()}")
    time.sleep(seconds)
    return array


def directory(executor: ContextExecutor) -> Path:
    assert executor._segments.path is not None
    return Path(executor._segments.path)


def segments(executor: ContextExecutor) -> list[str]:
    return [path.name for path in directory(executor).iterdir() if path.name != "token"]


def start_waiting(executor: ContextExecutor, run_dir: Path, seconds: float = 60.0) -> tuple[Any, int, int]:
    started = run_dir / "started"
    future = executor.submit(wait_with, {}, np.ones(1_000_000, np.uint8), str(started), seconds)
    pid, manager = wait_for(lambda: started.exists() and started.read_text()).split()
    return future, int(pid), int(manager)


@pytest.mark.parametrize("encrypted", [True, False])
def test_arrays_go_and_come_through_shared_memory(load: Load, encrypted: bool) -> None:
    executor = load(encrypted=encrypted)
    for size in (1_000_000, 8_000_000):
        arrays = [np.full(size, number, np.uint8) for number in range(6)]
        futures = [executor.submit(twice, {}, array) for array in arrays]
        for number, future in enumerate(futures):
            result = future.result(timeout=30)
            assert (int(result[0]), int(result.sum(dtype=int))) == (2 * number, 2 * number * size)
            result += 1
        assert all(array[-1] == number for number, array in enumerate(arrays)), "a call changes its copy only"
    assert segments(executor) == [], "nothing is left of calls that have ended"
    path = directory(executor)
    parsl.dfk().cleanup()
    wait_for(lambda: not path.exists())


def test_a_value_of_many_calls_is_in_memory_once(load: Load) -> None:
    executor = load()
    array = np.full(8_000_000, 3, np.uint8)
    futures = [executor.submit(twice, {}, array) for _ in range(30)]
    assert len(segments(executor)) <= 2, "one, and perhaps an outcome"
    for future in futures:
        result = future.result(timeout=30)
        assert (int(result[0]), int(result[-1])) == (6, 6), "what a call changes, no other one sees"
    wait_for(lambda: segments(executor) == [])


def test_two_managers_of_one_host_share_its_memory(load: Load) -> None:
    executor = load(max_workers_per_node=1, provider=LocalProvider(init_blocks=2, min_blocks=2, max_blocks=2))
    wait_for(lambda: len(executor.connected_managers()) == 2)
    futures = [executor.submit(twice_and_who, {}, np.full(1_000_000, n, np.uint8)) for n in range(20)]
    results = [future.result(timeout=30) for future in futures]
    assert all(array[-1] == 2 * n for n, (array, _) in enumerate(results))
    assert len({manager for _, manager in results}) == 2
    assert segments(executor) == []


def test_a_manager_with_other_memory_is_sent_frames(load: Load, run_dir: Path) -> None:
    if subprocess.run([*ELSEWHERE, OWN_MEMORY + "true"], capture_output=True).returncode:
        pytest.skip("this user may not make a mount namespace")
    command = f"{' '.join(ELSEWHERE)} '{OWN_MEMORY}\"$@\"' sh {DEFAULT_LAUNCH_CMD}"
    executor = load(launch_cmd=command)
    array = np.arange(1_000_000, dtype=np.uint16)
    futures = [executor.submit(twice, {}, array) for _ in range(4)]
    for future in futures:
        result = future.result(timeout=30)
        assert np.array_equal(result, array * 2)
        result += 1
    log = next(run_dir.rglob("interchange.log")).read_text()
    assert "it is sent large values in frames" in log
    wait_for(lambda: segments(executor) == [])


def test_a_segment_that_somebody_removed_is_a_clear_error(load: Load, run_dir: Path) -> None:
    executor = load(max_workers_per_node=1)
    started = run_dir / "started"
    slow = executor.submit(wait_with, {}, 0, str(started), 1.0)
    wait_for(started.exists)
    future = executor.submit(twice, {}, np.ones(1_000_000))
    for name in segments(executor):
        (directory(executor) / name).unlink()
    with pytest.raises(PayloadLostError, match=r"cannot be opened: .*No such file"):
        future.result(timeout=30)
    assert slow.result(timeout=30) == 0
    assert executor.submit(twice, {}, np.ones(1_000_000)).result(timeout=30)[0] == 2


def test_a_killed_worker_leaves_no_segment(load: Load, run_dir: Path) -> None:
    executor = load()
    future, worker, _ = start_waiting(executor, run_dir)
    assert len(segments(executor)) == 1
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(WorkerLost):
        future.result(timeout=30)
    wait_for(lambda: segments(executor) == [])
    assert executor.submit(twice, {}, np.ones(1_000_000)).result(timeout=30)[0] == 2


def test_a_killed_manager_leaves_no_segment(load: Load, run_dir: Path) -> None:
    executor = load()
    future, _, manager = start_waiting(executor, run_dir)
    os.kill(manager, signal.SIGKILL)
    with pytest.raises(ManagerLost):
        future.result(timeout=30)
    wait_for(lambda: segments(executor) == [])


def test_a_killed_interchange_leaves_no_segment(load: Load, run_dir: Path) -> None:
    executor = load()
    future, _, _ = start_waiting(executor, run_dir, seconds=2.0)
    assert executor.interchange_proc is not None
    os.kill(executor.interchange_proc.pid, signal.SIGKILL)
    with pytest.raises(InterchangeLost):
        future.result(timeout=30)
    path = directory(executor)
    parsl.dfk().cleanup()
    wait_for(lambda: not path.exists())


SCRIPT = """
import sys, time
import numpy as np, parsl
from parsl.providers import LocalProvider
from parsl_context import ContextExecutor
from tests.process.test_large_values import twice, wait_with
executor = ContextExecutor(address="127.0.0.1", max_workers_per_node=2, cores_per_worker=0.1,
                           provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1))
parsl.load(parsl.Config(executors=[executor], run_dir=sys.argv[1], strategy="none", usage_tracking=0))
executor.submit(twice, {}, np.ones(1_000_000)).result()
calls = [executor.submit(wait_with, {}, np.ones(1_000_000), sys.argv[1] + "/started", 2.0) for _ in range(4)]
print(executor._segments.path, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("everything", [False, True], ids=["the script", "every process at once"])
def test_a_killed_script_leaves_no_directory(run_dir: Path, everything: bool) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(run_dir)], stdout=subprocess.PIPE, text=True, env=environment
    ) as script:
        assert script.stdout is not None
        path = Path(script.stdout.readline().strip())
        wait_for((run_dir / "started").exists)
        assert len(list(path.iterdir())) > 1
        family = [script, *psutil.Process(script.pid).children(recursive=True)] if everything else [script]
        for process in family:
            process.kill()
    if everything:
        from parsl_context.wire.segments import remove_stale

        wait_for(lambda: remove_stale("/dev/shm") or not path.exists())  # as the next run does
    wait_for(lambda: not path.exists())
