"""The command `parsl-context`: looks at things, for people."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import TYPE_CHECKING

from parsl_context.cli.pack_command import add_pack
from parsl_context.cli.store_command import add_store

if TYPE_CHECKING:
    from rich.table import Table

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
    add_store(commands)
    add_pack(commands)
    _add_check(commands)
    _add_looks(commands)
    chosen = parser.parse_args(arguments)
    if chosen.command == "store":
        from parsl_context.cli.store import run_store

        return run_store(chosen)
    if chosen.command in ("top", "report", "explain", "logs"):
        return _look(chosen)
    if chosen.command == "pack":
        from parsl_context.cli.packing import run_pack

        return run_pack(chosen)
    if chosen.command == "discover" and chosen.diff and not chosen.apply:
        parser.error("--diff goes with --apply")
    if chosen.command == "check":
        from parsl_context.cli.configs.check import check

        return check(chosen.target, shows_scripts=chosen.script, submits=chosen.submit, wait_s=chosen.wait)
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
    from rich.console import Console

    Console().print(describe_node(chosen.cores_per_worker, chosen.mem_per_worker))
    return 0


def _look(chosen: argparse.Namespace) -> int:
    """Look at a run."""
    import sqlite3

    from parsl_context.errors import ConfigurationError, EventLogError

    try:
        if chosen.command == "top":
            from parsl_context.cli.top import top

            return top(chosen.run_dir, once=chosen.once, every_s=chosen.every)
        if chosen.command == "explain":
            from parsl_context.cli.looking import explain

            return explain(chosen.run_dir, chosen.what)
        if chosen.command == "logs":
            from parsl_context.cli.logs import Wanted, logs

            return logs(chosen.run_dir, Wanted(chosen.words, chosen.level, prints=not chosen.no_prints))
        from parsl_context.cli.reporting import report

        return report(
            chosen.run_dir,
            output=chosen.output,
            as_json=chosen.json,
            tables=chosen.csv,
            trace=chosen.trace,
            database=chosen.monitoring,
            picture=chosen.png,
        )
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 1
    except EventLogError as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:  # of `parsl-context logs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"{error.filename or 'A file of the run'}: {error.strerror or error}", file=sys.stderr)
        return 2
    except sqlite3.Error as error:
        print(
            f"{chosen.monitoring} cannot be written: {error}. Name the database of Parsl's monitoring.", file=sys.stderr
        )
        return 2


def _add_looks(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The commands that look at a run, while it goes on and when it is over."""
    run_dir = "directory of a run, as runinfo/000; the newest under ./runinfo if not given"
    top = commands.add_parser(
        "top",
        help="watch a run: blocks, nodes, contexts, what waits and why",
        description="Watch a run, from its event log, without disturbing it: blocks, nodes, contexts, what waits and "
        "why, and the time that is left. Ends with Ctrl-C; the run goes on.",
    )
    top.add_argument("run_dir", nargs="?", metavar="RUN_DIR", help=run_dir)
    top.add_argument("--once", action="store_true", help="print it once and end")
    top.add_argument("--every", type=float, default=1.0, metavar="SECONDS", help="between two looks; 1 if not given")
    explain = commands.add_parser(
        "explain",
        help="say why a call or a context waits",
        description="Say why a call or a context waits, in a sentence, or why all calls do that wait. Exit status 1 if "
        "there is no such call or context.",
    )
    explain.add_argument(
        "what", nargs="?", metavar="CALL|CONTEXT", help="number of a call in its executor, or name of a context"
    )
    explain.add_argument("--run-dir", metavar="RUN_DIR", help=run_dir)
    report = commands.add_parser(
        "report",
        help="write the report of a run: timeline, figures, advice",
        description="Write the report of a run as one HTML page, report.html beside its logs, and print a summary. The "
        "page needs no network and no other file.",
    )
    report.add_argument("run_dir", nargs="?", metavar="RUN_DIR", help=run_dir)
    report.add_argument("-o", "--output", metavar="FILE", help="write the page there")
    one_of = report.add_mutually_exclusive_group()
    one_of.add_argument("--json", action="store_true", help="print data, for programs")
    one_of.add_argument("--csv", metavar="FOLDER", help="write each table as a CSV file into a folder")
    one_of.add_argument("--png", metavar="FILE", help="draw timeline and lines with matplotlib (parsl-context[plot])")
    one_of.add_argument("--trace", metavar="FILE", help="write a trace for Perfetto (ui.perfetto.dev)")
    one_of.add_argument(
        "--monitoring",
        metavar="FILE",
        help="put calls and builds into the SQLite database of Parsl's monitoring, as runinfo/monitoring.db: tables "
        "context_call and context_build, to be joined with its own",
    )
    logs = commands.add_parser(
        "logs",
        help="show all logs of a run in one order",
        description="Show the logs of all processes of a run in one order, and what they printed, those lines alone in "
        "which all words occur: a context, a worker, a host, a call ('task 17').",
    )
    logs.add_argument("words", nargs="*", metavar="WORD", help="that must occur in a line or in the path of its file")
    logs.add_argument("--run-dir", metavar="RUN_DIR", help=run_dir)
    logs.add_argument(
        "--level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"], help="the least; INFO if not given"
    )
    logs.add_argument("--no-prints", action="store_true", help="leave out what was printed")


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    check = commands.add_parser(
        "check",
        help="look for mistakes in a Parsl configuration, before it waits in a queue",
        description="Look for mistakes in a Parsl configuration: placeholders that were left, options that contradict "
        "each other, what would keep blocks from starting or calls waiting for ever. Nothing is submitted "
        "without --submit. Exit status 1 if it cannot work so, 2 if there is no such file or configuration.",
    )
    check.add_argument(
        "target", metavar="FILE[:NAME]", help="a file that defines a parsl.Config, called config or NAME"
    )
    check.add_argument(
        "--submit",
        action="store_true",
        help="have a job of one block and one minute say what its nodes are like, and whether they reach this host; "
        "its script and output stay in ./parsl-context-check, which nodes must see",
    )
    check.add_argument("--wait", type=float, default=600.0, help="for that job, at the most [s]; 600 if not given")
    check.add_argument("--script", action="store_true", help="show the script that would be submitted for a block")


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
    import psutil
    from rich.table import Table

    from parsl_context.cli.store import describe_places
    from parsl_context.pool.hardware import count_workers
    from parsl_context.pool.node_facts import read_grant

    given = read_grant()
    workers = count_workers(
        cores_per_worker=cores_per_worker,
        mem_per_worker=mem_per_worker,
        max_workers=float("inf"),
        accelerators=(),
        given=given,
    )
    memory = psutil.virtual_memory()
    table = Table(title=platform.node(), show_header=False)
    rows = [
        ("interpreter", f"{sys.executable}, Python {platform.python_version()}"),
        *((name, _version(name)) for name in _PACKAGES),
        ("cores", f"{given.cores} of {os.cpu_count()} ({given.cores_by})"),
        ("memory", f"{given.memory_bytes / 2**30:.1f} of {memory.total / 2**30:.1f} GiB ({given.memory_by})"),
        ("of it free", f"{given.free_bytes / 2**30:.1f} GiB"),
        ("shared memory", f"{shutil.disk_usage('/dev/shm').free / 2**30:.1f} GiB free"),
        ("workers", f"{workers} with {cores_per_worker:g} cores each"),
        ("store of files", describe_places()),
    ]
    for name, value in rows:
        table.add_row(name, value)
    return table


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
