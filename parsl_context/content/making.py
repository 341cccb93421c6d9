"""What pickles of the user's code call where they are read: they name objects of this process, or make them.

Both ends are of one version, so nothing here need stay as it is. `carrying` and `reducers` write what is called.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import marshal
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import cloudpickle.cloudpickle as cp

from parsl_context.content.space import MAIN, Id, space


def named(name: Id) -> object:
    """The object that an identifier names."""
    return space.resolve(name)


def names_of(name: str) -> dict[str, Any]:
    """The names of a module: globals of functions that are made again."""
    return vars(module(name))


def module(name: str) -> types.ModuleType:
    """A module: one that can be imported, or stands for one of the user's that cannot."""
    if name == MAIN:
        return space.namespace(MAIN)
    return sys.modules.get(name) or importlib.import_module(name)


def namespace(name: str) -> types.ModuleType:
    """A module of the user's that cannot be imported: it was made by code."""
    return space.namespace(name)


def attribute(value: Any, path: str) -> Any:
    """What an object has, and that has, and so on; of a class what stands there, not what a descriptor makes of it."""
    for name in path.split("."):
        value = vars(value)[name] if isinstance(value, type) and name in vars(value) else getattr(value, name)
    return value


def begin(name: Id, make: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Make an object that its own content may name, and that is completed later."""
    found = space.find(name)
    if found is not None:  # what it is made from has named it, and so made it
        return found
    made = make(*args)
    space.add(name, made)
    return made


def make_class(kind: type, name: str, bases: tuple[type, ...], members: dict[str, Any]) -> type:
    """A class without most of its members; those are set later.

    Metaclasses and bases that have come as content are not told of it: what they have done is in what is set. Those
    of modules, which this process has imported, are.
    """
    native = next(each for each in kind.__mro__ if space.known(each) is None)
    resolved = types.resolve_bases(bases)
    with _quiet(resolved):
        if native is kind:
            return types.new_class(name, bases, {"metaclass": kind}, lambda found: found.update(members))
        if resolved is not bases:
            members.setdefault("__orig_bases__", bases)
        made: type = native.__new__(kind, name, resolved, members)
        return made


_quieting = threading.RLock()


@contextlib.contextmanager
def _quiet(bases: tuple[type, ...]) -> Iterator[None]:
    """No function of the user's is told of a class that is derived from these meanwhile."""
    told = {each for base in bases for each in base.__mro__ if "__init_subclass__" in vars(each)}
    told = {each for each in told if space.known(each) is not None}
    if not told:
        yield
        return
    with _quieting:
        kept = {each: vars(each)["__init_subclass__"] for each in told}
        try:
            for each in told:
                type.__setattr__(each, "__init_subclass__", classmethod(lambda cls, **options: None))
            yield
        finally:
            for each, function in kept.items():
                type.__setattr__(each, "__init_subclass__", function)


class _Member:
    """A member of an enum that is to be made."""

    def __init__(self, args: tuple[Any, ...], value: Any) -> None:
        self.args = args  # of Python's own type that it is
        self.value = value


def make_enum(
    kind: type, name: str, bases: tuple[type, ...], members: dict[str, tuple[Any, ...]], facts: dict[str, str]
) -> type:
    """An enum whose class makes members in its own way; here without that, and without their attributes."""

    def new(cls: type, *given: Any) -> Any:
        (member,) = given if type(given[0]) is _Member else given[0]
        made = object.__new__(cls) if not member.args else native.__new__(cls, *member.args)
        made._value_ = member.value
        return made

    native = next((each for base in bases for each in base.__mro__ if hasattr(each, "__getnewargs__")), object)
    while native.__module__ != "builtins":
        native = native.__base__  # type: ignore[assignment]

    def fill(names: dict[str, Any]) -> None:
        names |= facts
        names["__new__"], names["__init__"] = new, lambda *_: None
        for each, (args, value) in members.items():
            names[each] = _Member(args, value)

    made = types.new_class(name, bases, {"metaclass": kind}, fill)
    for each in ("__init__", "__new_member__"):
        if each in vars(made):
            type.__delattr__(made, each)
    return made


def complete_enum(made: type, state: tuple[dict[str, Any], dict[str, Any], dict[str, dict[str, Any]]]) -> type:
    """Give an enum the rest, and its members their attributes."""
    attributes, slots, members = state
    complete_class(made, (attributes, slots))
    for name, each in members.items():
        vars(made.__members__[name]).update(each)  # type: ignore[attr-defined]
    return made


def complete_class(made: type, state: tuple[dict[str, Any], dict[str, Any]]) -> type:
    """Give a class its members."""
    state[0].pop("__slots__", None)
    completed: type = cp._class_setstate(made, state)
    return completed


def make_function(
    code: bytes, names: dict[str, Any], name: str, closure: tuple[types.CellType, ...] | None, parts: object
) -> types.FunctionType:
    """A function without its attributes. `parts` are modules that had to be imported before."""
    return types.FunctionType(marshal.loads(code), names, name, None, closure)


def complete_function(made: types.FunctionType, state: tuple[dict[str, Any], dict[str, Any], object]) -> None:
    """Give a function its attributes. The last of what they are: variables that got their values for it."""
    attributes, special, _ = state
    vars(made).update(attributes)
    for name, value in special.items():
        setattr(made, name, value)


def cell(name: Id) -> types.CellType:
    """A variable that several functions may have captured; without a value if it was not here yet."""
    found = space.find(name)
    if found is None:
        found = types.CellType()
        space.add(name, found)
        space.unfilled.add(name)
    assert isinstance(found, types.CellType)
    return found


def filled(name: Id) -> None:
    """Give such a variable its value, if it was not here yet."""
    if name in space.unfilled:
        space.unfilled.discard(name)  # before: its value may be a function that has captured it
        try:
            assert space.source is not None
            space.source(name)
        except BaseException:
            space.unfilled.add(name)
            raise


def fill(name: Id, content: tuple[Any, ...]) -> types.CellType:
    """The content of such a variable."""
    found = cell(name)
    fill_cell(found, content)
    return found


def empty_cell() -> types.CellType:
    """A variable that functions have captured, without a value."""
    return types.CellType()


def fill_cell(cell: types.CellType, content: tuple[Any, ...]) -> None:
    """Give it its value, if it had one."""
    for value in content:
        cell.cell_contents = value


def make_cached(function: Callable[..., Any], parameters: dict[str, Any]) -> Any:
    """A function with a cache of results, which is empty."""
    return functools.lru_cache(**parameters)(function)


def built_in(kind: type[BaseException]) -> type[BaseException]:
    """The exception of Python's own that an object of this class is laid out like."""
    while kind.__module__ != "builtins":
        kind = kind.__base__  # type: ignore[assignment]
    return kind


def make_exception(kind: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    """An exception, without a call of its own constructor."""
    base = built_in(kind)
    made = base.__new__(kind, *args)
    base.__init__(made, *args)
    return made


def dead_reference() -> weakref.ref[Any]:
    """A weak reference to what is gone."""
    return weakref.ref(type("gone", (), {})())
