"""`app.map`: how the calls of an app for many items travel."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from parsl.dataflow.futures import AppFuture

from parsl_context.apps.chunk_sizes import CallTimes, ChunkSizes
from parsl_context.apps.chunks import Groups, in_order
from parsl_context.apps.context_call import ContextCall
from parsl_context.apps.delivery import give_it, raise_it

if TYPE_CHECKING:
    from parsl_context.apps.app import ContextApp

_Item = tuple[Any, ...]
_RESOURCES = "parsl_resource_specification"


class MappedCalls:
    """Calls of an app for many items.

    Parameters
    ----------
    app
        The app.
    given
        Keys of its contexts that all calls have.
    sizes
        How many calls travel together.
    max_pending
        Tasks that may wait or run at a time.
    goes_on
        Whether what a call raises is given in the place of its result.
    """

    def __init__(
        self, app: ContextApp, given: dict[str, Any], sizes: ChunkSizes, max_pending: int, *, goes_on: bool
    ) -> None:
        self._app = app
        self._given = given
        self._sizes = sizes
        self._meter = _Meter(sizes, app.call_times)
        self._max_pending = max_pending
        self._goes_on = goes_on
        self._func = app.limited_func()
        keys = app.func.keys
        # Keys for a body that takes them by their names, and what Parsl is to know of each task.
        self._named = {} if keys is None else keys.take((), given)[2]
        if _RESOURCES in app.kwargs:
            self._named = {**self._named, _RESOURCES: app.kwargs[_RESOURCES]}

    def results(self, items: Iterator[_Item], *, ordered: bool) -> Iterator[Any]:
        """Results, in the order of the items or as they come."""
        give = give_it if self._goes_on else raise_it
        if self._app.func.keys is None and ordered:
            return in_order(items, self._sender(self._func), self._sizes, self._max_pending, give)
        groups = Groups(self._grouped(items), self._submit, self._sizes, self._max_pending)
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
        at = time.monotonic()
        future = self._app.submit_call(call.as_chunk(), args, self._named)
        self._meter.observe(future, len(chunk), at)
        return future


class _Meter:
    """Tells when tasks of a map were sent, and when they ended."""

    def __init__(self, sizes: ChunkSizes, times: CallTimes) -> None:
        self._sizes = sizes
        self._times = times
        self._lock = threading.Lock()  # tasks end in other threads

    def observe(self, future: AppFuture, calls: int, at: float) -> None:
        """A task of so many calls was sent at that time."""
        with self._lock:
            task = self._sizes.sent(calls, at)

        def ended(_: Future[Any]) -> None:
            label, run_s = _where_it_ran(future)
            with self._lock:
                self._sizes.ended(task, time.monotonic(), has_run=future.exception() is None, run_s=run_s)
                if self._sizes.call_s is not None:
                    self._times.note(label, self._sizes.call_s)

        future.add_done_callback(ended)


def _where_it_ran(future: AppFuture) -> tuple[str, float | None]:
    """The executor of a task, and the time that it took on a worker, if the executor tells. [s]"""
    record: Any = getattr(future, "task_record", {})
    return str(record.get("executor")), getattr(record.get("exec_fu"), "run_s", None)
