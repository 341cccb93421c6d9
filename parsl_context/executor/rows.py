"""What `executor.contexts()` gives: a list of rows that reads as a table."""

from __future__ import annotations

from parsl_context.apps.showing import html_table, text_table
from parsl_context.wire.rows import ContextRow, duration_text, size_text


class ContextRows(list[ContextRow]):
    """Rows of contexts, in a list that shows itself as a table, in notebooks too."""

    def __repr__(self) -> str:
        return text_table(*self._table()) if self else "<no contexts>"

    def _repr_html_(self) -> str:
        return html_table(*self._table())

    def _table(self) -> tuple[list[str], list[list[str]]]:
        header = ["context", "state", "host", "block", "workers", "builds", "each", "calls", "size", "age", "last call"]
        has_notes = any(row.note for row in self)
        return header + ["note"] * has_notes, [_cells(row) + [row.note] * has_notes for row in self]


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
