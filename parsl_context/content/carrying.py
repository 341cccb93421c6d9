"""The pickler for the user's code and values: what the other side knows, or can import, is named; the rest taken apart.

See `space` for what identifiers are. The same pickler is used in both directions. The process in which the user's code
was written defines what it names (`discover.definitions`); the others only name what they were told of.
"""

from __future__ import annotations

import builtins
import enum
import functools
import io
import marshal
import pickle
import re
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import cloudpickle
import cloudpickle.cloudpickle as cp
import dill

from parsl_context.content import imports
from parsl_context.content import making as there
from parsl_context.content.cells import filled_values, is_filled
from parsl_context.content.modules import Home, home_of
from parsl_context.content.reducers import (
    REDUCERS,
    has_stock_reduce,
    makes_members,
    native_args,
    own_attributes,
    reduce_code,
    reduce_exception,
    reduce_plainly,
)
from parsl_context.content.space import MAIN, Id, module_here, space
from parsl_context.content.standing import owner_of, place_of, place_under
from parsl_context.content.statics import is_of_file

_BUILT_IN = frozenset(vars(builtins))
_WORD = re.compile(r"[A-Za-z_]\w*")
_FIRST = ("__module__", "__slots__", "__orig_bases__")  # what a class must have from the beginning
_SPECIAL = ("__name__", "__qualname__", "__annotations__", "__kwdefaults__", "__defaults__", "__module__", "__doc__")


_PLAIN_KINDS = 4096
_plain: set[type] = set()  # kinds of objects that pickle's own way is right for


@dataclass
class Needs:
    """What a pickle names and the process that reads it must have."""

    definitions: set[Id] = field(default_factory=set)
    names: set[tuple[str, str]] = field(default_factory=set)  # of namespaces, which functions use
    modules: set[str] = field(default_factory=set)  # of the user's, as files
    sources: set[str] = field(default_factory=set)  # files in which code of namespaces is written

    def update(self, other: Needs) -> None:
        """Add what something else needs."""
        self.definitions |= other.definitions
        self.names |= other.names
        self.modules |= other.modules
        self.sources |= other.sources

    @property
    def key(self) -> tuple[frozenset[Any], ...]:
        """Equal for equal needs."""
        return frozenset(self.definitions), frozenset(self.names), frozenset(self.modules), frozenset(self.sources)

    def __bool__(self) -> bool:
        return bool(self.definitions or self.names or self.modules or self.sources)


def carry(
    value: object,
    *,
    defines: bool,
    root: Id | None = None,
    replace: Callable[[object], Any] | None = None,
    buffer_callback: Callable[[pickle.PickleBuffer], Any] | None = None,
    limit_bytes: int | None = None,
) -> tuple[bytes, Needs]:
    """A pickle, and what it needs.

    Parameters
    ----------
    defines
        Whether this process may give identifiers to what has none.
    root
        Identifier of the value, if this is to be its definition.
    replace
        Asked for each object met: what `object.__reduce__` may return to stand for it, or NotImplemented.
    buffer_callback
        As of `pickle.Pickler`.
    limit_bytes
        Size from which on it is given up, with a `BufferError`.

    Raises
    ------
    Exception
        What the value's own code raised, or the pickler, if it cannot be pickled.
    """
    file = io.BytesIO()
    if limit_bytes is not None:
        file = _Limited(limit_bytes)
        buffer_callback = file.take
    pickler = _Carrier(file, protocol=5, buffer_callback=buffer_callback)
    pickler.begin(defines, root, replace)
    pickler.dump(value)
    return file.getvalue(), pickler.needs


def carry_slowly(value: object, *, defines: bool) -> tuple[bytes, Needs]:
    """As `carry`, by dill, which takes some things that cloudpickle does not."""
    file = io.BytesIO()
    pickler = _DillCarrier(file, protocol=5)
    pickler.begin(defines, None, None)
    pickler.dump(value)
    return pickle.dumps(_Dilled(file.getvalue()), protocol=5), pickler.needs


