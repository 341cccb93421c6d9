"""What an object is made of when it is digested: what pickle would take it apart into, without what varies.

Caches, and what libraries draw anew in each run, are no content. A general rule covers nearly all objects; the table of
libraries below is for those whose pickles hold addresses or random names.
"""

from __future__ import annotations

import abc
import concurrent.futures
import copyreg
import ctypes
import functools
import pickle
import sys
import weakref
from collections.abc import Callable, Collection, Iterator
from typing import Any

import cloudpickle

from parsl_context.content.code_parts import UserModules
from parsl_context.content.modules import is_installed
from parsl_context.content.reducers import reduce_code

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: of a class that code made, not one that is part of the interpreter
_DERIVED = {  # members of classes that Python, abc, enum, copyreg, inspect and pydantic derive from the others
    "__dict__",
    "__weakref__",
    "__module__",
    "__qualname__",
    "__firstlineno__",
    "__static_attributes__",
    "__annotations_cache__",
    "__slotnames__",
    "__signature__",
    "_abc_impl",
    "_value2member_map_",
    "__pydantic_complete__",
    "__pydantic_core_schema__",
    "__pydantic_parent_namespace__",
    "__pydantic_serializer__",
    "__pydantic_setattr_handlers__",
    "__pydantic_validator__",
}


class Apart:
    """Takes the objects of one digest apart. Remembers what it found out about their classes.

    Attributes
    ----------
    modules : UserModules
        What code imports.
    """

    def __init__(self) -> None:
        self.modules = UserModules()
        self._ways: dict[type, Callable[[Any], Any]] = {}
        self._cached: dict[type, frozenset[str]] = {}

    def reduced(self, value: object) -> str | list[Any]:
        """What `object.__reduce__` may return, filled up to six parts: a name, or how the object is made again.

        Raises
        ------
        Exception
            What the object raises if it cannot be pickled.
        """
        kind = type(value)
        way = self._ways.get(kind)
        if way is None:
            way = self._ways[kind] = _way(kind)
        reduced = way(value)
        if isinstance(reduced, str):
            return reduced
        parts: list[Any] = [*reduced, None, None, None, None][:6]
        if issubclass(kind, set | frozenset | weakref.WeakSet):  # which say their items in the order of hashes
            parts[1] = tuple(frozenset(part) if type(part) is list else part for part in parts[1])
        parts[2] = self._without_caches(value, parts[2])
        parts[3:5] = [list(items) if items is not None else () for items in parts[3:5]]
        return parts

    def _without_caches(self, value: object, state: Any) -> Any:
        """State without the values that cached properties have left in the object."""
        kind = type(value)
        # Objects written in C may get an empty dictionary of attributes when they are asked for it, so ask if need be.
        cached = self._cached_names(kind)
        if cached and (own := getattr(value, "__dict__", None)) and not cached.isdisjoint(own):
            state = _without(cached, own, state)
        sets_itself = getattr(kind, "__setstate__", None) not in (None, BaseException.__setstate__)
        return None if type(state) is dict and not state and not sets_itself else state

    def _cached_names(self, kind: type) -> frozenset[str]:
        found = self._cached.get(kind)
        if found is None:
            members = (member for base in kind.__mro__ for member in vars(base).items())
            found = frozenset(name for name, member in members if isinstance(member, functools.cached_property))
            self._cached[kind] = found
        return found


def _without(cached: frozenset[str], own: dict[str, Any], state: Any) -> Any:
    """State without cached values of the attributes `own`: itself, a copy that `__getstate__` made, or within those."""
    if type(state) is tuple:
        return tuple(_without(cached, own, part) for part in state)
    if type(state) is not dict:
        return state
    return {
        name: _without(cached, own, item) if item is own else item
        for name, item in state.items()
        if not (name in cached and item is own.get(name))
    }


def is_found_by_name(value: Any) -> bool:
    """Whether a class or function is one that an installed module has under its name, so that no worker needs more."""
    if isinstance(value, type) and not value.__flags__ & _HEAP_TYPE:
        return True
    module = value.__module__
    if not isinstance(module, str) or not is_installed(module):
        return False
    first, *rest = value.__qualname__.split(".")
    # Not by getattr: modules may import others when they are asked for what they do not have.
    found = getattr(sys.modules.get(module), "__dict__", {}).get(first)
    for name in rest:
        found = getattr(found, name, None)
    return found is value


def members_of(kind: type) -> Iterator[tuple[str, Any]]:
    """Members that make a class what it is, in order."""
    for name, member in list(vars(kind).items()):
        # dataclass writes its signature there, defaults included: addresses, and sets in the order of hashes.
        is_written = name == "__doc__" and "__dataclass_fields__" in vars(kind) and _is_signature(kind, member)
        if name not in _DERIVED and not is_written:
            yield name, member
    if "_abc_impl" in vars(kind):
        yield "registered", {known for known in map(_called, _registry(kind)) if known is not None}


