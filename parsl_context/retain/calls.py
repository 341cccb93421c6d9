"""What a context app becomes on a worker: a body that finds its contexts among the instances of the process."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from parsl_context.content.exceptions import Raised
from parsl_context.content.serialization import pack_value
from parsl_context.errors import ContextSerializationError
from parsl_context.retain import echoing
from parsl_context.retain.batches import Batching, Columns, Outcome, Row, columns_of, run_together
from parsl_context.retain.drift import checked, may_say
from parsl_context.retain.instances import Instances
from parsl_context.wire.messages import AUTO_BATCH, Digest

Item = tuple[Any, ...] | Raised  # arguments of a call, or why they could not be sent
RESULTS = "_parsl_context_results"  # attribute of an exception

# The instances of this worker; set when the worker starts, None in any other process.
resident: Instances | None = None
# What a worker makes of an exception of a body that is no `Exception`; set with `resident`.
exit_error: Callable[[BaseException], Exception] | None = None


class BodyCall:
    """The body of a context app, with its contexts named by digest.

    Parameters
    ----------
    body
        The user's function.
    names
        Parameter of the body for each context; None for those that are its first positional ones, in order.
    digests
        The contexts, in the same order.
    walltime_s
        Limit for one run of the body, or None. [s]
    echo
        Whether what it prints goes to the script as well.
    """

    def __init__(
        self,
        body: Callable[..., Any],
        names: Sequence[str | None],
        digests: Sequence[Digest],
        walltime_s: float | None,
        echo: bool = False,
    ) -> None:
        self._body = body
        self._names = tuple(names)
        self._digests = tuple(digests)
        self._walltime_s = walltime_s
        self._echo = echo

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._bound()(*args, **kwargs)

    def _bound(self) -> Callable[..., Any]:
        assert resident is not None, "a BodyCall runs on a worker only"
        body = self._body
        if self._walltime_s is not None:
            from parsl.app.python import timeout  # not at the top: the manager's start need not wait for it

            body = timeout(body, self._walltime_s)
        bound = bind(body, self._names, [resident[digest] for digest in self._digests])
        if self._echo:
            bound = echoing.scope()(bound)
        checks = resident.drift_checks(self._digests) if resident.are_checked else ()
        if not checks and not may_say(self._body):
            return bound
        return checked(bound, checks, getattr(self._body, "__name__", repr(self._body)))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._body, self._names, self._digests, self._walltime_s, self._echo)


class ChunkCall(BodyCall):
    """Many calls of one body in one task, for `map`."""

    def __call__(self, chunk: Sequence[Item], goes_on: bool = False, /, **kwargs: Any) -> list[Any]:
        return run_chunk(self._bound(), chunk, kwargs, goes_on=goes_on)


class BatchCall(BodyCall):
    """The body of an app whose calls may run together.

    Parameters
    ----------
    batching
        How they do.
    """

    def __init__(
        self,
        body: Callable[..., Any],
        names: Sequence[str | None],
        digests: Sequence[Digest],
        walltime_s: float | None,
        batching: Batching,
        echo: bool = False,
    ) -> None:
        super().__init__(body, names, digests, walltime_s, echo)
        self._batching = batching
        self._columns: Columns | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.together([(args, kwargs)])[0].get()

    def together(self, rows: Sequence[Row]) -> list[Outcome]:
        """What becomes of calls with these arguments, which run together."""
        if self._columns is None:
            self._columns = columns_of(self._body, self._names, self._batching.shared)
        name = getattr(self._body, "__name__", repr(self._body))
        return run_together(self._bound(), rows, self._columns, self._batching, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._body, self._names, self._digests, self._walltime_s, self._batching, self._echo)


class BatchChunkCall(BatchCall):
    """Many calls in one task, for `map`, of an app whose calls run together."""

    def __call__(self, chunk: Sequence[Item], goes_on: bool = False, /, **kwargs: Any) -> list[Any]:
        return run_batches(self.together, chunk, kwargs, self._batching.size, goes_on=goes_on)


def run_batches(
    together: Callable[[Sequence[Row]], Sequence[Outcome]],
    chunk: Sequence[Item],
    kwargs: dict[str, Any],
    size: int | None,
    *,
    goes_on: bool,
) -> list[Any]:
    """As `run_chunk`, for calls that run together, at most so many at a time."""
    kwargs.pop("parsl_resource_specification", None)  # as in `run_chunk`
    found = ChunkResults(goes_on=goes_on)
    step = size or AUTO_BATCH
    for start in range(0, len(chunk), step):
        part = chunk[start : start + step]
        rows = [(args, kwargs) for args in part if not isinstance(args, Raised)]
        ran = iter(together(rows) if rows else ())
        for args in part:
            outcome = Outcome(error=args.exception()) if isinstance(args, Raised) else next(ran)
            if outcome.error is None:
                found.append(outcome.value)
            else:
                found.end(outcome.error)
    return found


def run_chunk(body: Callable[..., Any], chunk: Sequence[Item], kwargs: dict[str, Any], *, goes_on: bool) -> list[Any]:
    """Results of calls, one after the other.

    Parameters
    ----------
    goes_on
        Whether those after one that raises are made as well; what it raised is in its place then (`Raised`). Else that
        is raised here, and has the results before it (`take_results`).
    """
    kwargs.pop("parsl_resource_specification", None)  # of the task; each call has it by default, or its item says it
    found = ChunkResults(goes_on=goes_on)
    pid = os.getpid()
    for args in chunk:
        if isinstance(args, Raised):
            found.end(args.exception())
            continue
        try:
            found.append(body(*args, **kwargs))
        except BaseException as error:
            if os.getpid() != pid:
                raise
            found.end(error)
        if os.getpid() != pid:
            break  # a child that the body forked has come back: the other calls are the parent's
    return found


class ChunkResults(list[Any]):
    """Results of a chunk; a list, once they have been sent."""

    def __init__(self, results: Sequence[Any] = (), *, goes_on: bool) -> None:
        super().__init__(results)
        self._goes_on = goes_on

    def end(self, error: BaseException) -> None:
        """A call has raised. What else than an `Exception` it raises ends no other call, where it ends no process.

        Raises
        ------
        BaseException
            The error of the call, with the results before it, if nothing goes on after one.
        """
        raised = error if isinstance(error, Exception) or exit_error is None else exit_error(error)
        if not isinstance(raised, Exception):
            raise raised
        if not self._goes_on:
            raised.__dict__[RESULTS] = self.sendable()
            raise raised
        self.append(Raised(raised))

    def sendable(self) -> list[Any]:
        """The results, where one that cannot be sent counts as an error of its call alone.

        Raises
        ------
        ContextSerializationError
            That error, with the results before it, if nothing goes on after one.
        """
        found: list[Any] = []
        for value in self:
            try:
                pack_value(value)
            except Exception as cause:
                error = cannot_send(value, cause)
                if not self._goes_on:
                    error.__dict__[RESULTS] = found
                    raise error from cause
                value = Raised(error)
            found.append(value)
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)


def cannot_send(value: object, cause: Exception) -> ContextSerializationError:
    """The error of a call whose result cannot be sent back."""
    what = f"The result of the call, of type {type(value).__module__}.{type(value).__qualname__},"
    return ContextSerializationError(what, cause, "Return what can be pickled: data, not what reads it.")


def take_results(error: BaseException) -> list[Any]:
    """Results of the calls of a chunk before the one that raised; the exception has them no more."""
    results: list[Any] = error.__dict__.pop(RESULTS, [])
    return results


class Guest:
    """A body that is a function of others: it gets no contexts, but finds them where it calls their app.

    Parameters
    ----------
    function
        The function.
    contexts
        How many leading arguments are contexts.
    """

    def __init__(self, function: Callable[..., Any], contexts: int) -> None:
        self._function = function
        self._contexts = contexts
        self.__name__ = getattr(function, "__name__", type(function).__name__)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args[self._contexts :], **kwargs)


def bind(body: Callable[..., Any], names: Sequence[str | None], values: Sequence[Any]) -> Callable[..., Any]:
    """The body with its contexts filled in: those without a name, which come first, by position."""
    count = names.count(None)
    leading = values[:count]
    if count == len(names):
        return lambda *args, **kwargs: body(*leading, *args, **kwargs)
    filled = dict(zip([name for name in names if name is not None], values[count:], strict=True))
    return lambda *args, **kwargs: body(*leading, *args, **kwargs, **filled)
