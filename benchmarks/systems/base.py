"""What a system must do to be measured, and what is said about it in tables and plots."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any


class Unavailable(Exception):
    """This version of a system does not have what was to be measured."""


class System:
    """One way to run a job's calls on worker processes. Lives in one process, for one run.

    The order is `open`, `ready` where the case wants idle workers first, `hold`, calls, `close`.
    """

    def open(self, workers: int) -> None:
        """Begin to start what can be started before the job is known."""
        self.workers = workers

    def ready(self) -> None:
        """Wait until what `open` began has been done."""

    def hold(self, job: str) -> None:
        """Say which job of `work.JOBS` comes; begin to make its context if this system does so ahead of calls."""
        raise NotImplementedError

    def many(self, arguments: Sequence[Any]) -> list[Any]:
        """Call for each argument, as many at a time as the system likes; the results in order."""
        raise NotImplementedError

    def close(self) -> None:
        """End everything."""
        raise NotImplementedError

    def one(self, argument: Any) -> Any:
        """Call and wait for the result."""
        (result,) = self.many([argument])
        return result

    def processes(self) -> dict[str, int]:
        """Process identifiers of parts whose memory is told apart, by name; the client is known anyway."""
        return {}


class FutureSystem(System):
    """A system whose calls give futures."""

    def submit(self, argument: Any) -> Future[Any]:
        raise NotImplementedError

    def many(self, arguments: Sequence[Any]) -> list[Any]:
        futures = [self.submit(argument) for argument in arguments]
        return [future.result() for future in futures]

    def one(self, argument: Any) -> Any:
        return self.submit(argument).result()


@dataclass(frozen=True)
class Entry:
    """A row of the registry.

    Attributes
    ----------
    name : str
        On the command line, in tables and in plots.
    make : callable
        Makes the system; imports what it needs.
    about : str
        What is measured under this name.
    needs : str, optional
        Module without which the system is skipped.
    family : str
        "ours", "parsl" or "peer": the colour of its bar.
    retains : bool
        Keeps the context between calls.
    """

    name: str
    make: Callable[[], System]
    about: str
    needs: str | None = None
    family: str = "peer"
    retains: bool = True

    def missing(self) -> str | None:
        """Why this system cannot be measured here, or None."""
        if self.needs is None or importlib.util.find_spec(self.needs) is not None:
            return None
        return f"{self.needs} is not installed (pip install '.[bench]')"
