"""Instances of contexts in this process: built once, found by digest, cleaned up in the right order.

Used by workers and, on executors that are not ours, by `parsl_context.apps.portable`.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psutil

from parsl_context.errors import ConfigurationError
from parsl_context.retain import clean_ups
from parsl_context.retain.devices import device_memory
from parsl_context.retain.drift import DriftCheck
from parsl_context.retain.processes import alone, interruptible
from parsl_context.wire.messages import Digest

logger = logging.getLogger(f"parsl.{__name__}")


@dataclass(frozen=True)
class Upkeep:
    """How the instances of a context are looked after; pickled with its function."""

    after_fork: Callable[[Any], None] | None = (
        None  # called with the value in processes forked from the one that built it
    )
    isolated: bool = False  # each call runs in a fork of the process that holds the instance
    max_uses: int | None = None  # calls that one instance serves
    max_age_s: float | None = None  # time from the end of its build to the start of the last call that it serves. [s]
    check: int = 0  # calls before and after which the instance is looked at


@dataclass
class Instance:
    """A context that lives in this process."""

    name: str
    value: Any
    cleanup: Iterator[Any] | None  # the generator that yielded the value, suspended at its yield
    requires: tuple[Digest, ...]
    load_s: float
    size_bytes: int  # growth of resident memory during the build
    upkeep: Upkeep
    built_at: float  # time.monotonic()
    calls: int = 0  # that it served
    device_bytes: int = 0  # growth of what is used of accelerators during the build, as far as that is known
    devices_total_bytes: int = 0  # that these have
    is_inherited: bool = False  # another process built it, and has it still
    users: int = 0  # calls that use it now; counted where calls run side by side
    drift: DriftCheck | None = None

    @property
    def is_worn(self) -> bool:
        """Whether it has served as many calls as it may."""
        return self.upkeep.max_uses is not None and self.calls >= self.upkeep.max_uses

    @property
    def will_be_worn(self) -> bool:
        """Whether it has when the calls that use it now have ended."""
        return self.upkeep.max_uses is not None and self.calls + self.users >= self.upkeep.max_uses

    def is_outdated(self, now: float) -> bool:
        """Whether it is too old for another call."""
        return self.upkeep.max_age_s is not None and now - self.built_at >= self.upkeep.max_age_s

    @interruptible
    def end(self, *, passes_interrupts: bool = True) -> None:
        """Run the clean-up. What it raises is logged: the instance is gone either way.

        Parameters
        ----------
        passes_interrupts
            Whether a `KeyboardInterrupt` is raised as well: in a process of the user's, a person has pressed Ctrl-C.
        """
        if self.cleanup is None:
            return
        try:
            with alone():
                next(self.cleanup)
        except StopIteration:
            return
        except BaseException as error:
            logger.exception("Clean-up of context %s failed", self.name)
            if passes_interrupts and isinstance(error, KeyboardInterrupt):
                raise
            return
        logger.error("Context function %s yields more than once; the rest of it was not run", self.name)


_PLAIN = Upkeep()


def build(
    name: str,
    make: Callable[[], Any],
    requires: tuple[Digest, ...] = (),
    upkeep: Upkeep = _PLAIN,
) -> Instance:
    """Run a context function, measured.

    Raises
    ------
    ConfigurationError
        If it gives a generator that yields nothing, or one that was not written to be a context.
    Exception
        What the context function raised.
    """
    before, devices_before = resident_bytes(), device_memory()
    start = time.perf_counter()
    with clean_ups.collecting() as registered:
        try:
            value, cleanup = _run(name, make)
        except BaseException:
            _give_up(name, registered)
            raise
    if registered:
        cleanup = clean_ups.ending(cleanup, registered)
    load_s = time.perf_counter() - start
    size_bytes = max(0, resident_bytes() - before)
    devices = device_memory()
    device_bytes = max(0, devices.used - devices_before.used)
    made = Instance(name, value, cleanup, requires, load_s, size_bytes, upkeep, time.monotonic())
    return replace(made, device_bytes=device_bytes, devices_total_bytes=devices.total)


def _run(name: str, make: Callable[[], Any]) -> tuple[Any, Iterator[Any] | None]:
    """What a context function gives, and the generator that it goes on with at its end."""
    with alone():
        value = make()
    cleanup = _generator_of(value, name)
    if cleanup is not None:
        try:
            with alone():
                value = next(cleanup)
        except StopIteration:
            raise ConfigurationError(f"Context function {name} ended without yielding its context.") from None
    return value, cleanup


def _give_up(name: str, registered: Sequence[Callable[[], object]]) -> None:
    """Clean up after a context function that failed half-way."""
    try:
        with alone():
            next(clean_ups.ending(None, registered), None)
    except Exception:
        logger.exception("Clean-up of context %s, whose build failed, failed too", name)


def _generator_of(value: Any, name: str) -> Iterator[Any] | None:
    """The generator that yields the context and cleans up, if the function made one."""
    if isinstance(value, contextlib._GeneratorContextManager):  # of a function under `contextlib.contextmanager`
        value = value.gen
    if inspect.iscoroutine(value):
        value.close()  # or Python warns that nobody awaited it
    if inspect.isawaitable(value) or isinstance(value, AsyncIterator | contextlib._AsyncGeneratorContextManager):
        raise ConfigurationError(f"Context function {name} is asynchronous. Write it as a plain function.")
    if not inspect.isgenerator(value):
        return None
    if value.gi_code.co_name == "<genexpr>":
        raise ConfigurationError(
            f"Context function {name} returned a generator expression, which its first call uses up. Return a list."
        )
    return value


def resident_bytes() -> int:
    """Memory that this process takes; 0 if that cannot be seen, as where a context has limited open files. [bytes]"""
    try:
        rss: int = psutil.Process().memory_info().rss
    except (OSError, psutil.Error):
        return 0
    return rss


class Instances:
    """The instances of one process, in the order in which they were built.

    Attributes
    ----------
    watched : bool
        Whether any of them needs attention between calls: it may be worn, outdated or spoilt, or is for calls in forks.
    on_clean_up : callable or None
        Called with the digest before an instance ends: its clean-up runs, then its value goes, which may take time too.
    about : callable
        Gives, from the name of a context, what its clean-up and its hook run in.
    passes_interrupts : bool
        Whether a `KeyboardInterrupt` in a clean-up is for the caller; see `Instance.end`.
    are_checked : bool
        Whether any of them is to be looked at before and after calls.
    """

    def __init__(self) -> None:
        self._instances: dict[Digest, Instance] = {}
        self._inherited: list[Any] = []
        self.is_dirty = False  # the call that runs now has spoilt its contexts
        self.watched = False
        self.are_checked = False
        self.on_clean_up: Callable[[Digest], None] | None = None
        self.about: Callable[[str], contextlib.AbstractContextManager[object]] = contextlib.nullcontext
        self.passes_interrupts = True

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
        upkeep = instance.upkeep
        self.watched |= upkeep.isolated or upkeep.max_uses is not None or upkeep.max_age_s is not None
        if upkeep.check and not upkeep.isolated:
            self.are_checked = True
            instance.drift = DriftCheck(instance.name, instance.value, upkeep.check)

    def drift_checks(self, contexts: Iterable[Digest]) -> list[DriftCheck]:
        """What looks after these contexts and those that they require."""
        used = (self._instances[digest].drift for digest in self._with_required(contexts))
        return [check for check in used if check is not None]

    @property
    def have_clean_ups(self) -> bool:
        """Whether there is something to do at the end of any."""
        return any(instance.cleanup is not None for instance in self._instances.values())

    def get(self, digest: Digest) -> Instance | None:
        """An instance with all that is known of it."""
        return self._instances.get(digest)

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

    def load_s(self, digest: Digest) -> float:
        """Time that the build of an instance took. [s]"""
        return self._instances[digest].load_s

    def drop(self, digest: Digest) -> list[Digest]:
        """End an instance and, before it, those that require it. Gives what was dropped, in that order."""
        if digest not in self._instances:
            return []
        dropped = []
        for other in [d for d, instance in self._instances.items() if digest in instance.requires]:
            dropped += self.drop(other)
        # Findable until its clean-up is over: a clean-up may use what is retained.
        instance = self._instances[digest]
        if self.on_clean_up is not None:
            self.on_clean_up(digest)
        with self.about(instance.name):
            instance.end(passes_interrupts=self.passes_interrupts)
        del self._instances[digest]
        return [*dropped, digest]

    def detach(self, digest: Digest) -> list[tuple[Digest, Instance]]:
        """Let go of an instance and those that require it, without ending them. Gives them in the order to end them."""
        if digest not in self._instances:
            return []
        detached = []
        for other in [d for d, instance in self._instances.items() if digest in instance.requires]:
            detached += self.detach(other)
        return [*detached, (digest, self._instances.pop(digest))]

    # --- between calls

    def mark_dirty(self) -> None:
        """The call that runs now has spoilt its contexts."""
        self.is_dirty = self.watched = True

    def outdated(self, contexts: Iterable[Digest]) -> list[Digest]:
        """Of these and what they require: those that are too old for another call."""
        now = time.monotonic()
        return [digest for digest in self._with_required(contexts) if self._instances[digest].is_outdated(now)]

    def after_call(self, contexts: Iterable[Digest], *, calls: int = 1, is_dirty: bool = False) -> list[Digest]:
        """Calls that used these contexts have ended: one, or a batch. Gives what to drop: what is worn, all if spoilt.

        What requires any of these goes with it, and is given too.
        """
        used = self._with_required(contexts)
        is_dirty |= self.is_dirty
        self.is_dirty = False
        for digest in used:
            self._instances[digest].calls += calls
        worn = [digest for digest in used if is_dirty or self._instances[digest].is_worn]
        for digest in worn:
            requiring = (other for other, instance in self._instances.items() if digest in instance.requires)
            worn += [other for other in requiring if other not in worn]
        return worn

    def is_inherited(self, digest: Digest) -> bool:
        """Whether this process has an instance from the one that it was forked from."""
        return self._instances[digest].is_inherited

    def isolated(self, contexts: Iterable[Digest]) -> list[str]:
        """Names of those of these contexts, and of what they require, whose calls run in forks."""
        used = (self._instances[digest] for digest in self._with_required(contexts))
        return [instance.name for instance in used if instance.upkeep.isolated]

    def will_be_worn(self, contexts: Iterable[Digest], calls: int) -> bool:
        """Whether any of these, or of what they require, has served as many calls as it may after so many more."""
        used = (self._instances[digest] for digest in self._with_required(contexts))
        return any(each.upkeep.max_uses is not None and each.calls + calls >= each.upkeep.max_uses for each in used)

    def _with_required(self, contexts: Iterable[Digest]) -> list[Digest]:
        """These and what they require, as far as they are here, each once."""
        found: dict[Digest, None] = {}
        waiting = list(contexts)
        while waiting:
            digest = waiting.pop()
            if digest in self._instances and digest not in found:
                found[digest] = None
                waiting += self._instances[digest].requires
        return list(found)

    # --- ends

    def inherit(self, on_hook: Callable[[Digest], None] = lambda _: None) -> None:
        """In a forked child: the parent ends and ages what it built; here their `after_fork` hooks run, in order.

        Parameters
        ----------
        on_hook
            Called with the digest before the hook of an instance runs.
        """
        for digest, instance in self._instances.items():
            # A generator that is collected runs its `finally` clauses, and would clean up what the parent uses.
            self._inherited.append(instance.cleanup)
            instance.cleanup = None
            instance.is_inherited = True
            instance.calls = 0
            if instance.drift is not None:
                instance.drift = DriftCheck(instance.name, instance.value, instance.upkeep.check)
            instance.upkeep = replace(instance.upkeep, max_age_s=None)
            if instance.upkeep.after_fork is not None:
                on_hook(digest)
                with self.about(instance.name), alone():
                    instance.upkeep.after_fork(instance.value)

    def close(self) -> None:
        """End all instances, the latest first."""
        while self._instances:
            self.drop(next(reversed(self._instances)))
