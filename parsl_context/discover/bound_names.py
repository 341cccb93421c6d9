"""Which names statements bind, and how often."""

from __future__ import annotations

import ast
import collections
from collections.abc import Iterator, Sequence

from parsl_context.discover import shapes

_SCOPES = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef
_COMPREHENSIONS = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


def times_bound(node: ast.stmt) -> dict[str, int]:
    """How often each name is bound by a statement in its own scope, or declared to be of another scope.

    For the function that is looked at, that is its own name aside: parameters and what its statements bind.
    """
    found: dict[str, int] = collections.defaultdict(int)
    for name in _bound_by(node):
        found[name] += 1
    return found


def times_bound_in(function: ast.FunctionDef) -> dict[str, int]:
    """How often each name is bound within a function, as a parameter or by its statements."""
    found: dict[str, int] = collections.defaultdict(int)
    given = function.args
    for each in (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg):
        if each is not None:
            found[each.arg] += 1
    for statement in function.body:
        for name in _bound_by(statement):
            found[name] += 1
    return found


def _bound_by(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name):
        if not isinstance(node.ctx, ast.Load):
            yield node.id
        return
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Import() | ast.ImportFrom():
            yield from imported(node)
        case ast.Global(names=names) | ast.Nonlocal(names=names):
            yield from (*names, *names)  # it is never the function's alone
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            yield name
        case ast.MatchMapping(rest=str(name)):
            yield name
    if isinstance(node, _SCOPES):
        yield from _bound_from_within(node)
    elif isinstance(node, _COMPREHENSIONS):
        for each in ast.walk(node):
            if isinstance(each, ast.NamedExpr):
                yield from _bound_by(each.target)
    else:
        for child in ast.iter_child_nodes(node):
            yield from _bound_by(child)


def _bound_from_within(node: ast.AST) -> Iterator[str]:
    """Names around a scope that it binds: those that it declares, and what its defaults and decorators bind."""
    for each in ast.walk(node):
        if isinstance(each, ast.Nonlocal | ast.Global):
            yield from (*each.names, *each.names)
        elif isinstance(each, ast.NamedExpr):
            yield from _bound_by(each.target)  # if that is within, it errs to the safe side


def times_bound_at_top(body: Sequence[ast.stmt]) -> dict[str, int]:
    """How often names are bound by plain assignments, imports and definitions among some statements."""
    found: dict[str, int] = collections.defaultdict(int)
    for node in body:
        names: Sequence[str] = ()
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [name for target in targets for name in variables(target) or ()]
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = imported(node)
        for name in names:
            found[name] += 1
    return found


def imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    """Names that an import binds."""
    return [alias.asname or alias.name.partition(".")[0] for alias in node.names]


def variables(target: ast.expr) -> list[str] | None:
    """The names of a target; None if it is none."""
    elements: Sequence[ast.expr] = target.elts if isinstance(target, ast.Tuple | ast.List) else [target]
    found = [each.id for each in elements if isinstance(each, ast.Name)]
    return found if len(found) == len(elements) else None


def changed_in(node: ast.stmt) -> set[str]:
    """Names of objects that statements within one store into, or call methods of for their effect."""
    found = set()
    for each in ast.walk(node):
        match each:
            case ast.Assign(targets=targets):
                found |= {shapes.root_name(target) for target in targets if shapes.is_store(target)}
            case ast.AugAssign(target=target) | ast.AnnAssign(target=target):
                found.add(shapes.root_name(target))
            case ast.Expr(value=ast.Call(func=ast.Attribute() as method)):
                found.add(shapes.root_name(method))
            case _:
                pass
    return found - {""}
