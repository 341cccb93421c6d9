"""Texts that are written in some code, and in the functions and classes of the user's that it uses."""

from __future__ import annotations

import ast
import types
from collections.abc import Iterable, Iterator

from parsl_context.discover import shapes
from parsl_context.discover.classes import initialisers_of, methods_of, user_class
from parsl_context.discover.names import Names, names_of
from parsl_context.discover.sources import source_of
from parsl_context.errors import SplitError

_IMPORTS = ast.Import | ast.ImportFrom


def texts_in(nodes: Iterable[ast.AST], names: Names) -> Iterator[str]:
    """Texts in some code, those that its globals are, and the same of what it uses of the user's, at any depth."""
    yield from _texts(list(nodes), names, set())


def _texts(nodes: list[ast.AST], names: Names, seen: set[types.FunctionType]) -> Iterator[str]:
    for part in (part for node in nodes for part in shapes.walk(node)):
        if isinstance(part, _IMPORTS):
            names.add_import(part)
        elif isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value
    for part in (part for node in nodes for part in shapes.dotted_in(node)):
        text = names.resolve(part)
        if isinstance(text, str):
            yield text
        for function in _functions_of(part, names):
            if function in seen:
                continue
            seen.add(function)
            try:
                source = source_of(function)
            except SplitError:
                continue
            yield from (each for each in function.__defaults__ or () if isinstance(each, str))
            yield from _texts(list(source.node.body), names_of(source), seen)


def _functions_of(node: ast.expr, names: Names) -> list[types.FunctionType]:
    """Functions of the user's that may run where a name is used."""
    if (function := names.user_function(node)) is not None:
        return [function]
    kind = user_class(node, names)
    return [] if kind is None else [*initialisers_of(kind), *methods_of(kind)]
