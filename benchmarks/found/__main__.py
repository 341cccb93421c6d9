"""Precision and recall of `context_app(discover=True)`.

    python -m benchmarks.found

The functions, and which variables of each calls may share, were written by people who knew what a context is and had
not seen how one is looked for, in eight sets, one after the other (`first` to `seventh`; what they need is installed by
``make test-all``). Each was measured before anything was changed for it; the rules were extended after each of them.

    set       when it was first seen             then
    second    precision 0.75, recall 0.43        rules extended
    third     precision 1.00, recall 0.45        rules extended
    fourth    precision 1.00, recall 0.63        rules extended
    fifth     precision 0.94, recall 0.58        the wrong split mended, see `calls.look_at_effect`; rules extended by
                                                 somebody who did not see the sixth and the seventh
    sixth     precision 1.00, recall 0.89        nothing
    seventh   precision 0.94, recall 0.79        the wrong split mended, see `calls._has_permission`

Before these last extensions the sixth came as 1.00 and 0.79, the seventh as 0.87 and 0.68.

A function counts as split if something moves and calls share it; as split wrongly if that is something that they must
not share, or if a call gives, raises or prints anything else than the whole function does. Constants that are copied
into both halves count as neither.

How long it takes to split a function is the best of three times, once what it uses is imported and its file parsed.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import csv
import inspect
import io
import logging
import os
import pathlib
import random
import tempfile
import timeit
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.found import eighth, fifth, first, fourth, second, seventh, sixth, third
from parsl_context.content.digests import digest_content
from parsl_context.discover.automatic import split_by_itself
from parsl_context.discover.halves import Split
from parsl_context.errors import SplitError
from parsl_context.retain.undivided import EitherWay, LeadingWork

SETS: dict[str, Any] = {"first": first, "second": second, "third": third, "fourth": fourth, "fifth": fifth}
SETS |= {"sixth": sixth, "seventh": seventh, "eighth": eighth}
RESULTS = pathlib.Path(__file__).parents[1] / "results" / "found.csv"


@dataclass(frozen=True)
class Seen:
    """What became of one function."""

    name: str
    shared: frozenset[str]  # variables that calls share
    allowed: frozenset[str]  # that its calls may share, and whoever wrote it would want to
    harmless: frozenset[str]  # that they may share as well
    differs: bool  # a call gave something else
    lines: int  # of its text
    split_ms: float  # to look for its context

    @property
    def is_wrong(self) -> bool:
        """Whether it was split where it must not be."""
        return self.differs or not self.shared <= self.allowed | self.harmless


def look_at(name: str, functions: Any) -> Seen:
    """Split a function, and call both ways."""
    function: Callable[..., Any] = getattr(functions, name)
    allowed = frozenset(functions.EXPECTED[name])
    harmless = frozenset(getattr(functions, "OPTIONAL", {}).get(name, ()))
    lines = len(inspect.getsource(function).splitlines())
    split_ms = min(timeit.repeat(lambda: split_or_none(function), number=1, repeat=4)[1:]) * 1000.0
    found = split_or_none(function)
    if found is None:
        return Seen(name, frozenset(), allowed, harmless, differs=False, lines=lines, split_ms=split_ms)
    work = LeadingWork(found.context, found.terms)
    made = work()
    divided = EitherWay(found.body, function, terms=found.terms)
    calls = [*functions.CALLS[name]] * 2
    random.Random(1).shuffle(calls)
    differs = any(
        outcome(lambda *given: divided(made, *given), args, functions) != outcome(function, args, functions)
        for args in calls
    )
    nodes = [each.node for each in found.verdicts if each.place == "context"]
    moved = {each.id for node in nodes for each in ast.walk(target_of(node)) if isinstance(each, ast.Name)}
    moved |= set(found.names)
    return Seen(
        name, frozenset(moved) if made is not None else frozenset(), allowed, harmless, differs, lines, split_ms
    )


def split_or_none(function: Callable[..., Any]) -> Split | None:
    """The split of a function, if there is one."""
    try:
        return split_by_itself(function)
    except SplitError:
        return None


def target_of(node: ast.stmt) -> ast.AST:
    """What a statement binds."""
    match node:
        case ast.Assign(targets=[ast.Name() | ast.Tuple() as target]) | ast.AnnAssign(target=ast.Name() as target):
            return target
    return ast.Pass()


def outcome(function: Callable[..., Any], args: Sequence[Any], functions: Any) -> tuple[object, str]:
    """What a call gives, and what it prints, with files as they were at first."""
    functions.prepare(os.getcwd())
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            result: object = digest_content(function(*copy.deepcopy(args)))
        except Exception as error:
            result = type(error), str(error)
    return result, printed.getvalue()


def look_at_all(functions: Any) -> list[Seen]:
    """All functions of a set, in a folder with their files."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            functions.prepare(folder)
            return [look_at(name, functions) for name in functions.EXPECTED]
        finally:
            os.chdir(before)


def main() -> int:
    """Print a table for each set, and precision and recall."""
    logging.disable()
    rows: list[tuple[str, Seen]] = []
    for name, functions in SETS.items():
        seen = look_at_all(functions)
        rows += [(name, each) for each in seen]
        table = Table("function", "shared", "may be shared", "", "ms", title=f"The {name} set", title_justify="left")
        for each in seen:
            note = "WRONG" if each.is_wrong else "missed" if each.allowed and not each.shared else ""
            table.add_row(
                each.name, ", ".join(sorted(each.shared)), ", ".join(sorted(each.allowed)), note, f"{each.split_ms:.1f}"
            )
        Console().print(table)
        print(summary(seen))
    print(f"All: {summary([each for _, each in rows])}")
    with RESULTS.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["set", "function", "shared", "may be shared", "wrong"])
        for name, each in rows:
            shared, allowed = " ".join(sorted(each.shared)), " ".join(sorted(each.allowed))
            writer.writerow([name, each.name, shared, allowed, int(each.is_wrong)])
    return int(any(each.is_wrong for _, each in rows))


def summary(seen: Sequence[Seen]) -> str:
    """Precision and recall, in a sentence each."""
    split = [each for each in seen if each.shared]
    could = [each for each in seen if each.allowed]
    right = sum(not each.is_wrong for each in split)
    return (
        f"{len(seen)} functions: {len(could)} could be split, {len(split)} were, {right} of them rightly. "
        f"Precision {right / len(split):.2f}, recall {right / len(could):.2f}. "
        f"{50 * sum(each.split_ms for each in seen) / sum(each.lines for each in seen):.1f} ms for 50 lines."
    )


if __name__ == "__main__":
    raise SystemExit(main())
