"""Addresses, ports, encryption and launch commands."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import zmq
from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD

from parsl_context import ContextExecutor, context, context_app
from tests.process.conftest import family, wait_for

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]


@context
def base() -> int:
    return 10


def runs(executor: ContextExecutor) -> bool:
    app = context_app(context=base())(lambda value, x: value + x)
    plain = executor.submit(divmod, {}, 7, 2)
    return (executor.submit(app.func, {}, 1).result(timeout=20), plain.result(timeout=20)) == (11, (3, 1))


def listening(process: psutil.Process) -> set[int]:
    return {link.laddr.port for link in process.net_connections("tcp") if link.status == psutil.CONN_LISTEN}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_workers_find_the_interchange_among_all_addresses(load: Load) -> None:
    executor = load(address=None)
    assert "127.0.0.1" in executor.launch_cmd
    assert runs(executor)


def test_addresses_that_do_not_answer_are_passed_over(load: Load) -> None:
    command = DEFAULT_LAUNCH_CMD.replace("{addresses}", "192.0.2.1,{addresses}")
    assert runs(load(launch_cmd=command, address_probe_timeout=10))


def test_executor_and_interchange_talk_over_no_port_at_all(load: Load) -> None:
    before = psutil.Process().net_connections("tcp")
    executor = load(loopback_address="127.0.0.2")
    assert runs(executor)
    assert psutil.Process().net_connections("tcp") == before


def test_everything_works_over_ipv6(load: Load) -> None:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 here")
    assert runs(load(address="::1", loopback_address="::1"))


def test_the_given_worker_port_is_used(load: Load) -> None:
    port = free_port()
    executor = load(worker_port=port)
    assert runs(executor)
    assert executor.worker_port == port
    assert executor.interchange_proc is not None
    assert listening(psutil.Process(executor.interchange_proc.pid)) == {port}


def test_the_worker_port_is_taken_from_the_given_range(load: Load) -> None:
    executor = load(worker_port_range=(52300, 52400), interchange_port_range=(52500, 52600))
    assert runs(executor)
    assert executor.interchange_proc is not None
    (worker_port,) = listening(psutil.Process(executor.interchange_proc.pid))
    assert executor.worker_port == worker_port
    assert worker_port in range(52300, 52400)


@pytest.mark.parametrize("encrypted", [True, False])
def test_garbage_on_the_worker_port_is_survived(load: Load, run_dir: Path, encrypted: bool) -> None:
    executor = load(encrypted=encrypted)
    assert runs(executor)
    assert len(list(run_dir.rglob("*.key_secret"))) == (2 if encrypted else 0)
    if encrypted:
        assert stat.S_IMODE(Path(str(executor.cert_dir)).stat().st_mode) & 0o077 == 0, "only the user reads the keys"
    url = ("127.0.0.1", executor.worker_port)
    for data in (bytes(range(256)) * 20, b"GET / HTTP/1.1\r\n\r\n", b"\xff" + bytes(8) + b"\x7f"):
        with socket.create_connection(url) as sock:
            sock.sendall(data)
    with zmq.Context() as foreign, foreign.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.connect(f"tcp://127.0.0.1:{executor.worker_port}")
        for frames in ([b""], [bytes(range(200, 0, -1))], [b"\x93\x01\x02", b"x" * 1000], [b"\x80"] * 5):
            dealer.send_multipart(frames)
        if not encrypted:
            log = run_dir.rglob("interchange.log").__next__()
            wait_for(lambda: log.read_text().count("Ignored a message of manager") >= 4)
    assert runs(executor)
    assert len(executor.connected_managers()) == 1


def test_a_launch_command_written_for_htex_starts_our_pool(load: Load, run_dir: Path) -> None:
    executor = load(launch_cmd="export GREETING=hello; " + DEFAULT_LAUNCH_CMD, worker_debug=True)
    assert runs(executor)
    assert executor.submit(os.getenv, {}, "GREETING").result(timeout=10) == "hello"
    commands = [" ".join(process.cmdline()) for process in family(run_dir)]
    assert not any("process_worker_pool" in command for command in commands)
    (log,) = run_dir.rglob("manager.log")
    assert "debug=True" in log.read_text()
