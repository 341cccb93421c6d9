"""How much a value takes where it is sent, found in a bounded time and without a copy of it."""

from __future__ import annotations

import pickle
import time
from typing import Any

import cloudpickle
import dill

from parsl_context.discover.needs.data import Captured

LIMIT_S = 0.2  # for one value; pickle writes some 100 MB in that, and arrays are not copied at all


def describe(name: str, kind: str, owner: str, value: Any, *, limit_s: float = LIMIT_S) -> Captured:
    """A captured value, with its size."""
    named = type(value).__qualname__ if type(value).__module__ == "builtins" else _full_name(type(value))
    try:
        size_bytes, is_all = size_of(value, limit_s=limit_s)
    except Exception as error:
        return Captured(name, kind, owner, named, None, problem=f"{type(error).__name__}: {error}")
    return Captured(name, kind, owner, named, size_bytes, is_all)


def size_of(value: Any, *, limit_s: float = LIMIT_S) -> tuple[int, bool]:
    """Bytes that a value takes, and whether that is all of it, or what was counted when the time was over.

    Raises
    ------
    Exception
        What the value's own code raised, or the pickler, if it cannot be pickled.
    """
    if isinstance(value, str | bytes | bytearray):
        return len(value), True
    known = getattr(value, "nbytes", None)
    if type(known) is int:  # arrays, tensors
        return known, True
    file = _Counter(time.monotonic() + limit_s)
    try:
        cloudpickle.Pickler(file, protocol=5, buffer_callback=file.take).dump(value)
    except _TimeOver:
        return file.size_bytes, False
    except Exception as error:
        return _size_by_dill(value, error, limit_s)
    return file.size_bytes, True


def _size_by_dill(value: Any, error: Exception, limit_s: float) -> tuple[int, bool]:
    """As `size_of`, for what cloudpickle does not take: it is sent by dill then."""
    file = _Counter(time.monotonic() + limit_s)
    try:
        dill.Pickler(file, protocol=5).dump(value)
    except _TimeOver:
        return file.size_bytes, False
    except Exception:
        raise error from None
    return file.size_bytes, True


class _TimeOver(BaseException):
    """Nothing that code of the user's catches."""


class _Counter:
    """A file that counts what is written to it."""

    def __init__(self, deadline_s: float) -> None:
        self.size_bytes = 0
        self._deadline_s = deadline_s

    def write(self, data: Any) -> int:
        """As of files. The pickler calls it for each 64 KB or less."""
        self._count(len(data))
        return len(data)

    def take(self, buffer: pickle.PickleBuffer) -> None:
        """Called for each large buffer, which is not copied then."""
        self._count(buffer.raw().nbytes)

    def _count(self, size_bytes: int) -> None:
        self.size_bytes += size_bytes
        if time.monotonic() > self._deadline_s:
            raise _TimeOver


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
