"""What the systems are given to run: jobs of a context, which costs something to make, and a body that uses it.

Imported by the workers of all systems, so it needs nothing but the standard library.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

BUILD_S = 2.0
"""Time that the context of the inference-shaped jobs takes. [s]"""


@dataclass(frozen=True)
class Job:
    """A context and the calls that use it.

    Attributes
    ----------
    build : callable
        Makes the context.
    body : callable
        Run for each call, with the context and the argument of the call.
    """

    build: Callable[[], Any]
    body: Callable[[Any, Any], Any]


def build_nothing() -> str:
    return "context"


def build_slowly() -> str:
    """Stands for a network that is loaded from disk."""
    time.sleep(BUILD_S)
    return "context"


def give_back(context: Any, value: Any) -> Any:
    """A call that does nothing, or moves what it is given there and back."""
    return value


def wait(context: Any, seconds: float) -> float:
    """A call that leaves the core to others, as one that runs on an accelerator does."""
    time.sleep(seconds)
    return seconds


def compute(context: Any, seconds: float) -> float:
    """A call that needs a core for that long, whoever else wants it."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
    return seconds


JOBS = {
    "give back": Job(build_nothing, give_back),
    "wait": Job(build_nothing, wait),
    "slow build, wait": Job(build_slowly, wait),
    "slow build, compute": Job(build_slowly, compute),
}

# -- for systems that know no contexts: what their users write by hand -------------------------------------------

_held: dict[str, Any] = {}


def hold(job: str) -> None:
    """Make the context of a job in this process: the initializer of a pool, the constructor of an actor."""
    _held[job] = JOBS[job].build()


def run_held(job: str, argument: Any) -> Any:
    """A call in a process that has made its context."""
    return JOBS[job].body(_held[job], argument)


def run_cached(job: str, argument: Any) -> Any:
    """A call that makes its context where it is missing: the cache in a module that scripts keep by hand."""
    if job not in _held:
        hold(job)
    return run_held(job, argument)


def run_fresh(job: str, argument: Any) -> Any:
    """A call that makes its context each time."""
    return JOBS[job].body(JOBS[job].build(), argument)
