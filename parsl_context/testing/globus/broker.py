"""A RabbitMQ of this machine for as long as a block runs, with its files in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from parsl_context.testing.globus.processes import end, free_ports, start, wait_until

_PLACES = ("/usr/lib/rabbitmq/bin/rabbitmq-server",)  # the one in PATH asks to be root, and changes the user
_START_S = 60.0
_QUIET = "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none"  # one scheduler, which sleeps when there is nothing to do


def find_rabbitmq() -> str | None:
    """The server's script; None if RabbitMQ is not installed."""
    return next((each for each in _PLACES if os.access(each, os.X_OK)), shutil.which("rabbitmq-server"))


class Broker:
    """A message broker on the loopback interface.

    Attributes
    ----------
    url : str
        For AMQP clients.

    Raises
    ------
    RuntimeError
        If RabbitMQ is not installed (on Debian and Ubuntu: ``apt-get install rabbitmq-server``), or does not start.
    """

    def __init__(self) -> None:
        server = find_rabbitmq()
        if server is None:
            raise RuntimeError("RabbitMQ is not installed. On Debian and Ubuntu: apt-get install rabbitmq-server")
        self._ends = contextlib.ExitStack()
        with contextlib.ExitStack() as ends:
            folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="broker-", ignore_cleanup_errors=True)))
            port, inner, mapper = free_ports(3)
            (folder / "plugins").write_text("[].\n")
            (folder / "environment").touch()
            env = _environment(folder, port, inner, mapper)
            # The server would leave a port mapper behind.
            self._start(ends, ["epmd", "-port", str(mapper), "-address", "127.0.0.1"], env, folder, mapper)
            self._start(ends, [server], env, folder, port)
            self._ends = ends.pop_all()
        self.url = f"amqp://guest:guest@127.0.0.1:{port}/%2f"

    def _start(
        self, ends: contextlib.ExitStack, command: list[str], env: dict[str, str], folder: Path, port: int
    ) -> None:
        log = folder / f"{Path(command[0]).name}.log"
        process: subprocess.Popen[bytes] = start(command, env, folder, log)
        ends.callback(end, process)
        wait_until(lambda: _listens(port), process, Path(command[0]).name, log, _START_S)

    def __enter__(self) -> Broker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it, and remove its folder."""
        self._ends.close()


def _environment(folder: Path, port: int, inner: int, mapper: int) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),  # with the cookie of Erlang
        "ERL_EPMD_PORT": str(mapper),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"broker-{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(inner),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_CONFIG_FILE": str(folder / "configuration"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "environment"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _QUIET,
    }


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
