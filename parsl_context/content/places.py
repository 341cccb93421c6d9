"""Where in an object the part lies that cannot be digested or pickled, for messages. Slow, and only after a failure."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from parsl_context.content.cells import is_filled
from parsl_context.content.code_parts import parts_of

_SHOWN = 40  # characters of a key


def fails(use: Callable[[Any], Any], value: object) -> bool:
    """Whether `use` raises for a value."""
    try:
        use(value)
    except Exception:
        return True
    return False


def place_of_failure(use: Callable[[Any], Any], value: object) -> str:
    """Path to the innermost part of `value` for which `use` raises, to be put after a name of it; empty if it has none.

    Examples
    --------
    ", .optimizer.lock," or ", ['paths'][0]," or ", its variable 'client' .session,"
    """
    path = ""
    seen = {id(value)}
    while True:
        for step, part in _parts(value):
            if id(part) not in seen and fails(use, part):
                seen.add(id(part))
                path += step
                value = part
                break
        else:
            return f", {path.strip()}," if path else ""


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Parts of an object with the way to each."""
    if isinstance(value, Mapping):
        for key, item in list(value.items()):
            yield f"[{_shown(key)}]", item
            yield f" its key {_shown(key)}", key
    elif isinstance(value, list | tuple):
        yield from ((f"[{i}]", item) for i, item in enumerate(value))
    elif isinstance(value, set | frozenset):
        yield from ((f" its item {_shown(item)}", item) for item in value)
    if isinstance(value, types.FunctionType):
        yield from _parts_of_function(value)
    elif isinstance(value, types.MethodType):
        yield from ((".__self__", value.__self__), (".__func__", value.__func__))
    elif isinstance(value, functools.partial):
        yield from ((".func", value.func), (".args", value.args), (".keywords", value.keywords))
    if not isinstance(value, type | types.ModuleType):
        yield from _attributes(value)


def _parts_of_function(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        if is_filled(cell):
            yield f" its variable {name!r} ", cell.cell_contents
    for name in sorted(parts_of(code).globals):
        if name in function.__globals__:
            yield f" its global {name!r} ", function.__globals__[name]
    yield from ((f" its default [{i}] ", each) for i, each in enumerate(function.__defaults__ or ()))
    yield from ((f" its default of {name!r} ", each) for name, each in (function.__kwdefaults__ or {}).items())


def _attributes(value: object) -> Iterator[tuple[str, Any]]:
    yield from ((f".{name}", part) for name, part in list(getattr(value, "__dict__", {}).items()))
    for kind in type(value).__mro__:
        for name, member in vars(kind).items() if "__slots__" in vars(kind) else ():
            if isinstance(member, types.MemberDescriptorType):  # a slot
                try:
                    yield f".{name}", member.__get__(value)
                except AttributeError:
                    continue


def _shown(key: object) -> str:
    text = repr(key) if isinstance(key, str | int | float | bytes | None) else f"<{type(key).__name__}>"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
