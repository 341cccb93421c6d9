"""Checks the new text of a function before it is written: it must be split at its block, and its variables must flow.

The text is not run: only what it imports of this package is.
"""

from __future__ import annotations

import ast
import linecache
import types
from collections.abc import Mapping
from typing import Any

from parsl_context.apps.app import context_app
from parsl_context.apps.lexical import split
from parsl_context.cli.decorators import value_of
from parsl_context.cli.errors import CommandError
from parsl_context.cli.replacing import text_of
from parsl_context.cli.spelling import imports_of_package
from parsl_context.content import syntax
from parsl_context.discover.halves import Split
from parsl_context.discover.sources import Source, codes_of
from parsl_context.errors import SplitError


def checked(new: bytes, source: Source, found: Split) -> Split:
    """How the function of a new text is split at its block; refused if it is not.

    Raises
    ------
    CommandError
    """
    name = source.function.__name__
    told = f"{name} stays as it is: what would be written is refused"
    try:
        block = split(_function_in(new, source))
    except SplitError as error:
        raise CommandError(f"{told} in its line {error.line}: {error.reason}") from None
    inner = [each.node for each in found.verdicts if each.place == "both" and isinstance(each.node, ast.FunctionDef)]
    captured = {at.id for each in inner for at in ast.walk(each) if isinstance(at, ast.Name)}
    lost = sorted({*found.names} - {*block.names} - captured)
    if lost or block.keys:
        raise CommandError(f"{told}, as {', '.join(lost) or ', '.join(block.keys)} would not flow.")
    return block


def _function_in(new: bytes, source: Source) -> types.FunctionType:
    """The function as it stands in a new text of its file, which is not run; only what it imports of us is."""
    old = source.function
    file = f"<{old.__code__.co_filename}, rewritten>"
    tree = syntax.parse(new)
    node = _same_function(tree, syntax.parse("".join(linecache.getlines(old.__code__.co_filename))), source.node)
    names = dict(old.__globals__)
    imports = [each for each in imports_of_package(tree) if each.lineno < node.lineno]
    exec(syntax.compile_tree(ast.Module(body=imports, type_ignores=[]), file), names)
    decorators = [each.func if isinstance(each, ast.Call) else each for each in node.decorator_list]
    if not any(value_of(each, lambda name: _global(names, name)) is context_app for each in decorators):
        raise SplitError(old.__qualname__, file, node.lineno, "its decorator is not context_app.")
    text = text_of(new)
    linecache.cache[file] = len(text), None, text.splitlines(keepends=True), file
    first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
    code = next(each for each in codes_of(text, file) if (each.co_name, each.co_firstlineno) == (node.name, first))
    cells = dict(zip(old.__code__.co_freevars, old.__closure__ or (), strict=True))
    closure = tuple(cells[name] for name in code.co_freevars)
    made = types.FunctionType(code, names, old.__name__, old.__defaults__, closure)
    made.__kwdefaults__ = old.__kwdefaults__
    made.__qualname__, made.__module__ = old.__qualname__, old.__module__
    return made


def _global(names: Mapping[str, Any], name: str) -> Any:
    if name not in names:
        raise NameError(name)
    return names[name]


def _same_function(new: ast.Module, old: ast.Module, node: ast.FunctionDef) -> ast.FunctionDef:
    """A function of an old text in the new one, which has the same functions."""

    def functions(tree: ast.Module) -> list[ast.FunctionDef]:
        return [each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef) and each.name == node.name]

    number = next(n for n, each in enumerate(functions(old)) if each.lineno == node.lineno)
    return functions(new)[number]
