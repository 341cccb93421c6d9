"""Arguments of a context function on their way to a worker, and the contexts among them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from parsl_context.wire.messages import Digest


class RequiredContext:
    """Stands for a required context in a packed one. The worker puts the instance in its place."""

    __slots__ = ("digest",)

    def __init__(self, digest: Digest) -> None:
        self.digest = digest


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


def fill_in(value: Any, instance: Callable[[Digest], Any]) -> Any:
    """`value` with each `RequiredContext` in it replaced by its instance."""
    return map_leaves(value, lambda leaf: instance(leaf.digest) if isinstance(leaf, RequiredContext) else leaf)


def map_leaves(value: Any, swap: Callable[[Any], Any]) -> Any:
    """A copy of nested lists, tuples and dictionaries with everything else in them swapped.

    Of their subclasses (named tuples, ordered dictionaries), those in which something was swapped are copied.
    """
    if type(value) is list:
        return [map_leaves(item, swap) for item in value]
    if type(value) is tuple:
        return tuple(map_leaves(item, swap) for item in value)
    if type(value) is dict:
        return {key: map_leaves(item, swap) for key, item in value.items()}
    if isinstance(value, list | tuple | dict):
        return _map_subclass(value, swap)
    return swap(value)


def _map_subclass(value: Any, swap: Callable[[Any], Any]) -> Any:
    old = list(value.values()) if isinstance(value, dict) else list(value)
    new = [map_leaves(item, swap) for item in old]
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
