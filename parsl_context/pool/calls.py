"""What a context app becomes on a worker: a body that finds its contexts among the instances of the process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from parsl.app.python import timeout

from parsl_context.messages import Digest
from parsl_context.pool.instances import Instances

# The instances of this worker; set when the worker starts, None in any other process.
resident: Instances | None = None


class BodyCall:
    """The body of a context app, with its contexts named by digest.

    Parameters
    ----------
    body
        The user's function.
    names
        Parameter of the body for each context, or None where it is the first positional one.
    digests
        The contexts, in the same order.
    walltime_s
        Limit for one run of the body, or None. [s]
    """

    def __init__(
        self,
        body: Callable[..., Any],
        names: Sequence[str | None],
        digests: Sequence[Digest],
        walltime_s: float | None,
    ) -> None:
        self._body = body if walltime_s is None else timeout(body, walltime_s)
        self._names = tuple(names)
        self._digests = tuple(digests)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._bound()(*args, **kwargs)

    def _bound(self) -> Callable[..., Any]:
        assert resident is not None, "a BodyCall runs on a worker only"
        return bind(self._body, self._names, [resident[digest] for digest in self._digests])


class ChunkCall(BodyCall):
    """Many calls of one body in one task, for `map`."""

    def __call__(self, chunk: Sequence[tuple[Any, ...]]) -> list[Any]:
        bound = self._bound()
        return [bound(*args) for args in chunk]


def bind(body: Callable[..., Any], names: Sequence[str | None], values: Sequence[Any]) -> Callable[..., Any]:
    """The body with its contexts filled in."""
    if len(names) == 1 and names[0] is None:
        (value,) = values
        return lambda *args, **kwargs: body(value, *args, **kwargs)
    filled = dict(zip([name for name in names if name is not None], values, strict=True))
    return lambda *args, **kwargs: body(*args, **kwargs, **filled)
