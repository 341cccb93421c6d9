"""What the script, a notebook or a test function defines, as content: each definition once, each name when it changes.

A name counts by the object that it stands for: when that is another one, its content travels anew; an object that was
changed in place does not.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import sys
import threading
import types
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from parsl_context.content.carrying import Needs, carry, carry_slowly
from parsl_context.content.digests import digest_bytes
from parsl_context.content.modules import Home, home_of
from parsl_context.content.space import Id, module_here, space
from parsl_context.content.statics import Static, bound_anew
from parsl_context.discover.large import LARGE_BYTES, large_values
from parsl_context.discover.watching import ABSENT
from parsl_context.errors import ContextSerializationError
from parsl_context.wire.messages import Digest

logger = logging.getLogger(f"parsl.{__name__}")

# Classes that are kept for the sake of results that are still to come; functions may go at once.
_CLASSES_KEPT = 4096
_LARGEST_BYTES = 1 << 20  # of what is sent without being asked for
_T = TypeVar("_T")


@dataclass(frozen=True)
class Item:
    """Content of a definition or of the value of a name."""

    data: bytes
    digest: Digest
    needs: Needs


_UNSENT = Item(b"", digest_bytes(b""), Needs())  # stands for what cannot be sent


@dataclass(frozen=True)
class Bound:
    """A name with what it stands for.

    Attributes
    ----------
    version : int
        One for all names: a higher one is of a later binding.
    item : Item
        Content of the value.
    """

    value: Any
    version: int
    item: Item


class Definitions:
    """Definitions of this process. Thread-safe; no lock is held while code of the user's runs."""

    def __init__(self) -> None:
        self._items: dict[Id, Item] = {}
        self._bound: dict[tuple[str, str], Bound] = {}
        self._anew: dict[str, tuple[Static, set[str]]] = {}  # names of modules that were bound anew at any time
        # What cannot be sent, and need not be: names with what they stood for, and identifiers.
        self._left_out: dict[Id | tuple[str, str], Any] = {}
        self._versions = itertools.count(1)
        self._classes: OrderedDict[Id, type] = OrderedDict()
        self._lock = threading.Lock()

    def definition(self, name: Id, limit_bytes: int | None = None) -> Item:
        """The content of what an identifier names.

        Parameters
        ----------
        limit_bytes
            Size from which on it cannot be sent.

        Raises
        ------
        ContextSerializationError
            If it cannot be pickled.
        """
        item = self._items.get(name)
        if item is not None:
            return item
        value = space.resolve(name)
        item = self._pack(value, name, getattr(value, "__qualname__", type(value).__qualname__), limit_bytes)
        with self._lock:
            self._items[name] = item
            if isinstance(value, type):
                self._classes[name] = value
                if len(self._classes) > _CLASSES_KEPT:
                    self._classes.popitem(last=False)
        _forget_with(value, name, self._items)
        return item

    def binding(self, place: tuple[str, str], limit_bytes: int | None = None) -> Bound | None:
        """A name of a namespace with the content of its value; None if it stands for nothing. As `definition`."""
        namespace, name = place
        value = vars(module_here(namespace)).get(name, ABSENT)
        if value is ABSENT:
            return None
        found = self._bound.get((namespace, name))
        if found is not None and found.value is value:
            return found
        if type(value) is types.FunctionType and home_of(value.__module__) is Home.NAMESPACE:
            space.identify(value)  # also if it is a lambda: everybody knows it by this name
        item = self._pack(value, None, f"The global {name!r}", limit_bytes)
        with self._lock:
            made = self._bound[namespace, name] = Bound(value, next(self._versions), item)
        return made

    def binding_of_module(self, module: str, name: str) -> Bound | None:
        """A name of a module of the user's that was bound anew; None if its value cannot be sent, or is large."""
        value = vars(sys.modules[module]).get(name, ABSENT)
        found = self._bound.get((module, name))
        if found is not None and found.value is value:
            return found if found.item is not _UNSENT else None
        item = _UNSENT
        if value is not ABSENT:
            try:
                data, needs = carry(value, defines=True, limit_bytes=_LARGEST_BYTES)
                item = Item(data, digest_bytes(data), needs)
            except Exception as error:
                logger.warning(
                    "The global %s.%s was bound after the module was imported, and is not carried to workers (%s: %s)",
                    *(module, name, type(error).__name__, error),
                )
        with self._lock:
            made = self._bound[module, name] = Bound(value, next(self._versions), item)
        return made if item is not _UNSENT else None

    def bound_anew(self, static: Static, module: str) -> set[str]:
        """Names of a module that importing it does not make so, or did not at any time since it was loaded."""
        before = self._anew.get(module)
        if before is None or before[0] is not static:  # what was loaded anew is as it was
            before = self._anew[module] = (static, set())
        before[1].update(bound_anew(module))
        return before[1]

    def attempt(self, key: Any, make: Callable[[Any, int], _T | None]) -> _T | None:
        """What may be left out if it cannot be sent, or is large; not tried again while it is the same object."""
        value = vars(module_here(key[0])).get(key[1]) if isinstance(key, tuple) else None
        if key in self._left_out and self._left_out[key] is value:
            return None
        try:
            return make(key, _LARGEST_BYTES)
        except ContextSerializationError as error:
            logger.debug("Left out: %s", str(error))  # not the error, whose traceback knows what is left out
            self._left_out[key] = value
            if not isinstance(key, tuple):
                _forget_with(space.find(key), key, self._left_out)
            return None

    @staticmethod
    def _pack(value: object, root: Id | None, what: str, limit_bytes: int | None) -> Item:
        try:
            data, needs = carry(value, defines=True, root=root, limit_bytes=limit_bytes)
        except Exception as error:
            if root is not None or limit_bytes is not None:
                raise ContextSerializationError(what, error) from error
            try:
                data, needs = carry_slowly(value, defines=True)
            except Exception:
                raise ContextSerializationError(f"{what}, of type {type(value).__qualname__},", error) from error
        if len(data) > LARGE_BYTES:
            _tell(value, root, what, len(data))
        return Item(data, digest_bytes(data), needs)


def _tell(value: object, root: Id | None, what: str, size_bytes: int) -> None:
    """Name a large value, or those that a large definition knows; of a captured variable, those of its functions."""
    if root is None:
        large_values.tell(what, type(value).__qualname__, size_bytes)
        return
    owners: list[Any] = [*space.owners(root)] or [value]
    for code in owners:
        large_values.look_into(code)


def _forget_with(value: object, name: Id, table: dict[Any, Any]) -> None:
    """Have a table lose what it has of a definition when that is gone."""
    owners: list[Any] = [*space.owners(name)] or [value]
    for owner in owners:
        with contextlib.suppress(TypeError):  # or it stays
            weakref.finalize(owner, table.pop, name, None).atexit = False
