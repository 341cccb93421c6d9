"""Which leading statements of a function do not depend on its call, and would give the same whenever they run.

The first half of the automatic split, see `parsl_context.discover.automatic`. An expression may move if it is built
from constants, imports, names that move and globals that cannot change unseen, by calls that compute from their
arguments alone, as far as their names tell (`parsl_context.discover.known_names`).
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import inspect
import sys
import types
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from parsl_context.content.modules import Home, home_of, lie_where_installed
from parsl_context.discover import known_names as known
from parsl_context.discover.project import file_of
from parsl_context.discover.sources import Source, source_of
from parsl_context.errors import SplitError

_FIXED = (int, float, complex, str, bytes, type(None))
_DEEPEST = 3  # functions of the user's that call one another
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True)
class Unknown:
    """Why something may not move, and where."""

    reason: str
    node: ast.AST


@dataclass
class Names:
    """What the names in a function stand for, as far as was seen.

    Attributes
    ----------
    source : Source
        The function.
    imports : dict
        Names that it imports, with the full names of what they stand for.
    free : set
        Names that may be used: those that move, literals, variables of comprehensions.
    own : set
        All its variables and parameters.
    depth : int
        How many functions of the user's call one another here.
    runs_later : bool
        Whether it is about a function that may be called later, and must leave what it is given as it is.
    """

    source: Source
    imports: dict[str, str] = field(default_factory=dict)
    free: set[str] = field(default_factory=set)
    own: frozenset[str] = frozenset()
    depth: int = 0
    runs_later: bool = False

    @property
    def parameters(self) -> frozenset[str]:
        """Its parameters."""
        code = self.source.function.__code__
        flags = bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
        return frozenset(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + flags])

    def full_name(self, node: ast.expr) -> str | None:
        """The full name of what a dotted name stands for, if a module or what is installed has it."""
        match node:
            case ast.Name(id=name):
                if name in self.imports:
                    return self.imports[name] if _is_library(self.imports[name]) else None
                return None if name in self.own else _full_name(self.value_of(name))
            case ast.Attribute(value=inner, attr=name):
                above = self.full_name(inner)
                return None if above is None else f"{above}.{name}"
        return None

    def value_of(self, name: str) -> Any:
        """What a global, or a name that is imported, stands for; None if it is none, or stands for nothing."""
        if name in self.imports:
            return _loaded(self.imports[name])
        try:
            return None if name in self.own else self.source.value_of(name)
        except NameError:
            return None

    def resolve(self, node: ast.expr) -> Any:
        """What a dotted name stands for that begins with a module; None if that is not known."""
        match node:
            case ast.Name(id=name):
                return self.value_of(name)
            case ast.Attribute(value=inner, attr=attr):
                module = self.resolve(inner)
                return getattr(module, attr, None) if isinstance(module, types.ModuleType) else None
        return None

    def is_in_users_module(self, node: ast.expr) -> bool:
        """Whether a dotted name is one of a module of the user's."""
        module = self.resolve(node.value) if isinstance(node, ast.Attribute) else None
        return isinstance(module, types.ModuleType) and _full_name(module) is None

    def user_function(self, node: ast.expr) -> types.FunctionType | None:
        """The function of the user's that a dotted name stands for, if it is one."""
        value = self.resolve(node)
        is_users = isinstance(value, types.FunctionType) and home_of(value.__module__) is not Home.INSTALLED
        return value if is_users else None

    def add_import(self, node: ast.Import | ast.ImportFrom) -> None:
        """Take note of an import."""
        module = self.source.function.__globals__.get("__package__") or ""
        for alias in node.names:
            if isinstance(node, ast.Import):
                name = alias.name if alias.asname else alias.name.partition(".")[0]
            else:
                parent = "." * node.level + (node.module or "")
                name = f"{importlib.util.resolve_name(parent, module) if node.level else parent}.{alias.name}"
            self.imports[alias.asname or alias.name.partition(".")[0]] = name


