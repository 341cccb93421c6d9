"""What a user writes: contexts and apps in a module beside the script. Builds leave marks, which are counted."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path
from typing import Any

from parsl_context import context, context_app

FACTOR = 3


@dataclasses.dataclass
class Answer:
    """A result of a class of the user's."""

    value: int
    pid: int


class OddInput(ValueError):
    """An error of the user's."""


def mark(folder: str, what: str) -> None:
    Path(folder, f"{what}-{os.getpid()}-{time.monotonic_ns()}").touch()


@context
def network(folder: str, size: int = 10) -> Any:
    mark(folder, "built")
    time.sleep(0.3)
    yield list(range(size))
    mark(folder, "ended")


@context
def flaky(folder: str) -> int:
    mark(folder, "tried")
    count = len(list(Path(folder).glob("tried-*")))
    if count == 1:
        raise OddInput("not yet")
    return count


def apps_in(folder: str) -> dict[str, Any]:
    """Apps whose contexts leave marks in a folder."""

    @context_app(context=network(folder))
    def predict(weights: list[int], x: int, *, bias: int = 0) -> Answer:
        """Predict it."""
        if x < 0:
            raise OddInput(f"{x} is odd")
        return Answer(sum(weights) * x * FACTOR + bias, os.getpid())

    @context_app(context=network(folder))
    def plain(weights: list[int], x: int) -> tuple[int, int]:
        return len(weights) * x, os.getpid()

    @context_app(context=network(folder))
    def large(weights: list[int], count: int) -> bytes:
        return bytes(count)

    @context_app(context=flaky(folder))
    def patient(count: int) -> int:
        return count

    @context_app(context=network.by("size", folder=folder))
    def sized(weights: list[int], x: int, size: int = 4) -> int:
        return len(weights) * x

    @context_app
    def block(x: int, name: str = "mini") -> tuple[str, int]:
        with context:
            mark(folder, "block")
            table = {"name": name}
        return table["name"], x

    @context_app(context=network(folder))
    def slow(weights: list[int], seconds: float, walltime: float | None = None) -> None:
        mark(folder, "slow")
        time.sleep(seconds)

    @context_app(context=network(folder))
    def needy(weights: list[int], x: int) -> str:
        import pytest

        return pytest.__version__

    @context_app(context=network(folder), batch=4)
    def together(weights: list[int], xs: list[int]) -> list[tuple[int, int]]:
        return [(len(weights) * x, len(xs)) for x in xs]

    return {
        each.__name__: each for each in (predict, plain, large, patient, sized, block, slow, needy, together, looked_up)
    }


@context_app(discover=True)
def looked_up(word: str) -> tuple[int, str]:
    """Its context is found: there is no mark of builds, but the table has an identity."""
    import os

    table = {each: len(each) for each in ("one", "two", "three")}
    where = f"{os.getpid()} {id(table)}"
    return table[word], where


def double(x):  # type: ignore[no-untyped-def]
    """What an ordinary app is."""
    return 2 * x


def who(seconds):  # type: ignore[no-untyped-def]  # sent as text, alone
    """Which process runs it, for so long that others take the next."""
    import os
    import time

    time.sleep(seconds)
    return os.getpid()


def what_is_there():  # type: ignore[no-untyped-def]  # sent as text, alone
    """What a worker has, asked as any function."""
    import importlib.util
    import os
    import sys

    names = [
        name for name in sys.modules if name.startswith("_parsl_context_") and hasattr(sys.modules[name], "report")
    ]
    return {
        "pid": os.getpid(),
        "python": sys.version_info[:2],
        "has_ours": importlib.util.find_spec("parsl_context") is not None or "parsl_context" in sys.modules,
        "runtimes": [sys.modules[name].report() for name in names],
    }