class _Limited(io.BytesIO):
    def __init__(self, limit_bytes: int) -> None:
        super().__init__()
        self._limit_bytes = limit_bytes

    def write(self, data: Any) -> int:
        self._check(len(data))
        return super().write(data)

    def take(self, buffer: pickle.PickleBuffer) -> bool:
        """Asked for each large buffer before it is copied: it is to be in the stream."""
        self._check(buffer.raw().nbytes)
        return True

    def _check(self, size: int) -> None:
        if self.tell() + size > self._limit_bytes:
            raise BufferError(f"It takes more than {self._limit_bytes} bytes.")


class _Dilled:
    """What dill has pickled, and must unpickle."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __reduce__(self) -> tuple[Any, ...]:
        return dill.loads, (self._data,)


class _Reducer:
    """Says how objects are taken apart; see `carry`. A part of picklers."""

    def begin(self, defines: bool, root: Id | None, replace: Callable[[object], Any] | None) -> None:
        """Get ready for a pickle."""
        self.needs = Needs()
        self._defines = defines
        self._root = root
        self._root_value = None if root is None else space.find(root)
        self._replace = replace

    def reducer_override(self, obj: Any) -> Any:
        """What `object.__reduce__` may return, or NotImplemented."""
        if self._replace is not None:
            reduced = self._replace(obj)
            if reduced is not NotImplemented:
                return reduced
        kind = type(obj)
        if kind in _plain:
            return NotImplemented
        if kind is types.FunctionType:
            return self._function(obj)
        if kind is types.CellType:
            return self._cell(obj)
        if isinstance(obj, type):
            return self._class(obj)
        reduced = reduce_code(obj)
        if reduced is not NotImplemented:
            return reduced
        if isinstance(obj, types.ModuleType):
            return self._module(obj)
        reduce = REDUCERS.get(kind)
        home = home_of(getattr(obj, "__module__", None))
        if home is not Home.INSTALLED:
            return self._instance(obj, home, reduce)
        if reduce is not None:
            return reduce(obj)
        # Objects with attributes may say that they are of another module than their class.
        if home_of(kind.__module__) is Home.INSTALLED and not kind.__dictoffset__ and len(_plain) < _PLAIN_KINDS:
            _plain.add(kind)
        return NotImplemented

    def _by_value(self, obj: types.FunctionType) -> Any:
        """A function whose globals are not the names of a module."""
        return NotImplemented

    def _elsewhere(self, obj: Any) -> Any:
        """A class or a function that a worker can import, or that was made by code of such."""
        return NotImplemented

    # --- kinds

    def _function(self, obj: types.FunctionType) -> Any:
        if obj is self._root_value:
            return self._begin(self._take_apart(obj))
        home = home_of(obj.__module__)
        if home is Home.INSTALLED:
            return self._known(obj)
        place = place_of(obj)
        if home is Home.CARRIED and place is not None and is_of_file(obj.__module__, place):
            return self._in_module(obj.__module__, place, obj.__qualname__)
        owner, inside = (None, "") if place is None else owner_of(obj.__module__, place)
        if owner is not None and owner is not self._root_value and (self._defines or space.known(owner) is not None):
            return there.attribute, (owner, inside)
        reduced = self._reference(obj, gives=place is not None and owner is None)
        return self._take_apart(obj) if reduced is NotImplemented else reduced

    def _cell(self, obj: types.CellType) -> Any:
        if obj is self._root_value:
            return there.fill, (self._root, _content_of(obj))
        return there.empty_cell, (), _content_of(obj), None, None, there.fill_cell

    def _class(self, obj: type) -> Any:
        if obj is self._root_value:
            return self._begin(self._take_class_apart(obj))
        home = home_of(obj.__module__)
        if home is Home.INSTALLED:
            return self._known(obj)
        if home is Home.CARRIED:
            place = place_of(obj)
            if place is not None and is_of_file(obj.__module__, place):
                return self._in_module(obj.__module__, place, obj.__qualname__)
            self.needs.modules.add(obj.__module__)
        reduced = self._reference(obj, gives=True)
        return self._elsewhere(obj) if reduced is NotImplemented else reduced  # made by a call, over there

    def _module(self, obj: types.ModuleType) -> Any:
        name = obj.__name__
        home = home_of(name)
        if home is Home.INSTALLED or module_here(name) is not obj:
            return NotImplemented
        if home is Home.CARRIED:
            self.needs.modules.add(name)
            return there.module, (name,)
        if name != MAIN:  # its attributes are used, and nobody knows which
            self.needs.names.update((name, each) for each in vars(obj) if not each.startswith("__"))
        return there.namespace, (name,)

    def _instance(self, obj: Any, home: Home, reduce: Callable[[Any], Any] | None) -> Any:
        """An object of the user's code, which may stand under a name of its module as a class does."""
        if reduce is not None:
            name = getattr(obj, "__qualname__", None) or getattr(obj, "__name__", None)
        elif isinstance(obj, BaseException):
            return reduce_exception(obj)
        elif type(obj) in cp.Pickler.dispatch_table or has_stock_reduce(type(obj)):
            return NotImplemented
        else:
            reduced = obj.__reduce_ex__(5)
            if not isinstance(reduced, str):
                return reduced
            name, reduce = reduced, reduce_plainly
        if obj is self._root_value:
            return self._begin(reduce(obj))
        place = place_under(obj, name) if isinstance(name, str) else None
        if place is None:
            return reduce(obj)
        if home is Home.CARRIED and is_of_file(obj.__module__, place):
            return self._in_module(obj.__module__, place, None)
        found = self._reference(obj, gives=True)
        return reduce(obj) if found is NotImplemented else found

    # --- ways

    def _known(self, obj: Any) -> Any:
        reduced = self._reference(obj, gives=False)
        return self._elsewhere(obj) if reduced is NotImplemented else reduced

    def _reference(self, obj: Any, *, gives: bool) -> Any:
        """The identifier of an object, given to it now if this process may, or NotImplemented if it has none."""
        found = space.identify(obj) if gives and self._defines else space.known(obj)
        if found is None:
            return NotImplemented
        if self._defines and type(obj) is types.FunctionType and _has_names_of_module(obj):
            space.identify_cells(obj)
        self.needs.definitions.add(found)
        return there.named, (found,)

    def _in_module(self, module: str, place: str, name: str | None) -> Any:
        self.needs.modules.add(module)
        return NotImplemented if place == name else (there.attribute, (module_here(module), place))

    def _begin(self, reduced: tuple[Any, ...]) -> Any:
        make, args, *rest = reduced
        return there.begin, (self._root, make, args), *rest

    def _take_apart(self, obj: types.FunctionType) -> Any:
        """A function whose globals are the names of a module, also where it arrives."""
        if not _has_names_of_module(obj):
            return self._by_value(obj)
        code = obj.__code__
        self.needs.modules.update(imports.in_code(code, obj.__globals__))
        if home_of(obj.__module__) is Home.NAMESPACE:
            self._use_names(obj.__module__, _words(obj.__annotations__))
            # Also those that are to be defined yet.
            wanted = cp._extract_code_globals(code)
            names = [name for name in wanted if name not in _BUILT_IN or name in obj.__globals__]
            self.needs.names.update((obj.__module__, name) for name in names)
            self.needs.sources.add(code.co_filename)
            if obj.__module__ != MAIN:  # which nobody else may have named
                self.needs.names.add((obj.__module__, "__name__"))
        elif home_of(obj.__module__) is Home.CARRIED:
            self.needs.modules.add(obj.__module__)
        cells = obj.__closure__ or ()
        # Parts of packages that the code reaches as attributes are to be imported there, too.
        used = [obj.__globals__[name] for name in cp._extract_code_globals(code) if name in obj.__globals__]
        used += filled_values(cells)
        parts = cp._find_imported_submodules(code, used)
        ids = [space.known(cell) for cell in cells]
        shared = [found for found in ids if found is not None]
        self.needs.definitions.update(shared)
        closure = tuple(
            cell if found is None else _Named(there.cell, found) for cell, found in zip(cells, ids, strict=True)
        )
        args = (marshal.dumps(code), _names(obj.__module__), obj.__name__, closure or None, parts)
        special = {name: getattr(obj, name) for name in _SPECIAL}
        state = (dict(vars(obj)), special, [_Named(there.filled, found) for found in shared])
        return there.make_function, args, state, None, None, there.complete_function

    def _take_class_apart(self, obj: type) -> Any:
        if home_of(obj.__module__) is Home.NAMESPACE:
            self._use_names(obj.__module__, _words(vars(obj).get("__annotations__", {})))
        if issubclass(obj, enum.Enum):
            return self._take_enum_apart(obj)
        first = {name: vars(obj)[name] for name in _FIRST if name in vars(obj)}
        # Bases as they were written say more to the metaclasses of typing.
        bases = obj.__bases__ if type(obj) is type else cp._get_bases(obj)
        args = (type(obj), obj.__name__, bases, {**first, "__qualname__": obj.__qualname__})
        return there.make_class, args, cp._class_getstate(obj), None, None, there.complete_class

    @staticmethod
    def _take_enum_apart(obj: type[enum.Enum]) -> Any:
        attributes, slots = cp._enum_getstate(obj)
        attributes = {name: value for name, value in attributes.items() if name not in obj.__members__}
        # `__members__` has the other names of one, too.
        if makes_members(obj):
            facts = {"__qualname__": obj.__qualname__, "__module__": obj.__module__}
            made = {name: (native_args(member), member.value) for name, member in obj.__members__.items()}
            of_members = {name: own_attributes(member) for name, member in obj.__members__.items()}
            args = (type(obj), obj.__name__, obj.__bases__, made, facts)
            return there.make_enum, args, (attributes, slots, of_members), None, None, there.complete_enum
        members = {name: member.value for name, member in obj.__members__.items()}
        of_enum = (obj.__bases__, obj.__name__, obj.__qualname__, members, obj.__module__, None, None)
        return cp._make_skeleton_enum, of_enum, (attributes, slots), None, None, there.complete_class

    def _use_names(self, namespace: str, names: Iterable[str]) -> None:
        known = vars(module_here(namespace))
        self.needs.names.update((namespace, name) for name in names if name in known)


