"""The command `parsl-context`: looks at things, for people."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from importlib import metadata

import psutil
from rich.console import Console
from rich.table import Table

from parsl_context.pool.hardware import count_workers

_PACKAGES = ("parsl", "parsl-context", "msgspec", "cloudpickle", "dill", "pyzmq")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Gives its exit status."""
    parser = argparse.ArgumentParser(prog="parsl-context", description="Look at what parsl-context works with.")
    parser.add_argument("--version", action="version", version=f"parsl-context {metadata.version('parsl-context')}")
    commands = parser.add_subparsers(dest="command", required=True)
    node = commands.add_parser(
        "node",
        help="show what a manager would find on this machine",
        description="Show what a manager would find on this machine: interpreter, packages, cores, memory. Run it "
        "where the workers run, with the same worker_init (srun parsl-context node), and compare with the login node.",
    )
    node.add_argument("--cores-per-worker", type=float, default=1.0, help="as of the executor")
    node.add_argument("--mem-per-worker", type=float, help="as of the executor [GB]")
    chosen = parser.parse_args(arguments)
    Console().print(describe_node(chosen.cores_per_worker, chosen.mem_per_worker))
    return 0


def describe_node(cores_per_worker: float, mem_per_worker: float | None) -> Table:
    """A table of what matters to workers on this machine."""
    workers = count_workers(
        cores_per_worker=cores_per_worker, mem_per_worker=mem_per_worker, max_workers=float("inf"), accelerators=()
    )
    memory = psutil.virtual_memory()
    table = Table(title=platform.node(), show_header=False)
    rows = [
        ("interpreter", f"{sys.executable}, Python {platform.python_version()}"),
        *((name, _version(name)) for name in _PACKAGES),
        ("cores", f"{len(os.sched_getaffinity(0))} of {os.cpu_count()}"),
        ("memory", f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"),
        ("shared memory", f"{shutil.disk_usage('/dev/shm').free / 2**30:.1f} GiB free"),
        ("workers", f"{workers} with {cores_per_worker:g} cores each"),
    ]
    for name, value in rows:
        table.add_row(name, value)
    return table


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
