"""Which expressions of a function do not depend on its call, and would give the same whenever they run.

The first half of the automatic split, see `parsl_context.discover.automatic`. An expression may move if it is built
from constants, imports, names that move and globals that cannot change unseen, by calls that compute from their
arguments alone: those are looked at in `parsl_context.discover.computing`, and what functions of the user's run in
`parsl_context.discover.inside`. The three ask one another.
"""

from __future__ import annotations

import ast
import datetime
import decimal
import fractions
import logging
import pathlib
import re
import types
from collections.abc import Iterable, Iterator
from typing import Any

from parsl_context.content.modules import is_library
from parsl_context.content.tables import is_table
from parsl_context.discover import computing, inside, shapes
from parsl_context.discover import known_names as known
from parsl_context.discover.classes import is_member
from parsl_context.discover.names import Names, Unknown, full_name_of, is_of_library

_NUMBERS = (int, float, complex, decimal.Decimal, fractions.Fraction)
_TIMES = (datetime.date, datetime.time, datetime.timedelta)
_FIXED = (*_NUMBERS, *_TIMES, str, bytes, type(None), range, re.Pattern, pathlib.PurePath)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_SIGNS = ast.expr_context | ast.operator | ast.boolop | ast.unaryop | ast.cmpop
_TABLES = (list, dict, set)


def why_not(node: ast.expr, names: Names, *, is_used_up: bool = False, is_data: bool = False) -> Unknown | None:
    """Why an expression may not move; None if it may.

    Parameters
    ----------
    is_used_up
        Whether what it gives is used up at once, so it may be an iterator.
    is_data
        Whether it is computed with, so it is no method.
    """
    kind = type(node)
    if kind is ast.Constant:
        return None
    if kind is ast.Call or kind in _COMPREHENSIONS:
        return names.recalled(node, lambda: _why_not(node, names, is_used_up, is_data), is_used_up=is_used_up)
    return _why_not(node, names, is_used_up, is_data)


def _why_not(node: ast.expr, names: Names, is_used_up: bool, is_data: bool) -> Unknown | None:
    match node:
        case ast.Name(id=name):
            return _why_not_name(node, name, names)
        case ast.Attribute(value=value, attr=attr):
            if names.is_in_users_module(node):
                return _why_not_value(node, ast.unparse(node), names.resolve(node), names)
            if is_member(node, names):
                return None
            full = names.full_name(node)
            if full is not None and known.is_outside(full) and not computing.may_be_passed(full, names):
                return Unknown(f"{full} is of the outside world", node)
            if not is_data and known.is_changing(attr) and not attr.endswith("_"):  # scikit-learn's results end so
                return Unknown(f".{attr} may be called later, and changes things", node)
            return Unknown(f".{attr} is private", node) if attr.startswith("__") else why_not(value, names)
        case ast.Call(args=args, keywords=keywords) if _is_super(node):
            return _first(why_not(each, names) for each in (*args, *(one.value for one in keywords)))
        case ast.Call():
            return computing.why_not_call(node, names, is_used_up=is_used_up)
        case ast.GeneratorExp() if not is_used_up and names.known is None:
            return Unknown("a generator can be used once", node)
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            return _why_not_comprehension(node, names)
        case ast.Lambda() if names.known is not None:
            return why_not_lambda(node, names)
        case ast.Lambda():
            return Unknown("a function of its own may be called at any time", node)
        case ast.Subscript(value=value, slice=index):
            unknown = None if is_table_read(value, names) else why_not(value, names, is_data=True)
            return unknown or _why_not_index(index, names)
        case ast.BinOp(left=left, op=ast.BitOr() | ast.LShift() | ast.RShift(), right=right):
            return why_not(left, names) or why_not(right, names)
        case ast.BinOp() | ast.UnaryOp() | ast.JoinedStr():
            return _first(why_not(each, names, is_data=True) for each in _parts(node))
        case ast.Compare(left=left, comparators=others):
            parts = [each for each in (left, *others) if not is_table_read(each, names)]
            return _first(why_not(each, names, is_data=True) for each in parts)
        case ast.NamedExpr() | ast.Await() | ast.Yield() | ast.YieldFrom():
            return Unknown("it does more than give a value", node)
        case _:
            return _first(why_not(each, names) for each in _parts(node))


def _why_not_index(index: ast.expr, names: Names) -> Unknown | None:
    """Why an index may not move; columns of a table may be chosen by a list that is a global, which is only read."""
    if isinstance(index, ast.Tuple):
        return _first(_why_not_index(each, names) for each in index.elts)
    is_table = not names.classes and is_table_read(index, names)
    return None if is_table else why_not(index, names, is_data=True)


