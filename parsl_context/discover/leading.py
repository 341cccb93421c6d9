"""Which leading statements of a function do not depend on its call, and would give the same whenever they run.

The first half of the automatic split, see `parsl_context.discover.automatic`. An expression may move if it is built
from constants, imports, names that move and globals that cannot change unseen, by calls that compute from their
arguments alone, as far as their names tell (`parsl_context.discover.known_names`).
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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from parsl_context.content.modules import is_library
from parsl_context.content.tables import is_table
from parsl_context.discover import bound_names, shapes
from parsl_context.discover import known_effects as effects
from parsl_context.discover import known_names as known
from parsl_context.discover.classes import (
    initialisers_of,
    is_member,
    maker_of,
    methods_for,
    unnamed_methods_of,
    user_class,
    why_not_shared,
)
from parsl_context.discover.names import Names, Unknown, full_name_of, is_of_library, names_of
from parsl_context.discover.sources import source_of
from parsl_context.errors import SplitError

_NUMBERS = (int, float, complex, decimal.Decimal, fractions.Fraction)
_TIMES = (datetime.date, datetime.time, datetime.timedelta)
_FIXED = (*_NUMBERS, *_TIMES, str, bytes, type(None), range, re.Pattern, pathlib.PurePath)
_DEEPEST = 3  # functions of the user's that call one another
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def why_not(node: ast.expr, names: Names, *, is_used_up: bool = False, is_data: bool = False) -> Unknown | None:
    """Why an expression may not move; None if it may.

    Parameters
    ----------
    is_used_up
        Whether what it gives is used up at once, so it may be an iterator.
    is_data
        Whether it is computed with, so it is no method.
    """
    match node:
        case ast.Constant():
            return None
        case ast.Name(id=name):
            return _why_not_name(node, name, names)
        case ast.Attribute(value=value, attr=attr):
            if names.is_in_users_module(node):
                return _why_not_value(node, ast.unparse(node), names.resolve(node), names)
            if is_member(node, names):
                return None
            full = names.full_name(node)
            if full is not None and known.is_outside(full) and not _may_be_passed(full, names):
                return Unknown(f"{full} is of the outside world", node)
            if not is_data and known.is_changing(attr) and not attr.endswith("_"):  # scikit-learn's results end so
                return Unknown(f".{attr} may be called later, and changes things", node)
            return Unknown(f".{attr} is private", node) if attr.startswith("__") else why_not(value, names)
        case ast.Call(args=args, keywords=keywords) if _is_super(node):
            return _first(why_not(each, names) for each in (*args, *(one.value for one in keywords)))
        case ast.Call():
            return _why_not_call(node, names, is_used_up=is_used_up)
        case ast.GeneratorExp() if not is_used_up and names.known is None:
            return Unknown("a generator can be used once", node)
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            return _why_not_comprehension(node, names)
        case ast.Lambda() if names.known is not None:
            return _why_not_lambda(node, names)
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
    if names.tables is None or not isinstance(node, ast.Name) or node.id in names.free | names.own:
        return False
    value = names.source.function.__globals__.get(node.id)
    if names.known is not None and isinstance(value, list | dict | set):
        return True
    if not isinstance(value, list | dict | set) or not is_table(value):
        return False
    names.tables.add(node.id)
    return True


def _why_not_value(node: ast.AST, name: str, value: Any, names: Names) -> Unknown | None:
    """Why a name may not move that stands for a value outside of the function."""
    if isinstance(value, types.ModuleType):
        return None
    if name in names.source.function.__code__.co_freevars and full_name_of(value) is None:
        return Unknown(f"{name} is a variable of the function around it", node)
    if isinstance(value, _FIXED) or _is_fixed_tuple(value):
        return None
    if names.known is not None and isinstance(value, logging.Logger):
        return None
    if isinstance(value, types.FunctionType) and not is_library(value.__module__):
        return why_not_function(node, value, names)
    if (full := full_name_of(value)) is not None:
        if known.is_changing(full.rpartition(".")[2]):
            return Unknown(f"{name} may be called later, and changes things", node)
        return None
    if isinstance(value, type):
        return Unknown(f"{name} is a class of the user's, which may do anything", node)
    return Unknown(f"the global {name} may be changed", node)


def _why_not_call(node: ast.Call, names: Names, *, is_used_up: bool) -> Unknown | None:
    function = node.func
    full = names.full_name(function)
    uses_up, kind = False, None
    if (users := names.user_function(function)) is not None:
        if (unknown := why_not_function(node, users, names)) is not None:
            return unknown
    elif (kind := user_class(function, names)) is not None:
        if (unknown := _why_not_class(node, kind, names)) is not None:
            return unknown
    elif (maker := maker_of(function, names)) is not None:
        kind, made_by = maker
        if (unknown := _why_not_class(node, kind, names) or why_not_function(node, made_by, names)) is not None:
            return unknown
    elif _is_opened_here(node, full, names, is_used_up=is_used_up):
        return why_not_opened(node, names)
    elif _is_walked_here(node, full, names, is_used_up=is_used_up):
        uses_up = True
    elif full == "builtins.next" and node.args and shapes.root_name(node.args[0]) in names.files:
        pass
    elif isinstance(function, ast.Name) and full is not None and full.startswith("builtins."):
        name = function.id
        is_passed = names.known is not None and name in effects.PASSED_BUILTINS
        if name not in known.PLAIN_BUILTINS and not (name in known.ITERATORS and is_used_up) and not is_passed:
            return Unknown(f"{name}() does more than compute, or gives what can be used once", node)
        uses_up = name in known.CONSUMERS or name in known.ITERATORS
    elif full is not None:
        if (unknown := _why_not_library(node, full, names, is_used_up=is_used_up)) is not None:
            return unknown
    elif _is_read_to_its_end(function, names):
        assert isinstance(function, ast.Attribute)
        assert isinstance(function.value, ast.Call)
        if (unknown := why_not_opened(function.value, names)) is not None:
            return unknown
    elif _drops_in_training(function, names):
        names.drops.append(ast.unparse(function))
    elif isinstance(function, ast.Attribute) and not names.is_in_users_module(function):
        if (unknown := _why_not_method(node, function, names, is_used_up=is_used_up)) is not None:
            return unknown
        uses_up = function.attr in known.USING_UP_METHODS
    elif names.known is not None and shapes.root_name(function) in names.own - names.known:
        return Unknown("it may be anybody's code", node)
    elif (unknown := why_not(function, names)) is not None:
        return unknown
    elif names.drops and isinstance(function, ast.Name | ast.Subscript):
        return Unknown("it may drop values at random", node)
    if full is not None and names.runs_later and known.is_changing(full.rpartition(".")[2]):
        return Unknown(f"{full}() may be called later, and changes things", node)
    for given in (*node.args, *(each.value for each in node.keywords)):
        if isinstance(given, ast.Lambda):
            unknown = _why_not_lambda(given, names)
        else:
            inner = given.value if isinstance(given, ast.Starred) else given
            is_left = users is None and kind is None and _leaves_tables(full, node)
            if is_left and not (full is None and names.classes) and is_table_read(inner, names):
                continue
            uses_up |= full in known.READING_FILES or (is_used_up and full in known.READERS)
            uses_up |= full in ("numpy.asarray", "numpy.array") and _is_image(inner, names)
            is_data = full is not None and known.computes(full)
            unknown = why_not(inner, names, is_used_up=uses_up or isinstance(given, ast.Starred), is_data=is_data)
        if unknown is not None:
            return unknown
    return None


def _why_not_library(node: ast.Call, full: str, names: Names, *, is_used_up: bool) -> Unknown | None:
    """Why a call of a library's function or class, by its full name, may not move."""
    if names.known is not None and _may_be_passed(full, names):
        return None
    is_read_here = is_used_up or (bool(node.args) and shapes.root_name(node.args[0]) in names.files)
    is_told = any(each.arg in known.STATES and shapes.root_name(each.value) in names.live for each in node.keywords)
    is_told |= full == "pandas.Timestamp" and bool(node.args)
    if known.is_outside(full) and not (is_read_here and full in known.READERS) and not is_told:
        return Unknown(f"{full}() looks at the outside world, or gives another value each time", node)
    if any(isinstance(each, ast.Constant) and each.value in ("now", "today") for each in node.args):
        return Unknown(f"{full}() looks at the clock", node)
    if full.endswith("defaultdict"):
        return Unknown("a defaultdict makes entries when it is asked for them", node, is_harmless=True)
    if known.draws_weights(full):
        names.drawn.append(full)
    if full in known.LIVE_MAKERS:
        return Unknown(f"what {full}() makes changes when it is used", node, is_harmless=True)
    if known.draws_random_numbers(full.rpartition(".")[2], frozenset(each.arg or "" for each in node.keywords)):
        return Unknown(f"{full} draws random numbers unless random_state= is given", node)
    if any(known.tells(each.arg or "", getattr(each.value, "value", True)) for each in node.keywords):
        return Unknown(f"{full} tells about what it does", node)
    return None


