"""How objects that are made of functions are taken apart, where code is pickled and where it is digested."""

from __future__ import annotations

from typing import Any


def reduce_code(value: object) -> Any:
    """What stands for an object that is made of functions, as `object.__reduce__` says it; NotImplemented for others.

    Such an object says it by a method `__reduce_code__`. Unlike what its `__reduce__` may give, that must not hold a
    pickle: the object may know itself by way of the globals of its functions.
    """
    reduce = getattr(type(value), "__reduce_code__", None)
    return NotImplemented if reduce is None else reduce(value)
