"""Entry point of a node's worker pool; the launch command of `ContextExecutor` runs it on every node of a block."""

from __future__ import annotations

import time

_STARTED_AT = time.monotonic()  # before the imports: the batch system counts from here

import os  # noqa: E402
import sys  # noqa: E402

if sys.path[:1] == [os.getcwd()]:
    del sys.path[0]  # "python -m" puts it first: no file there may stand for a module of Python or of ours

import logging  # noqa: E402
import pathlib  # noqa: E402
import pickle  # noqa: E402
import socket  # noqa: E402
from typing import Any  # noqa: E402

from parsl_context.parsl_parts import lightly  # noqa: E402

with lightly.uncollected():
    lightly.put_off()

    from parsl_context.distribute.run_folder import run_folder
    from parsl_context.parsl_parts.compat import start_logging
    from parsl_context.parsl_parts.titles import set_title
    from parsl_context.pool import zygote
    from parsl_context.pool.settings import ManagerSettings, WorkerSettings, parse_settings
    from parsl_context.retain import processes

logger = logging.getLogger(f"parsl.{__name__}")

_MONITORING_BUFFER_BYTES = 1 << 22


def main() -> int:
    """Run a manager. Gives its exit status."""
    settings = parse_settings(sys.argv[1:], started_at=_STARTED_AT)
    set_title("manager")
    processes.adopt_orphans()
    receiver, sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MONITORING_BUFFER_BYTES)
    receiver.setblocking(False)
    ours, drains = socket.socketpair()  # closed by us when we drain
    log_config = _read_log_config(settings)
    with run_folder() as code_folder:
        return _run(settings, log_config, receiver, sender, ours, drains, str(code_folder))


def _run(
    settings: ManagerSettings,
    log_config: Any,
    receiver: socket.socket,
    sender: socket.socket,
    ours: socket.socket,
    drains: socket.socket,
    code_folder: str,
) -> int:
    # The zygote is forked before this process opens a log file, a ZeroMQ context or a thread.
    pathlib.Path(settings.log_dir).mkdir(parents=True, exist_ok=True)
    control, pid = zygote.start_zygote(
        WorkerSettings(
            pool=settings.uid,
            block=settings.block,
            manager_pid=os.getpid(),
            workers=settings.workers,
            log_dir=settings.log_dir,
            log_config=log_config,
            debug=settings.debug,
            mpi_launcher=settings.mpi_launcher,
            start_method=settings.start_method,
            monitoring=sender,
            drains=drains,
            code_folder=code_folder,
        ),
        ours,
    )
    sender.close()
    drains.close()
    # The zygote needs nothing of this, and goes on with what workers need meanwhile.
    with lightly.uncollected():
        from parsl_context.pool.manager import Manager

        lightly.settle()
    start_logging(log_config, settings.log_dir, "manager", debug=settings.debug)
    logger.info("Manager %s of block %s starts: %s", settings.uid, settings.block, settings)
    try:
        return Manager(settings, control, pid, receiver, ours, pathlib.Path(code_folder)).run()
    except Exception:
        logger.critical("The manager failed", exc_info=True)
        raise


def _read_log_config(settings: ManagerSettings) -> Any:
    if settings.log_config_path is None:
        return None
    with open(settings.log_config_path, "rb") as file:
        return pickle.load(file)  # written by the executor into its own run directory


if __name__ == "__main__":
    sys.exit(main())
