"""What functions of the user's run when they are called: each of their statements must only compute.

A part of `parsl_context.discover.leading`, which looks at the expressions in them. For functions of modules, and for
those that are defined within the one that is split.
"""

from __future__ import annotations

import ast
import types
from collections.abc import Iterable, Sequence

from parsl_context.discover import bound_names, computing, leading, lively, shapes
from parsl_context.discover import known_names as known
from parsl_context.discover.names import Names, Unknown, names_of
from parsl_context.discover.sources import source_of
from parsl_context.errors import SplitError

_DEEPEST = 3  # functions of the user's that call one another
_DOING_MORE = ast.Nonlocal | ast.Global | ast.Yield | ast.YieldFrom | ast.Await | ast.FunctionDef
_PLACES = ast.Attribute | ast.Subscript
_SEQUENCES = ast.Tuple | ast.List


def why_not_function(node: ast.AST, function: types.FunctionType, names: Names) -> Unknown | None:
    """Why calling a function of the user's may do more than give a value, or not the same each time."""
    what = f"{function.__name__}()"
    if names.depth >= _DEEPEST:
        return Unknown(f"{what} is too deep to be looked into", node)
    try:
        source = source_of(function)
    except SplitError:
        return Unknown(f"the source of {what} cannot be read", node)
    given = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    if not all(leading.is_fixed(each) for each in given):
        return Unknown(f"{what} has a default that may change from call to call", node)
    inside = names_of(source, names.depth + 1)
    inside.tables = names.tables if function.__globals__ is names.source.function.__globals__ else None
    inside.drawn, inside.classes, inside.drops = names.drawn, names.classes, names.drops
    inside.known, inside.seeds = None if names.known is None else set(), names.seeds
    inside.free |= inside.own  # arguments are what moves, and variables are made here
    unknown = _why_not_in_body(source.node.body, inside)
    return None if unknown is None else Unknown(f"in {what}, line {_line(unknown)}: {unknown.reason}", node)


def _why_not_in_body(body: Sequence[ast.stmt], names: Names) -> Unknown | None:
    """As for each statement. A network that is given all its weights here does not begin with drawn ones."""
    drawn: dict[str, list[str]] = {}
    for each in body:
        before = len(names.drawn)
        if (unknown := why_not_inside(each, names)) is not None:
            return unknown
        match each:
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                drawn[name] = names.drawn[before:]
            case ast.Expr(value=call) if shapes.loads_weights(each):
                for one in drawn.pop(shapes.root_name(call), ()):
                    names.drawn.remove(one)
            case _:
                pass
    return None


def why_not_in_function(node: ast.FunctionDef, names: Names) -> Unknown | None:
    """Why a function that is defined within another may do more than compute from its arguments, when it is called."""
    given = node.args
    if (
        given.vararg
        or given.kwarg
        or not all(isinstance(each, ast.Constant) for each in (*given.defaults, *filter(None, given.kw_defaults)))
    ):
        return Unknown("it is a function with defaults, or of any arguments", node)
    own = set(bound_names.times_bound_in(node))
    captured = shapes.read_in(node) - own
    for each in (part for statement in node.body for part in shapes.walk(statement)):
        if isinstance(each, _DOING_MORE):
            return Unknown("it is a function that does more than compute", each)
        if isinstance(each, ast.Return) and each.value is not None and shapes.root_name(each.value) in captured:
            return Unknown("it is a function that gives what is not its own", each)
    if changed := bound_names.changed_in(node) - own:
        return Unknown(f"it is a function that changes {min(changed)}", node)
    inside = names.within(free=names.free | own, own=names.own | own, runs_later=True)
    return _first(why_not_inside(each, inside) for each in node.body)


def why_not_called(node: ast.FunctionDef, names: Names) -> Unknown | None:
    """Why calling a function that is defined within another may do more than give a value.

    It may change what it is given and what it captures, if that moves: it is called where these move, or seen to do so.
    """
    given = node.args
    defaults = [*given.defaults, *filter(None, given.kw_defaults)]
    if given.vararg or given.kwarg or not all(isinstance(each, ast.Constant) for each in defaults):
        return Unknown("it is a function with defaults, or of any arguments", node)
    for each in (part for statement in node.body for part in shapes.walk(statement)):
        if isinstance(each, _DOING_MORE):
            return Unknown("it is a function that does more than compute", each)
        if isinstance(each, ast.Lambda):
            return Unknown("it is a function that makes functions", each)
    own = set(bound_names.times_bound_in(node))
    inside = names.within(free=names.free | own, own=names.own | own, live={}, files=set())
    return _why_not_in_body(node.body, inside)


