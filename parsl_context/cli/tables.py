"""Tables that fit the terminal: whole columns go, the least worth first, before anything is cut."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

_GAP = 2  # cells between columns
_SHORTEST = 26  # a name is made no shorter to save a column: contexts are told apart by their arguments
_PIECE = re.compile(r"\w+|\W")


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    worth
        The columns with the most stay longest.
    is_number
        Set to the right, where digits stand below each other.
    is_name
        May be made shorter, at the end of a word, where that saves another column.
    """

    head: str
    worth: int
    is_number: bool = False
    is_name: bool = False


def shown_columns(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Which columns fit, in order: those without any value go first, then those that are worth least. Pure."""
    kept = [at for at in range(len(columns)) if any(row[at] for row in rows)]
    while len(kept) > 1 and sum(_least(columns[at], [row[at] for row in rows]) for at in kept) - _GAP > width:
        kept.remove(min(kept, key=lambda at: (columns[at].worth, -at)))
    return kept


def shortened(text: str, width: int) -> str:
    """A text that is no wider, cut where a word or a number ends; the first word stays whole, whatever its width."""
    if cell_len(text) <= width:
        return text
    kept = ""
    for piece in _PIECE.findall(text):
        if kept and cell_len(kept + piece) > width - 1:
            break
        kept += piece
    return f"{kept.rstrip()}…"


class Fitted:
    """A table in as much width as there is, with the number of rows that it leaves out below it."""

    def __init__(self, columns: Sequence[Column], rows: Sequence[Sequence[str]], left_out: int = 0) -> None:
        self.columns = columns
        self.rows = rows
        self.left_out = left_out

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        kept = shown_columns(self.columns, self.rows, options.max_width)
        spare = options.max_width + _GAP - sum(_widest(self.columns[at], self._cells(at)) for at in kept)
        widths = dict(_shares(self.columns, self.rows, kept, spare))
        table = Table(box=None, pad_edge=False, expand=False, padding=(0, _GAP, 0, 0), header_style="dim")
        for at in kept:
            column = self.columns[at]
            table.add_column(column.head, no_wrap=True, justify="right" if column.is_number else "left")
        for row in self.rows:
            table.add_row(*(Text(shortened(row[at], widths[at]) if at in widths else row[at]) for at in kept))
        yield table
        if self.left_out:
            yield Text(f"... and {self.left_out:,} more", style="dim")

    def _cells(self, at: int) -> list[str]:
        return [row[at] for row in self.rows]


def lines_of(parts: Sequence[str], width: int) -> Iterator[str]:
    """Parts beside each other, two blanks between them, in as many lines as that takes."""
    line = ""
    for part in parts:
        if line and cell_len(line) + _GAP + cell_len(part) > width:
            yield line
            line = part
        else:
            line = f"{line}  {part}" if line else part
    yield line


def _shares(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], kept: Sequence[int], spare: int
) -> Iterator[tuple[int, int]]:
    """How wide names may be, where there is too little room: each gives what it can, the widest first."""
    for at in sorted(
        (at for at in kept if columns[at].is_name), key=lambda at: -max(cell_len(row[at]) for row in rows)
    ):
        widest = max(cell_len(row[at]) for row in rows)
        width = max(min(widest, _SHORTEST), widest + min(0, spare))
        spare += widest - width
        yield at, width


def _widest(column: Column, cells: Sequence[str]) -> int:
    return _GAP + max(cell_len(column.head), *map(cell_len, cells))


def _least(column: Column, cells: Sequence[str]) -> int:
    if not column.is_name:
        return _widest(column, cells)
    return _GAP + max(cell_len(column.head), *(cell_len(shortened(cell, _SHORTEST)) for cell in cells))
