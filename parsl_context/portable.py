"""Context apps on executors that are not ours, and in plain calls: contexts are retained per process.

No placement: whatever process runs the call builds the contexts it lacks and keeps them. Thread-safe, bounded
(the least recently used unused context goes first), and cleaned up when the process ends. A forked child starts
empty, because what its parent built may not survive a fork.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from parsl_context.context import Context
from parsl_context.messages import Digest
from parsl_context.pool.instances import Instances, build

MAX_CONTEXTS = 16  # in one process; more than that in one place is a leak rather than a cache


class ProcessContexts:
    """The contexts that this process keeps."""

    def __init__(self, max_contexts: int = MAX_CONTEXTS) -> None:
        self._max_contexts = max_contexts
        self._reset()
        os.register_at_fork(after_in_child=self._disown)

    def _reset(self) -> None:
        self._instances = Instances()
        self._in_use: Counter[Digest] = Counter()
        self._lock = threading.RLock()
        self._building: dict[Digest, threading.RLock] = {}

    def _disown(self) -> None:
        """Start empty in a forked child."""
        # A generator that is collected runs its `finally` clauses, and would clean up what the parent uses: these
        # must live on to the very end.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._instances))
        self._reset()

    @contextmanager
    def using(self, contexts: Sequence[Context]) -> Iterator[list[Any]]:
        """The instances of these contexts, built if need be, kept at least until the block ends."""
        held: list[Digest] = []
        try:
            values = [self._take(context, held) for context in contexts]
            yield values
        finally:
            with self._lock:
                self._in_use.subtract(held)
                self._in_use += Counter()
                self._trim()

    def close(self) -> None:
        """Clean up everything; later calls build anew."""
        with self._lock:
            self._instances.close()

    def __len__(self) -> int:
        return len(self._instances)

    def _take(self, context: Context, held: list[Digest]) -> Any:
        digest = context.digest
        with self._lock:
            lock = self._building.setdefault(digest, threading.RLock())
            self._in_use[digest] += 1
            held.append(digest)
        with lock:  # one builder; other threads that want the same context wait for it here
            with self._lock:
                if digest in self._instances:
                    self._instances.touch(digest)
                    return self._instances[digest]
            required = {other.digest: self._take(other, held) for other in context.requires}
            made = build(context.name, lambda: context.build(required.__getitem__), tuple(required))
            with self._lock:
                self._instances.add(digest, made)
            return made.value

    def _trim(self) -> None:
        """Drop the least recently used contexts beyond the bound that nobody uses or requires."""
        while len(self._instances) > self._max_contexts:
            spare = next((digest for digest in self._instances.leaves() if not self._in_use[digest]), None)
            if spare is None:
                return
            self._instances.drop(spare)
            self._building.pop(spare, None)


process_contexts = ProcessContexts()
atexit.register(process_contexts.close)
