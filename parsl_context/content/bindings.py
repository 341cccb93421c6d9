"""Names that importing a module binds, as its source says. Nothing is run."""

from __future__ import annotations

import ast
import collections
from collections.abc import Iterator
from typing import Any

ANY = "*"  # stands for any name
_ATOMS = (type(None), bool, int, float, complex, str, bytes)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_CLOSED = (*_FUNCTIONS, ast.ClassDef, ast.Lambda)  # scopes of their own


def names_bound(body: list[ast.stmt]) -> collections.Counter[str]:
    """How often each name is bound at the top of a module; those that functions bind are among them."""
    found = collections.Counter(_bindings(body))
    found.update(dict.fromkeys(_of_functions(body), 0))
    return found


def literals_of(body: list[ast.stmt]) -> dict[str, Any]:
    """Values of names that are bound once at the top, to a number, a text, None or a tuple of such."""
    bound = names_bound(body)
    found: dict[str, Any] = {}
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
        if bound[name] == 1 and is_plain(value):
            found[name] = value
    return found


def names_made_by_code(body: list[ast.stmt]) -> set[str]:
    """Names that code which importing runs may bind otherwise than by statements at the top: their value is its own.

    Only those that it says: a name that is put together as the code runs is not among them.
    """
    return {name for node in _run_by_importing(body) for name in _bound_by_code(node)}


def is_plain(value: object) -> bool:
    """Whether it is a number, a text, None or a tuple of such."""
    return isinstance(value, _ATOMS) or (type(value) is tuple and all(map(is_plain, value)))


def _bindings(nodes: list[ast.stmt]) -> Iterator[str]:
    """Each binding of a name at the top of a module; a star stands for any name."""
    waiting: list[tuple[ast.AST, bool]] = [(node, True) for node in nodes]
    while waiting:
        node, is_top = waiting.pop()
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()) if is_top:
                yield name
            case ast.Call(func=ast.Name(id="globals" | "exec")):
                yield ANY
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


def _run_by_importing(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """What importing a module may run: all but functions that none of this names, nor their class, nor decorates."""
    named: set[str] = set()
    unnamed: dict[str, list[ast.AST]] = collections.defaultdict(list)  # bodies of functions
    waiting: list[tuple[ast.AST, tuple[str, ...]]] = [(node, ()) for node in body]  # with the classes it lies in
    while waiting:
        node, owners = waiting.pop()
        yield node
        inside = list(ast.iter_child_nodes(node))
        match node:
            case ast.If(test=ast.Compare(left=ast.Name(id="__name__"), ops=[ast.Eq()])):
                inside = [*node.orelse]  # the rest is what the script does
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names = {name, *owners}
                if not node.decorator_list and named.isdisjoint(names):
                    inside = [each for each in inside if each not in node.body]
                    for each in names:
                        unnamed[each] += node.body
            case ast.ClassDef(name=name):
                owners = (*owners, name)
                if node.decorator_list:
                    named.add(name)
            case ast.Name(id=name, ctx=ast.Load()):
                named.add(name)
                inside = unnamed.pop(name, [])
            case _:
                pass
        waiting += [(child, owners) for child in inside]


def _bound_by_code(node: ast.AST) -> Iterator[str]:
    """Names of the module that a part of code binds, though not by a statement at the top."""
    match node:
        case ast.Global(names=names):
            yield from names
        case ast.Subscript(value=names, slice=ast.Constant(value=str(name)), ctx=ast.Store()) if _is_globals(names):
            yield name
        case ast.Call(func=ast.Attribute(value=names, attr="update"), keywords=given) if _is_globals(names):
            yield from (each.arg for each in given if each.arg is not None)
        case ast.Attribute(value=module, attr=name, ctx=ast.Store()) if _is_module(module):
            yield name
        case ast.Call(func=ast.Name(id="setattr"), args=[module, ast.Constant(value=str(name)), _]):
            if _is_module(module):
                yield name
        case _:
            pass


def _is_globals(node: ast.expr) -> bool:
    match node:
        case ast.Call(func=ast.Name(id="globals"), args=[]):
            return True
        case ast.Call(func=ast.Name(id="vars"), args=[module]):
            return _is_module(module)
        case _:
            return False


def _is_module(node: ast.expr) -> bool:
    """Whether it is the module itself: `sys.modules[__name__]`."""
    match node:
        case ast.Subscript(slice=ast.Name(id="__name__")):
            return True
        case _:
            return False
