"""What importing a module makes, as its source says: to tell what the user's process has bound since.

Modules travel as files, and a worker imports them. What the script has changed in a module after it was imported, as
``settings.DEBUG = True``, is not in its file. A name counts as bound anew if

- its source binds it once, to a number, a text, None or a tuple of such, and it stands for something else now, or
- its source does not bind it at all, or
- it stood for another object when the module was looked at first.
"""

from __future__ import annotations

import ast
import collections
import importlib.util
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_ATOMS = (type(None), bool, int, float, complex, str, bytes)
_CLOSED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)  # scopes of their own


@dataclass(frozen=True)
class Static:
    """What is known of one module, as it was loaded.

    Attributes
    ----------
    spec : object
        That it was loaded with; another one means that it was loaded anew.
    literals : dict
        Values of names that are bound to literals.
    bound : frozenset
        Names that the source binds.
    is_open : bool
        Whether it may bind others: that cannot be told.
    first : dict
        What each name stood for when it was looked at first.
    """

    spec: Any
    literals: dict[str, Any] = field(default_factory=dict)
    bound: frozenset[str] = frozenset()
    is_open: bool = True
    first: dict[str, Any] = field(default_factory=dict)

    def is_bound_anew(self, name: str, value: object) -> bool:
        """Whether a name of the module stands for what importing it does not make."""
        if name in self.literals:
            return not _same(value, self.literals[name])
        if name not in self.bound and (not self.is_open or name not in self.first):
            return True
        return self.first.get(name, value) is not value


_known: dict[str, Static] = {}


def static_of(name: str) -> Static | None:
    """What importing a module makes; None if it is not loaded."""
    module = sys.modules.get(name)
    if not isinstance(module, types.ModuleType):
        return None
    found = _known.get(name)
    if found is None or found.spec is not module.__spec__:
        found = _known[name] = _read(module)
    return found


def bound_anew(name: str) -> dict[str, Any]:
    """Names of a module that stand for what importing it does not make, and what they stand for."""
    static = static_of(name)
    if static is None:
        return {}
    names = [(each, value) for each, value in list(vars(sys.modules[name]).items()) if _counts(each, value)]
    return {each: value for each, value in names if static.is_bound_anew(each, value)}


def is_of_file(module: str, place: str) -> bool:
    """Whether importing a module makes what stands at a place in it now."""
    static = static_of(module)
    name = place.partition(".")[0]
    return static is None or not static.is_bound_anew(name, vars(sys.modules[module]).get(name))


def _counts(name: str, value: object) -> bool:
    """Whether a name is the user's. Python binds names with underscores, and modules in their package."""
    return name.isidentifier() and not (name.startswith("__") and name.endswith("__")) and not _is_part(name, value)


def _is_part(name: str, value: object) -> bool:
    return isinstance(value, types.ModuleType) and value.__name__.rpartition(".")[2] == name


def _read(module: types.ModuleType) -> Static:
    first = {name: value for name, value in vars(module).items() if _counts(name, value)}
    try:
        source = importlib.util.decode_source(_source_of(module))
        body = ast.parse(source).body
    except (OSError, SyntaxError, ValueError, TypeError):
        return Static(module.__spec__, first=first)
    bound = collections.Counter(_bindings(body))
    literals = {name: value for name, value in _literals(body) if bound[name] == 1}
    bound.update(_of_functions(body))
    first = {name: value for name, value in first.items() if name not in literals}
    return Static(module.__spec__, literals, frozenset(bound), is_open="*" in bound, first=first)


def _source_of(module: types.ModuleType) -> bytes:
    with open(str(module.__file__), "rb") as file:
        return file.read()


def _literals(body: list[ast.stmt]) -> Iterator[tuple[str, Any]]:
    for statement in body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=expression):
                pass
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as expression):
                pass
            case _:
                continue
        try:
            value = ast.literal_eval(expression)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            continue
        if _is_plain(value):
            yield name, value


def _bindings(nodes: list[ast.stmt]) -> Iterator[str]:
    """Each binding of a name at the top of a module; a star stands for any name."""
    waiting: list[tuple[ast.AST, bool]] = [(node, True) for node in nodes]
    while waiting:
        node, is_top = waiting.pop()
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()) if is_top:
                yield name
            case ast.Call(func=ast.Name(id="globals" | "exec")):
                yield "*"
            case ast.alias(name=name, asname=asname) if is_top:
                yield asname or name.partition(".")[0]
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                if is_top:
                    yield name
            case ast.MatchMapping(rest=str(name)) if is_top:
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name) if is_top:
                yield name
            case _:
                pass
        inside = is_top and not isinstance(node, _CLOSED)
        waiting += [(child, inside) for child in ast.iter_child_nodes(node)]


def _of_functions(nodes: list[ast.stmt]) -> Iterator[str]:
    """Names of the module that functions bind."""
    for node in nodes:
        for each in ast.walk(node):
            if isinstance(each, ast.Global):
                yield from each.names


def _is_plain(value: object) -> bool:
    return isinstance(value, _ATOMS) or (type(value) is tuple and all(map(_is_plain, value)))


def _same(value: object, literal: object) -> bool:
    return value is literal or (type(value) is type(literal) and _is_plain(value) and repr(value) == repr(literal))
