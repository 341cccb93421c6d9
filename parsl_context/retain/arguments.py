"""Arguments of a context function on their way to a worker, and the contexts among them."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from parsl_context.wire.messages import Digest

if TYPE_CHECKING:
    from parsl_context.distribute.packed import PathState

_instance_of: ContextVar[Callable[[Digest], Any]] = ContextVar("parsl_context_instance_of")


def required(digest: Digest) -> Any:
    """The instance of a context. Stands for it in a pickle, so that it may be in any object."""
    return _instance_of.get()(digest)


@contextlib.contextmanager
def resolving(instance_of: Callable[[Digest], Any]) -> Iterator[None]:
    """Contexts in what is unpickled meanwhile become these instances."""
    token = _instance_of.set(instance_of)
    try:
        yield
    finally:
        _instance_of.reset(token)


class NodeFile:
    """Stands for a Parsl `File` in a packed context. The node that builds the context puts one with a local path there.

    Attributes
    ----------
    url : str
        Address of the file.
    is_kept : bool
        Whether the copy may serve other builds.
    """

    __slots__ = ("is_kept", "url")

    def __init__(self, url: str, *, is_kept: bool) -> None:
        self.url = url
        self.is_kept = is_kept


class NodeData:
    """A file or folder that a context names as its data, in a packed context.

    Attributes
    ----------
    given : str
        As the user wrote it.
    state : PathState
        What is wanted.
    is_kept : bool
        Whether it is copied to the node, rather than used where it is.
    """

    __slots__ = ("given", "is_kept", "state")

    def __init__(self, given: str, state: PathState, *, is_kept: bool) -> None:
        self.given = given
        self.state = state
        self.is_kept = is_kept


def map_leaves(value: Any, swap: Callable[[Any], Any]) -> Any:
    """A copy of nested lists, tuples and dictionaries with everything else in them swapped.

    What is in there twice, or holds itself, is so in the copy. Of subclasses (as named tuples, ordered dictionaries)
    those are copied in which something was swapped.
    """
    return _Copy(swap).of(value)


class _Copy:
    """One copy: knows what it has met."""

    def __init__(self, swap: Callable[[Any], Any]) -> None:
        self._swap = swap
        self._made: dict[int, Any] = {}

    def of(self, value: Any) -> Any:
        if not isinstance(value, list | tuple | dict):
            return self._swap(value)
        if id(value) in self._made:
            return self._made[id(value)]
        made: Any
        if type(value) is list:
            made = self._made[id(value)] = []
            made.extend(map(self.of, value))
        elif type(value) is dict:
            made = self._made[id(value)] = {}
            made.update((key, self.of(item)) for key, item in value.items())
        elif type(value) is tuple:
            made = tuple(map(self.of, value))
            made = self._made.setdefault(id(value), made)  # it may hold itself by way of a list
        else:
            self._made[id(value)] = value  # within itself, a subclass stays as it is
            made = self._made[id(value)] = self._subclass(value)
        return made

    def _subclass(self, value: Any) -> Any:
        old = list(value.values()) if isinstance(value, dict) else list(value)
        new = list(map(self.of, old))
        if all(a is b for a, b in zip(old, new, strict=True)):
            return value
        if isinstance(value, tuple):
            return value._make(new) if hasattr(value, "_make") else type(value)(new)
        made = copy.copy(value)
        if isinstance(value, dict):
            made.update(zip(value, new, strict=True))
        else:
            made[:] = new
        return made
