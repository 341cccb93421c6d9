"""What functions, classes and other objects are made of."""

from __future__ import annotations

import functools
import itertools
import types
from collections.abc import Iterable, Iterator
from typing import Any

from parsl_context.discover.needs.data import Where


def is_code(value: Any) -> bool:
    """Whether an object is code, or stands for some, rather than a value that may have a method to be called."""
    if isinstance(value, type | types.ModuleType | functools.partial) or hasattr(type(value), "__get__"):
        return True
    try:
        return callable(value) and isinstance(value.__name__, str)
    except Exception:  # objects may have code of their own for that
        return False


def wrapped_by(value: Any) -> Any:
    """What an object says it wraps; asked of it alone, because there are objects that have any attribute."""
    try:
        return object.__getattribute__(value, "__dict__").get("__wrapped__")
    except AttributeError:
        return None


def functions_of(value: Any) -> Iterator[Any]:
    """What a class attribute is made of."""
    if isinstance(value, staticmethod | classmethod):
        yield value.__func__
    elif isinstance(value, property):
        yield from (part for part in (value.fget, value.fset, value.fdel) if part is not None)
    elif isinstance(value, functools.cached_property | functools.partialmethod):
        yield value.func
    else:
        yield value


def defaults_of(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Parameters that have defaults, with these."""
    code = function.__code__
    values = function.__defaults__ or ()
    names = code.co_varnames[max(0, code.co_argcount - len(values)) : code.co_argcount]
    yield from zip(names, values, strict=False)  # they can be set to others than were written
    yield from (function.__kwdefaults__ or {}).items()


def first_of(values: Iterable[Any], count: int) -> list[Any]:
    """Not more than some."""
    return list(itertools.islice(values, max(0, count)))


def contents_of(function: types.FunctionType) -> list[Any]:
    """Values that a function has captured."""
    return [cell.cell_contents for cell in function.__closure__ or () if is_filled(cell)]


def is_filled(cell: types.CellType) -> bool:
    """Whether a captured variable has a value yet."""
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def start_of(code: types.CodeType) -> Where:
    """The first line of some code."""
    return Where(code.co_filename, code.co_firstlineno)


def name_of(value: Any) -> str:
    """What people know an object by."""
    names = (getattr(value, each, None) for each in ("__qualname__", "__name__", "name"))
    return next((name for name in names if isinstance(name, str)), type(value).__qualname__)
