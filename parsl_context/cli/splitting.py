"""`parsl-context discover FILE:APP --split`: both halves of a function side by side, with reasons."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.syntax import Syntax
from rich.table import Table

from parsl_context.apps.app import ContextApp
from parsl_context.apps.lexical import split
from parsl_context.discover.automatic import verdicts_of
from parsl_context.discover.halves import Verdict
from parsl_context.discover.sources import source_of
from parsl_context.errors import SplitError


@dataclass(frozen=True)
class Statement:
    """A statement of a function and where it goes.

    Attributes
    ----------
    line : int
        Its line in the file.
    text : str
        Its text.
    place : str
        "context", "both" or "body".
    reason : str
        Why it stays, if the split is automatic.
    """

    line: int
    text: str
    place: str
    reason: str = ""


def statements_of(value: Any) -> list[Statement]:
    """Where each statement of an app or a function goes: as it is split, or would be by itself.

    Raises
    ------
    SplitError
        If its source cannot be read.
    """
    function = inspect.unwrap(getattr(value, "func", value))
    if isinstance(value, ContextApp):
        if value.split is None:
            raise SplitError(value.__name__, "", 0, "its context and its body are written as two functions.")
        function = value.split.function
    source = source_of(function)
    lines = inspect.getsource(function).splitlines()
    first = function.__code__.co_firstlineno

    def text_of(node: ast.stmt) -> str:
        part = lines[node.lineno - first : (node.end_lineno or node.lineno) - first + 1]
        margin = min((len(line) - len(line.lstrip()) for line in part if line.strip()), default=0)
        return "\n".join(line[margin:] for line in part)

    return [
        Statement(each.node.lineno, text_of(each.node), each.place, each.reason) for each in _verdicts(value, source)
    ]


def _verdicts(value: Any, source: Any) -> Iterator[Verdict]:
    try:
        found = split(value if isinstance(value, ContextApp) else source.function)
    except SplitError:
        found = None
    if found is None or found.marker is None:
        yield from verdicts_of(source)
        return
    has_docstring = ast.get_docstring(source.node, clean=False) is not None
    block, *rest = source.node.body[has_docstring:]
    yield from (Verdict(each, "context") for each in block.body)
    yield from (Verdict(each, "body") for each in rest)


def table_of(statements: list[Statement]) -> Table:
    """The halves side by side."""
    table = Table("line", "context: once", "body: every call", "why it stays", title="Split", title_justify="left")
    for each in statements:
        shown = Syntax(each.text, "python", background_color="default", word_wrap=True)
        table.add_row(
            str(each.line),
            shown if each.place in ("context", "both") else "",
            shown if each.place in ("body", "both") else "",
            each.reason,
        )
    return table
