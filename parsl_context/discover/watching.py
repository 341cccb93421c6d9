"""What code was made of, to see at a glance whether that is still so: it is asked for each call."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

ABSENT: Any = object()  # stands for the value of a name that stands for nothing


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

Name = tuple[dict[str, Any], str, Any]  # a namespace, a name in it, and its value


@dataclass(frozen=True)
class Watch:
    """What some code was made of.

    Attributes
    ----------
    names : tuple
        Names, and what they stood for.
    epoch : int or None
        Of the observer, if modules of the user's count.
    """

    names: tuple[Name, ...] = ()
    epoch: int | None = None

    @classmethod
    def all_of(cls, watches: Iterable[Watch]) -> Watch:
        """One that watches what several do."""
        watches = list(watches)
        names = {(id(name[0]), name[1]): name for watch in watches for name in watch.names}
        epochs = [watch.epoch for watch in watches if watch.epoch is not None]
        return cls(tuple(names.values()), min(epochs, default=None))

    @functools.cached_property
    def _looks(self) -> tuple[tuple[Callable[[str, Any], Any], str, Any], ...]:
        return tuple((namespace.get, name, value) for namespace, name, value in self.names)

    def is_current(self) -> bool:
        """Whether all names stand for the same objects, and no module was loaded since."""
        for get, name, value in self._looks:  # for a few names, no other way is quicker
            if get(name, ABSENT) is not value:
                return False
        return self.epoch is None or self.epoch == observer.epoch


NOTHING = Watch()
