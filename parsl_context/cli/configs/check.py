"""`parsl-context check`: findings and scripts of a configuration, for people."""

from __future__ import annotations

import difflib
import inspect
import re
import time
from collections.abc import Sequence
from pathlib import Path

import parsl
from parsl.executors.high_throughput.executor import HighThroughputExecutor
from parsl.launchers import SrunLauncher
from parsl.providers import PBSProProvider, SlurmProvider
from rich.console import Console
from rich.table import Table

from parsl_context.cli.configs.comparing import compare, time_limit
from parsl_context.cli.configs.findings import RULES, Finding, look_at
from parsl_context.cli.configs.reading import read
from parsl_context.cli.configs.scripts import script_of
from parsl_context.cli.configs.slips import SLIPS
from parsl_context.cli.configs.submitting import Answer, of_here, submit
from parsl_context.cli.errors import CommandError
from parsl_context.cli.loading import Loaded, load
from parsl_context.executor.executor import ContextExecutor

_DEFAULT = "config"


def check(target: str, *, shows_scripts: bool = False, submits: bool = False, wait_s: float = 600.0) -> int:
    """Print what is wrong with a configuration. Gives the exit status: 1 if it cannot work so.

    Parameters
    ----------
    submits
        Whether to have a job of one block say what its nodes are like.
    wait_s
        How long it is waited for, at the most. [s]
    """
    console = Console(soft_wrap=True)
    try:
        name, _, place = target.partition(":")
        config = _config(load(name), place)
        errors = 0
        for executor in config.executors:
            if not isinstance(executor, HighThroughputExecutor):
                console.print(f"{executor.label}: a {type(executor).__name__} is not looked at", markup=False)
                continue
            errors += _check_one(console, config, executor, shows_scripts)
            if submits and not errors:
                errors += _try_one(console, config, executor, wait_s)
    except CommandError as error:
        Console(stderr=True, soft_wrap=True).print(f"{error}{_meant(str(error))}", style="red", markup=False)
        return error.status
    return int(errors > 0)


def _check_one(console: Console, config: parsl.Config, executor: HighThroughputExecutor, shows_scripts: bool) -> int:
    label = executor.label
    found = look_at(read(config, executor), (*RULES, *SLIPS))
    _print(console, label, found)
    if not found:
        console.print(f"{label}: nothing is found to be wrong", style="green", markup=False)
    if shows_scripts and (script := script_of(executor)) is not None:
        console.print(f"The script of a block of {label}:", markup=False)
        console.print(script, markup=False, highlight=False)
    return sum(finding.is_error for finding in found)


def _try_one(console: Console, config: parsl.Config, executor: HighThroughputExecutor, wait_s: float) -> int:
    """Submit a job that says what nodes are like. Gives how many errors were found."""
    label, settings = executor.label, read(config, executor)
    if not settings.is_batch:
        console.print(f"{label}: there is no batch system to submit to", markup=False)
        return 0
    folder = Path("parsl-context-check", f"{label}-{time.strftime('%Y%m%d-%H%M%S')}").absolute()
    folder.mkdir(parents=True)
    with console.status(f"{label}: a job of one block is submitted") as status:
        answer = submit(executor, folder, wait_s, lambda what: status.update(f"{label}: {what}"))
    found = [
        *time_limit(settings, answer.time_limit_s),
        *compare(settings, of_here(), answer.nodes, answer.addresses, answer.waits_for),
    ]
    if answer.nodes:
        console.print(_table(label, answer))
    _print(console, label, found)
    if answer.said:
        console.print(f"{label}: the job has written, in {folder}:\n{answer.said}", markup=False, highlight=False)
    if answer.nodes and not found:
        console.print(f"{label}: nothing is found to be wrong with its nodes", style="green", markup=False)
    return sum(finding.is_error for finding in found)


def _table(label: str, answer: Answer) -> Table:
    title = f"Nodes of a block of {label}, {answer.took_s:.0f} s after the job was submitted"
    table = Table("node", "Python", "cores", "memory", "GPUs", "reaches the script at", title=title)
    for node in answer.nodes:
        table.add_row(
            node["host"],
            f"{node['python']} {node['executable']}",
            f"{node['cores']} of {node['machine_cores']} ({node['cores_by']})",
            f"{node['memory_gb']} GB ({node['memory_by']})",
            str(len(node["gpus"])),
            ", ".join(node["reached"]) or "none of its addresses",
        )
    return table


def _print(console: Console, label: str, found: Sequence[Finding]) -> None:
    for finding in found:
        mark, style = ("error", "bold red") if finding.is_error else ("perhaps", "yellow")
        console.print(f"{label}: [{style}]{mark}[/] ", end="")
        console.print(f"{finding.what} {finding.advice}", markup=False, highlight=False)


def _meant(error: str) -> str:
    """Which argument may have been meant by one that there is not, as by one of an older Parsl."""
    unknown = re.search(r"unexpected keyword argument '(\w+)'", error)
    if unknown is None:
        return ""
    kinds = (ContextExecutor, HighThroughputExecutor, SlurmProvider, PBSProProvider, SrunLauncher, parsl.Config)
    names = {name for kind in kinds for name in inspect.signature(kind.__init__).parameters}
    near = difflib.get_close_matches(unknown[1], sorted(names - {"self"}), n=2, cutoff=0.7)
    return f" Perhaps {' or '.join(near)} is meant." if near else ""


def _config(loaded: Loaded, place: str) -> parsl.Config:
    """The configuration that a file defines.

    Raises
    ------
    CommandError
        If there is none, or several and none is named.
    """
    if place:
        found = loaded.find(place)
        if not isinstance(found, parsl.Config):
            raise CommandError(f"{place} of {loaded.name} is a {type(found).__name__}, and no parsl.Config.", 2)
        return found
    there = {name: value for name, value in vars(loaded.module).items() if isinstance(value, parsl.Config)}
    if _DEFAULT in there or len(there) == 1:
        return there.get(_DEFAULT) or next(iter(there.values()))
    names = f" It defines {', '.join(sorted(there))}: name one, as {loaded.name}:{min(there)}." if there else ""
    raise CommandError(f"{loaded.name} defines no parsl.Config named {_DEFAULT!r}.{names}", 2)
