"""Bytes that stand for numbers and texts, and for containers of nothing else: most of what is digested."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable
from typing import Any


def _float_bytes(value: float) -> bytes:
    return repr(value).encode() if value == value else struct.pack(">d", value)


# Objects of their subclasses have a state of their own, and show what they like.
ATOMS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda value: b"",
    bool: lambda value: b"1" if value else b"0",
    int: lambda value: b"%x" % value,  # has no limit of digits
    float: _float_bytes,
    complex: lambda value: b"%b %b" % (_float_bytes(value.real), _float_bytes(value.imag)),
    str: lambda value: value.encode("utf-8", "surrogatepass"),
    bytes: lambda value: value,
}
_NAMES = {kind: kind.__name__.encode() for kind in ATOMS}
_FLAT = frozenset(ATOMS)
_CONTAINERS = frozenset({list, tuple, set, frozenset})


def marked(value: Any) -> bytes:
    """What stands for a number or text, and cannot be taken for more or less than it."""
    kind = type(value)
    data = ATOMS[kind](value)
    return b"%b:%d:%b" % (_NAMES[kind], len(data), data)


def is_flat(value: object) -> bool:
    """Whether it is a container of numbers and texts only."""
    kind = type(value)
    if kind is dict:
        return _FLAT.issuperset(map(type, value)) and _FLAT.issuperset(map(type, value.values()))  # type: ignore[call-overload, attr-defined]
    return kind in _CONTAINERS and _FLAT.issuperset(map(type, value))  # type: ignore[call-overload]


def marked_items(value: Any) -> list[bytes]:
    """What stands for each number and text in such a container: of sets in an order that is always the same."""
    kind = type(value)
    marks = list(map(marked, itertools.chain.from_iterable(value.items()) if kind is dict else value))
    if kind is set or kind is frozenset:
        marks.sort()
    return marks
