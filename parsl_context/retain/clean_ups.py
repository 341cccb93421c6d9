"""Functions that a context registers while it is built, to be called when it is given up."""

from __future__ import annotations

import atexit
import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator

from parsl_context.errors import ConfigurationError


class _Open(threading.local):
    """What is being built in this thread."""

    def __init__(self) -> None:
        self.builds: list[list[Callable[[], object]]] = []
        self.blocks = 0  # of functions that run undivided


_open = _Open()


@contextlib.contextmanager
def collecting() -> Iterator[list[Callable[[], object]]]:
    """Gather what is registered in this block, in order."""
    registered: list[Callable[[], object]] = []
    _open.builds.append(registered)
    try:
        yield registered
    finally:
        _open.builds.pop()


def register(function: Callable[[], object]) -> None:
    """Have a function called at the end of the context that is being built here.

    Raises
    ------
    ConfigurationError
        If there is none.
    """
    if _open.blocks:
        atexit.register(function)
    elif _open.builds:
        _open.builds[-1].append(function)
    else:
        raise ConfigurationError(
            "context.cleanup() is for blocks (`with context:`) and context functions, and in the thread that runs them."
        )


def enter_block() -> None:
    """A function with a block runs undivided."""
    _open.blocks += 1


def exit_block() -> None:
    """Its block has ended."""
    _open.blocks -= 1


def ending(first: Iterator[object] | None, registered: Iterable[Callable[[], object]]) -> Iterator[object]:
    """What a context goes on with at its end: its own generator, if it has one, then what was registered.

    It has begun: its next step is the end. All of it is run, whatever single functions raise; the last error counts.
    """
    made = _ending(first, registered)
    next(made)
    return made


def _ending(first: Iterator[object] | None, registered: Iterable[Callable[[], object]]) -> Iterator[object]:
    yield None
    with contextlib.ExitStack() as stack:
        for function in registered:
            stack.callback(function)
        if first is not None:
            yield from first
