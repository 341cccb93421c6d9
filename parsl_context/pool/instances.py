"""Instances of contexts in this process: built once, found by digest, cleaned up in the right order.

Used by workers and, on executors that are not ours, by `parsl_context.portable`.
"""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psutil

from parsl_context.errors import ConfigurationError
from parsl_context.messages import Digest

logger = logging.getLogger(f"parsl.{__name__}")


@dataclass
class Instance:
    """A context that lives in this process."""

    name: str
    value: Any
    cleanup: Iterator[Any] | None  # the generator that yielded the value, suspended at its yield
    requires: tuple[Digest, ...]
    load_s: float
    size_bytes: int  # growth of resident memory during the build
    after_fork: Callable[[Any], None] | None = None  # called with the value in processes forked from this one

    def end(self) -> None:
        """Run the clean-up. What it raises is logged: the instance is gone either way."""
        if self.cleanup is None:
            return
        try:
            next(self.cleanup)
        except StopIteration:
            return
        except Exception:
            logger.exception("Clean-up of context %s failed", self.name)
            return
        logger.error("Context function %s yields more than once; the rest of it was not run", self.name)


def build(
    name: str,
    make: Callable[[], Any],
    requires: tuple[Digest, ...] = (),
    after_fork: Callable[[Any], None] | None = None,
) -> Instance:
    """Run a context function, measured.

    Raises
    ------
    ConfigurationError
        If it is a generator that yields nothing.
    Exception
        What the context function raised.
    """
    process = psutil.Process()
    before = process.memory_info().rss
    start = time.perf_counter()
    value = make()
    cleanup = None
    if inspect.isgenerator(value):
        cleanup = value
        try:
            value = next(cleanup)
        except StopIteration:
            raise ConfigurationError(f"Context function {name} ended without yielding its context.") from None
    load_s = time.perf_counter() - start
    size_bytes = max(0, process.memory_info().rss - before)
    return Instance(name, value, cleanup, requires, load_s, size_bytes, after_fork)


class Instances:
    """The instances of one process, in the order in which they were built."""

    def __init__(self) -> None:
        self._instances: dict[Digest, Instance] = {}

    def __contains__(self, digest: object) -> bool:
        return digest in self._instances

    def __len__(self) -> int:
        return len(self._instances)

    def __iter__(self) -> Iterator[Digest]:
        return iter(self._instances)

    def __getitem__(self, digest: Digest) -> Any:
        """The context itself."""
        return self._instances[digest].value

    def add(self, digest: Digest, instance: Instance) -> None:
        """Keep an instance. What it requires was added before."""
        self._instances[digest] = instance

    def touch(self, digest: Digest) -> None:
        """Make this the most recently used."""
        self._instances[digest] = self._instances.pop(digest)

    def leaves(self) -> list[Digest]:
        """Those that no other requires, the least recently used first."""
        required = {digest for instance in self._instances.values() for digest in instance.requires}
        return [digest for digest in self._instances if digest not in required]

    def size_of(self, digest: Digest) -> int:
        """Memory that an instance took when it was built. [bytes]"""
        return self._instances[digest].size_bytes

    def drop(self, digest: Digest) -> list[Digest]:
        """End an instance and, before it, those that require it. Gives what was dropped, in that order."""
        if digest not in self._instances:
            return []
        dropped = []
        for other in [d for d, instance in self._instances.items() if digest in instance.requires]:
            dropped += self.drop(other)
        # Findable until its clean-up is over: a clean-up may use what is retained.
        self._instances[digest].end()
        del self._instances[digest]
        return [*dropped, digest]

    def inherit(self) -> None:
        """In a forked child: the parent ends what it built; here their `after_fork` hooks run, in order."""
        for instance in self._instances.values():
            instance.cleanup = None
            if instance.after_fork is not None:
                instance.after_fork(instance.value)

    def close(self) -> None:
        """End all instances, the latest first."""
        while self._instances:
            self.drop(next(reversed(self._instances)))
