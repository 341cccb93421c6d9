"""One connection tells who is at an address."""

from __future__ import annotations

import contextlib
import socket

import pytest

from parsl_context.pool.probe import Probe
from parsl_context.pool.search import Found
from parsl_context.wire.eventloop import EventLoop


def look(url: str, limit_s: float = 10.0) -> list[Found]:
    found: list[Found] = []
    with contextlib.closing(EventLoop()) as loop:

        def end(what: Found) -> None:
            found.append(what)
            loop.stop()

        probe = Probe(loop, url, end)
        loop.call_later(limit_s, loop.stop)
        loop.run()
        probe.cancel()
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def test_somebody_accepts_even_if_he_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert look(f"tcp://127.0.0.1:{listener.getsockname()[1]}") == [Found.ACCEPTED]


def test_nobody_listens() -> None:
    assert look(f"tcp://127.0.0.1:{free_port()}") == [Found.REFUSED]


def test_an_address_with_colons() -> None:
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    with listener:
        assert look(f"tcp://[::1]:{listener.getsockname()[1]}") == [Found.ACCEPTED]


def test_nobody_answers() -> None:
    """A listener whose queue is full drops what comes."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as stack:
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        assert look(f"tcp://127.0.0.1:{listener.getsockname()[1]}") == [Found.SILENT]


def test_there_is_no_way_there() -> None:
    """TCP has no broadcasts: the system refuses to try."""
    assert look("tcp://255.255.255.255:9") == [Found.UNREACHABLE]


def test_a_probe_that_is_cancelled_calls_nobody() -> None:
    with contextlib.closing(EventLoop()) as loop, socket.create_server(("127.0.0.1", 0)) as listener:
        found: list[Found] = []
        Probe(loop, f"tcp://127.0.0.1:{listener.getsockname()[1]}", found.append).cancel()
        loop.call_later(0.1, loop.stop)
        loop.run()
        assert found == []


def test_a_port_that_nobody_listens_at_may_be_chosen_for_the_probe_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """TCP then meets itself."""
    port = free_port()
    monkeypatch.setattr("socket.socket.connect_ex", _from(port))
    assert look(f"tcp://127.0.0.1:{port}") == [Found.REFUSED]


def _from(port: int):  # type: ignore[no-untyped-def]
    real = socket.socket.connect_ex

    def connect_ex(sock: socket.socket, address: tuple[str, int]) -> int:
        sock.bind(("127.0.0.1", port))
        return real(sock, address)

    return connect_ex
