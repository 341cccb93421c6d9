"""What a value is, as plain data: equal for equal values in two processes, and only for these.

Which parts are one object is not told, but for parts that hold themselves: that is for tests to ask.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import sys
import types
from typing import Any

_ATOMS = (int, float, str, bytes, bool, complex, type(None), type(Ellipsis), type(NotImplemented))


def describe(value: object) -> Any:
    """The value and its parts."""
    return _Description().of(value)


def describe_raised(error: BaseException) -> Any:
    """An exception with what it came from, and where in the program that was."""
    chain, met = [], set()
    each: BaseException | None = error
    while each is not None and id(each) not in met:
        met.add(id(each))
        chain.append((describe(each), _frames(each), each.__cause__ is not None))
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
    return chain


class _Description:
    def __init__(self) -> None:
        self._within: dict[int, int] = {}  # values that are being described, with their depth

    def of(self, value: Any) -> Any:
        kind = type(value)
        if kind in _ATOMS or (kind is tuple and not value):
            return kind.__name__, repr(value)
        if kind.__module__ == "typing":
            return "type hint", repr(value), [self.of(each) for each in getattr(value, "__args__", ())]
        if isinstance(value, type):
            return "class", value.__module__, value.__qualname__, _is_at_its_place(value)
        if id(value) in self._within:
            return "above", self._within[id(value)]
        self._within[id(value)] = len(self._within)
        try:
            return self._parts(value, kind)
        finally:
            del self._within[id(value)]

    def _parts(self, value: Any, kind: type) -> Any:
        if isinstance(value, types.ModuleType):
            return "module", value.__name__, sys.modules.get(value.__name__) is value
        if isinstance(value, enum.Enum):
            own = {name: self.of(each) for name, each in vars(value).items() if not name.startswith("_")}
            return "member", self.of(kind), value.name, value is kind(value.value), own
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, types.MethodType):
            return "method", self.of(value.__self__), self.of(value.__func__)
        if isinstance(value, functools.partial):
            return "partial", self.of(value.func), self.of(value.args), self.of(value.keywords)
        return "object", self.of(kind), self._content(value), self._attributes(value)

    def _function(self, function: types.FunctionType) -> Any:
        names = vars(sys.modules.get(function.__module__, types))
        module = function.__globals__.get("__name__")
        if module in sys.stdlib_module_names:  # made for a function of the program
            return "function", module, function.__qualname__
        return (
            "function",
            function.__module__,
            function.__qualname__,
            _is_at_its_place(function),
            function.__globals__ is names,
            [self.of(cell.cell_contents) for cell in function.__closure__ or ()],
            self.of(function.__defaults__),
            self.of(function.__kwdefaults__),
            self.of(vars(function)),
        )

    def _content(self, value: Any) -> Any:
        if isinstance(value, dict):
            return [(self.of(key), self.of(item)) for key, item in value.items()]
        if isinstance(value, list | tuple):
            return [self.of(item) for item in value]
        if isinstance(value, set | frozenset):
            return sorted(repr(_Description().of(item)) for item in value)
        if isinstance(value, BaseException):
            return self.of(value.args)
        if isinstance(value, int | float | str | bytes):
            return repr(type(value).__mro__[-2](value))
        return None

    def _attributes(self, value: Any) -> Any:
        found = dict(getattr(value, "__dict__", {}))
        for kind in type(value).__mro__:
            slots = vars(kind).get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else tuple(slots):
                mangled = f"_{kind.__name__.lstrip('_')}{name}" if name.startswith("__") else name
                if hasattr(value, mangled) and not name.endswith("__"):
                    found[mangled] = getattr(value, mangled)
        if dataclasses.is_dataclass(value):
            found |= {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
        return [(name, self.of(found[name])) for name in sorted(found)]


def _is_at_its_place(found: Any) -> bool:
    """Whether a class or a function is what stands under its name."""
    value: Any = sys.modules.get(found.__module__)
    for name in found.__qualname__.split("."):
        value = getattr(value, "__dict__", {}).get(name)
    return value is found or (callable(value) and getattr(value, "__wrapped__", None) is found)


def _frames(error: BaseException) -> list[tuple[str, int]]:
    """Function and line of the frames that are the program's."""
    found, trace = [], error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename.startswith("<cell") or "/programs/" in code.co_filename or "/trees/" in code.co_filename:
            found.append((code.co_name, trace.tb_lineno))
        trace = trace.tb_next
    return found
