"""Rewrites a function in the text of a file, so that its set-up is a block: ``with context:``. Text in, text out.

It decides nothing: a `Plan` says what goes where. All that it does not move or add stays as it is, byte for byte. Takes
libcst, which is not installed with the package: imported by `parsl_context.cli.applying` when it is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider

from parsl_context.cli.importing import Line, with_imports
from parsl_context.cli.spelling import Spelling


@dataclass(frozen=True)
class Plan:
    """What becomes of a function.

    Attributes
    ----------
    name : str
        Its name.
    line : int
        Where its ``def`` stands, [1, lines of the file].
    has_docstring : bool
        Whether its first statement is one, which stays where it is.
    places : tuple of str
        For each statement of it, docstring aside: whether it goes to the "block", the "rest" or "both".
    spelling : Spelling
        How the file says the names of the package.
    decorator : int or None
        Which of its decorators is replaced by `context_app`; None to add one after all others.
    keywords : tuple of (int, str)
        Positional arguments of that decorator, by their index, that are given by this name now.
    dropped : tuple of int
        Arguments of that decorator that are dropped.
    """

    name: str
    line: int
    has_docstring: bool
    places: tuple[str, ...]
    spelling: Spelling
    decorator: int | None = None
    keywords: tuple[tuple[int, str], ...] = ()
    dropped: tuple[int, ...] = ()


class RewriteError(Exception):
    """A file cannot be read so that it could be rewritten; the text says why."""


def rewritten(content: bytes, plan: Plan) -> bytes:
    """A file with its function rewritten.

    Raises
    ------
    RewriteError
        If libcst cannot read it, or does not find what the plan is about.
    """
    try:
        wrapper = MetadataWrapper(cst.parse_module(content))
    except cst.ParserSyntaxError as error:
        raise RewriteError(f"libcst cannot read line {error.raw_line} of it") from None
    if wrapper.module.bytes != content:
        raise RewriteError("libcst does not give it back as it is")
    positions = wrapper.resolve(PositionProvider)
    above = sum(positions[each].start.line < plan.line for each in wrapper.module.body)
    rewriter = _Rewriter(plan, positions)
    made = wrapper.module.visit(rewriter)
    if not rewriter.was_found:
        raise RewriteError(f"libcst does not find {plan.name} in line {plan.line}")
    return with_imports(made, plan.spelling, above).bytes


class _Rewriter(cst.CSTTransformer):
    def __init__(self, plan: Plan, positions: object) -> None:
        super().__init__()
        self.was_found = False
        self._plan = plan
        self._positions = positions

    def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> cst.FunctionDef:
        """Rewrite it if it is the one."""
        line = self._positions[original_node.name].start.line  # type: ignore[index]
        if (updated_node.name.value, line) != (self._plan.name, self._plan.line):
            return updated_node
        self.was_found = True
        made = _decorated(updated_node, self._plan)
        return made.with_changes(body=_divided(made.body, self._plan))


# --- the body


def _divided(body: cst.BaseSuite, plan: Plan) -> cst.IndentedBlock:
    block = _as_block(body)
    top, moved, rest = _sorted(block.body, plan)
    blanks, _ = _without_blanks(rest[0] if plan.places[0] == "rest" else moved[0])  # below the docstring
    _, moved[0] = _without_blanks(moved[0])
    setting_up = cst.With(
        items=[cst.WithItem(item=cst.parse_expression(plan.spelling.context))],
        body=cst.IndentedBlock(body=moved, indent=block.indent),
        leading_lines=blanks,
    )
    return block.with_changes(body=[*top, setting_up, *rest])


def _as_block(body: cst.BaseSuite) -> cst.IndentedBlock:
    """A body in lines of its own."""
    if isinstance(body, cst.IndentedBlock):
        return body
    assert isinstance(body, cst.SimpleStatementSuite)
    line = cst.SimpleStatementLine(body=body.body)
    return cst.IndentedBlock(body=[line], header=body.trailing_whitespace)


def _sorted(body: Sequence[cst.BaseStatement], plan: Plan) -> tuple[list[Line], list[Line], list[Line]]:
    """What stays at the top, what goes into the block, and the rest, each in its order."""
    waiting = [*(["top"] if plan.has_docstring else []), *plan.places]
    found: dict[str, list[Line]] = {"top": [], "block": [], "rest": []}
    for line in body:
        assert isinstance(line, cst.SimpleStatementLine | cst.BaseCompoundStatement)
        count = len(line.body) if isinstance(line, cst.SimpleStatementLine) else 1
        places, waiting = waiting[:count], waiting[count:]
        if len(places) < count:
            raise RewriteError("libcst sees more statements than Python")
        for place, part in _parts(line, places):
            if place == "both":
                found["block"].append(part)
                found["rest"].append(part.with_changes(leading_lines=[]))
            else:
                found[place].append(part)
    if waiting:
        raise RewriteError("libcst sees fewer statements than Python")
    return found["top"], found["block"], found["rest"]


def _parts(line: Line, places: Sequence[str]) -> Iterator[tuple[str, Line]]:
    """A line, or its parts (``import re; pattern = ...``) if these go to several places."""
    if isinstance(line, cst.BaseCompoundStatement) or len(set(places)) == 1:
        yield places[0], line
        return
    paired = zip(line.body, places, strict=True)
    groups = [(place, [each for each, _ in group]) for place, group in groupby(paired, _place)]
    for number, (place, parts) in enumerate(groups):
        parts[-1] = parts[-1].with_changes(semicolon=cst.MaybeSentinel.DEFAULT)
        made = cst.SimpleStatementLine(body=parts)
        if number == 0:
            made = made.with_changes(leading_lines=line.leading_lines)
        if number == len(groups) - 1:
            made = made.with_changes(trailing_whitespace=line.trailing_whitespace)
        yield place, made


def _place(each: tuple[cst.BaseSmallStatement, str]) -> str:
    return each[1]


def _without_blanks(line: Line) -> tuple[list[cst.EmptyLine], Line]:
    """The blank lines that a statement begins with, and the statement without them; its comments stay with it."""
    lines = list(line.leading_lines)
    comment = next((number for number, each in enumerate(lines) if each.comment is not None), len(lines))
    return lines[:comment], line.with_changes(leading_lines=lines[comment:])


# --- the decorator


def _decorated(function: cst.FunctionDef, plan: Plan) -> cst.FunctionDef:
    decorators = list(function.decorators)
    app = cst.parse_expression(plan.spelling.context_app) if plan.spelling.context_app else None
    if plan.decorator is None:
        assert app is not None
        decorators.append(cst.Decorator(decorator=app))
        return function.with_changes(decorators=decorators)
    old = decorators[plan.decorator]
    if isinstance(old.decorator, cst.Call):
        function_of = old.decorator.func if app is None else app
        args = _arguments(old.decorator.args, plan)
        made = old.decorator.with_changes(func=function_of, args=args) if args else function_of
    else:
        made = old.decorator if app is None else app
    decorators[plan.decorator] = old.with_changes(decorator=made)
    return function.with_changes(decorators=decorators)


def _arguments(args: Sequence[cst.Arg], plan: Plan) -> list[cst.Arg]:
    named = dict(plan.keywords)
    kept = []
    for number, each in enumerate(args):
        if number in plan.dropped:
            continue
        if number in named:
            nothing = cst.SimpleWhitespace("")
            equal = cst.AssignEqual(whitespace_before=nothing, whitespace_after=nothing)
            each = each.with_changes(keyword=cst.Name(named[number]), equal=equal)
        kept.append(each)
    if kept and len(args) - 1 in plan.dropped:  # what was last ends the line, or the brackets
        kept[-1] = kept[-1].with_changes(comma=args[-1].comma, whitespace_after_arg=args[-1].whitespace_after_arg)
    return kept
