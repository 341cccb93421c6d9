"""What an expression may have been made of: which values, and how deep within them it lies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Origin(NamedTuple):
    """How something comes from a value.

    Attributes
    ----------
    steps : int
        From how many items or attributes into the value, at least.
    is_view : bool
        Whether it may share memory with the value if that is an array: nothing was computed on the way.
    """

    steps: int
    is_view: bool = True


Origins = dict[str, Origin]
_UNTOLD = -9  # steps that cannot be counted, as a function was called


def deeper(origins: Origins, steps: int = 1) -> Origins:
    """As many steps into them."""
    return {
        name: origin if origin.steps == _UNTOLD else origin._replace(steps=origin.steps + steps)
        for name, origin in origins.items()
    }


def untold(origins: Origins) -> Origins:
    """Somewhere in them."""
    return {name: origin._replace(steps=_UNTOLD) for name, origin in origins.items()}


def computed(origins: Origins) -> Origins:
    """Computed from them."""
    return {name: origin._replace(is_view=False) for name, origin in origins.items()}


def join(origins: Origins, others: Origins) -> None:
    """Add what something may come from besides."""
    for name, other in others.items():
        known = origins.get(name, other)
        origins[name] = Origin(min(known.steps, other.steps), known.is_view or other.is_view)


def joined(parts: Iterable[Origins]) -> Origins:
    """What any of several may come from."""
    found: Origins = {}
    for part in parts:
        join(found, part)
    return found
