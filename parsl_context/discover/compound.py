"""Whether loops, `with` blocks, decisions and compiled functions may move to the context, as a whole.

A part of the automatic split, see `parsl_context.discover.automatic`: what they are made of must be what moves, and
what they change must have moved before, or be theirs.
"""

from __future__ import annotations

import ast
from collections.abc import Container, Iterable

from parsl_context.discover import bound_names as bound
from parsl_context.discover import known_names as known
from parsl_context.discover import lively, shapes
from parsl_context.discover.inside import is_plain_error, why_not_entered, why_not_in_function
from parsl_context.discover.leading import is_table_read, why_not
from parsl_context.discover.names import Names, Unknown

COMPILERS = ("numba.", "jax.jit")
Compound = ast.For | ast.While | ast.With | ast.If | ast.Try | ast.FunctionDef
_COMPILERS_WITH_EFFECTS = ("numba.cuda", "numba.extending")


def why_not_compound(node: Compound, names: Names, moved: Container[str]) -> Unknown | None:
    """Why it may not move; None if it may.

    Parameters
    ----------
    moved
        Variables that move.
    """
    if isinstance(node, ast.FunctionDef):
        return _why_not_compiled(node, names)
    inside = names.within(free=set(names.free))
    return _why_not(node, inside, moved, set(bound.times_bound(node)))


def _why_not(node: ast.stmt, names: Names, moved: Container[str], own: set[str]) -> Unknown | None:
    match node:
        case ast.For(target=target, iter=values, body=body, orelse=other):
            if (variables := bound.variables(target)) is None:
                return Unknown("its loop stores into an object", node)
            if not is_table_read(values, names) and (unknown := why_not(values, names, is_used_up=True)) is not None:
                return unknown
            names.free.update(variables)
            return _first(body, names, moved, own) or _first(other, names, moved, own)
        case ast.With(items=[item], body=body):
            return why_not_entered(item, names) or _first(body, names, moved, own)
        case ast.Try(body=body, handlers=handlers, orelse=other, finalbody=[]):
            caught = [part for each in handlers for part in each.body]
            if not all(_is_plain_handler(each, names) for each in handlers):
                return Unknown("what it catches is not known", node)
            return _first((*body, *other, *caught), names, moved, own)
        case ast.If(test=test, body=body, orelse=other) | ast.While(test=test, body=body, orelse=other):
            unknown = why_not(test, names) or _first(body, names, moved, own)
            return unknown or _first(other, names, moved, own)
        case ast.Assign(targets=[target], value=value) | ast.AnnAssign(target=target, value=ast.expr() as value):
            if (variables := bound.variables(target)) is None:
                return _why_not_change(target, [target, value], names, moved, own)
            is_unpacked = not isinstance(target, ast.Name)
            if not is_unpacked and (kind := lively.kind_of(value, names)) is not None:
                names.live[variables[0]] = kind
                names.files.update(variables)
                names.free.update(variables)
                return None
            if isinstance(value, ast.Call) and value.args and shapes.root_name(value.args[0]) in names.files:
                names.files.update(variables)  # as csv.reader(file)
            if (unknown := why_not(value, names, is_used_up=is_unpacked)) is not None:
                return unknown
            names.free.update(variables)
            lively.note(variables, value, names)
            return None
        case ast.Assign(targets=targets, value=value) if all(map(shapes.is_store, targets)):
            found = (_why_not_change(each, [each, value], names, moved, own) for each in targets)
            return next((each for each in found if each is not None), None)
        case ast.AugAssign(target=ast.Name(id=name), value=value):
            if name not in names.free:
                return Unknown(f"it depends on {name}", node)
            return why_not(value, names)
        case ast.AugAssign(target=target, value=value):
            return _why_not_change(target, [target, value], names, moved, own)
        case ast.Expr(value=ast.Call(func=ast.Name(id="next"), args=[ast.Name(id=name), *_]) as call) if (
            name in names.files
        ):
            return why_not(call, names)
        case ast.Expr(value=ast.Call(func=function, args=[changed, *_]) as call) if (
            names.full_name(function) in known.CHANGING_FIRST
        ):
            return _why_not_change(changed, [call], names, moved, own)
        case ast.Expr(value=ast.Call(func=ast.Attribute() as method) as call):
            return _why_not_change(method, [call], names, moved, own)
        case ast.Raise(exc=ast.expr() as error) if is_plain_error(error, names):
            return None
        case ast.Pass() | ast.Continue() | ast.Break():
            return None
    return Unknown("it does more than make what moves", node)


def _is_plain_handler(handler: ast.ExceptHandler, names: Names) -> bool:
    """Whether it catches errors of Python or of a library, and has no name for them."""
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type] if handler.type else []
    return handler.name is None and bool(kinds) and all(names.full_name(each) is not None for each in kinds)


def _first(body: Iterable[ast.stmt], names: Names, moved: Container[str], own: set[str]) -> Unknown | None:
    return next((each for each in (_why_not(node, names, moved, own) for node in body) if each is not None), None)


def _why_not_change(
    target: ast.expr, parts: Iterable[ast.expr], names: Names, moved: Container[str], own: set[str]
) -> Unknown | None:
    root = shapes.root_name(target)
    if root not in moved and root not in own:
        return Unknown("it changes what stays", target)
    return next((each for each in (why_not(part, names) for part in parts) if each is not None), None)


def _why_not_compiled(node: ast.FunctionDef, names: Names) -> Unknown | None:
    """A function is worth to be moved if it is compiled; if not, it is made with each call, as ever."""
    for each in node.decorator_list:
        full = names.full_name(each.func if isinstance(each, ast.Call) else each) or ""
        if not full.startswith(COMPILERS) or full.startswith(_COMPILERS_WITH_EFFECTS):
            return Unknown("it is a function", node)
        parts = [*each.args, *(one.value for one in each.keywords)] if isinstance(each, ast.Call) else []
        if (unknown := next(filter(None, (why_not(part, names) for part in parts)), None)) is not None:
            return unknown
    if not node.decorator_list:
        return Unknown("it is a function", node)
    return why_not_in_function(node, names)
