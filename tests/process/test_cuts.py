"""Links that are cut for longer than it takes to notice that an interchange died: contexts wait for them."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from parsl.dataflow.futures import AppFuture
from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD

from parsl_context import ContextExecutor, ManagerLost, context, context_app
from tests.process.conftest import family, wait_for
from tests.process.test_far import MANAGER

pytestmark = [pytest.mark.process, pytest.mark.slow]

CUT_S = 9.0
BACK_WITHIN_S = 12.0  # and usable again
AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: what is closed is reset, as by a firewall, and not ended

NETWORK = "10.213.77"


class Cable:
    """What a manager's connections go through on their way to the interchange: it can be cut.

    Parameters
    ----------
    host
        Address of the manager's end.
    is_half
        Whether the interchange does not see that its connections are cut.
    """

    def __init__(self, host: str, *, is_half: bool = False) -> None:
        self.interchange = ("127.0.0.1", 0)
        self._is_half = is_half
        self._is_whole = threading.Event()
        self._is_whole.set()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.create_server((host, 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def cut(self) -> None:
        """Reset the connections. From now on the system accepts them, and nobody answers."""
        self._is_whole.clear()
        for near, far in self._pairs:
            with contextlib.suppress(OSError):  # it has ended before, as that of a probe
                near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
                near.shutdown(socket.SHUT_RD)
                if not self._is_half:
                    far.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._is_whole.set()

    def close(self) -> None:
        self._is_whole.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        for pair in self._pairs:
            for sock in pair:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for sock in [self._listener, *(sock for pair in self._pairs for sock in pair)]:
            sock.close()

    def _accept(self) -> None:
        while True:
            self._is_whole.wait()
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self._is_whole.wait()
            try:
                far = socket.create_connection(self.interchange)
            except OSError:
                near.close()
                continue
            self._pairs.append((near, far))
            for source, sink in [(near, far), (far, near)]:
                self._threads.append(threading.Thread(target=self._copy, args=(source, sink)))
                self._threads[-1].start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
        is_cut = not self._is_whole.is_set()
        with contextlib.suppress(OSError):
            if is_cut and source.getsockname()[1] == self.port:
                source.close()  # resets it
            if not (is_cut and self._is_half):
                sink.shutdown(socket.SHUT_RDWR)


def opened(path: str) -> int:
    with open(path, "a") as file:
        file.write("x")
    time.sleep(1.0)  # or one more would be built for the asking
    return os.getpid()


def wait_with(pid: int, seconds: float = 0.0) -> int:
    time.sleep(seconds)
    return pid


def user_of(file: Path, share: str | None) -> Callable[..., AppFuture]:
    """An app with a context that notes its builds in a file."""
    app: Callable[..., AppFuture] = context_app(context=context(share=share)(opened)(str(file)))(wait_with)
    return app


@contextlib.contextmanager
def other_network(name: str) -> Iterator[None]:
    """A network of its own that a link leads to."""
    near = f"{name}n"
    try:
        run(f"ip netns add {name}")
        run(f"ip link add {near} type veth peer name far netns {name}")
        run(f"ip addr add {NETWORK}.1/24 dev {near}")
        run(f"ip link set {near} up")
        run(f"ip -n {name} addr add {NETWORK}.2/24 dev far")
        run(f"ip -n {name} link set far up")
        yield
    finally:
        run(f"ip link del {near}")
        run(f"ip netns del {name}")


def run(command: str) -> None:
    subprocess.run(command.split(), check=True)


def launch(run_dir: Path, cable: Cable, prefix: str = "") -> str:
    """Starts a manager that reaches the interchange over a cable, and no shorter way."""
    script = run_dir / "manager.py"
    script.write_text(MANAGER)
    command = DEFAULT_LAUNCH_CMD.replace("process_worker_pool.py", f"{prefix}{sys.executable} {script}")
    return command.replace("{worker_port}", str(cable.port))


def cut_and_mend(run_dir: Path, cut: Callable[[], None], mend: Callable[[], None], share: str | None = None) -> None:
    """Two workers, each with a context and one of them busy: what the idle one holds is held after the cut."""
    keep, work = user_of(run_dir / "kept", share), user_of(run_dir / "worked_on", share)
    pid = keep().result(timeout=30)
    assert work().result(timeout=30) != pid
    lost = work(60.0)
    time.sleep(0.5)
    cut()
    time.sleep(CUT_S)
    mend()
    begin = time.monotonic()
    with pytest.raises(ManagerLost):
        lost.result(timeout=BACK_WITHIN_S)
    assert keep().result(timeout=BACK_WITHIN_S) == pid
    assert time.monotonic() - begin < BACK_WITHIN_S
    assert {keep().result(timeout=5) for _ in range(20)} == {pid}
    assert (run_dir / "kept").read_text() == "x"


@pytest.mark.parametrize(
    ("encrypted", "is_half", "share"),
    [(True, False, None), (False, True, None), (True, False, "node")],
    ids=["whole", "half", "shared"],
)
def test_contexts_wait_for_a_link_whose_other_end_says_nothing(
    load: Callable[..., ContextExecutor], run_dir: Path, encrypted: bool, is_half: bool, share: str | None
) -> None:
    with contextlib.closing(Cable("127.0.0.1", is_half=is_half)) as cable:
        executor = load(launch_cmd=launch(run_dir, cable), encrypted=encrypted)
        cable.interchange = ("127.0.0.1", executor.worker_port)
        cut_and_mend(run_dir, cable.cut, cable.mend, share)


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("ip") is None, reason="networks are root's to make, with iproute2")
@pytest.mark.parametrize("end", ["near", "far"])
def test_contexts_wait_for_a_network_that_is_not_there(
    load: Callable[..., ContextExecutor], run_dir: Path, end: str
) -> None:
    name = f"cut{os.getpid() % 100_000}"
    device = f"link set {name}n" if end == "near" else f"-n {name} link set far"
    with other_network(name), contextlib.closing(Cable(f"{NETWORK}.1")) as cable:

        def cut() -> None:
            cable.cut()
            time.sleep(0.05)  # the manager learns that its connection is gone, and then nothing
            run(f"ip {device} down")

        def mend() -> None:
            cable.mend()
            run(f"ip {device} up")

        prefix = f"nsenter --net=/run/netns/{name} "
        executor = load(launch_cmd=launch(run_dir, cable, prefix), address=f"{NETWORK}.1")
        cable.interchange = (f"{NETWORK}.1", executor.worker_port)
        cut_and_mend(run_dir, cut, mend)


def test_a_manager_elsewhere_ends_soon_after_its_interchange_was_killed(
    load: Callable[..., ContextExecutor], run_dir: Path
) -> None:
    script = run_dir / "manager.py"
    script.write_text(MANAGER)
    executor = load(
        launch_cmd=DEFAULT_LAUNCH_CMD.replace("process_worker_pool.py", f"{sys.executable} {script}"),
        heartbeat_threshold=120,
    )
    user_of(run_dir / "kept", None)().result(timeout=30)
    assert family(run_dir)
    executor.interchange_proc.kill()
    wait_for(lambda: not family(run_dir), 10)
