"""Digests of content: what makes two contexts the same context.

A context is identified by what it would build, never by its name. Pickles alone do not serve: their bytes depend on
object identity and on the order of sets, and a function pickled by reference is only a name. So functions are digested
by their code, defaults, closure and, outside installed modules, the globals they use; classes by their members;
containers by their elements; everything else by what pickle would take apart.

Objects may know each other in any way. One that is met within itself is marked by how far out it is; one that is met
again is not looked into again, so the cost grows with the number of objects, not with that of the paths between them.
"""

from __future__ import annotations

import copyreg
import dis
import hashlib
import operator
import pickle
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import cloudpickle

from parsl_context.content.modules import is_installed
from parsl_context.content.reducing import reduce_code
from parsl_context.wire.messages import Digest

_SIZE_BYTES = 16

_ATOMS = (bool, int, float, complex, str, bytes)
_FLAT = frozenset({*_ATOMS, type(None)})
_CONTAINERS = frozenset({list, tuple, set, frozenset})
_CLASS_MACHINERY = {
    "__dict__",
    "__weakref__",
    "__doc__",
    "__module__",
    "__firstlineno__",
    "__static_attributes__",
    "_abc_impl",
}
_ARGUMENT_FLAGS = 0x04 | 0x08  # inspect.CO_VARARGS, inspect.CO_VARKEYWORDS

Escape = Callable[[object], "str | None"]


def digest_bytes(data: bytes | bytearray | memoryview) -> Digest:
    """Digest of raw bytes."""
    return Digest(hashlib.blake2b(data, digest_size=_SIZE_BYTES).hexdigest())


def digest_content(value: object, escape: Escape | None = None) -> Digest:
    """Digest of a value's content, the same in every process that runs the same code.

    Parameters
    ----------
    value
        Anything that cloudpickle takes.
    escape
        Asked for each object met, numbers and texts excepted: a text that stands for it, or None.

    Notes
    -----
    Whether equal parts are one object or several does not count, except for objects that hold themselves.
    """
    hasher = _ContentHasher(escape, {}, _Met())
    try:
        hasher.add(value)
    except RecursionError:
        # Nested more deeply than we can follow. Pickle reaches further; its bytes still tell contents apart.
        return digest_bytes(cloudpickle.dumps(value, protocol=5))
    return Digest(hasher.hexdigest())


class _Met:
    """Objects that have been digested, with the text that stands for each."""

    def __init__(self) -> None:
        self.texts: dict[int, str] = {}
        self._cyclic = 0
        self._alive: list[object] = []  # an id is valid while its object lives

    def add(self, value: object, digest: str, *, is_cyclic: bool) -> None:
        # The digest of an object that holds itself says how far out it was met; a number identifies it.
        if is_cyclic:
            self._cyclic += 1
        self.texts[id(value)] = f"again {self._cyclic}" if is_cyclic else digest
        self._alive.append(value)


