"""Functions and classes from their text, with the lines and names of the user's file."""

from __future__ import annotations
import __future__

import ast
import builtins
import linecache
import marshal
import os
import sys
import types
from collections.abc import Mapping
from typing import Any

_OUTER = "__outer__"
_CONTEXT = "__context__"
_FLAGS = __future__.annotations.compiler_flag  # what annotations name need not be there


def run_definition(told: Mapping[str, Any], names: dict[str, Any], cells: Mapping[str, Any]) -> Any:
    """What a definition defines, without its decorators.

    Parameters
    ----------
    told
        The definition: its text, place, and what is to be taken of it.
    names
        Its globals.
    cells
        Variables of functions around it.
    """
    if told["code"]:
        return _of_compiled(told, names)
    node = _tree(told["text"], told["line"])
    if isinstance(node, ast.Expr):
        node = _as_function(node.value)
    if isinstance(node, ast.FunctionDef):
        _strip(node)
        if told["places"]:
            _take_found_half(node, told)
        elif told["half"] == "context":
            _take_context_half(node, told["keys"], told["names"])
        elif told["half"] == "body":
            _take_body_half(node, told["keys"], told["names"])
    found = _run(node, told["file"], names, cells, _FLAGS if isinstance(node, ast.FunctionDef) else told["flags"])
    _show_lines(told["file"], told["line"], told["text"])
    return found


def _of_compiled(told: Mapping[str, Any], names: dict[str, Any]) -> types.FunctionType:
    if tuple(told["python"]) != sys.version_info[:2]:
        made_by, here = (".".join(map(str, each)) for each in (told["python"], sys.version_info[:2]))
        raise RuntimeError(
            f"{told['qualname']} was compiled by Python {made_by}, and this worker runs {here}. Send it as source, "
            'as_globus_function(codec="source"), or have the worker run that version.'
        )
    code = marshal.loads(told["code"])
    return types.FunctionType(code, names, code.co_name, None, tuple(types.CellType() for _ in code.co_freevars))


def _tree(text: str, line: int) -> Any:
    """The definition, at the lines of its file."""
    if text[:1].isspace():
        node: Any = ast.parse("if 1:\n" + text).body[0].body[0]  # type: ignore[attr-defined]
        return ast.increment_lineno(node, line - 2)
    if text.startswith("lambda"):
        text = f"({text})"
    return ast.increment_lineno(ast.parse(text).body[0], line - 1)


def _as_function(node: Any) -> ast.FunctionDef:
    """A lambda as a function, which has a place for defaults and for variables around it."""
    made: Any = ast.parse("def lambda_(): pass").body[0]
    made.args = node.args
    made.body = [ast.copy_location(ast.Return(node.body), node.body)]
    function: ast.FunctionDef = ast.copy_location(made, node)
    return function


def _strip(node: ast.FunctionDef) -> None:
    """Take away what is evaluated where the function is defined. Defaults are set afterwards."""
    given = node.args
    given.defaults = [ast.copy_location(ast.Constant(None), node) for _ in given.defaults]
    given.kw_defaults = [each and ast.copy_location(ast.Constant(None), node) for each in given.kw_defaults]
    if hasattr(node, "type_params"):
        node.type_params = []


def _block_at(node: ast.FunctionDef) -> int:
    return 0 if isinstance(node.body[0], ast.With) else 1  # after the docstring


def _take_context_half(node: ast.FunctionDef, keys: list[str], names: list[str]) -> None:
    block: Any = node.body[_block_at(node)]
    _be_context(node, block.body, keys, names)


def _take_body_half(node: ast.FunctionDef, kept: list[str], names: list[str]) -> None:
    at = _block_at(node)
    block: Any = node.body[at]
    told = sorted({name for each in ast.walk(block) if isinstance(each, ast.Global) for name in each.names})
    first = f"global {', '.join(told)}" if told else ""
    _be_body(node, first, node.body[at + 1 :], block, kept, names)


def _take_found_half(node: ast.FunctionDef, told: Mapping[str, Any]) -> None:
    """Take the statements of a half, by where each of the function's goes."""
    places = told["places"]
    placed = list(zip(node.body[len(node.body) - len(places) :], places, strict=True))  # behind a docstring
    if told["half"] == "body":
        rest = [each for each, place in placed if place != "context"]
        rest = rest or [ast.copy_location(ast.Pass(), node)]
        _be_body(node, "", rest, rest[0], told["keys"], told["names"])
    elif told["half"] == "context":
        last = max(number for number, place in enumerate(places) if place == "context")
        moved = [_unless_it_fails(each) for each, place in placed[: last + 1] if place != "body"]
        _be_context(node, moved, [], told["names"])


