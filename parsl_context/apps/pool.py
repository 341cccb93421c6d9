"""`app.pool()`: an executor as of `concurrent.futures`, for frameworks that bring the function to be called.

A sampler or an optimiser calls ``pool.map(function, points)``. What it gives as the function is often an object of its
own around the user's, so it is not the app. It is run as it stands on a worker where the app's contexts are warm; where
code in it calls the app, that runs there, on these contexts.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, Executor, Future
from typing import Any, TypeVar

from parsl.app.app import AppBase

from parsl_context.apps.app import ContextApp
from parsl_context.apps.context_call import ContextCall
from parsl_context.errors import ConfigurationError

_MAX_FUNCTIONS = 64  # plain functions that a pool remembers
_T = TypeVar("_T")


class AppPool(Executor):
    """Runs functions where the contexts of an app are warm, with the interface of `concurrent.futures.Executor`.

    A function is called with its own arguments on a worker that holds the contexts, and may call the app. The app
    itself, its ``body`` and its ``func`` stand for calls of the app; another context app for calls of that one.
    Futures are those of calls of the app.

    Plain functions are sent once. Any other callable is sent as it is when `submit` or `map` is called.
    """

    def __init__(self, app: ContextApp, keys: Mapping[str, Any]) -> None:
        self._app = app
        self._keys = dict(keys)
        self._calls: OrderedDict[int, ContextCall] = OrderedDict()  # of plain functions, which they keep alive
        self._pending: set[Future[Any]] = set()
        self._is_shut = False
        self._lock = threading.Lock()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call a function on a worker that holds the app's contexts.

        Raises
        ------
        RuntimeError
            If the pool was shut down.
        TypeError
            If a value of a key is missing.
        ConfigurationError
            If the function is an app of Parsl's.
        """
        self._check_open()
        return self._noted(self._caller(fn)(args, kwargs))

    def map(
        self, fn: Callable[..., _T], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[_T]:
        """Call a function for each item, as the built-in `map`; all calls are made at once.

        Parameters
        ----------
        fn
            The function.
        *iterables
            One for each argument; the shortest ends the map.
        timeout
            Time that the results may take from now on; `TimeoutError` is raised then. [s]
        chunksize
            Calls in one task. Calls of an app with keys travel one by one.

        Returns
        -------
        iterator
            Results in the order of the items. What a call raised is raised in its turn. The calls whose results have
            not been taken are cancelled, as far as that is possible, when one raises or the iterator is closed.
        """
        self._check_open()
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        end = None if timeout is None else time.monotonic() + timeout
        items = zip(*iterables, strict=False)
        chunked = self._chunk_caller(fn) if chunksize > 1 else None
        if chunked is None:
            call = self._caller(fn)
            futures = deque(self._noted(call(item, {})) for item in items)
            return _results(futures, end)
        futures = deque(self._noted(chunked(chunk)) for chunk in _chunks(items, chunksize))
        return itertools.chain.from_iterable(_results(futures, end))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls. Parsl and its executors stay as they are.

        Parameters
        ----------
        wait
            Wait for the calls of this pool.
        cancel_futures
            Cancel those that have not started; on executors that are not ours, Parsl lets none be cancelled.
        """
        with self._lock:
            self._is_shut = True
            pending = list(self._pending)
        for future in pending if cancel_futures else ():
            _cancel(future)
        for future in pending if wait else ():
            with contextlib.suppress(CancelledError):
                future.exception()

    def _check_open(self) -> None:
        if self._is_shut:
            raise RuntimeError(f"The pool of app {self._app.__name__} was shut down; make another with app.pool().")

    def _noted(self, future: Future[Any]) -> Future[Any]:
        with self._lock:
            self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        return future

    def _caller(self, fn: Callable[..., Any]) -> Callable[[tuple[Any, ...], dict[str, Any]], Future[Any]]:
        """What makes a call from its arguments."""
        if self._is_app(fn):
            return lambda args, kwargs: self._app(*args, **{**self._keys, **kwargs})
        if isinstance(fn, ContextApp):
            return lambda args, kwargs: fn(*args, **kwargs)
        call = self._hosted(fn)
        return lambda args, kwargs: self._app.submit_call(call, args, kwargs)

    def _chunk_caller(self, fn: Callable[..., Any]) -> Callable[[list[tuple[Any, ...]]], Future[list[Any]]] | None:
        """What makes a task of several calls; None if they must travel one by one."""
        app = self._app
        if not self._is_app(fn):
            call = None if isinstance(fn, ContextApp) else self._hosted(fn).as_chunk()
        else:
            call = app.limited_func().as_chunk() if app.func.keys is None else None
        return None if call is None else lambda chunk: app.submit_call(call, (chunk,), {})

    def _is_app(self, fn: object) -> bool:
        app = self._app
        return any(fn is each for each in (app, app.func, app.body, getattr(app, "__wrapped__", None)))

    def _hosted(self, fn: Callable[..., Any]) -> ContextCall:
        if isinstance(fn, AppBase):
            raise ConfigurationError(
                f"Pool of app {self._app.__name__}: {fn.__name__} is an app of Parsl's, with executors of its own. "
                "Give the plain function, without its decorator."
            )
        call = self._calls.get(id(fn))
        if call is None:
            call = self._app.call_for(self._keys).hosting(fn)
            if isinstance(fn, types.FunctionType):  # others may change, and are packed as they are now
                self._calls[id(fn)] = call
                while len(self._calls) > _MAX_FUNCTIONS:
                    self._calls.popitem(last=False)
        return call


def _chunks(items: Iterator[tuple[Any, ...]], size: int) -> Iterator[list[tuple[Any, ...]]]:
    while chunk := list(itertools.islice(items, size)):
        yield chunk


def _results(futures: deque[Future[Any]], end: float | None) -> Iterator[Any]:
    try:
        while futures:
            yield futures[0].result(None if end is None else end - time.monotonic())
            futures.popleft()
    finally:
        for future in futures:
            _cancel(future)


def _cancel(future: Future[Any]) -> None:
    with contextlib.suppress(NotImplementedError):  # of futures of Parsl's that cannot be
        future.cancel()