def home_of(value: object, name: str) -> str:
    """Module of an object that pickle knows by a name; where it does not say, the first that has it."""
    module = getattr(value, "__module__", None)
    if isinstance(module, str):
        return module
    top, _, rest = name.partition(".")
    homes = [
        home for home, each in list(sys.modules.items()) if not rest and getattr(each, "__dict__", {}).get(top) is value
    ]
    # Which modules have been loaded must not decide, nor where the user's import it to.
    return min(homes, key=lambda home: (not is_installed(home), home.count("."), len(home), home), default="")


def _is_signature(kind: type, text: object) -> bool:
    return isinstance(text, str) and text.startswith(f"{kind.__name__}(")


def _registry(kind: Any) -> Collection[weakref.ref[type]]:
    registry: Collection[weakref.ref[type]] = abc._get_dump(kind)[0]  # type: ignore[attr-defined]
    return registry


def _called(reference: weakref.ref[type]) -> type | None:
    return reference()


def _way(kind: type) -> Callable[[Any], Any]:
    """How to take objects of a class apart."""
    for base in kind.__mro__:
        way = _LIBRARIES.get(f"{base.__module__}.{base.__qualname__}")
        if way is not None:
            return way
    if getattr(kind, "__reduce_code__", None) is not None:
        return reduce_code
    reduce: Callable[[Any], Any] | None = cloudpickle.Pickler.dispatch_table.get(kind) or copyreg.dispatch_table.get(
        kind
    )
    return reduce or (lambda value: value.__reduce_ex__(5))


# --- libraries, by class, so that none is imported here


def _future(value: concurrent.futures.Future[Any]) -> Any:
    # Its locks could not be pickled; that says nothing to a user.
    raise TypeError(
        f"cannot pickle a {type(value).__name__} within an object; only as an argument of a context, or in lists, "
        "tuples and dictionaries there, is it waited for: pass its result"
    )


def _partial(value: functools.partial[Any]) -> Any:
    state: Any = value.__reduce__()[2]
    function, args, kwargs, attributes = state
    return type(value), (function, args, kwargs), attributes or None  # which are {} as soon as anyone has asked


def _memoryview(value: memoryview) -> Any:
    return memoryview, (value.format, value.shape, value.tobytes())


def _padded_array(value: Any) -> Any:
    """An array of structures: what lies between their fields is whatever memory held."""
    reduced = value.__reduce_ex__(5)
    if value.dtype.names is None or value.dtype.hasobject:
        return reduced
    recfunctions = __import__("numpy.lib.recfunctions", fromlist=["repack_fields"])
    packed = recfunctions.repack_fields(value, align=False, recurse=True)
    return reduced if packed.dtype.itemsize == value.dtype.itemsize else (type(value), (value.dtype, packed))


def _torch_bytes(value: Any) -> Any:
    """Its pickle names storages by their addresses."""
    device = str(value.device)
    if device == "meta" or value.nbytes() == 0:
        return type(value), (device, value.nbytes())
    if device != "cpu":
        return type(value), (device, value.cpu())
    memory = (ctypes.c_char * value.nbytes()).from_address(value.data_ptr())
    return type(value), (device, pickle.PickleBuffer(memory))


def _torch_storage(value: Any) -> Any:
    return type(value), (value.dtype, value._untyped_storage)


def _numba(value: Any) -> Any:
    """Its pickle is a pickle of these within, and has a name that is drawn in each run."""
    state = {name: part for name, part in value._reduce_states().items() if name != "uuid"}
    if not state.get("frozen", True):
        state.pop("siglist", None)  # what a universal function has been compiled for so far
    return value._reduce_class(), (state,)


def _pydantic_decorator(value: Any) -> Any:
    """Its state names the class by its address."""
    return type(value), (value.cls_var_name, value.func, value.shim, value.info)


def _pydantic_private(value: Any) -> Any:
    """Its state remembers what it found out about its factory."""
    return type(value), (value.default, value.default_factory)


_LIBRARIES: dict[str, Callable[[Any], Any]] = {
    "builtins.memoryview": _memoryview,
    "concurrent.futures._base.Future": _future,
    "functools.partial": _partial,
    "numba.core.serialize.ReduceMixin": _numba,
    "numpy.ndarray": _padded_array,
    "pydantic._internal._decorators.Decorator": _pydantic_decorator,
    "pydantic.fields.ModelPrivateAttr": _pydantic_private,
    "torch.storage.TypedStorage": _torch_storage,
    "torch.storage.UntypedStorage": _torch_bytes,
}
