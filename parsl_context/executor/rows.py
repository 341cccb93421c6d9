"""What `executor.contexts()` gives: a list of rows that reads as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from parsl_context.apps.showing import html_table, text_table
from parsl_context.scheduling.transfers.events import ORIGIN, SCRIPT
from parsl_context.wire.ids import Digest, ManagerId
from parsl_context.wire.rows import ContextRow, FileOrigin, duration_text, size_text


class ContextRows(list[ContextRow]):
    """Rows of contexts, in a list that shows itself as a table, in notebooks too."""

    def __repr__(self) -> str:
        return text_table(*self._table()) if self else "<no contexts>"

    def _repr_html_(self) -> str:
        return html_table(*self._table())

    def _table(self) -> tuple[list[str], list[list[str]]]:
        header = ["context", "state", "host", "block", "workers", "builds", "each", "calls", "size", "age", "last call"]
        has_notes = any(row.note for row in self)
        has_batches = any(row.batch is not None for row in self)
        has_files = any(row.files for row in self)
        header += ["batch"] * has_batches + ["files from"] * has_files + ["note"] * has_notes
        return header, [
            _cells(row) + [_batch(row)] * has_batches + [_sources(row)] * has_files + [row.note] * has_notes
            for row in self
        ]


def with_files(
    rows: Iterable[ContextRow],
    came: Mapping[ManagerId, Sequence[FileOrigin]],
    files_of: Callable[[Digest], Collection[str]],
) -> Iterator[ContextRow]:
    """Rows, each with where the files of its context came from. Pure.

    Parameters
    ----------
    came
        Files that came to each manager.
    files_of
        Gives the addresses of a context's files.
    """
    for row in rows:
        wanted = files_of(Digest(row.digest))
        there = came.get(ManagerId(row.where), ()) if row.where is not None and wanted else ()
        yield replace(row, files=tuple(file for file in there if file.url in wanted))


def _batch(row: ContextRow) -> str:
    return "" if row.batch is None else f"{row.batch:.3g} calls"


def _sources(row: ContextRow) -> str:
    """Shares of what came, by where it came from: other nodes are one."""
    counts: Counter[str] = Counter()
    for file in row.files:
        for source, count in file.chunks.items():
            counts[source if source in (ORIGIN, SCRIPT) else "other nodes"] += count
    return ", ".join(f"{source} {count / counts.total():.0%}" for source, count in counts.most_common())


def _cells(row: ContextRow) -> list[str]:
    return [
        row.name,
        row.state,
        row.host or "",
        row.block or "",
        str(row.workers),
        str(row.loads),
        duration_text(row.load_s) if row.loads else "",
        str(row.calls),
        size_text(row.bytes) if row.bytes else "",
        duration_text(row.age_s),
        "" if row.last_used_s is None else f"{duration_text(row.last_used_s)} ago",
    ]
