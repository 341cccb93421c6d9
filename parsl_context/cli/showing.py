"""Tables of what a function needs, for people."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping

from rich.console import Console, RenderableType
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from parsl_context.discover.needs import Captured, FunctionNeeds, UserModule, Where
from parsl_context.discover.tracing.data import Opened, Trace
from parsl_context.discover.tracing.summary import by_distribution
from parsl_context.wire.rows import size_text

_MOST_FILES = 20


def show_names(file: str, names: Mapping[str, str]) -> Table:
    """What a file defines."""
    table = _table(file, "name", "kind")
    for name, kind in names.items():
        table.add_row(name, kind)
    return table


def show_needs(needs: FunctionNeeds, kind: str | None) -> Iterator[RenderableType]:
    """A table for each part of which there is something."""
    yield Text(f"{needs.name}, {_article(kind or 'callable')}", style="bold")
    if not any((needs.modules, needs.distributions, needs.captured, needs.paths, needs.lacking)):
        yield "It needs nothing but Python and what each worker has."
    if needs.lacking:
        table = _table("A worker would lack", "module", "why", "wanted by")
        for lacking in needs.lacking:
            why = f"{lacking.reason}{' (the code goes on without it)' if lacking.is_optional else ''}"
            table.add_row(lacking.name, why, _where(lacking.wanted_by), style=None if lacking.is_optional else "red")
        yield table
    if needs.distributions:
        table = _table("Installed distributions", "requirement", "wanted by")
        for each in needs.distributions:
            table.add_row(each.requirement, _where(each.wanted_by))
        yield table
    if needs.modules:
        table = _table("Your modules", "module", "file", "on a worker", "wanted by")
        for module in needs.modules:
            table.add_row(module.name, _path(module.file or "(folder)"), _travels(module), _where(module.wanted_by))
        yield table
    if needs.captured:
        table = _table("Captured values", "name", "of", "type", "size")
        for value in needs.captured:
            table.add_row(f"{value.name} ({value.kind})", value.owner, value.type, _size_of(value))
        yield table
        yield from _unsendable(needs.captured)
    if needs.paths:
        table = _table("Files and paths", "path", "kind", "size", "wanted by")
        for path in needs.paths:
            size = "not here" if not path.exists and "://" not in path.path else size_text(path.size_bytes)
            table.add_row(path.path, path.kind, size, _where(path.wanted_by))
        yield table


def show_trace(found: Trace) -> Iterator[RenderableType]:
    """A table for each part of a trace of which there is something."""
    if found.built:
        table = _table("Built in a fresh process", "context", "time", "memory", "at its peak")
        for built in found.built:
            memory = (size_text(built.memory_bytes), size_text(built.peak_bytes))
            table.add_row(built.name, f"{built.time_s:.2f} s", *memory)
        yield table
    if imported := by_distribution(found.imported):
        table = _table("Imported, beyond what each worker has", "distribution", "version", "modules", "time", "during")
        for each in imported:
            table.add_row(each.name, each.version or "", str(each.modules), f"{each.time_s:.3f} s", each.during)
        yield table
    if found.opened:
        table = _table("Opened by Python code", "file", "size", "at", "during")
        for file in found.opened:
            size = "written" if file.is_written else size_text(file.size_bytes)
            table.add_row(_path(file.path), size, f"{file.at_s or 0:.2f} s", file.during)
        yield table
    for title, files in (("Shared libraries", found.libraries), ("Mapped files", found.mapped)):
        if files:
            yield _mapped(title, files)


def show_diff(diff: str) -> None:
    """Print what differs: in colours on a terminal, and otherwise as `patch` takes it."""
    console = Console()
    if console.is_terminal:
        console.print(Syntax(diff, "diff", background_color="default", word_wrap=True))
    else:
        print(diff, end="")


@contextlib.contextmanager
def progress(text: str) -> Iterator[None]:
    """Tell somebody who sits at a terminal what takes so long."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(text, refresh_per_second=2):  # drawn rarely: it takes the time of what is measured
        yield


def _mapped(title: str, files: tuple[Opened, ...]) -> Table:
    table = _table(title, "file", "size")
    largest = sorted(files, key=lambda each: -(each.size_bytes or 0))
    for file in largest[:_MOST_FILES]:
        table.add_row(_path(file.path), size_text(file.size_bytes))
    if len(files) > _MOST_FILES:
        table.add_row(f"{len(files) - _MOST_FILES} smaller ones, which --json shows", "")
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        is_number = column in ("size", "time", "memory", "at its peak", "modules", "at")
        table.add_column(column, justify="right" if is_number else "left", overflow="fold", no_wrap=is_number)
    return table


def _unsendable(captured: tuple[Captured, ...]) -> Iterator[RenderableType]:
    found = [value for value in captured if value.problem is not None]
    if found:
        table = _table("Cannot be pickled: make them in a context function", "name", "of", "why")
        for value in found:
            table.add_row(value.name, value.owner, value.problem, style="red")
        yield table


def _travels(module: UserModule) -> str:
    return "carried" if module.is_carried else "must be there"


def _size_of(value: Captured) -> str:
    if value.problem is not None:
        return "unknown"
    return f"{'' if value.is_all else 'more than '}{size_text(value.size_bytes)}"


def _where(where: Where | None) -> str:
    return "" if where is None else f"{_path(where.file)}:{where.line}"


def _path(path: str) -> str:
    """A path as short as it can be said here."""
    inside = os.path.relpath(path) if os.path.isabs(path) else path
    return path if inside.startswith(os.pardir) else inside


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
