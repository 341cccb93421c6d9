"""What context apps and contexts need: takes them apart for `discover.needs`, which knows functions and values only."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from parsl_context.apps.app import ContextApp
from parsl_context.apps.context import Context, ContextFunction
from parsl_context.apps.context_call import ContextCall
from parsl_context.apps.keys import KeyedContext
from parsl_context.discover import needs
from parsl_context.discover.needs import FunctionNeeds
from parsl_context.retain.undivided import EitherWay, LeadingWork


def needs_of(function: Any) -> FunctionNeeds:
    """What a function needs, as its code and the objects that it knows say it.

    Parameters
    ----------
    function
        A context app, a context, a context function, any Parsl app, or any function.

    Notes
    -----
    Runs nothing of it. Pickles captured values to see how large they are, at most a fifth of a second each.
    """
    return needs.needs_of(function, take_apart=take_apart)


def take_apart(value: Any) -> Iterable[tuple[str, str, Any]] | None:
    """The parts of an app or a context, as `discover.needs.reach` wants them; None for what is neither."""
    if isinstance(value, ContextApp | ContextCall):
        return [("body", "", value.body), *(("context", "", context) for context in value.contexts)]
    if isinstance(value, EitherWay):
        return [("function", "", value.whole)]
    if isinstance(value, LeadingWork):
        return [("function", "", value.function)]
    if isinstance(value, KeyedContext):
        return [("function", "", value.function), *((name, "argument", arg) for name, arg in value.kwargs.items())]
    if isinstance(value, Context):
        _, (function, args, kwargs) = value.__reduce__()
        given = {**{str(place): arg for place, arg in enumerate(args)}, **kwargs}
        return [("function", "", function), *((name, "argument", arg) for name, arg in given.items())]
    if isinstance(value, ContextFunction):
        data = [("data", "", Path(each.path)) for each in value.options.data]
        return [("function", "", value.function), ("after_fork", "", value.options.after_fork), *data]
    return None
