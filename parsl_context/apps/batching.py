"""`@context_app(batch=...)`: what may be given, and which bodies can take it."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

from parsl_context.apps.keys import Keys
from parsl_context.errors import ConfigurationError
from parsl_context.retain.batches import Batching

_LIMIT = 65_536


def make_batching(batch: int | Literal["auto"] | None, wait_s: float, retries: bool) -> Batching | None:
    """How calls of an app run together, from what its decorator was given; None if they do not.

    Raises
    ------
    ConfigurationError
        If that cannot work.
    """
    if batch is None:
        if wait_s or retries:
            raise ConfigurationError("batch_wait_s and batch_retry are for apps whose calls run together: give batch=.")
        return None
    if batch != "auto" and (type(batch) is not int or not 1 <= batch <= _LIMIT):
        raise ConfigurationError(f"batch={batch!r} must be a number of calls, at most {_LIMIT}, or 'auto'.")
    if type(wait_s) not in (int, float) or not 0 <= wait_s < math.inf:
        raise ConfigurationError(f"batch_wait_s={wait_s!r} must be a number of seconds.")
    if type(retries) is not bool:
        raise ConfigurationError(f"batch_retry={retries!r} must be True or False.")
    return Batching(None if batch == "auto" else batch, float(wait_s), retries)


def with_shared(
    batching: Batching, body: Callable[..., Any], names: Sequence[str | None], keys: Keys | None
) -> Batching:
    """The same with the parameters that calls of a batch share, which are the keys of contexts.

    Parameters
    ----------
    names
        How the body gets its contexts.

    Raises
    ------
    ConfigurationError
        If the body does not take a list for each parameter.
    """
    parameters = list(inspect.signature(body).parameters.values())[list(names).count(None) :]
    own = [p for p in parameters if p.name not in names]
    where = f"The body {getattr(body, '__name__', body)!r}, with batch=,"
    for parameter in own:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ConfigurationError(
                f"{where} takes {parameter}: it gets a list for each of its parameters, so each needs a name."
            )
    shared = tuple(p.name for p in own if keys is not None and p.name in keys.names)
    if len(shared) == len(own):
        raise ConfigurationError(f"{where} has no parameter of which each call gives a value of its own.")
    return dataclasses.replace(batching, shared=shared)
