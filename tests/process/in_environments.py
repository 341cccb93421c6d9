"""What runs in environments of tests, which have nothing but what workers need and the package `farmost`."""

from __future__ import annotations

import os
import sys
from typing import Any


def remember(start: int = 0) -> Any:
    """A context function that needs the package."""
    import farmost

    return {"value": farmost.VALUE, "calls": start}


def where(state: Any) -> tuple[int, str, str, int]:
    """How many calls the instance has served; file of the package; interpreter; process."""
    import farmost

    state["calls"] += 1
    return state["calls"], farmost.__file__, sys.executable, os.getpid()


def plain() -> tuple[str, bool]:
    """The interpreter of an ordinary call, and whether the package is there."""
    import importlib.util

    return sys.executable, importlib.util.find_spec("farmost") is not None


def value(state: Any) -> int:
    """What the package says."""
    found: int = state["value"]
    return found


def both(*, state: Any, other: Any) -> tuple[Any, Any]:
    """Two contexts."""
    return state, other
