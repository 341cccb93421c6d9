"""The manager's link to an interchange that is not there any more."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from parsl import curvezmq

from parsl_context.pool.link import InterchangeLink
from parsl_context.wire import messages as m
from parsl_context.wire.eventloop import EventLoop


@pytest.mark.timeout(15)
def test_a_session_with_something_else_at_the_address_ends_and_takes_messages_meanwhile(tmp_path: Path) -> None:
    """Another service has the interchange's port: ZeroMQ gives the connection up, and a send would wait for ever."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        with contextlib.ExitStack() as connections, contextlib.suppress(OSError):
            while True:
                connection = connections.enter_context(listener.accept()[0])
                with contextlib.suppress(ConnectionError):  # it was a look
                    connection.sendall(b"220 another service is ready, how can it help?\r\n" * 20)

    threading.Thread(target=answer, daemon=True).start()
    with session(listener, tmp_path, lambda: None, threshold_s=60.0) as (link, loop, ended):
        link.connect()
        loop.run()
        begun = time.monotonic()
        link.send(m.Left(reason="the test is over"))
        assert ended == ["no interchange of this run answers there, for 5 s"]
        assert time.monotonic() - begun < 5


@pytest.mark.timeout(15)
def test_a_session_that_breaks_ends_soon_where_nobody_listens(tmp_path: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    with session(listener, tmp_path, lambda: None, threshold_s=60.0) as (link, loop, ended):
        listener.close()
        begun = time.monotonic()
        loop.call_later(0.0, lambda: link.break_off("the interchange was killed"))
        loop.run()
        assert ended == ["nobody listens there, for 5 s"]
        assert 4 < time.monotonic() - begun < 8


@pytest.mark.timeout(15)
def test_a_session_that_breaks_waits_where_somebody_listens_and_says_nothing(tmp_path: Path) -> None:
    """The interchange is stopped, or something on the way answers for it."""
    listener = socket.create_server(("127.0.0.1", 0))
    with session(listener, tmp_path, lambda: None, threshold_s=60.0) as (link, loop, ended):
        loop.call_later(0.0, lambda: link.break_off("the link was cut"))
        loop.call_later(7.0, loop.stop)
        loop.run()
        assert ended == []


@pytest.mark.timeout(15)
def test_a_message_that_cannot_be_understood_is_one_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        session(listener, tmp_path, lambda: None) as (link, _, _),
    ):
        caplog.set_level("INFO")
        link._received([b"garbage"])
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.getMessage().startswith("A message of the interchange could not be handled: A malformed message")
    assert not record.exc_info


@pytest.mark.timeout(15)
def test_a_node_that_cannot_say_what_it_is_any_more_ends(tmp_path: Path) -> None:
    """The interchange was killed and the run's folder removed: there is no working directory to tell of."""
    listener = socket.create_server(("127.0.0.1", 0))
    joins: list[None] = []

    def describe() -> None:
        joins.append(None)
        if len(joins) > 1:
            raise FileNotFoundError(2, "No such file or directory")

    with session(listener, tmp_path, describe, threshold_s=60.0) as (link, loop, ended):
        link.connect()
        loop.call_later(0.0, lambda: link.break_off("the interchange was killed"))
        loop.call_later(5.0, loop.stop)
        loop.run()
        assert ended == ["no new session can begin: [Errno 2] No such file or directory"]


@contextlib.contextmanager
def session(
    listener: socket.socket, folder: Path, describe: Callable[[], None], threshold_s: float = 1.0
) -> Iterator[tuple[InterchangeLink, EventLoop, list[str]]]:
    """A link to what listens there, its loop, and why it has ended."""
    ended: list[str] = []
    loop = EventLoop()
    context = curvezmq.ClientContext(curvezmq.create_certificates(folder))

    def end(reason: str) -> None:
        ended.append(reason)
        loop.stop()

    def join(manager: m.ManagerId) -> m.Joined:
        describe()
        return m.Leaving(reason="stands for a join")  # type: ignore[return-value]

    link = InterchangeLink(
        loop,
        context,
        f"tcp://127.0.0.1:{listener.getsockname()[1]}",
        local=None,
        node="n1",
        heartbeat_period_s=30.0,
        heartbeat_threshold_s=threshold_s,
        join=join,
        on_message=lambda message, frames: None,
        on_welcome=lambda limits: None,
        on_break=lambda: None,
        on_end=end,
    )
    yield link, loop, ended
    link.close()
    context.destroy(linger=0)
    loop.close()
    listener.close()
