"""How objects are taken apart that Python's pickle does not take apart, or not so that they come back as they were."""

from __future__ import annotations

import builtins
import copyreg
import enum
import functools
import gc
import types
import typing
import weakref
from collections.abc import Callable
from typing import Any

import cloudpickle.cloudpickle as cp

from parsl_context.content import making as there
from parsl_context.content.modules import Home, home_of

_GROUP: type[BaseException] | tuple[()] = getattr(builtins, "BaseExceptionGroup", ())  # Python 3.10 has none


def reduce_code(value: object) -> Any:
    """What stands for an object that is made of functions, as `object.__reduce__` says it; NotImplemented for others.

    Such an object says it by a method `__reduce_code__`. Unlike what its `__reduce__` may give, that must not hold a
    pickle: the object may know itself by way of the globals of its functions.
    """
    reduce = getattr(type(value), "__reduce_code__", None)
    return NotImplemented if reduce is None else reduce(value)


def has_stock_reduce(kind: Any) -> bool:
    return kind.__reduce__ is object.__reduce__ and kind.__reduce_ex__ is object.__reduce_ex__


def makes_members(kind: Any) -> bool:
    """Whether members of an enum are made in a way of the user's, from what they no longer tell."""
    ways = [getattr(kind, name, None) for name in ("__init__", "__new_member__")]
    is_own = any(isinstance(way, types.FunctionType) and home_of(way.__module__) is not Home.INSTALLED for way in ways)
    return is_own or kind._member_type_.__module__ != "builtins"


def native_args(member: Any) -> tuple[Any, ...]:
    """What Python's own type that a member is of makes it from."""
    found: tuple[Any, ...] = member.__getnewargs__() if hasattr(member, "__getnewargs__") else ()
    return found


def own_attributes(member: enum.Enum) -> dict[str, Any]:
    ours = ("_value_", "_name_", "__objclass__", "_sort_order_")
    return {name: value for name, value in vars(member).items() if name not in ours}


def _reduce_cached_function(cached: Any) -> tuple[Any, ...]:
    """What `functools.lru_cache` made; without what it has cached."""
    state = {name: value for name, value in vars(cached).items() if name != "__wrapped__"}
    return there.make_cached, (cached.__wrapped__, cached.cache_parameters()), state


def _reduce_cached_property(found: Any) -> tuple[Any, ...]:
    state = {name: value for name, value in vars(found).items() if name not in ("lock", "func")}
    return functools.cached_property, (found.func,), state


def _reduce_proxy(proxy: types.MappingProxyType[Any, Any]) -> tuple[Any, ...]:
    (behind,) = gc.get_referents(proxy)  # the dictionary itself, which others may know
    return types.MappingProxyType, (behind,)


def _reduce_weak(found: weakref.ref[Any]) -> tuple[Any, ...]:
    value = found()
    return (there.dead_reference, ()) if value is None else (weakref.ref, (value,))


def reduce_plainly(found: Any) -> tuple[Any, ...]:
    """An object whose class says that it goes by its name: what it is made of."""
    reduced: tuple[Any, ...] = copyreg._reduce_ex(found, 1)  # type: ignore[attr-defined]
    return reduced


def reduce_exception(error: BaseException) -> Any:
    """An exception of the user's, whose constructor may take other arguments than the exception keeps."""
    kind = type(error)
    if type(kind.__reduce__) is not types.MethodDescriptorType or isinstance(error, _GROUP):
        return NotImplemented
    reduced: tuple[Any, ...] = there.built_in(kind).__reduce__(error)  # type: ignore[assignment]
    return there.make_exception, (kind, reduced[1]), *reduced[2:]


def _reduce_weak_keys(found: weakref.WeakKeyDictionary[Any, Any]) -> tuple[Any, ...]:
    return type(found), (dict(found),)


REDUCERS: dict[type, Callable[[Any], Any]] = {
    type(functools.lru_cache(maxsize=None)(len)): _reduce_cached_function,
    functools.cached_property: _reduce_cached_property,
    types.MappingProxyType: _reduce_proxy,
    weakref.ref: _reduce_weak,
    typing.TypeVar: cp._typevar_reduce,
    weakref.WeakKeyDictionary: _reduce_weak_keys,
    weakref.WeakValueDictionary: _reduce_weak_keys,
}