class _ContentHasher:
    """Digest of one object, fed part by part.

    Parameters
    ----------
    active
        Objects that we are inside of, by id, with their depth.
    met
        Objects that have been digested before.
    """

    def __init__(self, escape: Escape | None, active: dict[int, int], met: _Met) -> None:
        self._hash = hashlib.blake2b(digest_size=_SIZE_BYTES)
        self._escape = escape
        self._active = active
        self._met = met
        self._is_cyclic = False

    def hexdigest(self) -> str:
        return self._hash.hexdigest()

    def add(self, value: object) -> None:
        if value is None or isinstance(value, _ATOMS):
            self._mark(type(value).__name__, repr(value))
        elif self._escape is not None and (text := self._escape(value)) is not None:
            self._mark("escape", text)
        elif isinstance(value, types.ModuleType):
            self._mark("module", value.__name__)
        elif id(value) in self._active:
            self._is_cyclic = True
            self._mark("cycle", str(len(self._active) - self._active[id(value)]))
        elif id(value) in self._met.texts:
            text = self._met.texts[id(value)]
            self._is_cyclic |= text.startswith("again")
            self._mark("object", text)
        else:
            self._active[id(value)] = len(self._active)
            try:
                self._add_compound(value)
            finally:
                del self._active[id(value)]

    def _add_compound(self, value: object) -> None:
        if _is_flat(value):
            self._add_object(value)  # as quickly as it is found again
            return
        part = _ContentHasher(self._escape, self._active, self._met)
        part._add_object(value)
        self._is_cyclic |= part._is_cyclic
        self._met.add(value, part.hexdigest(), is_cyclic=part._is_cyclic)
        self._mark("object", part.hexdigest())

    def _add_object(self, value: Any) -> None:
        kind = type(value)
        if kind is list or kind is tuple:
            self._add_all(kind.__name__, value)
        elif kind is set or kind is frozenset:
            self._add_set(kind.__name__, value)
        elif kind is dict:
            self._add_dict(value)
        else:
            self._add_made(value)

    def _add_made(self, value: object) -> None:
        match value:
            case types.CodeType():
                self._add_code(value)
            case types.FunctionType():
                self._add_function(value)
            case types.MethodType():
                self._add_all("method", [value.__func__, value.__self__])
            case property():
                self._add_all("property", [value.fget, value.fset, value.fdel])
            case staticmethod() | classmethod():
                self._add_all(type(value).__name__, [value.__func__])
            case type():
                self._add_class(value)
            case pickle.PickleBuffer():
                self._mark("buffer", digest_bytes(value.raw()))
            case _:
                self._add_reduced(value)

    def _mark(self, kind: str, text: str) -> None:
        data = text.encode("utf-8", "surrogatepass")
        self._hash.update(f"{kind}:{len(data)}:".encode())
        self._hash.update(data)

    def _add_all(self, kind: str, values: Any) -> None:
        self._mark(kind, str(len(values)))
        for value in values:
            self.add(value)

    def _add_set(self, kind: str, values: Any) -> None:
        self._mark(kind, str(len(values)))
        for text in sorted(map(self._apart, values)):
            self._mark("item", text)

    def _add_dict(self, values: Any) -> None:
        self._mark("dict", str(len(values)))
        for text, key in sorted(((self._apart(key), key) for key in values), key=operator.itemgetter(0)):
            self._mark("key", text)
            self.add(values[key])

    def _apart(self, value: object) -> str:
        """What stands for an object by itself, to sort by: it must not depend on what was met before."""
        if value is None or isinstance(value, _ATOMS):
            return f"{type(value).__name__} {value!r}"
        part = _ContentHasher(self._escape, self._active, _Met())
        part.add(value)
        self._is_cyclic |= part._is_cyclic
        return part.hexdigest()

    def _add_code(self, code: types.CodeType) -> None:
        self._mark("code", code.co_name)
        self._mark("bytes", code.co_code.hex())
        counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & _ARGUMENT_FLAGS)
        self._mark("arguments", str(counts))
        self._add_all("names", [*code.co_names, *code.co_varnames, *code.co_freevars, *code.co_cellvars])
        self._add_all("constants", code.co_consts)

    def _add_function(self, function: types.FunctionType) -> None:
        self._mark("function", f"{function.__module__}.{function.__qualname__}")
        self.add(function.__code__)
        self.add(function.__defaults__)
        self.add(function.__kwdefaults__)
        for cell in function.__closure__ or ():
            try:
                self.add(cell.cell_contents)
            except ValueError:
                self._mark("cell", "empty")
        if not is_installed(function.__module__):
            self._add_named("globals", function.__globals__, set(_global_names(function.__code__)), function.__code__)

    def _add_named(self, kind: str, namespace: dict[str, Any], names: Iterable[str], code: types.CodeType) -> None:
        """Values that code uses by name, and what it uses of user modules among them."""
        for name in sorted(names):
            if name in namespace:
                value = namespace[name]
                self._mark(kind, name)
                self._add_leniently(value)
                if isinstance(value, types.ModuleType) and not is_installed(value.__name__):
                    self._add_attributes(value, code)

    def _add_attributes(self, module: types.ModuleType, code: types.CodeType) -> None:
        if id(module) not in self._active:
            self._active[id(module)] = len(self._active)
            try:
                self._add_named("attribute", vars(module), set(_attribute_names(code)), code)
            finally:
                del self._active[id(module)]

    def _add_class(self, value: type) -> None:
        self._mark("class", f"{value.__module__}.{value.__qualname__}")
        if not is_installed(value.__module__):
            self._add_all("bases", value.__bases__)
            for name, member in sorted(vars(value).items()):
                if name not in _CLASS_MACHINERY:
                    self._mark("member", name)
                    self._add_leniently(member)

    def _add_leniently(self, value: object) -> None:
        """What need not be pickled where the code runs in this process counts by its kind if it cannot be."""
        part = _ContentHasher(self._escape, self._active, self._met)
        try:
            part.add(value)
        except RecursionError:
            raise
        except Exception:
            self._mark("type", f"{type(value).__module__}.{type(value).__qualname__}")
            function = getattr(value, "func", None)  # of a functools.cached_property
            if isinstance(function, types.FunctionType):
                self._add_leniently(function)
        else:
            self._is_cyclic |= part._is_cyclic
            self._mark("value", part.hexdigest())

    def _add_reduced(self, value: object) -> None:
        """What pickle would make of it."""
        kind = type(value)
        self._mark("type", f"{kind.__module__}.{kind.__qualname__}")
        reduce = cloudpickle.Pickler.dispatch_table.get(kind) or copyreg.dispatch_table.get(kind)
        reduced = reduce_code(value)
        if reduced is NotImplemented:
            reduced = reduce(value) if reduce is not None else value.__reduce_ex__(5)
        if isinstance(reduced, str):
            self._mark("name", reduced)
            return
        parts: list[Any] = [*reduced, None, None, None]  # make, arguments, state, items, pairs; the last three may lack
        self._add_all("reduced", [*parts[:3], list(parts[3] or ()), list(parts[4] or ())])


def _is_flat(value: object) -> bool:
    """Whether it is a container of numbers and texts only."""
    kind = type(value)
    if kind is dict:
        return _FLAT.issuperset(map(type, value)) and _FLAT.issuperset(map(type, value.values()))  # type: ignore[call-overload, attr-defined]
    return kind in _CONTAINERS and _FLAT.issuperset(map(type, value))  # type: ignore[call-overload]


def _global_names(code: types.CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _global_names(constant)


def _attribute_names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _attribute_names(constant)
