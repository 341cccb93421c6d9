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
    _add_discover(commands)
    chosen = parser.parse_args(arguments)
    if chosen.command == "discover" and chosen.diff and not chosen.apply:
        parser.error("--diff goes with --apply")
    if chosen.command == "discover":
        from parsl_context.cli.discover import discover  # it takes Parsl, which the other commands do without

        return discover(
            chosen.target,
            as_json=chosen.json,
            traces=chosen.trace,
            keys=chosen.key,
            splits=chosen.split,
            call=chosen.run,
            applies=chosen.apply,
            shows_diff=chosen.diff,
        )
    Console().print(describe_node(chosen.cores_per_worker, chosen.mem_per_worker))
    return 0


def _add_discover(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    discover = commands.add_parser(
        "discover",
        help="show what an app or a function needs",
        description="Show what an app, a context or a function needs: your modules, installed distributions, captured "
        "values with their sizes, files, and what a worker would lack. The file is loaded for it, but not what stands "
        'under `if __name__ == "__main__":`, and Parsl is not started. Exit status 1 if the file cannot be loaded or '
        "a context cannot be built, 2 if there is no such file or name.",
    )
    discover.add_argument(
        "target",
        metavar="FILE[:APP]",
        help="path of a script, or name of a module; and a name that it defines, as app or Class.method. Without a "
        "name: list those that there are",
    )
    discover.add_argument("--json", action="store_true", help="print data, for programs")
    one_of = discover.add_mutually_exclusive_group()
    one_of.add_argument(
        "--trace",
        action="store_true",
        help="build the contexts once, in a fresh process, and import what the function needs; show what was imported, "
        "opened and mapped, with times and sizes",
    )
    one_of.add_argument(
        "--split",
        action="store_true",
        help="show how the app is split into context and body, or how context_app(discover=True) would split it, with "
        "a reason for each statement that stays",
    )
    one_of.add_argument(
        "--run",
        metavar="CALL",
        help="make this call of the app here, undivided and three times, as --run 'infer(3)'; show how long each "
        "statement takes, what a context saves, and what stays. Exit status 1 if the call raises an error",
    )
    one_of.add_argument(
        "--apply",
        action="store_true",
        help="write the split that context_app(discover=True) finds into the file, as a `with context:` block, and "
        "show what has changed. Takes libcst: pip install 'parsl-context[apply]'",
    )
    discover.add_argument(
        "--diff", action="store_true", help="with --apply: only show what would be changed; the file stays as it is"
    )
    discover.add_argument(
        "--key",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="with --trace, of an app whose contexts have keys: build the context of this value",
    )


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
