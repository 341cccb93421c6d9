"""Puts together what a self-contained function carries: texts of definitions, values, the user's modules.

What comes out is made of built-in types alone, so that any Python reads it: see `runtime.programs` for who does.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import marshal
import pickle
import sys
import types
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from parsl_context.content import imports
from parsl_context.content.code_parts import parts_of
from parsl_context.content.digests import digest_content
from parsl_context.content.modules import Home, home_of, is_library
from parsl_context.errors import CarriedCodeError, ContextSerializationError
from parsl_context.standalone.carried import short_digest, units_of
from parsl_context.standalone.texts import Text, names_in, text_of_class, text_of_function

PROTOCOL = 4  # of pickles; every Python that may read them knows it
Pid = tuple[str, Any]
Space = str | tuple[str, str]
_WRAPPERS = (types.FunctionType, functools._lru_cache_wrapper)
_PLAIN = (int, float, complex, str, bytes, bool, type(None), list, dict, tuple, set, frozenset)


@dataclass(frozen=True)
class Half:
    """A half of a function with a block.

    Attributes
    ----------
    whole : function
        The function as it was written.
    kind : str
        "context", "body", or "whole" for all of it.
    keys : tuple of str
        Parameters that it has.
    names : tuple of str
        Variables that flow.
    places : tuple of str
        Where each statement of the function goes, if it has no block: "context", "both" or "body".
    """

    whole: types.FunctionType
    kind: str
    keys: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    places: tuple[str, ...] = ()


@dataclass
class _Uses:
    """What a definition, a global or a context is made of, directly."""

    modules: set[str] = field(default_factory=set)
    others: set[Any] = field(default_factory=set)  # definitions and globals, as they are known to `Builder._uses`


@dataclass
class Parts:
    """What was put together so far."""

    definitions: dict[str, dict[str, Any]] = field(default_factory=dict)
    spaces: dict[tuple[str, str], dict[str, bytes]] = field(default_factory=dict)
    contexts: list[dict[str, Any]] = field(default_factory=list)
    apps: list[dict[str, Any]] = field(default_factory=list)


class Builder:
    """Collects what functions need.

    Parameters
    ----------
    special
        Names an object that the runtime has something of its own for, as a context; None for all others.
    is_ours
        Whether what a decorator stands for makes apps or contexts.
    is_compiled
        Whether functions travel as compiled code, which one version of Python alone can run.

    Attributes
    ----------
    named : dict
        The definitions that travel, by digest, as they are here.
    """

    def __init__(
        self, special: Callable[[Any], Pid | None], is_ours: Callable[[Any], bool], *, is_compiled: bool = False
    ) -> None:
        self.parts = Parts()
        self.named: dict[str, Any] = {}
        self._special = special
        self._is_ours = is_ours
        self._is_compiled = is_compiled
        self._halves: dict[int, Half] = {}
        self._ids: dict[int, str] = {}
        self._alive: list[Any] = []  # or others get the ids of what is gone
        self._uses: dict[Any, _Uses] = {}
        self._open: list[_Uses] = [_Uses()]  # the innermost that is being put together comes last

    def add_half(self, function: types.FunctionType, half: Half) -> None:
        """Know of a function that it is a half of another one."""
        self._halves[id(function)] = half
        self._alive.append(function)

    def pack(self, value: Any, what: str) -> bytes:
        """A pickle in which definitions are named.

        Parameters
        ----------
        what
            What people call the value.

        Raises
        ------
        ContextSerializationError
            If it cannot be pickled.
        CarriedCodeError
            If code in it cannot travel.
        """
        out = io.BytesIO()
        try:
            _Pickler(out, self._name).dump(value)
        except (CarriedCodeError, ContextSerializationError):
            raise
        except Exception as error:
            raise ContextSerializationError(what, error) from error
        return out.getvalue()

    def want(self, name: str | None) -> None:
        """Have a module carried, if it is the user's."""
        if name and name.partition(".")[0] not in ("parsl_context", "parsl", "__main__"):
            self._open[-1].modules.add(name)

    @contextlib.contextmanager
    def using(self, what: Any) -> Iterator[None]:
        """What is met in this block is used by something of this name."""
        self._open[-1].others.add(what)
        self._open.append(self._uses.setdefault(what, _Uses()))
        try:
            yield
        finally:
            self._open.pop()

    def finish(self) -> dict[str, Any]:
        """The program. What is made of modules is told apart by their content, too."""
        units = units_of(set().union(*(each.modules for each in (self._open[0], *self._uses.values()))))
        content = {top: digest for top, digest, _, _ in units}
        for digest, told in self.parts.definitions.items():
            told["version"] = self._version(("definition", digest), content)
            # What runs as it is defined, as the body of a class, needs names that what it calls uses, too.
            reached = self._reached(("definition", digest)) if told["now"] else set()
            told["now"] = sorted(each for each in reached if isinstance(each[0], tuple))
        spaces = {
            space: {
                name: (short_digest(packed, self._version((space, name), content).encode()), packed)
                for name, packed in bound.items()
            }
            for space, bound in self.parts.spaces.items()
        }
        for number, told in enumerate(self.parts.contexts):
            told["key"] = short_digest(told["key"].encode(), self._version(("context", number), content).encode())
        return {
            "definitions": self.parts.definitions,
            "spaces": spaces,
            "contexts": self.parts.contexts,
            "apps": self.parts.apps,
            "units": units,
        }

    def _version(self, what: Any, content: Mapping[str, str]) -> str:
        """Of the modules that something is made of, directly or not; empty if there are none."""
        tops = {name.partition(".")[0] for each in self._reached(what) for name in self._uses[each].modules}
        return "".join(content[top] for top in sorted(tops) if top in content)

    def _reached(self, what: Any) -> set[Any]:
        """What something is made of, directly or not: definitions, contexts, globals as (space, name)."""
        met, waiting = {what}, [what]
        while waiting:
            new = self._uses[waiting.pop()].others - met
            waiting += new
            met |= new
        return met

    # --- names of objects

    def _name(self, value: Any) -> Pid | None:
        if isinstance(value, _PLAIN) and type(value) in _PLAIN:
            return None
        special = self._special(value)
        if special is not None:
            return special
        if isinstance(value, types.ModuleType):
            self.want(value.__name__)
            return ("module", value.__name__)
        if isinstance(value, _WRAPPERS):
            return self._name_function(value)
        if isinstance(value, type):
            return self._name_class(value)
        return None

    def _name_function(self, value: Any) -> Pid | None:
        module, place = value.__module__, value.__qualname__
        if id(value) not in self._halves and _stands_at(module, place, value):
            self.want(module)
            return None if _found(module, place) is value else ("in module", (module, _way_to(module, place, value)))
        if (
            isinstance(value, types.FunctionType)
            and is_library(value.__globals__.get("__name__"))
            and not hasattr(value, "__wrapped__")
        ):
            return None  # a part of a library that it does not show; pickle says so
        return ("definition", self._define(value, self._of_function))

    def _name_class(self, kind: type) -> Pid | None:
        if home_of(kind.__module__) is Home.NAMESPACE and kind.__module__ != "builtins":
            return ("definition", self._define(kind, self._of_class))
        if not is_library(kind.__module__):
            self.want(kind.__module__)
        return None

    # --- definitions

    def _define(self, value: Any, tell: Callable[[Any], dict[str, Any]]) -> str:
        known = self._ids.get(id(value))
        if known is not None:
            self._open[-1].others.add(("definition", known))
            return known
        digest = _digest(value)
        self._ids[id(value)] = digest
        self._alive.append(value)
        if digest not in self.parts.definitions:
            self.parts.definitions[digest] = {}  # it may mention itself
            self.named[digest] = value
            with self.using(("definition", digest)):
                self.parts.definitions[digest] = tell(value)
        return digest

    def _of_function(self, value: Any) -> dict[str, Any]:
        half = self._halves.get(id(value))
        function: types.FunctionType = value if half is not None else inspect.unwrap(value)
        if self._is_compiled and function is value:
            text, half = _compiled(function), None
        else:
            text = text_of_function(function if half is None else half.whole, self._is_ours)
        decorators = list(text.decorators) if half is None else []
        where = f"Function {function.__qualname__}"
        names = set(parts_of(function.__code__).globals) | names_in(*decorators)
        self._want_imports(function.__code__, function.__globals__)
        space = self._space(function.__globals__, names, where)
        cells = {
            name: self.pack(_content(cell), f"{where}, its variable {name!r},")
            for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        }
        return {
            **_place(text, function.__qualname__, space),
            "half": half and half.kind,
            "keys": half and list(half.keys),
            "names": half and list(half.names),
            "places": half and list(half.places),
            "decorators": decorators,
            "now": bool(decorators),
            "cells": cells,
            "defaults": self.pack((function.__defaults__, function.__kwdefaults__), f"{where}, its defaults,"),
        }

    def _of_class(self, kind: Any) -> dict[str, Any]:
        text = text_of_class(kind)
        names = names_in(text.text, *text.decorators)
        here = vars(sys.modules[kind.__module__])
        self._want_imports(compile(text.text, text.file, "exec", dont_inherit=True), here)
        space = self._space(here, names - {kind.__name__}, f"Class {kind.__qualname__}")
        return {
            **_place(text, kind.__qualname__, space),
            "half": None,
            "places": None,
            "decorators": list(text.decorators),
            "now": True,
            "cells": {},
        }

    def _want_imports(self, code: types.CodeType, names: dict[str, Any]) -> None:
        for name in imports.in_code(code, names):
            self.want(name)

    def _space(self, here: dict[str, Any], names: Iterable[str], where: str) -> Space:
        """Where a definition stands; what it uses there travels, if nobody can import it."""
        module = str(here.get("__name__") or "__main__")
        is_real = getattr(sys.modules.get(module), "__dict__", None) is here
        if is_real and home_of(module) is not Home.NAMESPACE:
            self.want(module)
            return module
        space = (module, str(here.get("__file__", "")))
        bound = self.parts.spaces.setdefault(space, {})
        for name in sorted(names):
            if name not in here or (name.startswith("__") and name.endswith("__")):
                continue
            with self.using((space, name)):
                if name not in bound:
                    bound[name] = b""  # what it stands for may mention it
                    bound[name] = self.pack(here[name], f"{where}, its global {name!r},")
        return space


