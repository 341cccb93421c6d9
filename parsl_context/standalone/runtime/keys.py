"""Keys: arguments of a call that say which context it wants."""

from __future__ import annotations

import hashlib
import inspect
import pickle
from collections.abc import Collection, Sequence
from typing import Any

Arguments = tuple[dict[str, Any], tuple[Any, ...], dict[str, Any]]


def signature_of(told: Sequence[tuple[str, int, bool, Any]]) -> inspect.Signature:
    """What calls may give: name, kind, whether there is a default, and that, of each parameter."""
    empty = inspect.Parameter.empty
    return inspect.Signature(
        [
            inspect.Parameter(name, inspect._ParameterKind(kind), default=default if has_default else empty)
            for name, kind, has_default, default in told
        ]
    )


def take_keys(
    signature: inspect.Signature,
    keys: Sequence[str],
    of_body: Collection[str],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Arguments:
    """The values of keys, and the arguments without those that the body does not take."""
    given = signature.bind(*args, **kwargs)
    explicit = dict(given.arguments)
    given.apply_defaults()
    values = {name: given.arguments[name] for name in keys if name in given.arguments}
    kept = [each for each in signature.parameters.values() if each.name not in keys or each.name in of_body]
    names = [each.name for each in kept if each.name in explicit]
    rest = inspect.BoundArguments(inspect.Signature(kept), {name: explicit[name] for name in names})
    return values, rest.args, rest.kwargs


def digest_of_keys(values: Any) -> str:
    """What is equal for equal values in this process."""
    return hashlib.sha256(_spelt(values)).hexdigest()[:32]


def _spelt(value: Any) -> bytes:
    if isinstance(value, (str, int, float, bool, bytes, complex, type(None))):
        return f"{type(value).__name__} {value!r}".encode("utf-8", "surrogatepass")
    if isinstance(value, (list, tuple)):
        return b"%s (%s)" % (type(value).__name__.encode(), b", ".join(map(_spelt, value)))
    if isinstance(value, dict):
        return b"{%s}" % b", ".join(_spelt(item) for item in value.items())
    return pickle.dumps(value, 4)
