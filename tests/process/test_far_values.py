"""Large values of managers that have a memory of their own: real ones, on a road of their own, and what it meets."""

from __future__ import annotations

import os
import re
import signal
import subprocess
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

from parsl_context import ContextExecutor, ManagerLost, context, context_app
from tests.process.conftest import wait_for
from tests.process.test_large_values import segments, start_waiting, twice

UNSHARE = ["unshare", "-m"] if os.getuid() == 0 else ["unshare", "-rm"]
CANNOT = subprocess.run([*UNSHARE, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode != 0
pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(120),
    pytest.mark.skipif(CANNOT, reason="this user may not make a mount namespace"),
]
Load = Callable[..., ContextExecutor]
MB = 1_000_000


@pytest.fixture
def far(load: Load, run_dir: Path) -> Callable[..., ContextExecutor]:
    """An executor whose managers have a /dev/shm of their own, and the road is open."""

    def start(size: str = "50%", **options: Any) -> ContextExecutor:
        own = f"mount -t tmpfs -o size={size} none /dev/shm"
        command = f"{' '.join(UNSHARE)} sh -c '{own} && exec \"$@\"' sh {DEFAULT_LAUNCH_CMD}"
        executor = load(launch_cmd=command, **options)
        wait_for(lambda: roads(run_dir), 60)
        return executor

    return start


def log(run_dir: Path, name: str = "interchange.log") -> str:
    return "".join(path.read_text() for path in run_dir.rglob(name))


def roads(run_dir: Path) -> int:
    return log(run_dir).count("on a road of their own")


def left_there(executor: ContextExecutor) -> list[str]:
    """Segments on the node."""
    manager = executor.submit(os.getppid, {}).result(timeout=30)
    folders = Path(f"/proc/{manager}/root/dev/shm").glob("parsl-context-segments-*")
    return sorted({path.name for folder in folders for path in folder.iterdir()} - {"token"})


def server() -> psutil.Process:
    family = psutil.Process(os.getpid()).children(recursive=True)
    (found,) = [each for each in family if "bulk-road" in " ".join(each.cmdline())]
    return found


@pytest.mark.parametrize("encrypted", [True, False], ids=["encrypted", "plain"])
def test_arrays_come_and_go_past_the_interchange(far: Any, run_dir: Path, encrypted: bool) -> None:
    executor = far(encrypted=encrypted)
    assert executor.interchange_proc is not None
    interchange = psutil.Process(executor.interchange_proc.pid)
    before = interchange.memory_info().rss
    most = 0
    for size, count in ((100_000, 20), (400_000, 20), (30 * MB, 6)):
        arrays = [np.full(size, number, np.uint8) for number in range(count)]
        futures = [executor.submit(twice, {}, array) for array in arrays]
        for number, future in enumerate(futures):
            result = future.result(timeout=60)
            most = max(most, interchange.memory_info().rss)
            assert (int(result[0]), int(result[-1]), result.nbytes) == (2 * number, 2 * number, size)
            result += 1
    assert most - before < 20 * MB, "the interchange has seen no value"
    assert "in frames: " not in log(run_dir)
    assert segments(executor) == []
    wait_for(lambda: not left_there(executor))


def test_batches_and_maps_come_too(far: Any) -> None:
    executor = far()

    @context
    def base() -> int:
        return 2

    @context_app(context=base(), batch=4)
    def scaled(base: int, array: Any) -> Any:
        return [base * int(each.sum()) for each in array]

    @context_app(context=base())
    def sums(base: int, array: Any) -> Any:
        return base * int(array.sum())

    arrays = [np.full(40_000, number, np.int64) for number in range(12)]  # above what goes in frames
    futures = [scaled(array) for array in arrays]
    assert [future.result(timeout=60) for future in futures] == [2 * number * 40_000 for number in range(12)]
    assert list(sums.map(arrays, chunksize=5)) == [2 * number * 40_000 for number in range(12)]
    wait_for(lambda: segments(executor) == [])


def where_and_sum(array: Any, number: int) -> tuple[int, int]:
    time.sleep(0.05)
    return os.getppid(), int(array[:1000].sum()) + number


def test_a_value_of_many_calls_crosses_once_to_each_node(far: Any, run_dir: Path) -> None:
    blocks = LocalProvider(init_blocks=2, min_blocks=2, max_blocks=2)
    executor = far(provider=blocks, max_workers_per_node=2)
    wait_for(lambda: roads(run_dir) == 2, 60)
    big = np.random.default_rng(1).integers(0, 255, 8 * MB, np.uint8)
    expected = int(big[:1000].sum())
    futures = [executor.submit(where_and_sum, {}, big, number) for number in range(40)]
    found = [future.result(timeout=60) for future in futures]
    assert [total for _, total in found] == [expected + number for number in range(40)]
    assert len({manager for manager, _ in found}) == 2
    for number in range(8):  # one after the other: it is there still
        assert executor.submit(where_and_sum, {}, big, number).result(timeout=60)[1] == expected + number
    wait_for(lambda: segments(executor) == [])
    wait_for(lambda: not left_there(executor))
    parsl.dfk().cleanup()
    sent = [int(count) for count in re.findall(r"sent (\d+) bytes", log(run_dir, "bulk.log"))]
    assert len(sent) == 2
    assert all(big.nbytes < count < 1.1 * big.nbytes for count in sent), sent


def second_of(array: Any) -> int:
    return int(array[1])


def test_a_value_that_is_changed_between_calls_crosses_anew(far: Any) -> None:
    executor = far()
    big = np.zeros(2 * MB, np.uint8)
    futures = []
    for number in range(8):
        big[1] = number // 2  # where nobody looks who does not look at all
        futures.append(executor.submit(second_of, {}, big))
    assert [future.result(timeout=60) for future in futures] == [number // 2 for number in range(8)]
    wait_for(lambda: segments(executor) == [])
    wait_for(lambda: not left_there(executor))


def test_without_the_server_values_go_in_frames_until_there_is_another(far: Any, run_dir: Path) -> None:
    executor = far()
    array = np.arange(5 * MB, dtype=np.uint8)
    futures = [executor.submit(twice, {}, array) for _ in range(6)]
    server().kill()
    for future in [*futures, *[executor.submit(twice, {}, array) for _ in range(4)]]:
        assert np.array_equal(future.result(timeout=60), array * 2)
    wait_for(lambda: roads(run_dir) == 2, 60)
    assert np.array_equal(executor.submit(twice, {}, array).result(timeout=60), array * 2)
    wait_for(lambda: segments(executor) == [])


def test_a_node_without_room_is_sent_frames(far: Any, run_dir: Path) -> None:
    executor = far(size="300M")
    futures = [executor.submit(np.sum, {}, np.full(180 * MB, number, np.uint8)) for number in range(3)]
    for number, future in enumerate(futures):
        assert future.result(timeout=90) == number * 180 * MB
    assert re.search(r"in frames: (less than 10% of the space|.*No space left)", log(run_dir))
    wait_for(lambda: segments(executor) == [])
    wait_for(lambda: not left_there(executor))


def test_a_call_can_be_cancelled_while_its_arguments_are_on_their_way(far: Any) -> None:
    executor = far()
    stopped = server()
    stopped.suspend()
    try:
        future = executor.submit(twice, {}, np.ones(MB))
        time.sleep(0.5)
        assert not future.done()
        assert executor.submit(abs, {}, -1).result(timeout=30) == 1, "others need not wait"
        assert future.cancel()
    finally:
        stopped.resume()
    assert executor.submit(twice, {}, np.ones(MB)).result(timeout=60)[0] == 2
    wait_for(lambda: segments(executor) == [])
    wait_for(lambda: not left_there(executor))


def test_a_killed_manager_leaves_nothing(far: Any, run_dir: Path) -> None:
    executor = far()
    future, _, manager = start_waiting(executor, run_dir)
    os.kill(manager, signal.SIGKILL)
    with pytest.raises(ManagerLost):
        future.result(timeout=60)
    wait_for(lambda: segments(executor) == [])


def test_a_manager_that_drains_hands_back_what_has_not_come(far: Any) -> None:
    executor = far()
    manager = executor.submit(os.getppid, {}).result(timeout=30)
    stopped = server()
    stopped.suspend()
    try:
        future = executor.submit(twice, {}, np.ones(MB))
        time.sleep(0.5)
        os.kill(manager, signal.SIGTERM)
        wait_for(lambda: not executor.connected_managers(), 30)
        assert not future.done(), "it waits for another manager"
        assert future.cancel()
    finally:
        stopped.resume()