def why_not_inside(node: ast.stmt, names: Names) -> Unknown | None:
    """Why a statement of a function that is called may do more than compute."""
    match node:
        case ast.Import() | ast.ImportFrom():
            names.add_import(node)
            return None
        case ast.Pass() | ast.Break() | ast.Continue():
            return None
        case ast.Assign(targets=[ast.Name(id=name)], value=value) if (kind := _live_kind(value, names)) is not None:
            names.live[name] = kind
            names.files.add(name)
            return None
        case ast.Assign(value=value) | ast.Return(value=ast.expr() as value) if _leaks(value, names):
            return Unknown("it gives on what is used up or changed by reading it", node)
        case ast.Assign(targets=targets, value=value) if all(map(_is_variable, targets)):
            is_unpacked = all(isinstance(each, _SEQUENCES) for each in targets)
            if isinstance(value, ast.Call) and value.args and shapes.root_name(value.args[0]) in names.files:
                names.files.update(each.id for each in targets if isinstance(each, ast.Name))
            return leading.why_not(value, names, is_used_up=is_unpacked)
        case ast.Assign(targets=targets, value=value) if all(_is_own(each, names) for each in targets):
            return leading.why_not(value, names) or _first(
                leading.why_not(each, names, is_data=True) for each in targets
            )
        case ast.AugAssign(target=target, value=value) if _is_own(target, names):
            return leading.why_not(target, names, is_data=True) or leading.why_not(value, names)
        case ast.AnnAssign(target=ast.Name(), value=ast.expr() as value) | ast.Return(value=ast.expr() as value):
            return leading.why_not(value, names)
        case ast.AnnAssign(value=None) | ast.Return(value=None):
            return None
        case ast.Expr(value=value):
            return leading.why_not(value, names)
        case ast.If(test=test, body=body, orelse=other) | ast.While(test=test, body=body, orelse=other):
            return leading.why_not(test, names) or _first(why_not_inside(each, names) for each in (*body, *other))
        case ast.For(target=target, iter=values, body=body, orelse=other) if _is_variable(target):
            unknown = None if leading.is_table_read(values, names) else leading.why_not(values, names, is_used_up=True)
            return unknown or _first(why_not_inside(each, names) for each in (*body, *other))
        case ast.With(items=[item], body=body):
            return why_not_entered(item, names) or _first(why_not_inside(each, names) for each in body)
        case ast.Raise(exc=ast.expr() as error) if is_plain_error(error, names):
            return None
        case ast.Assert(test=test):
            return leading.why_not(test, names)
    return Unknown("it does more than compute", node)


def why_not_entered(item: ast.withitem, names: Names) -> Unknown | None:
    """Why a block may not be entered; a file that is read may, and what only says how things are computed within."""
    call = item.context_expr
    if not isinstance(call, ast.Call):
        return Unknown("it is entered by `with`", call)
    if (unknown := computing.why_not_opened(call, names)) is not None:
        return unknown
    match item.optional_vars:
        case None:
            return None
        case ast.Name(id=name):
            names.free.add(name)
            names.files.add(name)
            names.live[name] = "is a file, which is closed by then"
            return None
    return Unknown("it stores into an object", call)


def is_plain_error(error: ast.expr, names: Names) -> bool:
    """Whether what is raised is one of Python's exceptions, made of what is known."""
    kind = error.func if isinstance(error, ast.Call) else error
    if not isinstance(kind, ast.Name) or not known.EXCEPTIONS.match(kind.id):
        return False
    if names.full_name(kind) != f"builtins.{kind.id}":
        return False
    given = error.args if isinstance(error, ast.Call) else []
    return all(leading.why_not(each, names) is None for each in given)


# --- small things


def _live_kind(value: ast.expr, names: Names) -> str | None:
    return lively.kind_of(value, names) if names.known is None and not names.runs_later else None


def _leaks(value: ast.expr, names: Names) -> bool:
    return bool(names.live) and lively.leaks(value, names)


def _first(found: Iterable[Unknown | None]) -> Unknown | None:
    return next((each for each in found if each is not None), None)


def _is_variable(node: ast.expr) -> bool:
    """Whether a target is a name, or names that are unpacked to."""
    elements: Sequence[ast.expr] = node.elts if isinstance(node, _SEQUENCES) else [node]
    return all(isinstance(each, ast.Name) for each in elements)


def _is_own(target: ast.expr, names: Names) -> bool:
    """Whether what is changed is the function's own, or what it was given: that has moved, or cannot change."""
    if isinstance(target, _SEQUENCES):
        return all(_is_own(each, names) for each in target.elts)
    while isinstance(target, _PLACES):
        target = target.value
    return isinstance(target, ast.Name) and target.id in names.own


def _line(unknown: Unknown) -> int:
    return int(getattr(unknown.node, "lineno", 0))
