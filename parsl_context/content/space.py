"""Code of the user's in one process: each class, function and module of it is one object here, whichever way it came.

What no worker can import (what a script, a notebook or a test function defines) has an *identifier*, given by the
process in which it was written. A pickle holds identifiers in place of such objects, in both directions, and this
process knows which object each one names. The content of what it does not know yet comes from `Space.source`.

Functions of a *namespace*, the script above all, share its names: here, that is the module of that name, whose names
are set when content that needs them arrives. What pickles call to make objects is in `making`.
"""

from __future__ import annotations

import functools
import itertools
import os
import secrets
import sys
import types
import weakref
from collections.abc import Callable
from typing import Any, NewType

from parsl_context.errors import CarriedCodeError

Id = NewType("Id", str)

MAIN = "__main__"


class Space:
    """Objects of this process that have identifiers.

    Attributes
    ----------
    source : callable or None
        Makes the object that an identifier names, where it has come from another process.
    unfilled : set
        Identifiers of captured variables that are here, and wait for their values.
    """

    def __init__(self) -> None:
        self.source: Callable[[Id], object] | None = None
        self._objects: dict[Id, Callable[[], object]] = {}
        self._ids: dict[int, Id] = {}
        self._owners: dict[Id, weakref.WeakSet[types.FunctionType]] = {}  # functions, by their captured variables
        self.unfilled: set[Id] = set()
        self._main: types.ModuleType | None = None
        self._begin_ids()
        os.register_at_fork(after_in_child=self._begin_ids)

    def _begin_ids(self) -> None:
        self._prefix = secrets.token_hex(6)
        self._numbers = itertools.count()

    # --- identifiers

    def known(self, value: object) -> Id | None:
        """The identifier of an object, if it has one."""
        found = self._ids.get(id(value))
        # An entry is removed as its object dies, but not before others may ask for an object at the same place.
        return found if found is not None and self._objects[found]() is value else None

    def identify(self, value: Any) -> Id:
        """The identifier of an object, given now if it has none. The object may go all the same."""
        found = self.known(value)
        if found is None:
            found = Id(f"{self._prefix}.{next(self._numbers)}")
            self._objects[found] = weakref.ref(value, functools.partial(self._gone, found, id(value)))
            self._ids[id(value)] = found
        return found

    def identify_cells(self, function: types.FunctionType) -> None:
        """Give identifiers to the variables that a function has captured, which others may have captured, too."""
        for cell in function.__closure__ or ():
            found = self.known(cell)
            if found is None:
                found = Id(f"{self._prefix}.{next(self._numbers)}")
                self._ids[id(cell)] = found
                # Nothing tells when a cell is gone: it is there as long as a function that has it.
                owners = self._owners[found] = weakref.WeakSet()
                self._objects[found] = functools.partial(_cell_of, owners, id(cell))
            if found in self._owners and function not in self._owners[found]:
                self._owners[found].add(function)
                weakref.finalize(function, self._gone_with, found, id(cell)).atexit = False

    def _gone_with(self, name: Id, place: int) -> None:
        if not self.owners(name):
            self._owners.pop(name, None)
            self._gone(name, place, None)

    def owners(self, name: Id) -> list[types.FunctionType]:
        """The functions that have a variable of this identifier."""
        return list(self._owners.get(name, ()))

    def add(self, name: Id, value: object) -> None:
        """Keep an object that came from another process under the identifier that it has there."""
        self._objects[name] = lambda: value
        self._ids[id(value)] = name

    def drop(self, name: Id) -> None:
        """Let go of an object that came from another process."""
        self.unfilled.discard(name)
        found = self._objects.pop(name, None)
        if found is not None:
            self._ids.pop(id(found()), None)

    def find(self, name: Id) -> object | None:
        """The object that an identifier names, if it is here."""
        found = self._objects.get(name)
        return None if found is None else found()

    def resolve(self, name: Id) -> object:
        """The object that an identifier names, made now if its content is here.

        Raises
        ------
        CarriedCodeError
            If it is not.
        """
        found = self.find(name)
        if found is not None:
            return found
        if self.source is None:
            raise CarriedCodeError(
                "It needs a class or a function of the script that is gone: it was defined in a function that has "
                "returned, or in a cell that was run again. Define it where it stays."
            )
        return self.source(name)

    def _gone(self, name: Id, place: int, _: object) -> None:
        self._objects.pop(name, None)
        if self._ids.get(place) == name:
            del self._ids[place]

    # --- namespaces

    def namespace(self, name: str) -> types.ModuleType:
        """The module that stands for the user's of that name."""
        if name == MAIN and self._main is not None:
            return self._main
        module = sys.modules.get(name)
        if module is None:
            module = sys.modules[name] = types.ModuleType(name)
        return module

    def adopt_main(self) -> types.ModuleType:
        """Be a process of the user's script: from now on `__main__` is a module for what its code needs."""
        if self._main is None:
            self._main = sys.modules[MAIN] = types.ModuleType(MAIN)
            vars(self._main)["__builtins__"] = __builtins__
        return self._main


def _cell_of(owners: weakref.WeakSet[types.FunctionType], place: int) -> types.CellType | None:
    cells = (cell for owner in owners for cell in owner.__closure__ or ())
    return next((cell for cell in cells if id(cell) == place), None)


space = Space()


def module_here(name: str) -> Any:
    """A module that is loaded, or stands for one of the user's; None if there is none."""
    return space.namespace(MAIN) if name == MAIN else sys.modules.get(name)
