"""What the launch command tells a manager. The options are those of HTEX's process_worker_pool.py."""

from __future__ import annotations

import argparse
import math
import re
import socket
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from parsl.executors.high_throughput.mpi_prefix_composer import VALID_LAUNCHERS

from parsl_context.distribute.places import from_option
from parsl_context.errors import ConfigurationError
from parsl_context.pool.grant import Grant
from parsl_context.pool.hardware import count_workers

# Of multiprocessing; the first is that of HTEX's workers.
START_METHODS = ("spawn", "forkserver", "fork")


@dataclass(frozen=True, kw_only=True)
class ManagerSettings:
    """Settings of a manager."""

    uid: str
    block: str
    addresses: tuple[str, ...]
    port: int
    cert_dir: str | None
    log_dir: str  # of this pool
    log_config_path: str | None
    debug: bool
    given: Grant  # of the node
    workers: int
    prefetch: int | None  # None: computed
    cpu_affinity: str
    accelerators: tuple[str, ...]
    heartbeat_period_s: float
    heartbeat_threshold_s: float
    address_probe_timeout_s: float
    drain_period_s: float | None  # after the start
    started_at: float  # time.monotonic() when the process began. [s]
    job_started_at: float  # and when its job did. [s]
    mpi_mode: bool
    mpi_launcher: str
    start_method: str  # of multiprocessing, in workers
    node_store: tuple[str, ...]  # folders as the user writes them; if none, the node's environment tells

    def drain_in_s(self, now: float) -> float | None:
        """Time from now until the manager should drain, or None for never. [s]"""
        return None if self.drain_period_s is None else self.started_at + self.drain_period_s - now


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """What all workers of a pool have in common."""

    pool: str
    block: str
    manager_pid: int
    workers: int
    cores: int  # that the workers share
    log_dir: str  # of this pool
    log_config: Any  # parsl.logconfigs.base.LogConfig or None
    debug: bool
    mpi_launcher: str
    start_method: str  # of multiprocessing
    monitoring: socket.socket  # datagrams to the manager
    echo: socket.socket  # packets of printed lines to the manager
    drains: socket.socket  # can be read once the manager drains, ends or is gone
    code_folder: str  # for modules of the user's
    node_store: tuple[str, ...] = ()  # as of the manager


def check_start_method(method: str) -> None:
    """Refuse what is no way in which `multiprocessing` starts processes.

    Raises
    ------
    ConfigurationError
    """
    if method not in START_METHODS:
        available = ", ".join(map(repr, START_METHODS))
        raise ConfigurationError(f"start_method={method!r} is no start method of multiprocessing: use {available}.")


def parse_settings(
    arguments: Sequence[str], *, started_at: float, job_started_at: float | None = None, given: Grant
) -> ManagerSettings:
    """Settings from a command line, and from what was given of this node."""
    args = _parser().parse_args(arguments)
    return ManagerSettings(
        uid=args.uid,
        block=str(args.block_id),
        addresses=tuple(args.addresses.split(",")),
        port=args.port,
        cert_dir=args.cert_dir,
        log_dir=f"{args.logdir}/block-{args.block_id}/{args.uid}",
        log_config_path=args.logconf,
        debug=args.debug,
        given=given,
        workers=count_workers(
            cores_per_worker=args.cores_per_worker,
            mem_per_worker=args.mem_per_worker,
            max_workers=args.max_workers_per_node,
            accelerators=args.available_accelerators,
            given=given,
        ),
        prefetch=args.prefetch_capacity,
        cpu_affinity=args.cpu_affinity,
        accelerators=tuple(args.available_accelerators),
        heartbeat_period_s=args.hb_period,
        heartbeat_threshold_s=args.hb_threshold,
        address_probe_timeout_s=args.address_probe_timeout,
        drain_period_s=args.drain_period,
        started_at=started_at,
        job_started_at=started_at if job_started_at is None else job_started_at,
        mpi_mode=args.enable_mpi_mode,
        mpi_launcher=args.mpi_launcher,
        start_method=args.start_method,
        node_store=tuple(args.node_store),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m parsl_context.pool", description=__doc__)
    add = parser.add_argument
    add("-d", "--debug", action="store_true", help="log at level DEBUG")
    add("-a", "--addresses", required=True, help="addresses of the interchange, separated by commas")
    add("-P", "--port", type=int, required=True, help="port of the interchange")
    add(
        "--cert_dir",
        type=_optional(str),
        required=True,
        help="directory of the CurveZMQ certificates, or None",
    )
    add("-l", "--logdir", default="process_worker_pool_logs", help="directory of the logs")
    add("-L", "--logconf", type=_optional(str), help="pickled log configuration, or None")
    add("-u", "--uid", default=uuid.uuid4().hex[:12], help="name of this manager")
    add("-b", "--block_id", default="0", help="block that the manager belongs to")
    add("-c", "--cores_per_worker", type=float, default=1.0, help="cores of a worker")
    add("-m", "--mem_per_worker", type=_optional(float), help="memory of a worker in GB, or None")
    add("--max_workers_per_node", type=float, default=math.inf, help="most workers to start")
    add("-p", "--prefetch_capacity", type=_optional(int), help="calls held beyond the workers; None: computed")
    add("--hb_period", type=float, default=30, help="seconds between heartbeats")
    add("--hb_threshold", type=float, default=120, help="seconds of silence that mean the interchange is gone")
    add("--drain_period", type=_optional(float), help="seconds after which to drain, or None")
    add("--address_probe_timeout", type=float, default=30, help="seconds to look for the interchange")
    add("--poll", help="accepted for the sake of HTEX's launch commands; nothing is polled")
    add(
        "--cpu-affinity",
        type=_affinity,
        default="none",
        help="none, block, block-reverse, alternating, list:...",
    )
    add("--available-accelerators", nargs="*", default=[], help="names of accelerators")
    add("--enable_mpi_mode", action="store_true", help="each task gets nodes of the block for itself")
    add("--mpi-launcher", default="mpiexec", choices=VALID_LAUNCHERS, help="program that starts MPI ranks")
    add("--start-method", default="spawn", choices=START_METHODS, help="how multiprocessing starts processes")
    add("--node-store", type=from_option, action="append", default=[], help="a folder of the store, percent-encoded")
    return parser


def _optional(kind: type) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        return None if text == "None" else kind(text)

    convert.__name__ = kind.__name__
    return convert


def _affinity(text: str) -> str:
    text = text.lower()
    if text in ("none", "block", "block-reverse", "alternating") or re.fullmatch(r"list(:[\d,-]+)+", text):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is none of none, block, block-reverse, alternating, list:0,1:2-3...")
