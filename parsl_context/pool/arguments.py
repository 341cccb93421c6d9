"""Arguments of a context function on their way to a worker, and the contexts among them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from parsl_context.messages import Digest


class RequiredContext:
    """Stands for a required context in a packed one. The worker puts the instance in its place."""

    __slots__ = ("digest",)

    def __init__(self, digest: Digest) -> None:
        self.digest = digest


def fill_in(value: Any, instance: Callable[[Digest], Any]) -> Any:
    """`value` with each `RequiredContext` in it replaced by its instance."""
    return map_leaves(value, lambda leaf: instance(leaf.digest) if isinstance(leaf, RequiredContext) else leaf)


def map_leaves(value: Any, swap: Callable[[Any], Any]) -> Any:
    """A copy of nested lists, tuples and dictionaries with everything else in them swapped."""
    if type(value) is list:
        return [map_leaves(item, swap) for item in value]
    if type(value) is tuple:
        return tuple(map_leaves(item, swap) for item in value)
    if type(value) is dict:
        return {key: map_leaves(item, swap) for key, item in value.items()}
    return swap(value)