def _why_not_method(node: ast.Call, function: ast.Attribute, names: Names, *, is_used_up: bool) -> Unknown | None:
    """Why a call of a method may not move."""
    if names.known is not None:
        return _why_not_passed_method(node, function, names)
    if names.runs_later and known.is_changing(function.attr):
        return Unknown(f".{function.attr}() may be called later, and changes things", node)
    is_read_at_once = is_used_up and function.attr in known.READING_METHODS
    is_outside = known.is_outside_name(function.attr) and not is_read_at_once and not _is_of_live(function, names)
    if is_outside or function.attr.startswith("__"):
        return Unknown(f".{function.attr}() may look at the outside world, or give another value each time", node)
    if isinstance(function.value, ast.Call) and _is_of_live(function, names):
        return None
    methods = {each for kind in names.classes for each in methods_for(kind, function.attr)}
    if methods and names.drops:
        return Unknown("it may drop values at random", node)
    for method in methods:
        if (unknown := why_not_function(node, method, names)) is not None:
            return unknown
    is_read = function.attr in known.READING_TABLES and is_table_read(function.value, names)
    return None if is_read else why_not(function.value, names)


def _may_be_passed(full: str, names: Names) -> bool:
    """Whether a call that stays may be stepped over: it leaves the outside world as it is."""
    if names.known is None:
        return False
    if effects.seeds(full):
        names.seeds.append(full)
    is_maker = full in known.LIVE_MAKERS or full.endswith("defaultdict")
    return effects.only_looks(full) or is_maker or not known.is_outside(full)


