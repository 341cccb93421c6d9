"""Constructors of our executors, which take what Parsl's take and some arguments more."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def is_given(stock_init: Callable[..., None], args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> bool:
    """Whether an argument of a stock executor's constructor, other than `label`, was given.

    Parameters
    ----------
    args, kwargs
        What the constructor was called with after `label`.
    """
    names = [p for p in inspect.signature(stock_init).parameters if p not in ("self", "label")]
    bound = dict(zip(names, args, strict=False)) | kwargs
    return bool(bound.get(name))


def full_signature(stock_init: Callable[..., None], *our_inits: Callable[..., None]) -> inspect.Signature:
    """A stock constructor with our parameters: what documentation, editors and Parsl's `repr` see.

    Parameters
    ----------
    our_inits
        Our constructors, the most general first.
    """
    stock = inspect.signature(stock_init)
    ours = {name: p for init in our_inits for name, p in inspect.signature(init).parameters.items()}
    parameters = [
        p.replace(default=ours[p.name].default) if p.name in ("label", "prefetch_capacity") else p
        for p in stock.parameters.values()
    ]
    added = [p for p in ours.values() if p.kind is p.KEYWORD_ONLY and p.name not in stock.parameters]
    return stock.replace(parameters=[*parameters, *added])
