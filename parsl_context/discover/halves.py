"""The two halves of a function as definitions of their own: what sets up, and what runs with every call."""

from __future__ import annotations

import ast
import types
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, TypeVar

from parsl_context.content import syntax
from parsl_context.discover.sources import NO_TYPE_PARAMETERS, Source, positional
from parsl_context.retain.terms import NO_TERMS, Terms

_NAMES = "__names__"
_Node = TypeVar("_Node", bound=ast.AST)
CONTEXT = "__context__"  # parameter of the body: what the set-up has bound, by name
_PLACED = ast.stmt | ast.expr | ast.excepthandler


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
    at = At(statements[-1])
    last: list[ast.stmt]
    if len(known) == len(names):
        last = [at(ast.Return, value=at.dictionary(known))]
    else:
        last = [at.assign(at.name(_NAMES, ast.Store()), at.dictionary(known))]
        last += [
            at.caught([at.assign(at.item(_NAMES, each, ast.Store()), at.name(each))], "NameError")
            for each in names
            if each not in sure
        ]
        last += [at(ast.Return, value=at.name(_NAMES))]
    return source.function_of(part(source.node, arguments, [*statements, *last]))


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
    begin = [*(located(each, at) for each in first), *_taking(names, sure, At(at))]
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


def _taking(names: Sequence[str], sure: AbstractSet[str], at: At) -> Iterator[ast.stmt]:
    """What binds variables to what the set-up has bound."""
    for name in names:
        taken = at.assign(at.name(name, ast.Store()), at.item(CONTEXT, name))
        if name in sure:
            yield taken
        else:
            is_there = at(ast.Compare, left=at.text(name), ops=[ast.In()], comparators=[at.name(CONTEXT)])
            yield at(ast.If, test=is_there, body=[taken], orelse=[])
    if not names:
        yield at(ast.Pass)


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


class At:
    """Makes nodes at the place of a statement, for those who trace lines."""

    def __init__(self, node: ast.stmt) -> None:
        line, column = node.lineno, node.col_offset
        self._place = {"lineno": line, "col_offset": column, "end_lineno": line, "end_col_offset": column}

    def __call__(self, kind: Callable[..., _Node], **fields: Any) -> _Node:
        """A node of some kind."""
        return kind(**fields, **self._place)

    def name(self, name: str, context: ast.expr_context | None = None) -> ast.expr:
        """A variable."""
        return self(ast.Name, id=name, ctx=context or ast.Load())

    def text(self, text: str) -> ast.expr:
        """A constant."""
        return self(ast.Constant, value=text)

    def item(self, of: str, key: str, context: ast.expr_context | None = None) -> ast.expr:
        """An item of a variable."""
        return self(ast.Subscript, value=self.name(of), slice=self.text(key), ctx=context or ast.Load())

    def dictionary(self, names: Sequence[str]) -> ast.expr:
        """Variables by their names."""
        return self(ast.Dict, keys=list(map(self.text, names)), values=list(map(self.name, names)))

    def assign(self, target: ast.expr, value: ast.expr) -> ast.stmt:
        """An assignment."""
        return self(ast.Assign, targets=[target], value=value)

    def caught(self, body: list[ast.stmt], kind: str) -> ast.stmt:
        """Statements whose errors of a kind are ignored."""
        ignored = self(ast.ExceptHandler, type=self.name(kind), name=None, body=[self(ast.Pass)])
        return self(ast.Try, body=body, handlers=[ignored], orelse=[], finalbody=[])


def located(made: ast.stmt, at: ast.stmt) -> ast.stmt:
    """A statement at the place of another, for those who trace lines."""
    for each in ast.walk(made):
        if isinstance(each, _PLACED):
            ast.copy_location(each, at)
            each.end_lineno, each.end_col_offset = at.lineno, at.col_offset
    return made
