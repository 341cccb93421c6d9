"""Lines of a source that do not run where it is imported, and lines whose imports may fail."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

_IMPORT_ERRORS = {"ImportError", "ModuleNotFoundError"}
_CATCHING = {*_IMPORT_ERRORS, "Exception", "BaseException", ""}  # the last for a bare `except`


@dataclass
class Guards:
    """What is known of the lines of one source.

    Attributes
    ----------
    never : set of int
        Lines that only type checkers read, or that only run if the source is the script.
    optional : set of int
        Lines whose imports may fail.
    instead_of : dict
        For lines that run if an import fails: the modules that are imported there, those by relative names excepted.
    """

    never: set[int] = field(default_factory=set)
    optional: set[int] = field(default_factory=set)
    instead_of: dict[int, tuple[str, ...]] = field(default_factory=dict)


def guards_of(source: str | bytes) -> Guards:
    """Guards of a source; none if it is no Python."""
    found = Guards()
    try:
        nodes = ast.walk(ast.parse(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return found
    for node in nodes:
        match node:
            case ast.If(test=ast.UnaryOp(op=ast.Not(), operand=test)) if _is_never(test):
                found.never |= _lines(node.orelse)
            case ast.If(test=test) if _is_never(test):
                found.never |= _lines(node.body)
            case ast.Try() if any(_catches(handler.type, _CATCHING) for handler in node.handlers):
                found.optional |= _lines(node.body) | _lines(node.handlers)
                names = tuple(_imported(node.body))
                handlers = [handler for handler in node.handlers if _catches(handler.type, _IMPORT_ERRORS)]
                found.instead_of |= dict.fromkeys(_lines(handlers), names)
            case ast.With() if any(_suppresses(item.context_expr) for item in node.items):
                found.optional |= _lines(node.body)
            case _:
                pass
    return found


def _is_never(test: ast.expr) -> bool:
    match test:
        case ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"):
            return True
        case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]):
            sides = [_plain(left), _plain(right)]
            return "__name__" in sides and "'__main__'" in sides
    return False


def _plain(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else repr(node.value) if isinstance(node, ast.Constant) else ""


def _catches(kind: ast.expr | None, errors: set[str]) -> bool:
    kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return any(_last_name(each) in errors for each in kinds)


def _suppresses(expression: ast.expr) -> bool:
    match expression:
        case ast.Call(func=function, args=kinds):
            return _last_name(function) == "suppress" and any(_last_name(kind) in _CATCHING for kind in kinds)
    return False


def _imported(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for top in nodes:
        for node in ast.walk(top):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                yield str(node.module)


def _last_name(node: ast.expr | None) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _lines(nodes: Iterable[ast.AST]) -> set[int]:
    return set(_each_line(nodes))


def _each_line(nodes: Iterable[ast.AST]) -> Iterator[int]:
    for node in nodes:
        yield from range(getattr(node, "lineno", 1), (getattr(node, "end_lineno", None) or 0) + 1)
