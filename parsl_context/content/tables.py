"""Small tables that scripts keep as globals: containers of numbers and texts, whose content can be compared at once."""

from __future__ import annotations

import marshal
from typing import Any

_ATOMS = frozenset({int, float, complex, bool, type(None), str, bytes})
_MOST_ITEMS = 1000


def is_table(value: object) -> bool:
    """Whether a value is such a table, small, of nothing that could be changed when it is taken out."""
    count = 0
    waiting: list[tuple[object, int]] = [(value, 0)]
    while waiting:
        part, depth = waiting.pop()
        kind = type(part)
        count += len(part) // 64 + 1 if kind in (str, bytes) else 1  # type: ignore[arg-type]
        if count > _MOST_ITEMS or depth > 10:
            return False
        if depth and kind in (dict, list, set):
            return False
        if kind is dict:
            waiting += [(each, depth + 1) for pair in part.items() for each in pair]  # type: ignore[attr-defined]
        elif kind in (list, set, tuple, frozenset):
            waiting += [(each, depth + 1) for each in part]  # type: ignore[attr-defined]
        elif kind not in _ATOMS:
            return False
    return True


def picture_of(value: Any) -> object:
    """What is equal for tables of equal content, and for those alone."""
    try:
        return marshal.dumps(value, 2)
    except ValueError:  # it has got something else within
        return object()