def _why_not_passed_method(node: ast.Call, function: ast.Attribute, names: Names) -> Unknown | None:
    """Why a call of a method that stays may not be stepped over."""
    root, attr = shapes.root(function), function.attr
    assert names.known is not None
    for method in {each for kind in names.classes for each in methods_for(kind, attr)}:
        if (unknown := why_not_function(node, method, names)) is not None:
            return unknown
    if attr == "execute":
        is_known = effects.only_asks(getattr(node.args[0], "value", None) if node.args else None)
    elif not isinstance(root, ast.Name) or root.id in names.known or names.full_name(root) is not None:
        is_known = effects.is_plain_method(attr) or not known.is_outside_name(attr)
    else:
        is_known = effects.is_plain_method(attr) and (root.id in names.own or not known.is_changing(attr))
    if not is_known:
        return Unknown(f".{attr}() may change the outside world", node)
    return None if is_table_read(function.value, names) else why_not(function.value, names)


def _why_not_class(node: ast.AST, kind: type, names: Names) -> Unknown | None:
    """Why making an object of a class of the user's may not move."""
    if names.known is None and (reason := why_not_shared(kind)) is not None:
        return Unknown(f"an object of {kind.__name__} {reason}", node)
    for method in {*initialisers_of(kind), *unnamed_methods_of(kind)}:
        if (unknown := why_not_function(node, method, names)) is not None:
            return unknown
    names.classes.add(kind)
    return None


