"""`@context_app`: Parsl apps whose costly state is a context.

A context app splits what used to be one function into a context, built once where it is needed, and a body that
gets the context and the arguments of the call. `ContextApp` is what users call; what it hands to an executor, by way
of the DataFlowKernel, is a `ContextCall`.
"""

from __future__ import annotations

import functools
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any, Protocol

from parsl.app.app import AppBase
from parsl.dataflow.dflow import DataFlowKernel, DataFlowKernelLoader
from parsl.dataflow.futures import AppFuture
from parsl.errors import NoDataFlowKernelError
from rich.progress import track

from parsl_context.apps.chunks import ChunkSizer
from parsl_context.apps.context import Context, as_context
from parsl_context.apps.context_call import ContextCall, check_of, defer_futures, place_contexts
from parsl_context.apps.options import UNKEPT_LEVELS
from parsl_context.errors import ConfigurationError
from parsl_context.retain import calls


class WarmingExecutor(Protocol):
    """What an app needs of an executor that builds contexts ahead of calls."""

    reuse: str  # level of contexts that do not choose one

    def preload(self, context: Context, /) -> None:
        """Have a context built where it is not."""


class ContextApp(AppBase):
    """A Parsl app with contexts. Calling it returns an `AppFuture`.

    Attributes
    ----------
    body : callable
        The user's function: contexts and arguments, called as it stands.
    func : ContextCall
        What an executor gets. Calling it runs the body here; `executor.submit(app.func, {}, ...)` is the fastest
        way to make one call.
    contexts : tuple of Context
        The contexts of the app.
    """

    def __init__(
        self,
        body: Callable[..., Any],
        contexts: Mapping[str | None, Context],
        *,
        data_flow_kernel: DataFlowKernel | None = None,
        executors: Any = "all",
        cache: bool = False,
        ignore_for_cache: Sequence[str] | None = None,
    ) -> None:
        self.body = body
        self.contexts = tuple(contexts.values())
        names, placed = place_contexts(body, contexts)
        call, self._awaited = defer_futures(body, names, placed)
        super().__init__(
            call,
            data_flow_kernel=data_flow_kernel,
            executors=executors,
            cache=cache,
            ignore_for_cache=ignore_for_cache,
        )
        self.func: ContextCall = call
        self._check = check_of(body, names)
        functools.update_wrapper(self, body)

    def __call__(self, *args: Any, **kwargs: Any) -> AppFuture:
        """Call the app, as any Parsl app. On a worker, where there is nothing to submit to, it runs here.

        Raises
        ------
        TypeError
            If the body does not take such arguments; found here rather than on a worker.
        """
        invocation_kwargs = {**self.kwargs, **kwargs}
        self._check(*args, **invocation_kwargs)
        if calls.resident is not None and not self._has_kernel():
            return self.func(*args, **invocation_kwargs)  # type: ignore[no-any-return]
        walltime_s = invocation_kwargs.get("walltime")
        func = self.func if walltime_s is None else self.func.limited(walltime_s)
        return self._submit(func, args, invocation_kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        # On a worker there is no DataFlowKernel to submit to: there, an app is what it calls.
        return _itself, (self.func,)

    def __reduce_code__(self) -> tuple[Any, ...]:
        return _itself, (self.func,)

    def map(
        self,
        *iterables: Iterable[Any],
        chunksize: int | None = None,
        max_pending: int = 64,
        progress: bool = False,
    ) -> Iterator[Any]:
        """Call the app for each item (of several iterables: for the items side by side), as the built-in `map`.

        Many short calls travel as one task. Results come in order, as they become available; the input is read
        lazily, so memory stays bounded however long it is.

        Parameters
        ----------
        *iterables
            One for each argument of the app; the shortest ends the map.
        chunksize : int, optional
            Calls in one task; chosen from the measured run time of the calls if not given.
        max_pending : int
            Tasks that may wait or run at a time.
        progress : bool
            Show a progress bar.

        Raises
        ------
        Exception
            What a call raised, when its turn comes; calls of the same task that ended before it are not delivered.
        """
        if chunksize is not None and chunksize < 1:
            raise ConfigurationError(f"map(chunksize={chunksize}): a task has at least one call.")
        if max_pending < 1:
            raise ConfigurationError(f"map(max_pending={max_pending}): at least one task must be pending.")
        results = self._map(zip(*iterables, strict=False), chunksize, max_pending)
        if not progress:
            return results
        total = min((len(it) for it in iterables if isinstance(it, Sized)), default=None)
        return iter(track(results, description=self.__name__, total=total))

    def warm(self) -> None:
        """Start building the app's contexts on the workers, before the first call.

        On each `ContextExecutor` that the app may run on; other executors build at the first call. Contexts with
        futures among their arguments are built once those are known, so at the first call.
        """
        if self.func.late:
            return
        for executor in self._context_executors():
            for context in self.contexts:
                if (context.options.reuse or executor.reuse) not in UNKEPT_LEVELS:
                    executor.preload(context)

    def requirements(self) -> list[str]:
        """Lines for pip: the installed distributions that the body and the contexts import, as ``numpy==1.26.4``.

        What these import in turn is theirs to say. `parsl-context discover` shows what else the app needs.
        """
        from parsl_context.apps.needs import needs_of  # it knows this class

        return needs_of(self).requirements

    def _map(self, items: Iterator[tuple[Any, ...]], chunksize: int | None, max_pending: int) -> Iterator[Any]:
        walltime_s = self.kwargs.get("walltime")
        func = (self.func if walltime_s is None else self.func.limited(walltime_s)).as_chunk()
        sizer = ChunkSizer(chunksize)
        pending: deque[AppFuture] = deque()
        while True:
            while len(pending) < max_pending and (chunk := list(itertools.islice(items, sizer.size))):
                future = self._submit(func, (chunk,), {})
                sizer.observe(future, len(chunk))
                pending.append(future)
            if not pending:
                return
            yield from pending.popleft().result()

    def _submit(self, func: ContextCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AppFuture:
        return self._kernel().submit(
            func,
            app_args=args,
            executors=self.executors,
            cache=self.cache,
            ignore_for_cache=self.ignore_for_cache,
            app_kwargs={**kwargs, **self._awaited},
        )

    def _has_kernel(self) -> bool:
        try:
            self._kernel()
        except NoDataFlowKernelError:
            return False
        return True

    def _kernel(self) -> DataFlowKernel:
        return self.data_flow_kernel or DataFlowKernelLoader.dfk()

    def _context_executors(self) -> list[WarmingExecutor]:
        executors = self._kernel().executors
        labels = executors if self.executors == "all" else self.executors
        candidates: list[Any] = [executors[label] for label in labels if label in executors]
        return [executor for executor in candidates if hasattr(executor, "preload")]


def context_app(
    function: Callable[..., Any] | None = None,
    /,
    *,
    context: Any = None,
    data_flow_kernel: DataFlowKernel | None = None,
    executors: Any = "all",
    cache: bool = False,
    ignore_for_cache: Sequence[str] | None = None,
) -> Any:
    """Make a function the body of a context app.

    Parameters
    ----------
    function
        The body. With one context, that is its first parameter; with several, each is the parameter of its name.
    context : Context, callable or mapping
        The context (a function without arguments stands for the context it builds), or contexts by parameter.
    data_flow_kernel, executors, cache, ignore_for_cache
        As in `parsl.python_app`.

    Returns
    -------
    ContextApp

    Raises
    ------
    ConfigurationError
        If there is no context, or the body does not take the contexts.
    """
    if context is None:
        raise ConfigurationError(
            "context_app needs a context: @context_app(context=...). Splitting a function by itself is not available "
            "in this version."
        )
    contexts: dict[str | None, Context]
    if isinstance(context, Mapping):
        contexts = {name: as_context(value) for name, value in context.items()}
    else:
        contexts = {None: as_context(context)}

    def decorate(body: Callable[..., Any]) -> ContextApp:
        return ContextApp(
            body,
            contexts,
            data_flow_kernel=data_flow_kernel,
            executors=executors,
            cache=cache,
            ignore_for_cache=ignore_for_cache,
        )

    return decorate if function is None else decorate(function)


def _itself(value: Any) -> Any:
    return value
