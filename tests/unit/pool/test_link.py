"""The manager's link to an interchange that is not there any more."""

from __future__ import annotations

import socket
import threading
import time
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
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.sendall(b"220 another service is ready, how can it help?\r\n" * 20)

    threading.Thread(target=answer, daemon=True).start()
    ended: list[str] = []
    loop = EventLoop()
    context = curvezmq.ClientContext(curvezmq.create_certificates(tmp_path))

    def end(reason: str) -> None:
        ended.append(reason)
        loop.stop()

    link = InterchangeLink(
        loop,
        context,
        f"tcp://127.0.0.1:{listener.getsockname()[1]}",
        local=None,
        node="n1",
        heartbeat_period_s=30.0,
        heartbeat_threshold_s=1.0,
        join=lambda manager: m.Leaving(reason="stands for a join"),  # type: ignore[arg-type, return-value]
        on_message=lambda message, frames: None,
        on_welcome=lambda limits: None,
        on_break=lambda: None,
        on_end=end,
    )
    link.connect()
    loop.run()
    begun = time.monotonic()
    link.send(m.Left(reason="the test is over"))
    assert ended
    assert time.monotonic() - begun < 5
    link.close()
    context.destroy(linger=0)
    loop.close()
    listener.close()
