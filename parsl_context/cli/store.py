"""`parsl-context store`: what is in the store of this node; to clean it, and to verify it."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from parsl_context.cli.errors import CommandError
from parsl_context.distribute import keeping
from parsl_context.distribute.keeping import Kept
from parsl_context.distribute.node import store_of_this_node
from parsl_context.errors import ConfigurationError
from parsl_context.wire.rows import size_text

_DAY_S = 86_400.0


def run_store(chosen: argparse.Namespace) -> int:
    """Do what was asked. Gives the exit status."""
    try:
        folders = _folders(chosen.folder)
    except CommandError as error:
        Console(stderr=True).print(str(error), soft_wrap=True)
        return error.status
    if chosen.what == "ls":
        return _list(folders, as_json=chosen.json)
    if chosen.what == "clean":
        return _clean(folders, chosen.older_than, chosen.to_gb)
    return _verify(folders)


def show_contents(kept: Sequence[Kept], now: float) -> Table:
    """A table of what is in the store."""
    table = Table(title=f"Store of {os.uname().nodename}", title_justify="left", title_style="bold")
    table.add_column("from", overflow="fold")
    table.add_column("SHA-256", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("used", no_wrap=True)
    table.add_column("in use by", overflow="fold")
    for each in kept:
        source = each.source or (Path(each.path).name if each.sha256 is None else "(known by its digest)")
        sha256 = each.sha256[:12] if each.sha256 is not None else "not whole"
        users = ", ".join(map(_process, each.users))
        table.add_row(source, sha256, size_text(each.size_bytes), _ago(now - each.last_used), users)
    return table


def describe_places() -> str:
    """The folders of the store on this node, the preferred first, with the space that is free."""
    try:
        folders = _folders(())
    except CommandError as error:
        return str(error)
    return "\n".join(f"{folder}, {size_text(_free(folder))} free" for folder in folders)


def _free(folder: Path) -> int:
    there = next(each for each in (folder, *folder.parents) if each.exists())
    return shutil.disk_usage(there).free


def _list(folders: Sequence[Path], *, as_json: bool) -> int:
    kept = keeping.contents(folders)
    if as_json:
        print(json.dumps([dataclasses.asdict(each) for each in kept], indent=2))
        return 0
    console = Console()
    for folder in folders:
        mine = [each for each in kept if Path(each.path).parent == folder]
        state = _size(mine) if keeping.is_ours(folder) else "nothing was stored there yet"
        console.print(f"{folder}: {state}", soft_wrap=True, highlight=False)
    if kept:
        console.print(show_contents(kept, keeping.now()))
    return 0


def _clean(folders: Sequence[Path], days: float | None, to_gb: float | None) -> int:
    kept = keeping.contents(folders)
    chosen = keeping.to_clean(
        kept,
        unused_since=keeping.now() - days * _DAY_S if days is not None else None if to_gb is not None else float("inf"),
        most_bytes=None if to_gb is None else int(to_gb * 1e9),
    )
    gone, _ = keeping.clean(chosen)
    keeping.clean_locks(folders)
    used = [each for each in keeping.contents(folders) if each.users]
    console = Console()
    console.print(f"Removed {_size(gone)}.", highlight=False)
    for each in used:
        users = ", ".join(map(_process, each.users))
        console.print(f"In use by {users}: {each.source or each.path}", soft_wrap=True, highlight=False)
    return 0


def _verify(folders: Sequence[Path]) -> int:
    seen: list[Kept] = []
    broken = list(keeping.verify(folders, seen.append))
    console = Console()
    for each in broken:
        users = f" It was in use by {', '.join(map(_process, each.kept.users))}." if each.kept.users else ""
        name = each.kept.source or Path(each.kept.path).name
        console.print(f"Removed {name}: {each.problem}.{users}", style="red", soft_wrap=True, highlight=False)
    console.print(f"{_size(seen)} looked at, {len(broken)} broken.", highlight=False)
    return 1 if broken else 0


def _folders(named: Sequence[str]) -> list[Path]:
    try:
        # Of this command the working directory is known.
        where = [each if each[:1] in ("$", "~") else os.path.abspath(each) for each in named]
        store = store_of_this_node(os.environ, where)
    except ConfigurationError as error:
        raise CommandError(str(error), 2) from None
    if not store.folders:
        raise CommandError(f"There is no store: {'; '.join(store.problems)}.", 2)
    return list(store.folders)


def _size(kept: Sequence[Kept]) -> str:
    return (
        f"{len(kept)} {'entry' if len(kept) == 1 else 'entries'} of {size_text(sum(each.size_bytes for each in kept))}"
    )


def _ago(time_s: float) -> str:
    for unit, name in ((_DAY_S, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if time_s >= 2 * unit:
            return f"{time_s / unit:.0f} {name} ago"
    return "just now" if time_s < 60 else "1 minute ago"


def _process(pid: int) -> str:
    try:
        return f"{psutil.Process(pid).name()} ({pid})"
    except psutil.Error:
        return str(pid)
