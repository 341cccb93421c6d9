"""What code was made of, to see at a glance whether that is still so: it is asked for each call."""

from __future__ import annotations

import itertools
import operator
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

ABSENT: Any = object()  # stands for the value of a name that stands for nothing
_ALL_ABSENT = itertools.repeat(ABSENT)


class ImportObserver:
    """Hears of modules that are loaded or loaded anew, and finds none: a finder that is asked before all others.

    Attributes
    ----------
    epoch : int
        Grows when one of the watched modules, or a part of one, is loaded.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self._watched: set[str] = set()

    def watch(self, names: Iterable[str]) -> None:
        """Hear of these top-level modules, too."""
        self._watched.update(names)
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Called by Python's import for each module that is not loaded, or is to be loaded anew."""
        if name.partition(".")[0] in self._watched:
            self.epoch += 1


observer = ImportObserver()

Names = tuple[dict[str, Any], tuple[str, ...], tuple[Any, ...]]  # a namespace, names in it and their values


@dataclass(frozen=True)
class Watch:
    """What some code was made of.

    Attributes
    ----------
    names : tuple
        Namespaces, names in them, and what these stood for.
    epoch : int or None
        Of the observer, if modules of the user's count.
    """

    names: tuple[Names, ...] = ()
    epoch: int | None = None

    @classmethod
    def all_of(cls, watches: Iterable[Watch]) -> Watch:
        """One that watches what several do."""
        names: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {}
        epochs = set()
        for watch in watches:
            if watch.epoch is not None:
                epochs.add(watch.epoch)
            for namespace, found, values in watch.names:
                names.setdefault(id(namespace), (namespace, {}))[1].update(zip(found, values, strict=True))
        merged = tuple((namespace, tuple(found), tuple(found.values())) for namespace, found in names.values())
        return cls(merged, min(epochs, default=None))

    def is_current(self) -> bool:
        """Whether all names stand for the same objects, and no module was loaded since."""
        for namespace, names, values in self.names:
            if not all(map(operator.is_, map(namespace.get, names, _ALL_ABSENT), values)):
                return False
        return self.epoch is None or self.epoch == observer.epoch


NOTHING = Watch()
