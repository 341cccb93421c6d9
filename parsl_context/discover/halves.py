"""The two halves of a function as definitions of their own: what sets up, and what runs with every call."""

from __future__ import annotations

import ast
import types
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from parsl_context.content import syntax
from parsl_context.discover.sources import NO_TYPE_PARAMETERS, Source, positional
from parsl_context.retain.terms import NO_TERMS, Terms

CONTEXT = "__context__"  # parameter of the body: what the set-up has bound, by name


@dataclass(frozen=True)
class Verdict:
    """Where a statement goes.

    Attributes
    ----------
    node : ast.stmt
        The statement.
    place : str
        "context", "both" (imports, constants, functions that only compute) or "body".
    reason : str
        Why it does not move; empty if it does.
    line : int
        Where what is in the way stands.
    """

    node: ast.stmt
    place: str
    reason: str = ""
    line: int = 0


@dataclass(frozen=True)
class Split:
    """A function split into a context function and a body.

    Attributes
    ----------
    function : function
        The function as it was written.
    context : function
        Runs the set-up. Takes the keys by name and gives the variables that flow, by name.
    body : function
        Runs the rest. Takes those variables first, then the parameters of the function, without keys that it does
        not read.
    keys : tuple of str
        Parameters that the set-up reads.
    names : tuple of str
        Variables that flow from the set-up to the body.
    marker : object
        What the block is marked with: ``context``, or what ``context(...)`` gave; None if the split is automatic.
    verdicts : tuple of Verdict
        Where each statement goes, and why, if the split is automatic.
    terms : Terms
        What must hold for calls to share the variables, if the split is automatic.
    """

    function: types.FunctionType
    context: types.FunctionType
    body: types.FunctionType
    keys: tuple[str, ...]
    names: tuple[str, ...]
    marker: Any
    verdicts: tuple[Verdict, ...] = ()
    terms: Terms = NO_TERMS


def context_half(
    source: Source, statements: Sequence[ast.stmt], keys: Sequence[str], names: Sequence[str], sure: AbstractSet[str]
) -> types.FunctionType:
    """What runs some statements and gives variables.

    Parameters
    ----------
    keys
        Parameters that it takes, by name.
    names
        Variables that it gives, by name.
    sure
        Those that are bound for sure.
    """
    arguments = _arguments(kwonlyargs=[ast.arg(name) for name in keys], kw_defaults=[None] * len(keys))
    known = [name for name in names if name in sure]
    if len(known) == len(names):
        last = parsed(f"return {_dictionary(known)}")
    else:
        lines = [f"__names__ = {_dictionary(known)}"]
        for name in names:
            if name not in sure:
                lines.append(f"try:\n    __names__[{name!r}] = {name}\nexcept NameError:\n    pass")
        last = parsed("\n".join([*lines, "return __names__"]))
    end = statements[-1]
    return source.function_of(part(source.node, arguments, [*statements, *(located(each, end) for each in last)]))


def body_half(
    source: Source,
    first: Sequence[ast.stmt],
    statements: Sequence[ast.stmt],
    at: ast.stmt,
    kept: Sequence[str],
    names: Sequence[str],
    sure: AbstractSet[str],
) -> types.FunctionType:
    """What gets variables and runs some statements.

    Parameters
    ----------
    first
        Declarations that hold in all of it.
    at
        Where the variables are said to be bound, for those who trace lines.
    kept
        Parameters of the function that it has as well.
    names
        Variables that it gets, and
    sure
        those that are always there.
    """
    lines = []
    for name in names:
        line = f"{name} = {CONTEXT}[{name!r}]"
        lines.append(line if name in sure else f"if {name!r} in {CONTEXT}: {line}")
    begin = [located(each, at) for each in [*first, *parsed("\n".join(lines) or "pass")]]
    function, node = source.function, source.node
    given = function.__defaults__ or ()
    defaults = dict(zip((each.arg for each in positional(node.args)[-len(given) :]), given, strict=False))
    body = source.function_of(
        part(node, _body_arguments(node.args, kept), [*begin, *statements]),
        [value for name, value in defaults.items() if name in kept],
        {name: value for name, value in (function.__kwdefaults__ or {}).items() if name in kept},
    )
    body.__doc__ = function.__doc__
    body.__annotations__ = {
        name: value for name, value in function.__annotations__.items() if name in kept or name == "return"
    }
    return body


def _body_arguments(given: ast.arguments, kept: Sequence[str]) -> ast.arguments:
    """The parameters of the body: the variables of the block, then those of the function that it gets."""
    first = ast.arg(CONTEXT)
    before = [ast.arg(each.arg) for each in given.posonlyargs if each.arg in kept]
    named = [ast.arg(each.arg) for each in given.args if each.arg in kept]
    return _arguments(
        posonlyargs=[first, *before] if before else [],
        args=named if before else [first, *named],
        vararg=ast.arg(given.vararg.arg) if given.vararg is not None and given.vararg.arg in kept else None,
        kwonlyargs=[ast.arg(each.arg) for each in given.kwonlyargs if each.arg in kept],
        kw_defaults=[None for each in given.kwonlyargs if each.arg in kept],
        kwarg=ast.arg(given.kwarg.arg) if given.kwarg is not None and given.kwarg.arg in kept else None,
    )


def _arguments(**fields: Any) -> ast.arguments:
    empty: dict[str, Any] = {"posonlyargs": [], "args": [], "kwonlyargs": [], "kw_defaults": [], "defaults": []}
    return ast.arguments(**{**empty, **fields})


def part(node: ast.FunctionDef, arguments: ast.arguments, body: Sequence[ast.stmt]) -> ast.FunctionDef:
    """A function with the name and place of the whole."""
    made = ast.FunctionDef(name=node.name, args=arguments, body=list(body), decorator_list=[], **NO_TYPE_PARAMETERS)
    return ast.copy_location(made, node)


def parsed(text: str) -> list[ast.stmt]:
    """Statements of a text."""
    return syntax.parse(text).body


def _dictionary(names: Sequence[str]) -> str:
    return "{" + ", ".join(f"{name!r}: {name}" for name in names) + "}"


def located(made: ast.stmt, at: ast.stmt) -> ast.stmt:
    """A statement at the place of another, for those who trace lines."""
    for each in ast.walk(made):
        if isinstance(each, ast.stmt | ast.expr | ast.excepthandler):
            ast.copy_location(each, at)
            each.end_lineno, each.end_col_offset = at.lineno, at.col_offset
    return made
