"""Python's parser and compiler, one thread at a time.

They count how deep they are in a place that all threads share; where another thread runs in between, as when the
garbage collector calls Python, they raise a `SystemError` ("recursion depth mismatch", CPython issue 106905). Then we
try again.
"""

from __future__ import annotations

import ast
import threading
import types
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")
_lock = threading.RLock()
_ATTEMPTS = 5


def parse(source: str | bytes, file: str = "<unknown>") -> ast.Module:
    """As `ast.parse`."""
    return _alone(lambda: ast.parse(source, file))


def compile_tree(tree: ast.Module | ast.Expression, file: str, mode: str = "exec", flags: int = 0) -> types.CodeType:
    """As `compile`, of a syntax tree."""
    made: types.CodeType = _alone(lambda: compile(tree, file, mode, flags=flags, dont_inherit=True))
    return made


def _alone(work: Callable[[], _T]) -> _T:
    with _lock:
        for _ in range(_ATTEMPTS):
            try:
                return work()
            except SystemError:
                continue
        return work()
