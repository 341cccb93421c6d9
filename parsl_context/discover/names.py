"""What the names in a function stand for, as far as can be seen before it is called."""

from __future__ import annotations

import ast
import functools
import importlib.util
import inspect
import os
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from parsl_context.content.modules import is_library, lie_in_libraries
from parsl_context.discover import shapes
from parsl_context.discover.project import file_of
from parsl_context.discover.sources import Source

_UNDER_NO_GRAD = os.path.join("torch", "utils", "_contextlib.py")


@dataclass(frozen=True)
class Unknown:
    """Why something may not move, and where.

    Attributes
    ----------
    is_harmless : bool
        Whether what comes after it may move all the same.
    """

    reason: str
    node: ast.AST
    is_harmless: bool = False


_UNTOLD: Any = object()


@dataclass
class Names:
    """What the names in a function stand for, as far as was seen.

    Attributes
    ----------
    source : Source
        The function.
    imports : mapping
        Names that it imports, with the full names of what they stand for. Replaced when there are more, not changed.
    free : set
        Names that may be used: those that move, literals, variables of comprehensions.
    own : set
        All its variables and parameters.
    depth : int
        How many functions of the user's call one another here.
    runs_later : bool
        Whether it is about a function that may be called later, and must leave what it is given as it is.
    tables : set or None
        Globals that may be used if it is seen with each call that they have not changed, as far as they were met; None
        where there are none.
    drawn : list
        What begins with weights that are drawn at random, of all that may move.
    classes : set
        Classes of the user's of which objects may be made.
    drops : list
        Classes of networks among these that drop values at random, unless they are told not to.
    files : set
        Files that are read where they were opened, and what reads them line by line.
    live : dict
        Names that move only if no call reads them, and what they are: iterators, generators of random numbers.
    known : set or None
        If it is about what stays, and may be stepped over: names that may be called, of all that are free.
    strange : set
        Then these: functions within the function, which may do more than compute.
    seeds : list
        Then these: calls that set what random numbers begin with.
    """

    source: Source
    imports: Mapping[str, str] = field(default_factory=dict)
    free: set[str] = field(default_factory=set)
    own: frozenset[str] = frozenset()
    depth: int = 0
    runs_later: bool = False
    tables: set[str] | None = field(default_factory=set)
    drawn: list[str] = field(default_factory=list)
    classes: set[type] = field(default_factory=set)
    drops: list[str] = field(default_factory=list)
    files: set[str] = field(default_factory=set)
    live: dict[str, str] = field(default_factory=dict)
    known: set[str] | None = None
    strange: set[str] = field(default_factory=set)
    seeds: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._recall()

    def _recall(self) -> None:
        """What was found of dotted names, by their nodes, while the same were imported, and were variables."""
        found = self.source.found.setdefault((self.own, tuple(self.imports.items())), ({}, {}, {}, {}))
        self._full: dict[ast.expr, str | None] = found[0]
        self._values: dict[ast.expr, Any] = found[1]
        self._functions: dict[ast.expr, types.FunctionType | None] = found[2]
        self._reasons: dict[Any, tuple[Unknown | None, Any]] = found[3]

    def recalled(self, node: ast.expr, look: Callable[[], Unknown | None], *, is_used_up: bool) -> Unknown | None:
        """Why an expression may not move, as it was found before with the same known of its names; or as a look finds.

        What a look takes note of besides is noted again.
        """
        read = shapes.read_in(node)
        key = (
            *(node, is_used_up, self.runs_later, self.depth, self.tables is None, bool(self.drops)),
            *(read & self.free, frozenset(self.classes), read & self.files, read & self.strange),
            tuple((name, self.live[name]) for name in read if name in self.live) if self.live else (),
            None if self.known is None else read & self.known,
        )
        if (found := self._reasons.get(key)) is None:
            tables, self.tables = self.tables, None if self.tables is None else set()
            classes = set(self.classes)
            counts = [len(self.drawn), len(self.drops), len(self.seeds)]
            unknown = look()
            lists = [self.drawn[counts[0] :], self.drops[counts[1] :], self.seeds[counts[2] :]]
            self._reasons[key] = unknown, (self.tables, self.classes - classes, lists)
            if tables is not None:
                tables.update(self.tables or ())
            self.tables = tables
            return unknown
        unknown, (tables, classes, lists) = found
        if self.tables is not None:
            self.tables.update(tables)
        self.classes |= classes
        self.drawn += lists[0]
        self.drops += lists[1]
        self.seeds += lists[2]
        return unknown

    def within(self, **changes: Any) -> Names:
        """The same but for some attributes: the names within a part. What is not named there is shared."""
        made = object.__new__(Names)
        made.__dict__.update(self.__dict__)
        made.__dict__.update(changes)
        if "own" in changes or "source" in changes:
            made._recall()
        return made

    @property
    def parameters(self) -> frozenset[str]:
        """Its parameters."""
        code = self.source.function.__code__
        flags = bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
        return frozenset(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + flags])

    def full_name(self, node: ast.expr) -> str | None:
        """The full name of what a dotted name stands for, if a module or what is installed has it."""
        found = self._full.get(node, "")
        if found == "":
            found = self._full[node] = self._full_name(node)
        return found

    def _full_name(self, node: ast.expr) -> str | None:
        match node:
            case ast.Name(id=name):
                if name in self.imports:
                    return self.imports[name] if is_of_library(self.imports[name]) else None
                return None if name in self.own else full_name_of(self.value_of(name))
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
        found = self._values.get(node, _UNTOLD)
        if found is _UNTOLD:
            found = self._values[node] = self._resolve(node)
        return found

    def _resolve(self, node: ast.expr) -> Any:
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
        return isinstance(module, types.ModuleType) and full_name_of(module) is None

    def user_function(self, node: ast.expr) -> types.FunctionType | None:
        """The function of the user's that a dotted name stands for, if it is one."""
        found = self._functions.get(node, _UNTOLD)
        if found is _UNTOLD:
            value = unwrapped(self.resolve(node))
            is_users = isinstance(value, types.FunctionType) and not is_library(value.__module__)
            found = self._functions[node] = value if is_users else None
        return found  # type: ignore[no-any-return]

    def add_import(self, node: ast.Import | ast.ImportFrom) -> None:
        """Take note of an import."""
        module = self.source.function.__globals__.get("__package__") or ""
        imports = dict(self.imports)
        for alias in node.names:
            if isinstance(node, ast.Import):
                name = alias.name if alias.asname else alias.name.partition(".")[0]
            else:
                parent = "." * node.level + (node.module or "")
                name = f"{importlib.util.resolve_name(parent, module) if node.level else parent}.{alias.name}"
            imports[alias.asname or alias.name.partition(".")[0]] = name
        if imports != self.imports:
            self.imports = imports
            self._recall()


