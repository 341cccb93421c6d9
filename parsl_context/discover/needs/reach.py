"""From a function to all that its code reaches: modules by name, values that it knows, texts in it.

Code of modules in files is not looked into here, but for values that it does not get by being imported: `modules` reads
all of it, because all of it is there where the module is imported.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
import sys
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import cloudpickle.cloudpickle as cp
from parsl.app.app import AppBase
from parsl.data_provider.files import File

from parsl_context.content.imports import package_of
from parsl_context.content.modules import Home, home_of
from parsl_context.discover.needs.code import Import, Text, imports_in, lines_of_names, modules_in, texts_in
from parsl_context.discover.needs.data import Where
from parsl_context.discover.needs.guards import Guards
from parsl_context.discover.needs.objects import (
    contents_of,
    defaults_of,
    first_of,
    functions_of,
    is_code,
    is_filled,
    name_of,
    start_of,
    wrapped_by,
)
from parsl_context.discover.needs.sources import is_path, source_of

TakeApart = Callable[[Any], Iterable[tuple[str, str, Any]] | None]

RUNTIME = ("parsl", "parsl_context", "builtins")  # each worker runs on it, and nobody looks into it
_MAX_ITEMS = 1000  # looked at within containers and objects, of one function
_WORD = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True)
class Wanted:
    """A module that code wants, or a name that may be one.

    Attributes
    ----------
    imported : Import
        The import; of a module that the code knows as a value, its name.
    where : Where or None
        The line.
    guards : Guards
        Of its source.
    """

    imported: Import
    where: Where | None
    guards: Guards = field(default_factory=Guards)

    @property
    def is_optional(self) -> bool:
        """Whether the code expects that it may be missing."""
        return self.imported.line in self.guards.optional


@dataclass(frozen=True)
class Value:
    """A value that code knows, as `data.Captured` has it."""

    name: str
    kind: str
    owner: str
    value: Any


@dataclass
class Reached:
    """What was found.

    Attributes
    ----------
    wanted : list of Wanted
        Modules.
    values : list of Value
        Those that travel with the code.
    texts : list
        Texts in code, with the file that they are in.
    files : list
        Files of Parsl's, and paths that are no texts, with the line that knows them.
    """

    wanted: list[Wanted] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    texts: list[tuple[str, Text]] = field(default_factory=list)
    files: list[tuple[Any, Where | None]] = field(default_factory=list)


def reach(root: Any, take_apart: TakeApart) -> Reached:
    """All that an object reaches: a function, an app, or anything else that code is in.

    Parameters
    ----------
    take_apart
        Gives the parts of an object that is made of functions, as (name, kind, value), where an empty kind says that
        the part is no captured value but code; None for other objects.
    """
    walk = _Walk(take_apart)
    walk.run(root)
    return walk.found


@dataclass(frozen=True)
class _Way:
    """How the walk came to an object."""

    owner: str = ""
    where: Where | None = None


class _Walk:
    def __init__(self, take_apart: TakeApart) -> None:
        self.found = Reached()
        self._take_apart = take_apart
        self._waiting: list[tuple[Any, _Way]] = []
        self._met: dict[int, Any] = {}  # the objects must live, or others get their ids
        self._captured: set[tuple[str, str, str, int]] = set()
        self._items = _MAX_ITEMS

    def run(self, root: Any) -> None:
        self._waiting.append((root, _Way()))
        while self._waiting:
            value, way = self._waiting.pop()
            if id(value) not in self._met:
                self._met[id(value)] = value
                self._look_at(value, way)

    def _look_at(self, value: Any, way: _Way) -> None:
        parts = self._take_apart(value)
        if parts is not None:
            self._parts(value, parts, way)
        elif isinstance(value, types.ModuleType):
            self._want(value.__name__, way)
        elif isinstance(value, types.FunctionType):
            self._function(value, way)
        elif isinstance(value, type):
            self._class(value, way)
        elif isinstance(value, AppBase):
            self._go(value.func, way)
        elif isinstance(value, functools.partial):
            self._capture("func", "argument", name_of(value.func), value.func, way.where)
            for place, part in [*enumerate(value.args), *value.keywords.items()]:
                self._capture(str(place), "argument", name_of(value.func), part, way.where)
        elif isinstance(value, types.MethodType):
            self._go(value.__func__, way)
            self._capture("__self__", "attribute", name_of(value), value.__self__, way.where)
        elif (wrapped := wrapped_by(value)) is not None:
            self._go(wrapped, way)
        else:
            self._plain(value, way)

    def _go(self, value: Any, way: _Way) -> None:
        self._waiting.append((value, way))

    def _want(self, name: str | None, way: _Way) -> None:
        if name and name.partition(".")[0] not in RUNTIME:
            where = way.where and (source_of(way.where.file).line_of(name) or way.where)
            self.found.wanted.append(Wanted(Import(name, 0 if where is None else where.line), where))

    def _capture(self, name: str, kind: str, owner: str, value: Any, where: Where | None) -> None:
        """Go on to a value; it travels unless it is code, which the walk looks into."""
        key = (name, kind, "" if kind == "global" else owner, id(value))
        if not is_code(value) and key not in self._captured:
            self._captured.add(key)
            self.found.values.append(Value(name, kind, owner, value))
        self._go(value, _Way(owner, where))

    # --- kinds of objects

    def _parts(self, value: Any, parts: Iterable[tuple[str, str, Any]], way: _Way) -> None:
        owner = name_of(value)
        for name, kind, part in parts:
            if kind:
                self._capture(name, kind, owner, part, way.where)
            else:
                self._go(part, way)

    def _function(self, function: types.FunctionType, way: _Way) -> None:
        names = function.__globals__
        module = names.get("__name__")
        has_names_of_module = getattr(sys.modules.get(str(module)), "__dict__", None) is names
        home = home_of(module) if has_names_of_module else Home.NAMESPACE
        if home is not Home.NAMESPACE:
            self._want(str(module), way)
        if home is Home.NAMESPACE:
            self._code(function)
        if home is Home.NAMESPACE or "<locals>" in function.__qualname__:
            self._known_to(function)
        elif (wrapped := wrapped_by(function)) is not None:
            self._go(wrapped, way)

    def _known_to(self, function: types.FunctionType) -> None:
        """Values that a function has besides globals."""
        owner, where = function.__qualname__, start_of(function.__code__)
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        for name, cell in cells:
            if is_filled(cell):
                self._capture(name, "closure", owner, cell.cell_contents, where)
        for name, value in defaults_of(function):
            self._capture(name, "default", owner, value, where)
        for name, value in vars(function).items():
            if name.startswith("__"):  # Python's own, as `__wrapped__`
                self._go(value, _Way(owner, where))
            else:
                self._capture(name, "attribute", owner, value, where)

    def _code(self, function: types.FunctionType) -> None:
        """What the code of a function says, and the globals that it uses."""
        code, names = function.__code__, function.__globals__
        file = code.co_filename
        source = source_of(file)
        texts = list(texts_in(code))
        for imported in (*imports_in(code, package_of(names)), *modules_in(texts)):
            if imported.line not in source.guards.never:
                where = Where(file, imported.line)
                self.found.wanted.append(Wanted(imported, where, source.guards))
        self.found.texts += [(file, text) for text in texts]
        lines = lines_of_names(code)
        used = {name: names[name] for name in cp._extract_code_globals(code) if name in names}
        self._names(used, function.__annotations__, function.__qualname__, file, lines, names)
        for part in cp._find_imported_submodules(code, [*used.values(), *contents_of(function)]):
            self._want(part.__name__, _Way(where=start_of(code)))

    def _names(
        self,
        used: dict[str, Any],
        annotations: dict[str, Any],
        owner: str,
        file: str,
        lines: dict[str, int],
        names: dict[str, Any],
    ) -> None:
        for annotation in annotations.values():
            if isinstance(annotation, str):
                used = {**{word: names[word] for word in _WORD.findall(annotation) if word in names}, **used}
            else:
                self._go(annotation, _Way(owner))
        for name, value in used.items():
            if name.startswith("__") and name.endswith("__"):
                continue  # Python's own, as `__file__`
            line = lines.get(name)
            where = None if line is None else Where(file, line)
            self._capture(name, "global", owner, value, where)

    def _class(self, kind: type, way: _Way) -> None:
        home = home_of(kind.__module__)
        if home is not Home.NAMESPACE:
            self._want(kind.__module__, way)
            return
        for base in (*kind.__bases__, type(kind)):
            self._go(base, way)
        for name, value in vars(kind).items():
            for part in functions_of(value):
                if name.startswith("_") or type(part) is kind:  # what Python makes, and members of an enum
                    self._go(part, way)
                else:
                    self._capture(name, "attribute", kind.__qualname__, part, way.where)
        module = sys.modules.get(kind.__module__)
        annotations = vars(kind).get("__annotations__", {})
        names = {} if module is None else vars(module)
        self._names({}, annotations, kind.__qualname__, getattr(module, "__file__", None) or "", {}, names)

    def _plain(self, value: Any, way: _Way) -> None:
        """An object that is no code, which may hold some."""
        if isinstance(value, File | os.PathLike) or (isinstance(value, str) and is_path(value)):
            self.found.files.append((value, way.where))
            return
        inside: Iterable[Any] = ()
        if isinstance(value, dict):
            inside = itertools.chain(first_of(value, self._items), first_of(value.values(), self._items))
        elif isinstance(value, list | tuple | set | frozenset):
            inside = first_of(value, self._items)
        elif home_of(type(value).__module__) is not Home.INSTALLED:
            inside = list(getattr(value, "__dict__", {}).values())
        for each in inside:
            self._items -= 1
            if self._items > 0 and not isinstance(each, int | float | complex | bytes | types.NoneType):
                self._go(each, way)
        if type(value).__module__ != "builtins":
            self._go(type(value), way)
        elif callable(value):  # a function in C, which tells its module
            self._want(getattr(value, "__module__", None), way)
