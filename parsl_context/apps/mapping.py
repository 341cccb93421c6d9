"""`app.map`: how the calls of an app for many items travel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from parsl.dataflow.futures import AppFuture
from rich import get_console
from rich.progress import track

from parsl_context.apps.chunks import ChunkSizer, Groups, in_order
from parsl_context.apps.context_call import ContextCall
from parsl_context.apps.delivery import give_it, raise_it

if TYPE_CHECKING:
    from parsl_context.apps.app import ContextApp

_Item = tuple[Any, ...]


class MappedCalls:
    """Calls of an app for many items.

    Parameters
    ----------
    app
        The app.
    given
        Keys of its contexts that all calls have.
    sizer
        How many calls travel together.
    max_pending
        Tasks that may wait or run at a time.
    goes_on
        Whether what a call raises is given in the place of its result.
    """

    def __init__(
        self, app: ContextApp, given: dict[str, Any], sizer: ChunkSizer, max_pending: int, *, goes_on: bool
    ) -> None:
        self._app = app
        self._given = given
        self._sizer = sizer
        self._max_pending = max_pending
        self._goes_on = goes_on
        self._func = app.limited_func()
        keys = app.func.keys
        self._named = {} if keys is None else keys.take((), given)[2]  # for a body that takes them by their names

    def results(self, items: Iterator[_Item], *, ordered: bool) -> Iterator[Any]:
        """Results, in the order of the items or as they come."""
        give = give_it if self._goes_on else raise_it
        if self._app.func.keys is None and ordered:
            return in_order(items, self._sender(self._func), self._sizer, self._max_pending, give)
        groups = Groups(self._grouped(items), self._submit, self._sizer, self._max_pending)
        return groups.in_order(give) if ordered else groups.as_they_end(give)

    def _grouped(self, items: Iterator[_Item]) -> Iterator[tuple[ContextCall, _Item]]:
        """Items with the call that has the contexts that they want: those with the same keys travel together."""
        keys = self._app.func.keys
        for item in items:
            if keys is None:
                yield self._func, item
            else:
                self._app.check(*item, **self._given)
                values, args, _ = keys.take(item, self._given)
                yield self._func.at(values), args

    def _sender(self, call: ContextCall) -> Callable[[list[_Item]], AppFuture]:
        return lambda chunk: self._submit(call, chunk)

    def _submit(self, call: ContextCall, chunk: list[_Item]) -> AppFuture:
        args = (chunk, True) if self._goes_on else (chunk,)
        future = self._app.submit_call(call.as_chunk(), args, self._named)
        self._sizer.observe(future, len(chunk))
        return future


def with_progress(results: Iterator[Any], name: str, total: int | None) -> Iterator[Any]:
    """Results, with a progress bar where somebody looks."""
    if not (get_console().is_terminal or get_console().is_jupyter):
        return results
    return _tracked(results, name, total)


def _tracked(results: Iterator[Any], name: str, total: int | None) -> Iterator[Any]:
    try:
        yield from track(results, description=name, total=total)
    finally:
        results.close()  # type: ignore[attr-defined]  # which lets go of what has not started
