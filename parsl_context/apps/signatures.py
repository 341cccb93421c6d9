"""What callables take, and how Python runs them."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

_CONTEXT_MANAGER = getattr(contextlib.contextmanager(lambda: iter(())), "__code__", None)
_CACHE = type(functools.cache(lambda: None))


def is_asynchronous(function: object) -> bool:
    """Whether what a callable runs is a coroutine, or is written as one."""
    asynchronous = (inspect.iscoroutinefunction, inspect.isasyncgenfunction)
    return any(check(runs) for check in asynchronous for runs in what_runs(function))


def what_runs(function: object) -> Iterator[Any]:
    """A callable, and what Python runs for it. Not what it wraps: that is its own affair."""
    yield function
    yield getattr(function, "__call__", None)  # noqa: B004 (for the method, not to see whether there is one)


def shown_signature(function: Callable[..., Any]) -> inspect.Signature | None:
    """Signature of a function; some that are written in C do not tell theirs."""
    try:
        return inspect.signature(function)
    except ValueError:
        return None


def own_signature(function: Callable[..., Any]) -> inspect.Signature | None:
    """Signature that says what becomes of arguments; None where a wrapper or a class only claims to have one.

    What `functools.wraps` was applied to shows the signature of another function, and may treat an argument that was
    not given unlike one that has its default.
    """
    while isinstance(function, _CACHE) or getattr(function, "__code__", None) is _CONTEXT_MANAGER:
        function = getattr(function, "__wrapped__")  # noqa: B009 (these pass on what they get)
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    if hasattr(inner, "__signature__"):
        return None
    try:
        return inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):
        return None
