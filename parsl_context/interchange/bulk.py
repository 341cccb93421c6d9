"""Where the bulk road begins: a server for large values of calls on managers that do not share this host's memory.

It is a process of its own, started for the first of them; neither bytes nor keys of it are kept here.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable

import msgspec

from parsl_context.wire.bulk import BULK, BulkConfig, BulkRoad
from parsl_context.wire.eventloop import EventLoop
from parsl_context.wire.messages import ManagerId, ToManager
from parsl_context.wire.segments import Segments
from parsl_context.wire.tickets import key_of, new_secret, new_ticket

logger = logging.getLogger(f"parsl.{__name__}")

_PAUSE_S = 1.0
_MOST_DEATHS = 3  # then values travel in frames
_SERVER = "parsl_context.distribute.bulk"


class BulkServer:
    """Starts the server, and tells managers where it is.

    Parameters
    ----------
    send
        Sends a message to a manager.
    address, ports
        Where managers reach this host.
    logdir
        For what the server says.
    """

    def __init__(
        self,
        loop: EventLoop,
        segments: Segments,
        *,
        send: Callable[[ManagerId, ToManager], object],
        address: str | None,
        ports: tuple[int, int],
        logdir: str,
    ) -> None:
        self._loop = loop
        self._segments = segments
        self._send = send
        self._address = address
        self._ports = ports
        self._logdir = logdir
        self._secret = new_secret()
        self._process: subprocess.Popen[bytes] | None = None
        self._port: int | None = None
        self._said = b""  # by the server
        self._deaths = 0
        self._tickets: dict[ManagerId, bytes] = {}

    def joined(self, manager: ManagerId) -> None:
        """A manager without this host's memory has joined."""
        if self._segments.path is None:
            return
        self._tickets[manager] = new_ticket()
        if self._process is None and not self._deaths:
            self._start(self._segments.path)
        elif self._port is not None:
            self._tell(manager, self._port)

    def left(self, manager: ManagerId) -> None:
        """A manager is gone: nothing more is to come of it."""
        ticket = self._tickets.pop(manager, None)
        if ticket is not None and self._process is not None and self._process.stdin is not None:
            try:
                self._process.stdin.write(ticket.hex().encode() + b"\n")
                self._process.stdin.flush()
            except OSError as error:
                logger.debug("The server for large values does not listen: %s", error)

    def close(self) -> None:
        """End the server."""
        if self._process is None:
            return
        self._forget_output()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.wait()

    def _start(self, segments: str) -> None:
        config = BulkConfig(segments=segments, secret=self._secret, address=self._address, ports=self._ports)
        with open(os.path.join(self._logdir, "bulk.log"), "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(config) + b"\n")
        self._process.stdin.flush()
        self._loop.watch(self._process.stdout, self._heard)
        logger.info("Starting a server for large values of other hosts: process %d", self._process.pid)

    def _heard(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        data = os.read(self._process.stdout.fileno(), 100)
        self._said += data
        if not data:
            self._died()
        elif self._port is None and self._said.endswith(b"\n"):
            self._port = int(self._said)
            logger.info("Large values of other hosts come and go at port %d", self._port)
            for manager in self._tickets:
                self._tell(manager, self._port)

    def _died(self) -> None:
        assert self._process is not None
        self._forget_output()
        self._process.kill()
        status = self._process.wait()
        self._process, self._port, self._said = None, None, b""
        self._deaths += 1
        logger.warning("The server for large values of other hosts has ended (%d), see bulk.log", status)
        if self._deaths <= _MOST_DEATHS:
            self._loop.call_later(_PAUSE_S, self._start_again)

    def _start_again(self) -> None:
        if self._process is None and self._tickets and self._segments.path is not None:
            self._start(self._segments.path)

    def _forget_output(self) -> None:
        assert self._process is not None
        if self._process.stdout is not None and not self._process.stdout.closed:
            self._loop.unwatch(self._process.stdout)
            self._process.stdout.close()

    def _tell(self, manager: ManagerId, port: int) -> None:
        ticket = self._tickets[manager]
        self._send(manager, BulkRoad(port=port, ticket=ticket, key=key_of(self._secret, ticket, BULK)))