def why_not(node: ast.expr, names: Names, *, is_used_up: bool = False) -> Unknown | None:
    """Why an expression may not move; None if it may.

    Parameters
    ----------
    is_used_up
        Whether what it gives is used up at once, so it may be an iterator.
    """
    match node:
        case ast.Constant():
            return None
        case ast.Name(id=name):
            return _why_not_name(node, name, names)
        case ast.Attribute(value=value, attr=attr):
            if names.is_in_users_module(node):
                return _why_not_value(node, ast.unparse(node), names.resolve(node), names)
            full = names.full_name(node)
            if full is not None and known.is_outside(full):
                return Unknown(f"{full} is of the outside world", node)
            if known.is_changing(attr) and not attr.endswith("_"):  # scikit-learn's results end so
                return Unknown(f".{attr} may be called later, and changes things", node)
            return Unknown(f".{attr} is private", node) if attr.startswith("__") else why_not(value, names)
        case ast.Call():
            return _why_not_call(node, names, is_used_up=is_used_up)
        case ast.GeneratorExp() if not is_used_up:
            return Unknown("a generator can be used once", node)
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            return _why_not_comprehension(node, names)
        case ast.Lambda():
            return Unknown("a function of its own may be called at any time", node)
        case ast.NamedExpr() | ast.Await() | ast.Yield() | ast.YieldFrom():
            return Unknown("it does more than give a value", node)
        case _:
            return _first(why_not(each, names) for each in _parts(node))


def _why_not_name(node: ast.AST, name: str, names: Names) -> Unknown | None:
    if name in names.free:
        return None
    if name in names.imports:
        if _is_library(names.imports[name]):
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


def _why_not_value(node: ast.AST, name: str, value: Any, names: Names) -> Unknown | None:
    """Why a name may not move that stands for a value outside of the function."""
    if isinstance(value, types.ModuleType):
        return None
    if name in names.source.function.__code__.co_freevars and _full_name(value) is None:
        return Unknown(f"{name} is a variable of the function around it", node)
    if isinstance(value, _FIXED) or _is_fixed_tuple(value):
        return None
    if isinstance(value, types.FunctionType) and home_of(value.__module__) is not Home.INSTALLED:
        return _why_not_function(node, value, names)
    if (full := _full_name(value)) is not None:
        if known.is_changing(full.rpartition(".")[2]):
            return Unknown(f"{name} may be called later, and changes things", node)
        return None
    if isinstance(value, type):
        return Unknown(f"{name} is a class of the user's, which may do anything", node)
    return Unknown(f"the global {name} may be changed", node)


def _why_not_call(node: ast.Call, names: Names, *, is_used_up: bool) -> Unknown | None:
    function = node.func
    full = names.full_name(function)
    keywords = frozenset(each.arg or "" for each in node.keywords)
    uses_up = False
    if (users := names.user_function(function)) is not None:
        if (unknown := _why_not_function(node, users, names)) is not None:
            return unknown
    elif isinstance(function, ast.Name) and full is not None and full.startswith("builtins."):
        name = function.id
        if name not in known.PLAIN_BUILTINS and not (name in known.ITERATORS and is_used_up):
            return Unknown(f"{name}() does more than compute, or gives what can be used once", node)
        uses_up = name in known.CONSUMERS or name in known.ITERATORS
    elif full is not None:
        if known.is_outside(full):
            return Unknown(f"{full}() looks at the outside world, or gives another value each time", node)
        if full.endswith("defaultdict"):
            return Unknown("a defaultdict makes entries when it is asked for them", node)
        if known.draws_random_numbers(full.rpartition(".")[2], keywords):
            return Unknown(f"{full} draws random numbers unless random_state= is given", node)
    elif isinstance(function, ast.Attribute) and not names.is_in_users_module(function):
        if names.runs_later and known.is_changing(function.attr):
            return Unknown(f".{function.attr}() may be called later, and changes things", node)
        if known.is_outside_name(function.attr) or function.attr.startswith("__"):
            return Unknown(f".{function.attr}() may look at the outside world, or give another value each time", node)
        if (unknown := why_not(function.value, names)) is not None:
            return unknown
        uses_up = function.attr == "join"
    elif (unknown := why_not(function, names)) is not None:
        return unknown
    if full is not None and names.runs_later and known.is_changing(full.rpartition(".")[2]):
        return Unknown(f"{full}() may be called later, and changes things", node)
    for given in (*node.args, *(each.value for each in node.keywords)):
        if isinstance(given, ast.Lambda):
            unknown = _why_not_lambda(given, names)
        else:
            inner = given.value if isinstance(given, ast.Starred) else given
            unknown = why_not(inner, names, is_used_up=uses_up or isinstance(given, ast.Starred))
        if unknown is not None:
            return unknown
    return None


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
        if (unknown := why_not(each.iter, before, is_used_up=True)) is not None:
            return unknown
        own |= {at.id for at in ast.walk(each.target) if isinstance(at, ast.Name)}
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
    return Names(names.source, names.imports, names.free | own, names.own - own, names.depth, later)


