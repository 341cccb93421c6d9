"""Calls that reach a body together: their arguments side by side as lists, and a result for each of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from parsl_context.errors import BatchResultError
from parsl_context.retain.drift import add_note, retold, untold

Row = tuple[tuple[Any, ...], dict[str, Any]]  # arguments of a call
_RAISED = (Exception, SystemExit)  # what a body raises; other exceptions come from whoever wants its process to end
_EMPTY = inspect.Parameter.empty
_NO_RESULTS = (str, bytes, bytearray, set, frozenset)  # have a length, and are not what was meant


@dataclass(frozen=True)
class Batching:
    """How calls of an app run together.

    Attributes
    ----------
    size : int or None
        Calls at the most; None: chosen from what is measured.
    wait_s : float
        Time that a call may wait for others while a worker is idle. [s]
    retries : bool
        Calls of a batch that raised are tried one by one.
    shared : tuple of str
        Parameters that the body gets as they are: calls that differ in them do not run together.
    """

    size: int | None
    wait_s: float = 0.0
    retries: bool = False
    shared: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What became of one call: its result, or what it raised."""

    value: Any = None
    error: BaseException | None = None

    def get(self) -> Any:
        """The result.

        Raises
        ------
        BaseException
            What the call raised.
        """
        if self.error is not None:
            raise self.error
        return self.value


class Columns:
    """Turns arguments of calls into those of a body that takes lists.

    Parameters
    ----------
    parameters
        Of the body, without its contexts.
    shared
        Those that the body gets as they are.
    """

    def __init__(self, parameters: Sequence[inspect.Parameter], shared: Sequence[str]) -> None:
        self._positional = [p for p in parameters if p.kind is not p.KEYWORD_ONLY]
        self._named = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
        self._shared = frozenset(shared)
        self._is_plain = not self._named and not self._shared

    def of(self, rows: Sequence[Row]) -> Row:
        """The arguments of a call of the body for all of these calls."""
        if self._is_plain and all(not kwargs and len(args) == len(self._positional) for args, kwargs in rows):
            return tuple(map(list, zip(*(args for args, _ in rows), strict=True))), {}
        taken = [self._take(*row) for row in rows]
        columns = {p.name: self._column(p.name, taken) for p in (*self._positional, *self._named)}
        return tuple(columns[p.name] for p in self._positional), {p.name: columns[p.name] for p in self._named}

    def _take(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        given = dict(zip((p.name for p in self._positional), args, strict=False)) | kwargs
        for parameter in (*self._positional, *self._named):
            if parameter.name not in given and parameter.default is not _EMPTY:
                given[parameter.name] = parameter.default
        return given

    def _column(self, name: str, taken: Sequence[dict[str, Any]]) -> Any:
        return taken[0][name] if name in self._shared else [values[name] for values in taken]


def columns_of(body: Callable[..., Any], names: Sequence[str | None], shared: Sequence[str]) -> Columns:
    """How a body takes the arguments of calls.

    Parameters
    ----------
    names
        How it gets its contexts, see `bind`.
    """
    parameters = list(inspect.signature(body).parameters.values())[list(names).count(None) :]
    return Columns([p for p in parameters if p.name not in names], shared)


def run_together(
    body: Callable[..., Any], rows: Sequence[Row], columns: Columns, batching: Batching, name: str
) -> list[Outcome]:
    """Run calls together; if the body raises, all of them have, or each is tried by itself.

    Parameters
    ----------
    body
        With its contexts filled in.
    name
        What people call it.
    """
    try:
        return _run_once(body, rows, columns, name)
    except _RAISED as error:
        if len(rows) == 1:
            return [Outcome(error=error)]
        if not batching.retries:
            add_note(error, f"raised for a batch of {len(rows)} calls of {name}")
            return [Outcome(error=error)] * len(rows)
    return [outcome for row in rows for outcome in _run_alone(body, row, columns, name)]


def _run_alone(body: Callable[..., Any], row: Row, columns: Columns, name: str) -> list[Outcome]:
    try:
        return _run_once(body, [row], columns, name)
    except _RAISED as error:
        return [Outcome(error=error)]


def _run_once(body: Callable[..., Any], rows: Sequence[Row], columns: Columns, name: str) -> list[Outcome]:
    args, kwargs = columns.of(rows)
    given, sentences = untold(body(*args, **kwargs))
    found = [
        Outcome(error=value) if isinstance(value, BaseException) else Outcome(value)
        for value in _results(given, len(rows), name)
    ]
    if sentences:
        first = found[0]
        if first.error is None:
            found[0] = Outcome(retold(first.value, sentences))
        else:
            add_note(first.error, *sentences)
    return found


def _results(given: Any, count: int, name: str) -> list[Any]:
    if isinstance(given, _NO_RESULTS) or (hasattr(given, "keys") and not hasattr(given, "tolist")):
        raise BatchResultError(name, f"a {type(given).__name__}", count)
    try:
        found = list(given)
    except TypeError:
        raise BatchResultError(name, f"a {type(given).__name__}", count) from None
    if len(found) != count:
        raise BatchResultError(name, f"{len(found)} results", count)
    return found