class _Carrier(_Reducer, cloudpickle.Pickler):  # type: ignore[misc]
    def _by_value(self, obj: types.FunctionType) -> Any:
        return self._dynamic_function_reduce(obj)

    def _elsewhere(self, obj: Any) -> Any:
        return cp._class_reduce(obj) if isinstance(obj, type) else self._function_reduce(obj)


class _DillCarrier(_Reducer, dill.Pickler):  # type: ignore[misc]
    """As dill, but for what has identifiers."""


def _words(annotations: dict[str, Any]) -> Iterator[str]:
    """Names in annotations that are still texts."""
    for value in annotations.values():
        if isinstance(value, str):
            yield from _WORD.findall(value)


def _has_names_of_module(obj: types.FunctionType) -> bool:
    module = module_here(obj.__module__)
    return module is not None and obj.__globals__ is vars(module)


def _content_of(cell: types.CellType) -> tuple[Any, ...]:
    return (cell.cell_contents,) if is_filled(cell) else ()


class _Names:
    """Stands for the names of a module, which are the globals of its functions."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __reduce__(self) -> tuple[Any, ...]:
        return there.names_of, (self._module,)


class _Named:
    """What something gives for an identifier, over there."""

    def __init__(self, find: Callable[[Id], Any], name: Id) -> None:
        self._reduced = find, (name,)

    def __reduce__(self) -> tuple[Any, ...]:
        return self._reduced


_names = functools.lru_cache(maxsize=1024)(_Names)
