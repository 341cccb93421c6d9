"""Where classes and functions stand in their modules, so that others can name them."""

from __future__ import annotations

import types
from typing import Any

from parsl_context.content.making import attribute
from parsl_context.content.space import module_here

_WRAPPERS = (staticmethod, classmethod, property)


def place_of(obj: Any) -> str | None:
    """Where a class or a function stands in its module, as a dotted name: it, or what has it as an attribute."""
    return place_under(obj, obj.__qualname__)


def place_under(obj: Any, name: str) -> str | None:
    module = module_here(obj.__module__)
    if "<locals>" not in name:
        try:
            found = attribute(module, name)
        except (AttributeError, KeyError):
            found = None
        if found is obj:
            return name
        inside = {} if isinstance(found, type | types.ModuleType) else getattr(found, "__dict__", {})
        if type(found) in _WRAPPERS:
            inside = {**inside, **{part: getattr(found, part, None) for part in ("__func__", "fget", "fset", "fdel")}}
        for part, value in inside.items():
            if value is obj:
                return f"{name}.{part}"
    # What has no name of its own, as a lambda, may stand under one all the same.
    return next((each for each, value in [*getattr(module, "__dict__", {}).items()] if value is obj), None)


def owner_of(module: str, place: str) -> tuple[type | None, str]:
    """The innermost class that something stands in, and where in there."""
    owner, inside, rest = None, place, place
    found = module_here(module)
    while "." in rest:
        name, _, rest = rest.partition(".")
        found = attribute(found, name)
        if isinstance(found, type):
            owner, inside = found, rest
    return owner, inside
