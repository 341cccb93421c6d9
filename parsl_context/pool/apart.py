"""The zygote of an environment: started by the environment's own interpreter, rather than forked from the manager.

`command` is the manager's side, `main` that of the new process. It says that it is ready, or why it cannot be, at the
socket by which it is then asked to fork.
"""

from __future__ import annotations

import pickle
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

READY = b"ready"
FAILED = b"failed "
_MOST_BYTES = 60_000  # of what went wrong, in one packet
# Runs before anything of ours can be imported.
_BEGIN = f"""\
import sys
if sys.path[:1] == [""]:
    del sys.path[0]
import socket, traceback
control = socket.socket(fileno=int(sys.argv[1]))
try:
    sys.path.append(sys.argv[2])
    from parsl_context.pool.apart import main
    serve = main(control, sys.argv[3])
except BaseException:
    control.send({FAILED!r} + traceback.format_exc()[-{_MOST_BYTES}:].encode("utf-8", "replace"))
    raise SystemExit(1)
serve()
"""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """`WorkerSettings` as another interpreter can be told them: sockets by their descriptors."""

    pool: str
    block: str
    manager_pid: int
    workers: int
    cores: int
    log_dir: str
    log_config_path: str | None
    debug: bool
    mpi_launcher: str
    start_method: str
    monitoring: int
    echo: int
    drains: int
    code_folder: str
    node_store: tuple[str, ...]

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What the process must inherit."""
        return self.monitoring, self.echo, self.drains


def command(python: Path, control: int, runtime: Path, told: Told) -> list[str]:
    """What starts the zygote; user site-packages (``-s``) belong to the manager's interpreter, if to any."""
    return [str(python), "-s", "-c", _BEGIN, str(control), str(runtime), msgspec.json.encode(told).decode()]


def main(control: socket.socket, text: str) -> Any:
    """Import what workers need. Gives what serves the manager."""
    from parsl_context.parsl_parts import lightly

    with lightly.uncollected():
        lightly.put_off()
        from parsl_context.pool.settings import WorkerSettings
        from parsl_context.pool.zygote import serve_zygote

    told = msgspec.json.decode(text, type=Told)
    known = {name: getattr(told, name) for name in told.__struct_fields__ if name != "log_config_path"}
    sockets = {name: socket.socket(fileno=known[name]) for name in ("monitoring", "echo", "drains")}
    settings = WorkerSettings(**{**known, **sockets, "log_config": read_log_config(told.log_config_path)})
    for each in (control, *sockets.values()):
        each.set_inheritable(False)

    def serve() -> None:
        control.send(READY)
        serve_zygote(control, settings)

    return serve


def read_log_config(path: str | None) -> Any:
    """The log configuration that the executor has written into its own run directory."""
    if path is None:
        return None
    with open(path, "rb") as file:
        return pickle.load(file)


def told_of(settings: Any, log_config_path: str | None) -> Told:
    """What the zygotes of a manager are told of its workers' settings."""
    sockets: Sequence[str] = ("monitoring", "echo", "drains")
    known = {
        name: getattr(settings, name) for name in Told.__struct_fields__ if name not in (*sockets, "log_config_path")
    }
    descriptors = {name: getattr(settings, name).fileno() for name in sockets}
    return Told(**known, **descriptors, log_config_path=log_config_path)