def _unless_it_fails(node: ast.stmt) -> ast.stmt:
    """An import that fails in the context fails in the body, too, which says so."""
    if not isinstance(node, (ast.Import, ast.ImportFrom)):
        return node
    made: Any = _statements("try:\n    pass\nexcept Exception:\n    pass", node)[0]
    made.body = [node]
    tried: ast.stmt = made
    return tried


def _be_context(node: ast.FunctionDef, statements: list[ast.stmt], keys: list[str], names: list[str]) -> None:
    last = f"return {{name: value for name, value in locals().items() if name in {names!r}}}"
    node.body = [*statements, *_statements(last, statements[-1])]
    node.args = ast.arguments(
        posonlyargs=[],
        args=[],
        vararg=None,
        kwonlyargs=[_argument(name, node) for name in keys],
        kw_defaults=[None for _ in keys],
        kwarg=None,
        defaults=[],
    )


def _be_body(
    node: ast.FunctionDef, first: str, statements: list[ast.stmt], at: ast.stmt, kept: list[str], names: list[str]
) -> None:
    lines = [f"if {name!r} in {_CONTEXT}: {name} = {_CONTEXT}[{name!r}]" for name in names]
    node.body = [*_statements("\n".join([first, *lines, "pass"]), at), *statements]
    given = node.args
    own = _argument(_CONTEXT, node)
    positional = [*given.posonlyargs, *given.args]
    names_with = [each.arg for each in positional][len(positional) - len(given.defaults) :]
    defaults = dict(zip(names_with, given.defaults, strict=True))
    given.defaults = [value for name, value in defaults.items() if name in kept]
    given.posonlyargs = [each for each in given.posonlyargs if each.arg in kept]
    given.args = [each for each in given.args if each.arg in kept]
    (given.posonlyargs if given.posonlyargs else given.args).insert(0, own)
    named = [pair for pair in zip(given.kwonlyargs, given.kw_defaults, strict=True) if pair[0].arg in kept]
    given.kwonlyargs = [each for each, _ in named]
    given.kw_defaults = [value for _, value in named]
    given.vararg = given.vararg if given.vararg and given.vararg.arg in kept else None
    given.kwarg = given.kwarg if given.kwarg and given.kwarg.arg in kept else None


def _argument(name: str, at: ast.AST) -> ast.arg:
    return ast.copy_location(ast.arg(arg=name, annotation=None), at)


def _statements(text: str, at: ast.stmt) -> list[ast.stmt]:
    """Statements of a text, at the place of another."""
    made = ast.parse(text).body
    for each in (part for statement in made for part in ast.walk(statement)):
        if hasattr(each, "lineno"):
            ast.copy_location(each, at)
    return made


def _run(node: Any, file: str, names: dict[str, Any], cells: Mapping[str, Any], flags: int) -> Any:
    here: dict[str, Any] = {}
    if not cells:
        exec(compile(ast.Module([node], []), file, "exec", flags, dont_inherit=True), names, here)
        return here[node.name]
    outer: Any = ast.parse(f"def {_OUTER}({', '.join(cells)}):\n    return {node.name}").body[0]
    ast.increment_lineno(outer, node.lineno - 1)
    outer.body.insert(0, node)
    exec(compile(ast.Module([outer], []), file, "exec", flags, dont_inherit=True), names, here)
    return here[_OUTER](**cells)


def _show_lines(file: str, line: int, text: str) -> None:
    """Have tracebacks show the lines of a file that is not here."""
    if os.path.exists(file):
        return
    known = linecache.cache.get(file)
    lines = list(known[2]) if known and len(known) == 4 else []
    new = text.splitlines(keepends=True)
    lines += ["\n"] * (line - 1 + len(new) - len(lines))
    lines[line - 1 : line - 1 + len(new)] = new
    linecache.cache[file] = (sum(map(len, lines)), None, lines, file)


def own_builtins(find: Any) -> dict[str, Any]:
    """Built-in names for code that may import this package where it is not installed."""

    def import_(name: str, *given: Any, **named: Any) -> Any:
        level = named.get("level", given[3] if len(given) > 3 else 0)
        if not level and name.partition(".")[0] == "parsl_context" and (found := find()) is not None:
            return found
        return __import__(name, *given, **named)

    return {**vars(builtins), "__import__": import_}