def _is_super(node: ast.expr) -> bool:
    """Whether it calls the initialiser of a base, which is looked into itself."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Call(func=ast.Name(id="super"), args=[]), attr="__init__")):
            return True
    return False


def _leaves_tables(full: str | None, node: ast.Call) -> bool:
    """Whether what a library gives shares nothing with a table that it is given, and does not change it."""
    if full is None:
        return isinstance(node.func, ast.Attribute) and node.func.attr in known.METHODS_READING_TABLES
    top, _, name = full.partition(".")
    if node.keywords and top == "builtins":
        return False
    if top == "builtins":
        return name in known.ITERATORS or (name in known.PLAIN_BUILTINS and len(node.args) == 1)
    keywords = [(each.arg or "", getattr(each.value, "value", None)) for each in node.keywords]
    if known.is_changing(name.rpartition(".")[2]) or any(known.allows_changes(*each) for each in keywords):
        return False
    return top in known.COPYING_MODULES or full in known.COPYING_FUNCTIONS | known.READERS


def _why_not_lambda(node: ast.Lambda, names: Names) -> Unknown | None:
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
        own |= {at.id for at in shapes.walk(each.target) if isinstance(at, ast.Name)}
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
    return replace(names, free=names.free | own, own=names.own - own, runs_later=later)


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
    if not all(isinstance(each, _FIXED) or _is_fixed_tuple(each) for each in given):
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
    captured = {each.id for each in shapes.walk(node) if isinstance(each, ast.Name)} - own
    for each in (part for statement in node.body for part in shapes.walk(statement)):
        if isinstance(each, ast.Nonlocal | ast.Global | ast.Yield | ast.YieldFrom | ast.Await | ast.FunctionDef):
            return Unknown("it is a function that does more than compute", each)
        if isinstance(each, ast.Return) and each.value is not None and shapes.root_name(each.value) in captured:
            return Unknown("it is a function that gives what is not its own", each)
    if changed := bound_names.changed_in(node) - own:
        return Unknown(f"it is a function that changes {min(changed)}", node)
    inside = replace(names, imports=dict(names.imports), free=names.free | own, own=names.own | own, runs_later=True)
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
        if isinstance(each, ast.Nonlocal | ast.Global | ast.Yield | ast.YieldFrom | ast.Await | ast.FunctionDef):
            return Unknown("it is a function that does more than compute", each)
        if isinstance(each, ast.Lambda):
            return Unknown("it is a function that makes functions", each)
    own = set(bound_names.times_bound_in(node))
    inside = replace(
        names, imports=dict(names.imports), free=names.free | own, own=names.own | own, live={}, files=set()
    )
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
            is_unpacked = all(isinstance(each, ast.Tuple | ast.List) for each in targets)
            if isinstance(value, ast.Call) and value.args and shapes.root_name(value.args[0]) in names.files:
                names.files.update(each.id for each in targets if isinstance(each, ast.Name))
            return why_not(value, names, is_used_up=is_unpacked)
        case ast.Assign(targets=targets, value=value) if all(_is_own(each, names) for each in targets):
            return why_not(value, names) or _first(why_not(each, names, is_data=True) for each in targets)
        case ast.AugAssign(target=target, value=value) if _is_own(target, names):
            return why_not(target, names, is_data=True) or why_not(value, names)
        case ast.AnnAssign(target=ast.Name(), value=ast.expr() as value) | ast.Return(value=ast.expr() as value):
            return why_not(value, names)
        case ast.AnnAssign(value=None) | ast.Return(value=None):
            return None
        case ast.Expr(value=value):
            return why_not(value, names)
        case ast.If(test=test, body=body, orelse=other) | ast.While(test=test, body=body, orelse=other):
            return why_not(test, names) or _first(why_not_inside(each, names) for each in (*body, *other))
        case ast.For(target=target, iter=values, body=body, orelse=other) if _is_variable(target):
            unknown = None if is_table_read(values, names) else why_not(values, names, is_used_up=True)
            return unknown or _first(why_not_inside(each, names) for each in (*body, *other))
        case ast.With(items=[item], body=body):
            return why_not_entered(item, names) or _first(why_not_inside(each, names) for each in body)
        case ast.Raise(exc=ast.expr() as error) if is_plain_error(error, names):
            return None
        case ast.Assert(test=test):
            return why_not(test, names)
    return Unknown("it does more than compute", node)


def _live_kind(value: ast.expr, names: Names) -> str | None:
    from parsl_context.discover.lively import kind_of  # it asks in turn what may move

    return kind_of(value, names) if names.known is None and not names.runs_later else None


def _leaks(value: ast.expr, names: Names) -> bool:
    from parsl_context.discover.lively import leaks

    return bool(names.live) and leaks(value, names)


def _is_read_to_its_end(function: ast.expr, names: Names) -> bool:
    """Whether it is a method that reads a file which is opened for it."""
    match function:
        case ast.Attribute(value=ast.Call(func=opened), attr=attr):
            full = names.full_name(opened)
            is_image = full == "PIL.Image.open"
            return full in known.OPENING and attr in (known.IMAGE_METHODS if is_image else known.READING_FILE_METHODS)
    return False


def _is_opened_here(node: ast.Call, full: str | None, names: Names, *, is_used_up: bool) -> bool:
    """Whether it opens what is read at once, or is only to be stepped over."""
    if full is None:
        return is_used_up and isinstance(node.func, ast.Attribute) and node.func.attr == "open"
    return full in known.OPENING and (is_used_up or names.known is not None)


def _is_walked_here(node: ast.Call, full: str | None, names: Names, *, is_used_up: bool) -> bool:
    """Whether it makes an iterator that is used up at once, or takes the first of what such a one gives."""
    if full == "builtins.iter":
        return is_used_up and len(node.args) == 1
    if full != "builtins.next" or not node.args:
        return False
    inner = node.args[0]
    is_made = isinstance(inner, ast.Call) and names.full_name(inner.func) == "builtins.iter"
    return is_made or isinstance(inner, ast.GeneratorExp)


def _is_image(node: ast.expr, names: Names) -> bool:
    """Whether it is an image that is opened where it is read."""
    return isinstance(node, ast.Call) and names.full_name(node.func) == "PIL.Image.open"


def _is_of_live(function: ast.Attribute, names: Names) -> bool:
    """Whether it is a method of what is used up or changed by being read: nothing else sees what it does."""
    from parsl_context.discover.lively import is_seeded  # it asks in turn what may move

    is_made_here = isinstance(function.value, ast.Call) and is_seeded(function.value, names)
    return is_made_here or (isinstance(function.value, ast.Name) and function.value.id in names.live)


def _drops_in_training(function: ast.expr, names: Names) -> bool:
    """Whether it is a layer of the network whose method this is, that drops values unless it is told not to.

    Where the network is called is looked at as well, and calls share no network in training mode.
    """
    match function:
        case ast.Attribute(value=ast.Name(id=itself), attr=attr):
            code = names.source.function.__code__
            kind = names.source.function.__globals__.get(names.source.class_name or "")
            if names.depth == 0 or code.co_varnames[:1] != (itself,) or not isinstance(kind, type):
                return False
            is_network = any(
                f"{base.__module__}.{base.__name__}" == "torch.nn.modules.module.Module" for base in kind.__mro__
            )
            return is_network and not hasattr(kind, attr) and re.fullmatch(r"(\w+_)?drop(out)?_?\d?", attr) is not None
    return False


def why_not_entered(item: ast.withitem, names: Names) -> Unknown | None:
    """Why a block may not be entered; a file that is read may, and what only says how things are computed within."""
    call = item.context_expr
    if not isinstance(call, ast.Call):
        return Unknown("it is entered by `with`", call)
    if (unknown := why_not_opened(call, names)) is not None:
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


def why_not_opened(call: ast.Call, names: Names) -> Unknown | None:
    """Why something may not be opened: a file that may be written to, or what is no file."""
    full = names.full_name(call.func)
    is_file = full in known.OPENING or (full is None and getattr(call.func, "attr", "") == "open")
    if not is_file and full not in known.PLAIN_BLOCKS:
        return Unknown("it is entered by `with`", call)
    given = list(call.args)
    if is_file and isinstance(call.func, ast.Attribute) and full is None:
        given.insert(0, call.func.value)  # of a path
    modes = given[1:2] + [each.value for each in call.keywords if each.arg in ("mode", "mmap_mode")]
    if is_file and not all(isinstance(each, ast.Constant) and each.value in known.READING_MODES for each in modes):
        return Unknown("the file may be written to", call)
    for each in (*given, *(each.value for each in call.keywords)):
        if (unknown := why_not(each, names)) is not None:
            return unknown
    return None


def is_plain_error(error: ast.expr, names: Names) -> bool:
    """Whether what is raised is one of Python's exceptions, made of what is known."""
    kind = error.func if isinstance(error, ast.Call) else error
    if not isinstance(kind, ast.Name) or not known.EXCEPTIONS.match(kind.id):
        return False
    if names.full_name(kind) != f"builtins.{kind.id}":
        return False
    given = error.args if isinstance(error, ast.Call) else []
    return all(why_not(each, names) is None for each in given)