class _Pickler(pickle.Pickler):
    def __init__(self, out: io.BytesIO, name: Callable[[Any], Pid | None]) -> None:
        super().__init__(out, PROTOCOL)
        self._name = name

    def persistent_id(self, value: Any) -> Pid | None:
        return self._name(value)


def _place(text: Text, qualname: str, space: Space) -> dict[str, Any]:
    from parsl_context.standalone.runtime.sources import _FLAGS

    return {
        "text": text.text,
        "file": text.file,
        "line": text.line,
        "code": text.code,
        "python": sys.version_info[:2],
        "flags": _FLAGS if text.has_late_annotations else 0,
        "qualname": qualname,
        "space": space,
    }


def _compiled(function: types.FunctionType) -> Text:
    code = function.__code__
    return Text("", code.co_filename, code.co_firstlineno, (), code=marshal.dumps(code))


def _digest(value: Any) -> str:
    """Equal for what is equal; of what cannot be digested, its own."""
    try:
        return str(digest_content(value))
    except Exception:
        return uuid.uuid4().hex


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _found(module: str, place: str) -> Any:
    found: Any = sys.modules.get(module)
    for name in place.split("."):
        found = getattr(found, name, None)
    return found


def _way_to(module: str, place: str, value: Any) -> str:
    """How a function is reached in its module, where its name stands for the app or the context that it was made."""
    found = _found(module, place)
    return f"{place}.{'function' if getattr(found, 'function', None) is value else 'body'}"


def _stands_at(module: str | None, place: str, value: Any) -> bool:
    """Whether importing a module gives a function."""
    if not isinstance(module, str) or home_of(module) is Home.NAMESPACE or "<" in place:
        return False
    found = _found(module, place)
    return found is value or value in (getattr(found, "function", None), getattr(found, "body", None))
