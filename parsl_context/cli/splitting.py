"""`parsl-context discover FILE:APP --split`: both halves of a function side by side, with reasons."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.syntax import Syntax
from rich.table import Table

from parsl_context.apps.app import ContextApp
from parsl_context.apps.lexical import split
from parsl_context.discover.automatic import verdicts_of
from parsl_context.discover.blocks import plain_function
from parsl_context.discover.halves import Split, Verdict
from parsl_context.discover.sources import Source, source_of
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
    source, verdicts = verdicts_on(value)
    return described(source, verdicts)


def verdicts_on(value: Any) -> tuple[Source, list[Verdict]]:
    """The source of an app or a function, and a verdict on each of its statements.

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
    source = source_of(plain_function(function))
    return source, list(_verdicts(value, source))


def described(source: Source, verdicts: Sequence[Verdict]) -> list[Statement]:
    """Verdicts with the text of what they are on."""
    lines = inspect.getsource(source.function).splitlines()
    first = source.function.__code__.co_firstlineno

    def text_of(node: ast.stmt) -> str:
        part = lines[node.lineno - first : (node.end_lineno or node.lineno) - first + 1]
        if not part[0][: node.col_offset].isspace() or _after(node, part[-1]).startswith(";"):
            return ast.unparse(node)  # others are in its lines
        margin = min((len(line) - len(line.lstrip()) for line in part if line.strip()), default=0)
        return "\n".join(line[margin:] for line in part)

    return [Statement(each.node.lineno, text_of(each.node), each.place, each.reason) for each in verdicts]


def _after(node: ast.stmt, line: str) -> str:
    """What follows a statement in its last line."""
    return line.encode()[node.end_col_offset or 0 :].decode().strip()


def _verdicts(value: Any, source: Source) -> Iterator[Verdict]:
    try:
        found = split(value if isinstance(value, ContextApp) else source.function)
    except SplitError:
        found = None
    if found is None or found.marker is None:
        yield from verdicts_of(source)
        return
    has_docstring = ast.get_docstring(source.node, clean=False) is not None
    block, *rest = source.node.body[has_docstring:]
    assert isinstance(block, ast.With), "what has a marker has a block"
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


@dataclass(frozen=True)
class Trial:
    """What came of it when the context of a function that is split by itself was built here.

    Attributes
    ----------
    refusal : str or None
        Which variable calls must not share, and why.
    failure : str or None
        What its build raised; then nothing is known of its variables.
    """

    refusal: str | None = None
    failure: str | None = None


def tried(build: Callable[[], Mapping[str, Any]], found: Split) -> Trial:
    """Build the context of a function that is split by itself. Not all can be told before.

    Parameters
    ----------
    build
        Gives its variables by name.
    """
    try:
        made = build()
    except Exception as error:
        return Trial(failure=f"{type(error).__name__}: {error}")
    return Trial(refusal=found.terms.why_not_shared({name: made[name] for name in found.names if name in made}))
