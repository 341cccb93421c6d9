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
import socket  # noqa: E402
from typing import Any  # noqa: E402

from parsl_context.parsl_parts import lightly  # noqa: E402

with lightly.uncollected():
    lightly.put_off()

    from parsl_context.distribute.run_folder import run_folder
    from parsl_context.parsl_parts.compat import start_logging
    from parsl_context.parsl_parts.titles import set_title
    from parsl_context.pool import zygote
    from parsl_context.pool.apart import read_log_config
    from parsl_context.pool.node_facts import read_grant, read_job_age_s
    from parsl_context.pool.settings import ManagerSettings, WorkerSettings, parse_settings
    from parsl_context.retain import processes

logger = logging.getLogger(f"parsl.{__name__}")

_MONITORING_BUFFER_BYTES = 1 << 22


def main() -> int:
    """Run a manager. Gives its exit status."""
    job_started_at = min(_STARTED_AT, time.monotonic() - read_job_age_s())
    settings = parse_settings(sys.argv[1:], started_at=_STARTED_AT, job_started_at=job_started_at, given=read_grant())
    set_title("manager")
    processes.adopt_orphans()
    receiver, sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MONITORING_BUFFER_BYTES)
    receiver.setblocking(False)
    # Unlike datagrams, these packets are bounded by their size alone, and not to ten in all.
    echoes, echo = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    echoes.setblocking(False)
    ours, drains = socket.socketpair()  # closed by us when we drain
    log_config = read_log_config(settings.log_config_path)
    with run_folder() as code_folder:
        return _run(settings, log_config, receiver, sender, echoes, echo, ours, drains, str(code_folder))


def _run(
    settings: ManagerSettings,
    log_config: Any,
    receiver: socket.socket,
    sender: socket.socket,
    echoes: socket.socket,
    echo: socket.socket,
    ours: socket.socket,
    drains: socket.socket,
    code_folder: str,
) -> int:
    # The zygote is forked before this process opens a log file, a ZeroMQ context or a thread.
    pathlib.Path(settings.log_dir).mkdir(parents=True, exist_ok=True)
    of_workers = WorkerSettings(
        pool=settings.uid,
        block=settings.block,
        manager_pid=os.getpid(),
        workers=settings.workers,
        cores=settings.given.cores,
        log_dir=settings.log_dir,
        log_config=log_config,
        debug=settings.debug,
        mpi_launcher=settings.mpi_launcher,
        start_method=settings.start_method,
        monitoring=sender,
        echo=echo,
        drains=drains,
        code_folder=code_folder,
        node_store=settings.node_store,
    )
    control, pid = zygote.start_zygote(of_workers, ours)
    # The zygote needs nothing of this, and goes on with what workers need meanwhile.
    with lightly.uncollected():
        from parsl_context.pool.link import InterchangeNotFound
        from parsl_context.pool.manager import Manager

        lightly.settle()
    start_logging(log_config, settings.log_dir, "manager", debug=settings.debug)
    logger.info("Manager %s of block %s starts: %s", settings.uid, settings.block, settings)
    given = settings.given
    size = f"{given.cores} cores ({given.cores_by}) and {given.memory_bytes / 2**30:.1f} GiB ({given.memory_by})"
    logger.info("Given of this node: %s; %d workers", size, settings.workers)
    try:
        return Manager(settings, control, pid, receiver, echoes, ours, pathlib.Path(code_folder), of_workers).run()
    except InterchangeNotFound as error:
        logger.critical("%s", error)
        print(error, file=sys.stderr, flush=True)  # which the script reads, where no block has ever joined
        return 1
    except Exception:
        logger.critical("The manager failed", exc_info=True)
        raise


if __name__ == "__main__":
    sys.exit(main())
