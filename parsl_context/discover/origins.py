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
    key_at : int or None
        How many steps into the value it is a key of a dictionary, if it is one, or a container of such: what can be a
        key is not made to be changed.
    """

    steps: int
    is_view: bool = True
    key_at: int | None = None


Origins = dict[str, Origin]
_UNTOLD = -9  # steps that cannot be counted, as a function was called
_FROM_BUILTIN = -8  # nor can these, but it is a part of them: built-in functions make nothing of what they are given


def deeper(origins: Origins, steps: int = 1) -> Origins:
    """As many steps into them."""
    return {name: _deeper(origin, steps) for name, origin in origins.items()}


def _deeper(origin: Origin, steps: int) -> Origin:
    found = origin.steps if origin.steps == _UNTOLD else origin.steps + steps
    key_at = origin.key_at if origin.key_at is not None and found <= origin.key_at else None
    return Origin(found, origin.is_view, key_at)


def untold(origins: Origins) -> Origins:
    """Somewhere in them."""
    return {name: Origin(_UNTOLD, origin.is_view) for name, origin in origins.items()}


def from_builtin(origins: Origins) -> Origins:
    """Somewhere in them: what a built-in function gives."""
    return {
        name: Origin(_UNTOLD if origin.steps == _UNTOLD else _FROM_BUILTIN, origin.is_view)
        for name, origin in origins.items()
    }


def told(origins: Origins) -> set[str]:
    """Those of which it is counted how deep something lies within them: no call has given it."""
    return {name for name, origin in origins.items() if origin.steps != _UNTOLD}


def as_keys(origins: Origins) -> Origins:
    """Keys of them."""
    return {name: origin._replace(key_at=origin.steps) for name, origin in deeper(origins).items()}


def computed(origins: Origins) -> Origins:
    """Computed from them."""
    return {name: origin._replace(is_view=False) for name, origin in origins.items()}


def join(origins: Origins, others: Origins) -> bool:
    """Add what something may come from besides; whether that was more than was known."""
    is_more = False
    for name, other in others.items():
        known = origins.get(name)
        if known is None:
            origins[name] = other
            is_more = True
        elif known != other:
            origins[name] = Origin(
                min(known.steps, other.steps),
                known.is_view or other.is_view,
                known.key_at if known.key_at == other.key_at else None,
            )
            is_more |= origins[name] != known
    return is_more


def joined(parts: Iterable[Origins]) -> Origins:
    """What any of several may come from."""
    found: Origins = {}
    for part in parts:
        if not part:
            continue
        if not found:
            found = dict(part)
        else:
            join(found, part)
    return found