# --- small things


def _first(found: Iterable[Unknown | None]) -> Unknown | None:
    return next((each for each in found if each is not None), None)


def _parts(node: ast.AST) -> Iterator[ast.expr]:
    for each in ast.iter_child_nodes(node):
        if isinstance(each, ast.expr):
            yield each
        elif not isinstance(each, ast.expr_context | ast.operator | ast.boolop | ast.unaryop | ast.cmpop):
            yield from _parts(each)


def _is_variable(node: ast.expr) -> bool:
    """Whether a target is a name, or names that are unpacked to."""
    elements: Sequence[ast.expr] = node.elts if isinstance(node, ast.Tuple | ast.List) else [node]
    return all(isinstance(each, ast.Name) for each in elements)


def _is_own(target: ast.expr, names: Names) -> bool:
    """Whether what is changed is the function's own, or what it was given: that has moved, or cannot change."""
    if isinstance(target, ast.Tuple | ast.List):
        return all(_is_own(each, names) for each in target.elts)
    while isinstance(target, ast.Attribute | ast.Subscript):
        target = target.value
    return isinstance(target, ast.Name) and target.id in names.own


def _is_fixed_tuple(value: object) -> bool:
    return type(value) is tuple and all(isinstance(each, _FIXED) or _is_fixed_tuple(each) for each in value)


def _line(unknown: Unknown) -> int:
    return int(getattr(unknown.node, "lineno", 0))
