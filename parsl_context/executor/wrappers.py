"""The context call within a function: what Parsl, a framework or the user has put around a context app.

Parsl wraps a function for its errors, walltime, monitoring and files, a pool that takes functions wraps it once more,
and frameworks hold it in an object that they call. A call of any of these needs the app's contexts, so it has to be
found in there. Runs no code of the user's, and looks into a bounded number of layers.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from parsl_context.apps.app import ContextApp
from parsl_context.apps.context_call import ContextCall
from parsl_context.content.cells import filled_values, is_filled

_DEPTH = 6  # wrappers that may lie around a context app
_MOST = 64  # functions and objects that are looked at: one with many callable attributes is no wrapper
_NO_WRAPPERS = (type, types.BuiltinFunctionType)


@dataclass(frozen=True)
class Wrapped:
    """A context call, and how a call of what lies around it calls it.

    Attributes
    ----------
    call : ContextCall
        What was found.
    passes_on : bool
        Whether it gets the arguments of the outer call, after those that follow.
    args, kwargs
        Arguments that it gets besides, from `functools.partial`.
    """

    call: ContextCall
    passes_on: bool = True
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_direct(self) -> bool:
        """Whether it gets the arguments of the outer call as they are."""
        return self.passes_on and not self.args and not self.kwargs

    def settled(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ContextCall | None:
        """The call with the contexts that these arguments of the outer call ask for; None if they do not tell."""
        if self.call.keys is None:
            return self.call.settled(args, kwargs)[0]
        if not self.passes_on:
            return None
        return self.call.settled((*self.args, *args), {**self.kwargs, **kwargs})[0]


class Layers:
    """A function and the functions that it wraps."""

    def __init__(self, function: Any) -> None:
        self._layers = list(_layers(function))

    @property
    def call(self) -> Wrapped | None:
        """The first context call that the function is or wraps."""
        return next((Wrapped(value, *way) for value, way in self._layers if _is(value, ContextCall)), None)

    @property
    def modules(self) -> set[str]:
        """Modules that they were defined in."""
        return {_module_of(value) for value, _ in self._layers}


def key_of(function: Any) -> Any:
    """Key of a function: itself; for wrappers that Parsl makes anew for each call, what they are made of."""
    cells = (isinstance(function, types.FunctionType) and _is_of_parsl(function) and function.__closure__) or ()
    if cells and all(map(is_filled, cells)):
        return (function.__code__, *(key_of(cell.cell_contents) for cell in cells))
    if isinstance(function, int | float | str):  # a walltime, say; equal ones need not be one object
        return (type(function), function)
    return id(function)


_Way = tuple[bool, tuple[Any, ...], Mapping[str, Any]]  # fields of `Wrapped`, without the call


def _layers(function: Any) -> Iterator[tuple[Any, _Way]]:
    """A function and the functions that it wraps, the outermost first, each with how it is reached."""
    waiting: list[tuple[Any, _Way, int]] = [(function, (True, (), {}), _DEPTH)]
    met: set[int] = set()
    while waiting and len(met) < _MOST:
        value, way, depth = waiting.pop()
        if id(value) in met:
            continue
        met.add(id(value))
        if _is(value, ContextApp):
            value = value.func
        yield value, way
        if depth and not _is(value, ContextCall):
            inner, way = _within(value, way)
            waiting += [(item, way, depth - 1) for item in reversed(inner) if _may_call(item)]


def _within(value: Any, way: _Way) -> tuple[list[Any], _Way]:
    """What a function holds, and how that is reached."""
    passes_on, args, kwargs = way
    if type(value) is types.FunctionType:
        return filled_values(value.__closure__), (passes_on and _is_of_parsl(value), args, kwargs)
    if _is(value, functools.partial):
        return [value.func, *value.args], (passes_on, (*value.args, *args), {**value.keywords, **kwargs})
    if _is(value, types.MethodType):
        return [value.__func__, *_attributes(value.__self__)], (False, args, kwargs)
    return _attributes(value), (False, args, kwargs)


def _is(value: Any, kind: type) -> bool:
    # Not isinstance: it asks an object that stands for another one (a proxy) what it is, and that may load it.
    return kind in type(value).__mro__


def _module_of(value: Any) -> str:
    is_function = type(value) in (types.FunctionType, types.BuiltinFunctionType) or _is(value, type)
    return getattr(value if is_function else type(value), "__module__", None) or "builtins"


def _may_call(value: Any) -> bool:
    """Whether it is a function, or an object that a framework calls."""
    return type(value) is types.FunctionType or (callable(value) and not issubclass(type(value), _NO_WRAPPERS))


def _attributes(value: Any) -> list[Any]:
    try:
        return list(object.__getattribute__(value, "__dict__").values())
    except AttributeError:
        return []


def _is_of_parsl(function: types.FunctionType) -> bool:
    module: str = function.__globals__.get("__name__", "")
    return module.startswith("parsl.")