def _why_not_function(node: ast.AST, function: types.FunctionType, names: Names) -> Unknown | None:
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
    inside.free |= inside.own  # arguments are what moves, and variables are made here
    unknown = _first(_why_not_inside(each, inside) for each in source.node.body)
    return None if unknown is None else Unknown(f"in {what}, line {_line(unknown)}: {unknown.reason}", node)


def _why_not_inside(node: ast.stmt, names: Names) -> Unknown | None:
    """Why a statement of a function that is called may do more than compute."""
    match node:
        case ast.Import() | ast.ImportFrom():
            names.add_import(node)
            return None
        case ast.Pass() | ast.Break() | ast.Continue():
            return None
        case ast.Assign(targets=targets, value=value) if all(map(_is_variable, targets)):
            return why_not(value, names)
        case ast.Assign(targets=[target], value=value) if _is_own(target, names):
            return why_not(target, names) or why_not(value, names)
        case ast.AugAssign(target=target, value=value) if _is_own(target, names):
            return why_not(target, names) or why_not(value, names)
        case ast.AnnAssign(target=ast.Name(), value=ast.expr() as value) | ast.Return(value=ast.expr() as value):
            return why_not(value, names)
        case ast.AnnAssign(value=None) | ast.Return(value=None):
            return None
        case ast.Expr(value=value):
            return why_not(value, names)
        case ast.If(test=test, body=body, orelse=other) | ast.While(test=test, body=body, orelse=other):
            return why_not(test, names) or _first(_why_not_inside(each, names) for each in (*body, *other))
        case ast.For(target=target, iter=values, body=body, orelse=other) if _is_variable(target):
            unknown = why_not(values, names, is_used_up=True)
            return unknown or _first(_why_not_inside(each, names) for each in (*body, *other))
        case ast.Raise(exc=ast.expr() as error) if is_plain_error(error, names):
            return None
        case ast.Assert(test=test):
            return why_not(test, names)
    return Unknown("it does more than compute", node)


def is_plain_error(error: ast.expr, names: Names) -> bool:
    """Whether what is raised is one of Python's exceptions, made of what is known."""
    kind = error.func if isinstance(error, ast.Call) else error
    if not isinstance(kind, ast.Name) or not known.EXCEPTIONS.match(kind.id):
        return False
    if names.full_name(kind) != f"builtins.{kind.id}":
        return False
    given = error.args if isinstance(error, ast.Call) else []
    return all(why_not(each, names) is None for each in given)


def names_of(source: Source, depth: int = 0) -> Names:
    """The names of a function, before any of its statements."""
    code = source.function.__code__
    return Names(source, own=frozenset((*code.co_varnames, *code.co_cellvars)), depth=depth)


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
    while isinstance(target, ast.Attribute | ast.Subscript):
        target = target.value
    return isinstance(target, ast.Name) and target.id in names.own


def _is_fixed_tuple(value: object) -> bool:
    return type(value) is tuple and all(isinstance(each, _FIXED) or _is_fixed_tuple(each) for each in value)


def _full_name(value: Any) -> str | None:
    """The full name of a module, or of a function or class that is installed."""
    if isinstance(value, types.ModuleType):
        return value.__name__ if _is_library(value.__name__) else None
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or not callable(value):
        return None
    if module == "__main__" or home_of(module) is not Home.INSTALLED or module not in sys.modules:
        return None
    return f"{module}.{name}"


@functools.lru_cache(maxsize=1024)
def _is_library(full: str) -> bool:
    """Whether a module, or something in one, is installed; what is nowhere here may be where calls run."""
    top = full.partition(".")[0]
    if top in sys.stdlib_module_names:
        return True
    if top in sys.modules:
        return home_of(top) is Home.INSTALLED
    place = file_of(top)
    return place is None or lie_where_installed(place.locations, top)


def _loaded(full: str) -> Any:
    """What a full name stands for in modules that are loaded; None if that is nothing."""
    if full in sys.modules:
        return sys.modules[full]
    parent, _, name = full.rpartition(".")
    return getattr(_loaded(parent), name, None) if parent else None


def _line(unknown: Unknown) -> int:
    return int(getattr(unknown.node, "lineno", 0))