def _why_not_name(node: ast.AST, name: str, names: Names) -> Unknown | None:
    if name in names.free:
        return Unknown(f"{name}() may do more than compute", node) if name in names.strange else None
    if name in names.imports:
        if is_of_library(names.imports[name]):
            return None
        value = names.value_of(name)
        if value is None:
            return Unknown(f"{name} is of a module of yours that is not loaded yet", node)
        return _why_not_value(node, name, value, names)
    if name in names.own:
        return Unknown(f"it depends on {name}", node)
    try:
        value = names.source.value_of(name)
    except NameError:
        return Unknown(f"{name} stands for nothing yet", node)
    return _why_not_value(node, name, value, names)


def is_table_read(node: ast.expr, names: Names) -> bool:
    """Whether it is a global that is a table; to be asked where it is only read.

    With each call it is seen whether it is still the same.
    """
    if names.tables is None or not isinstance(node, ast.Name) or node.id in names.free or node.id in names.own:
        return False
    value = names.source.function.__globals__.get(node.id)
    if names.known is not None and isinstance(value, _TABLES):
        return True
    if not isinstance(value, _TABLES) or not is_table(value):
        return False
    names.tables.add(node.id)
    return True


def _why_not_value(node: ast.AST, name: str, value: Any, names: Names) -> Unknown | None:
    """Why a name may not move that stands for a value outside of the function."""
    if isinstance(value, types.ModuleType):
        return None
    if name in names.source.function.__code__.co_freevars and full_name_of(value) is None:
        return Unknown(f"{name} is a variable of the function around it", node)
    if is_fixed(value):
        return None
    if names.known is not None and isinstance(value, logging.Logger):
        return None
    if isinstance(value, types.FunctionType) and not is_library(value.__module__):
        return inside.why_not_function(node, value, names)
    if (full := full_name_of(value)) is not None:
        if known.is_changing(full.rpartition(".")[2]):
            return Unknown(f"{name} may be called later, and changes things", node)
        return None
    if isinstance(value, type):
        return Unknown(f"{name} is a class of the user's, which may do anything", node)
    return Unknown(f"the global {name} may be changed", node)


def _is_super(node: ast.expr) -> bool:
    """Whether it calls the initialiser of a base, which is looked into itself."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Call(func=ast.Name(id="super"), args=[]), attr="__init__")):
            return True
    return False


def why_not_lambda(node: ast.Lambda, names: Names) -> Unknown | None:
    """Why a function of its own may not move, where it is called at once or leaves what it is given as it is."""
    given = node.args
    own = {each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)}
    if given.vararg or given.kwarg:
        return Unknown("its lambda takes any arguments", node)
    defaults = _first(why_not(each, names) for each in (*given.defaults, *filter(None, given.kw_defaults)))
    return defaults or why_not(node.body, _with(names, own, runs_later=True))


def _why_not_comprehension(node: ast.expr, names: Names) -> Unknown | None:
    assert isinstance(node, _COMPREHENSIONS)
    own: set[str] = set()
    for each in node.generators:
        if each.is_async:
            return Unknown("it is asynchronous", node)
        before = _with(names, own)
        if (
            not is_table_read(each.iter, before)
            and (unknown := why_not(each.iter, before, is_used_up=True)) is not None
        ):
            return unknown
        own |= shapes.read_in(each.target)
        if (unknown := _within(names, own, each.ifs)) is not None:
            return unknown
    elements = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
    return _within(names, own, elements)


def _within(names: Names, own: set[str], parts: Iterable[ast.expr]) -> Unknown | None:
    inner = _with(names, own)
    return _first(why_not(each, inner) for each in parts)


def _with(names: Names, own: set[str], *, runs_later: bool = False) -> Names:
    """The names within a part that has variables of its own."""
    later = names.runs_later or runs_later
    return names.within(free=names.free | own, own=names.own - own, runs_later=later)


# --- small things


def _first(found: Iterable[Unknown | None]) -> Unknown | None:
    return next((each for each in found if each is not None), None)


def _parts(node: ast.AST) -> Iterator[ast.expr]:
    for each in ast.iter_child_nodes(node):
        if isinstance(each, ast.expr):
            yield each
        elif not isinstance(each, _SIGNS):
            yield from _parts(each)


def is_fixed(value: object) -> bool:
    """Whether nobody can change a value."""
    return isinstance(value, _FIXED) or (type(value) is tuple and all(map(is_fixed, value)))
