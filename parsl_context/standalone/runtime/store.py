"""Contexts of this process: built once, found by key, bounded, cleaned up in the right order."""

from __future__ import annotations

import atexit
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any


class Terms:
    """How long an instance serves, and whether it is kept for further calls."""

    def __init__(self, max_uses: int | None, max_age_s: float | None, is_kept: bool) -> None:
        self.max_uses = max_uses
        self.max_age_s = max_age_s
        self.is_kept = is_kept


class Entry:
    """One context; it lives from the first call that wants it."""

    def __init__(self, key: str, terms: Terms) -> None:
        self.key = key
        self.terms = terms
        self.lock = threading.RLock()  # held by the thread that builds it
        self.is_ready = False
        self.value: Any = None
        self.ends: list[Callable[[], object]] = []  # the latest is called first
        self.requires: list[Entry] = []
        self.calls = 0  # that it served or serves
        self.users = 0  # calls that use it now, and contexts that are made of it
        self.built_at = 0.0  # time.monotonic()

    @property
    def is_over(self) -> bool:
        """Whether it serves no further call."""
        if not self.is_ready:
            return False
        terms = self.terms
        is_worn = terms.max_uses is not None and self.calls >= terms.max_uses
        is_old = terms.max_age_s is not None and time.monotonic() - self.built_at >= terms.max_age_s
        return is_worn or is_old or any(required.is_over for required in self.requires)

    def count(self) -> None:
        """A call uses it, and what it is made of."""
        self.calls += 1
        for required in self.requires:
            required.count()


class Use:
    """What one call uses, or one build."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.is_dirty = False


class _Now(threading.local):
    """What this thread runs."""

    def __init__(self) -> None:
        self.uses: list[Use] = []
        self.builds: list[Entry] = []


class Store:
    """The contexts that this process keeps. A forked child begins with none: what its parent built is the parent's."""

    def __init__(self, max_contexts: int) -> None:
        self.max_contexts = max_contexts
        self.builds = 0
        self._inherited: list[Any] = []  # kept to the very end: a generator that is collected would clean up
        self._begin()
        atexit.register(self.unload)

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._entries: dict[str, Entry] = {}  # the least recently used first
        self.now = _Now()

    def check_process(self) -> bool:
        """Begin anew in a forked child, where other threads may have held the locks. Gives whether it is one."""
        if self._pid == os.getpid():
            return False
        self._inherited.append(self._entries)
        self._begin()
        return True

    def take(self, key: str, terms: Terms, make: Callable[[Use], Any], use: Use) -> Any:
        """The instance of a context, built if need be, kept at least until `use` is released."""
        entry = self._enter(key, terms, use)
        with entry.lock:  # one builder; other threads that want the same context wait for it here
            if not entry.is_ready:
                self._build(entry, make)
            return entry.value

    def release(self, use: Use) -> None:
        """A call has ended."""
        for entry in reversed(use.entries):
            if use.is_dirty or entry.is_over or not entry.terms.is_kept:
                self._forget(entry)
            self._leave(entry)
        self._trim()

    def unload(self, key: str | None = None) -> int:
        """Give up a context, for all values of its keys, or all of them. Those in use end with the calls that use them.

        Gives how many.
        """
        self.check_process()
        with self._lock:
            entries = reversed(list(self._entries.values()))
            chosen = [each for each in entries if key is None or each.key.partition(" ")[0] == key]
            for entry in chosen:
                self._forget(entry)
        for entry in chosen:
            if entry.is_ready and not entry.users:
                self._end(entry)
        return len(chosen)

    def keys(self) -> list[str]:
        """Of the contexts that are here."""
        with self._lock:
            return [key for key, entry in self._entries.items() if entry.is_ready]

    def _enter(self, key: str, terms: Terms, use: Use) -> Entry:
        with self._lock:
            known = self._entries.pop(key, None)
            is_over = known is not None and known.is_over
            entry = Entry(key, terms) if known is None or is_over else known
            self._entries[key] = entry
            entry.users += 1
            entry.count()
            use.entries.append(entry)
        if known is not None and is_over and not known.users:
            self._end(known)
        return entry

    def _build(self, entry: Entry, make: Callable[[Use], Any]) -> None:
        """Build it. One that fails is not kept: the next call tries again."""
        use = Use()
        self.now.builds.append(entry)
        try:
            entry.value = _first_of(make(use), entry)
        except BaseException:
            self._run_ends(entry)
            self.release(use)
            raise
        finally:
            self.now.builds.pop()
        with self._lock:
            self.builds += 1
            entry.requires = use.entries  # they are used until it ends
            entry.calls = max(1, entry.users)
            entry.built_at = time.monotonic()
            entry.is_ready = True

    def _forget(self, entry: Entry) -> None:
        with self._lock:
            if self._entries.get(entry.key) is entry:
                del self._entries[entry.key]

    def _leave(self, entry: Entry) -> None:
        with self._lock:
            entry.users -= 1
            is_last = not entry.users and self._entries.get(entry.key) is not entry
            if not entry.users and not entry.is_ready:
                self._forget(entry)
        if is_last and entry.is_ready:
            self._end(entry)

    def _trim(self) -> None:
        while True:
            with self._lock:
                kept = [each for each in self._entries.values() if each.is_ready]
                spare = [each for each in kept if not each.users]
                if len(kept) <= self.max_contexts or not spare:
                    return
                self._forget(spare[0])
            self._end(spare[0])

    def _end(self, entry: Entry) -> None:
        entry.is_ready = False
        self._run_ends(entry)
        entry.value = None
        for required in entry.requires:
            if required.is_over or not required.terms.is_kept:
                self._forget(required)
            self._leave(required)
        entry.requires = []

    def _run_ends(self, entry: Entry) -> None:
        """Clean up. What that raises is shown in the worker's log: the instance is gone either way."""
        while entry.ends:
            try:
                entry.ends.pop()()
            except Exception:
                traceback.print_exc()


def _first_of(made: Any, entry: Entry) -> Any:
    """What a context function gives; of a generator, what it yields."""
    made = getattr(made, "gen", made) if type(made).__name__ == "_GeneratorContextManager" else made
    if not isinstance(made, Iterator) or not hasattr(made, "gi_code"):
        return made
    for value in made:
        entry.ends.append(lambda: next(made, None))
        return value
    raise RuntimeError(f"The context function of {entry.key} ended without yielding its context.")