def unwrapped(value: Any) -> Any:
    """The function of the user's that is run: one that Numba has compiled, or that runs under PyTorch's ``no_grad``."""
    if type(value).__module__.startswith("numba.") and type(value).__name__ == "CPUDispatcher":
        return getattr(value, "py_func", value)
    if isinstance(value, types.FunctionType) and value.__code__.co_filename.endswith(_UNDER_NO_GRAD):
        return getattr(value, "__wrapped__", value)
    return value


def names_of(source: Source, depth: int = 0) -> Names:
    """The names of a function, before any of its statements."""
    code = source.function.__code__
    return Names(source, own=frozenset((*code.co_varnames, *code.co_cellvars)), depth=depth)


def full_name_of(value: Any) -> str | None:
    """The full name of a module, or of a function or class that is installed."""
    if isinstance(value, types.ModuleType):
        return value.__name__ if is_of_library(value.__name__) else None
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or not callable(value):
        return None
    if not is_library(module) or module not in sys.modules:
        return None
    return f"{module}.{name}"


@functools.lru_cache(maxsize=1024)
def is_of_library(full: str) -> bool:
    """Whether a module, or something in one, is installed; what is nowhere here may be where calls run."""
    top = full.partition(".")[0]
    if top in sys.stdlib_module_names:
        return True
    if top in sys.modules:
        return is_library(top)
    place = file_of(top)
    return place is None or lie_in_libraries(place.locations)


def _loaded(full: str) -> Any:
    """What a full name stands for in modules that are loaded; None if that is nothing."""
    if full in sys.modules:
        return sys.modules[full]
    parent, _, name = full.rpartition(".")
    return getattr(_loaded(parent), name, None) if parent else None
