"""Context apps on executors that are not ours, and in plain calls: contexts are retained per process.

No placement: whatever process runs the call builds the contexts it lacks and keeps them. Thread-safe, bounded
(the least recently used unused context goes first), and cleaned up when the process ends. A forked child starts
empty, because what its parent built may not survive a fork; so a context with ``isolation="call"`` is not forked here
but built for each call.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from parsl_context.apps.context import Context
from parsl_context.errors import ConfigurationError
from parsl_context.retain import calls
from parsl_context.retain.drift import DriftCheck
from parsl_context.retain.instances import Instance, Instances, build
from parsl_context.wire.messages import Digest

MAX_CONTEXTS = 16  # in one process; more than that in one place is a leak rather than a cache


@dataclass
class _Call:
    """A call that uses contexts."""

    held: list[tuple[Digest, Instance]] = field(default_factory=list)  # kept while it runs
    own: list[Instance] = field(default_factory=list)  # built for this call alone, in this order
    is_dirty: bool = False


_current: ContextVar[_Call | None] = ContextVar("parsl_context_call", default=None)


def is_within_call() -> bool:
    """Whether this thread runs a call that uses contexts of this process, or builds one for it."""
    return _current.get() is not None


def context_dirty() -> None:
    """Have the contexts of this call dropped after it and built anew for the next: it has spoilt them.

    To be called from the body of a context app. What the contexts are made of, the contexts among their arguments, is
    built anew as well. On a worker of a `ContextExecutor`, a call without contexts may call it, to no effect.

    Raises
    ------
    ConfigurationError
        If it is called elsewhere.
    """
    call = _current.get()
    if call is not None:
        call.is_dirty = True
    elif calls.resident is not None:
        calls.resident.mark_dirty()
    else:
        raise ConfigurationError("context_dirty() is for bodies of context apps, and in the thread that runs the body.")


class ProcessContexts:
    """The contexts that this process keeps."""

    def __init__(self, max_contexts: int = MAX_CONTEXTS) -> None:
        self._max_contexts = max_contexts
        self._reset()
        os.register_at_fork(after_in_child=self._disown)

    def _reset(self) -> None:
        self._instances = Instances()
        self._given_up: list[tuple[Digest, Instance]] = []  # for no further call; ended when no call uses them
        self._lock = threading.RLock()
        self._building: dict[Digest, threading.RLock] = {}

    def _disown(self) -> None:
        """Start empty in a forked child."""
        # A generator that is collected runs its `finally` clauses, and would clean up what the parent uses: these
        # must live on to the very end.
        for kept in (self._instances, self._given_up):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))
        self._reset()

    @contextmanager
    def using(self, contexts: Sequence[Context]) -> Iterator[list[Any]]:
        """The instances of these contexts, built if need be, kept at least until the block ends."""
        call = _Call()
        token = _current.set(call)
        try:
            yield [self._provide(context, call) for context in contexts]
        finally:
            _current.reset(token)
            for instance in reversed(call.own):
                instance.end()
            with self._lock:
                self._release(call)

    def drift_checks(self, contexts: Sequence[Context]) -> list[DriftCheck]:
        """What looks after these contexts."""
        if not self._instances.are_checked:
            return []
        with self._lock:
            return self._instances.drift_checks([context.digest for context in contexts])

    def close(self) -> None:
        """Clean up everything; later calls build anew."""
        with self._lock:
            self._instances.close()
            for _, instance in self._given_up:
                instance.end()
            self._given_up.clear()

    def __len__(self) -> int:
        return len(self._instances)

    def _provide(self, context: Context, call: _Call) -> Any:
        if context.is_isolated:
            return self._build_own(context, call, {})
        return self._take(context, call)

    def _build_own(self, context: Context, call: _Call, built: dict[Digest, Any]) -> Any:
        """Build a context, and what it requires, for this call alone."""
        if context.digest not in built:
            required = {other.digest: self._build_own(other, call, built) for other in context.requires}
            with context.in_place():
                made = build(context.name, lambda: context.build(required.__getitem__), tuple(required))
            call.own.append(made)
            built[context.digest] = made.value
        return built[context.digest]

    def _take(self, context: Context, call: _Call) -> Any:
        digest = context.digest
        with self._lock:
            lock = self._building.setdefault(digest, threading.RLock())
        with lock:  # one builder; other threads that want the same context wait for it here
            if (found := self._find(digest, call)) is not None:
                return found.value
            required = {other.digest: self._take(other, call) for other in context.requires}
            upkeep = context.upkeep
            with context.in_place():
                made = build(context.name, lambda: context.build(required.__getitem__), tuple(required), upkeep)
            with self._lock:
                self._instances.add(digest, made)
                self._hold(digest, made, call)
            return made.value

    def _find(self, digest: Digest, call: _Call) -> Instance | None:
        with self._lock:
            found = self._instances.get(digest)
            worn = [digest] if found is not None and found.will_be_worn else []
            for old in [*self._instances.outdated([digest]), *worn]:
                self._given_up += self._instances.detach(old)
            found = self._instances.get(digest)
            if found is not None:
                self._instances.touch(digest)
                self._hold(digest, found, call)
            self._end_given_up()
            return found

    def _hold(self, digest: Digest, instance: Instance, call: _Call) -> None:
        instance.users += 1
        call.held.append((digest, instance))

    def _release(self, call: _Call) -> None:
        for _, instance in call.held:
            instance.users -= 1
        current = [digest for digest, instance in call.held if self._instances.get(digest) is instance]
        for digest in self._instances.after_call(current, is_dirty=call.is_dirty):
            self._given_up += self._instances.detach(digest)
        self._end_given_up()
        self._trim()

    def _end_given_up(self) -> None:
        """End what no call uses any more and nothing requires that must wait."""
        waiting: list[tuple[Digest, Instance]] = []
        for digest, instance in self._given_up:
            if instance.users or any(digest in other.requires for _, other in waiting):
                waiting.append((digest, instance))
            else:
                instance.end()
        self._given_up = waiting

    def _trim(self) -> None:
        """Drop the least recently used contexts beyond the bound that nobody uses or requires."""
        while len(self._instances) > self._max_contexts:
            leaves = ((digest, self._instances.get(digest)) for digest in self._instances.leaves())
            spare = next((digest for digest, instance in leaves if instance is not None and not instance.users), None)
            if spare is None:
                return
            self._instances.drop(spare)
            self._building.pop(spare, None)


process_contexts = ProcessContexts()
atexit.register(process_contexts.close)
