"""What the process of a worker is made into before it serves, and what its calls find in their environment."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
from collections.abc import Sequence
from typing import Any

import parsl.executors.high_throughput.monitoring_info as monitoring_info
from parsl.executors.high_throughput.mpi_prefix_composer import compose_all

from parsl_context.parsl_parts.compat import start_logging
from parsl_context.parsl_parts.titles import set_title
from parsl_context.pool.bond import Bond
from parsl_context.pool.settings import WorkerSettings
from parsl_context.retain import echoing
from parsl_context.retain.processes import interrupt
from parsl_context.retain.speaking import Voice, mark_logs
from parsl_context.wire import messages as m
from parsl_context.wire.messages import WorkerId

_described: set[str] = set()  # variables that were set for the last call


def threads_of(message: m.ForkWorker, settings: WorkerSettings) -> int:
    """Threads that libraries may use in a worker."""
    return max(1, len(message.cores) if message.cores else settings.cores // settings.workers)


def voice_of(number: WorkerId) -> Voice:
    """Labels what a worker says."""
    return Voice(f"worker {number}")


def prepare_process(message: m.ForkWorker, settings: WorkerSettings) -> Bond:
    """Have this process be a worker, and end with its manager."""
    number = message.worker
    bond = Bond(settings)
    set_title(f"worker-{number}")
    signal.signal(signal.SIGINT, interrupt)
    os.environ.update(
        PARSL_WORKER_RANK=str(number),
        PARSL_WORKER_COUNT=str(settings.workers),
        PARSL_WORKER_POOL_ID=settings.pool,
        PARSL_WORKER_BLOCK_ID=settings.block,
        **message.environment,
    )
    if message.cores is not None:
        os.sched_setaffinity(0, message.cores)
    _start_logging(number, settings)
    echoing.start(settings.echo, f"worker {number}", always=message.echo)
    monitoring_info.result_queue = _MonitoringQueue(settings.monitoring)  # type: ignore[assignment]
    return bond


def _start_logging(number: int, settings: WorkerSettings) -> None:
    for handler in logging.getLogger("parsl").handlers[:]:
        logging.getLogger("parsl").removeHandler(handler)  # the manager's, inherited by fork
    start_logging(settings.log_config, settings.log_dir, f"worker_{number}", debug=settings.debug)
    mark_logs()


class _MonitoringQueue:
    """What Parsl's HTEXRadio puts its records in. Also used by forked children of a worker: datagrams stay whole."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def put(self, record: bytes) -> None:
        # The radio wraps what the hub wants to see; it is unwrapped here, because nothing above may unpickle.
        self._socket.send(pickle.dumps(pickle.loads(record)["payload"]))


def describe_resources(resources: dict[str, Any] | None, nodes: Sequence[str], launcher: str) -> None:
    """Variables that tell a call what it was given, as HTEX's workers set them; none is left of the call before."""
    for name in _described:
        os.environ.pop(name, None)
    _described.clear()
    if not resources:
        return
    variables = {f"PARSL_{name.upper()}": str(value) for name, value in resources.items()}
    if nodes:
        variables["PARSL_MPI_NODELIST"] = ",".join(nodes)
        variables |= compose_all(launcher, resource_spec=resources, node_hostnames=list(nodes))
    os.environ.update(variables)
    _described.update(variables)
