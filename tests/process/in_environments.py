"""What runs in environments of tests, which have nothing but what workers need and the package `farmost`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SHEBANG, TEXT, BINARY = "bin/farmost", "share/farmost.conf", "lib/farmost.bin"  # of a package that names its place


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


def manager_of() -> int:
    """Process of the manager whose worker runs this."""
    return os.getppid()


def run_script(_: Any) -> tuple[str, str, bytes, bytes]:
    """What a console script says; the place of the environment; two files that name it."""
    said = subprocess.run([f"{sys.prefix}/{SHEBANG}"], capture_output=True, text=True, check=True).stdout
    return said, sys.prefix, Path(sys.prefix, TEXT).read_bytes(), Path(sys.prefix, BINARY).read_bytes()
