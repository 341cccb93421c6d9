"""`@context_app`: Parsl apps whose costly state is a context.

A context app splits what used to be one function into a context, built once where it is needed, and a body that
gets the context and the arguments of the call. `ContextApp` is what users call; what it hands to an executor, by way
of the DataFlowKernel, is a `ContextCall`.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import statistics
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from typing import TYPE_CHECKING, Any, Literal, Protocol

from parsl.app.app import AppBase
from parsl.dataflow.dflow import DataFlowKernel, DataFlowKernelLoader
from parsl.dataflow.futures import AppFuture
from parsl.errors import NoDataFlowKernelError

from parsl_context.apps.batching import make_batching
from parsl_context.apps.chunk_sizes import CallTimes, ChunkSizes
from parsl_context.apps.context import Context
from parsl_context.apps.context_call import ContextCall, call_of, check_of, place_contexts
from parsl_context.apps.futures import ContextFuture
from parsl_context.apps.keys import KeyedContext, Keys, KeyUses, as_app_context
from parsl_context.apps.lexical import block_of, context_of, split
from parsl_context.apps.mapping import MappedCalls
from parsl_context.apps.options import UNKEPT_LEVELS
from parsl_context.apps.places import Warmed, feasible, no_place, places_contexts
from parsl_context.apps.portable import is_within_call
from parsl_context.apps.showing import html_table
from parsl_context.discover.halves import Split
from parsl_context.errors import ConfigurationError, ParslContextError
from parsl_context.retain import calls
from parsl_context.retain.batches import Batching

if TYPE_CHECKING:
    from parsl_context.apps.pool import AppPool
    from parsl_context.standalone.function import StandaloneFunction


class WarmingExecutor(Protocol):
    """What an app needs of an executor that builds contexts ahead of calls."""

    label: str
    reuse: str  # level of contexts that do not choose one

    def contexts(self) -> Sequence[Any]:
        """What it knows of contexts."""

    def preload(self, context: Context, /) -> None:
        """Have a context built where it is not."""

    def connected_workers(self) -> int:
        """How many workers there are."""


class ContextApp(AppBase):
    """A Parsl app with contexts. Calling it returns an `AppFuture`.

    Attributes
    ----------
    body : callable
        The user's function: contexts and arguments, called as it stands.
    func : ContextCall
        What an executor gets. Calling it runs the body here; `executor.submit(app.func, {}, ...)` is the fastest
        way to make one call.
    contexts : tuple of Context or KeyedContext
        The contexts of the app.
    split : Split or None
        How it was split, if it was written as one function.
    block : ContextFunction or None
        The context function of its block, if it has one, and
    set_up : callable or None
        the block itself as a function: takes the keys, gives the variables that the body gets first.
    """

    def __init__(
        self,
        body: Callable[..., Any],
        contexts: Mapping[str | None, Context | KeyedContext],
        *,
        split: Split | None = None,
        keys: Keys | None = None,
        batching: Batching | None = None,
        data_flow_kernel: DataFlowKernel | None = None,
        executors: Any = "all",
        cache: bool = False,
        ignore_for_cache: Sequence[str] | None = None,
        echo: bool = False,
    ) -> None:
        self.body = body
        self.contexts = tuple(contexts.values())
        self.split = split
        self.block = None if split is None else self.contexts[0].function
        self.set_up = None if split is None else split.context
        names, placed = place_contexts(body, contexts)
        signature = None if split is None else inspect.signature(split.function)
        call, self._awaited = call_of(body, names, placed, signature, keys, batching)
        call.split = split
        if echo:
            call.echoed()
        super().__init__(
            call,
            data_flow_kernel=data_flow_kernel,
            executors=executors,
            cache=cache,
            ignore_for_cache=ignore_for_cache,
        )
        self.func: ContextCall = call
        self.check = check_of(call)
        self._has_warned = False
        self._standalone: dict[tuple[str, int], StandaloneFunction] = {}  # by codec, and contexts that a process keeps
        self.call_times = CallTimes()
        functools.update_wrapper(self, body if split is None else split.function)

    def __call__(self, *args: Any, **kwargs: Any) -> AppFuture:
        """Call the app, as any Parsl app. Within another call, and so on any worker, it runs here and gives its value.

        Raises
        ------
        TypeError
            If the body does not take such arguments; found here rather than on a worker.
        ConfigurationError
            If the app names an executor that the run does not have.
        """
        invocation_kwargs = {**self.kwargs, **kwargs}
        self.check(*args, **invocation_kwargs)
        if self.func.keys is not None:
            args, invocation_kwargs = self.func.keys.shield(args, invocation_kwargs)
            if self.func.uses.is_wasteful and self.func.keys.names and not self._has_warned:
                self._warn_of_keys()
        if self._runs_here():
            values = {key: future.result() for key, future in self._awaited.items() if self._is_settled}
            return self.func(*args, **invocation_kwargs, **values)  # type: ignore[no-any-return]
        walltime_s = invocation_kwargs.get("walltime")
        func = self.func if walltime_s is None else self.func.limited(walltime_s)
        return self.submit_call(func, args, invocation_kwargs)

    def __repr__(self) -> str:
        return f"<ContextApp {self.__name__}: {'; '.join(f'{name} {value}' for name, value in self._facts())}>"

    def _repr_html_(self) -> str:
        return html_table([], [("app", self.__name__), *self._facts()])

    def _facts(self) -> list[tuple[str, str]]:
        """What people want to know of it."""
        names = () if self.func.keys is None else self.func.keys.names
        return [
            ("contexts", ", ".join(context.name for context in self.contexts)),
            *([("keys", ", ".join(names))] if names else []),
            *([("batch", str(batching.size or "auto"))] if (batching := self.func.batching) is not None else []),
            *([("executors", ", ".join(self.executors))] if self.executors != "all" else []),
            *([("split from", "one function")] if self.split is not None else []),
        ]

    @property
    def __signature__(self) -> inspect.Signature:
        return self.func.__signature__  # not the body's, which takes contexts

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
        ordered: bool = True,
        return_exceptions: bool = False,
        **keys: Any,
    ) -> Iterator[Any]:
        """Call the app for each item (of several iterables: for the items side by side), as the built-in `map`.

        Many short calls travel as one task. Results come in order, as they become available; the input is read
        lazily, so memory stays bounded however long it is. What has not started when the iterator is closed, or left by
        an exception, is cancelled.

        Parameters
        ----------
        *iterables
            One for each argument of the app; the shortest ends the map.
        chunksize : int, optional
            Calls in one task. If not given, chosen from the time that calls take, in this map and in earlier ones of
            the app, and so that each worker gets several tasks if `len` tells how many items there are.
        max_pending : int
            Tasks that may wait or run at a time.
        progress : bool
            Show a progress bar, on a terminal or in a notebook, and what is built meanwhile.
        ordered : bool
            Give results in the order of the items, rather than as they come.
        return_exceptions : bool
            Give what a call raised in the place of its result. Such calls are not tried again; without it, Parsl
            tries their task again, as often as the Config says.
        **keys
            Keys of the app's contexts, if all calls have the same.

        Raises
        ------
        TypeError
            If the app does not take such keys.
        Exception
            What a call raised, when its turn comes, after the results of the calls before it. A note says which item it
            was, by number and by its short form.
        """
        if chunksize is not None and chunksize < 1:
            raise ConfigurationError(f"map(chunksize={chunksize}): a task has at least one call.")
        if max_pending < 1:
            raise ConfigurationError(f"map(max_pending={max_pending}): at least one task must be pending.")
        self._check_keys("map", keys)
        total = min((len(it) for it in iterables if isinstance(it, Sized)), default=None)
        sizes = self._chunk_sizes(chunksize, total)
        mapping = MappedCalls(self, keys, sizes, max_pending, goes_on=return_exceptions)
        results = mapping.results(zip(*iterables, strict=False), ordered=ordered)
        if not progress:
            return results
        # Not at the top, as in `context_app`: the start of most scripts need not wait for it.
        from rich import get_console

        from parsl_context.apps.progress import why_waiting, with_progress

        return with_progress(
            results, self.__name__, total, lambda: why_waiting(self.contexts, self._context_executors()), get_console()
        )

    def warm(self, **keys: Any) -> Warmed:
        """Start building the app's contexts on the workers, before the first call.

        On each `ContextExecutor` that the app may run on; other executors build at the first call. Contexts with
        futures among their arguments are built once those are known, so at the first call.

        Parameters
        ----------
        **keys
            Keys of the app's contexts, as a call would give them; those that have defaults may be left out.

        Returns
        -------
        Warmed
            Which contexts are built on which executors, and why others are not.

        Raises
        ------
        TypeError
            If a key is missing, or is none.
        ConfigurationError
            If the app names an executor that the run does not have.
        """
        self._check_keys("warm", keys)
        executors = self._context_executors()
        if not executors:
            return Warmed(reasons=(no_place(self.executors, self.executors),))
        if self.func.late:
            return Warmed(reasons=(f"the contexts of {self.__name__} wait for futures among their arguments",))
        builds: list[tuple[str, str]] = []
        reasons: list[str] = []
        for executor in executors:
            for context in self.call_for(keys).known:
                if (level := context.options.reuse or executor.reuse) in UNKEPT_LEVELS:
                    reasons.append(f"{context.name} on {executor.label} is built for each call (reuse={level!r})")
                else:
                    executor.preload(context)
                    builds.append((executor.label, context.name))
        return Warmed(tuple(builds), tuple(reasons))

    def pool(self, **keys: Any) -> AppPool:
        """An executor as of `concurrent.futures`, for frameworks that bring the function: ``sampler(pool=app.pool())``.

        Functions run on workers that hold the app's contexts, and may call the app, which runs there.

        Parameters
        ----------
        **keys
            Keys of the app's contexts.

        Raises
        ------
        TypeError
            If the app does not take such keys.
        """
        from parsl_context.apps.pool import AppPool  # it knows this class

        self._check_keys("pool", keys)
        return AppPool(self, keys)

    def as_globus_function(self, *, codec: str = "source", max_contexts: int = 16) -> StandaloneFunction:
        """The app as one self-contained function, for Globus Compute endpoints that have nothing of ours.

        Give it to ``globus_compute_sdk.Executor.submit``. Each worker process there builds the app's contexts once and
        keeps them. Definitions of the script and modules of the user's travel with it as source, so that the endpoint
        may run another version of Python. The same function is given each time, so that it is registered once.

        Parameters
        ----------
        codec
            How functions travel: as "source", or as "bytecode", for those that have no text (made by `exec`, say); then
            workers must run the same version of Python.
        max_contexts
            Contexts that one worker process keeps; the least recently used goes first.

        Raises
        ------
        ConfigurationError
            If the app needs an executor of ours: its calls are compared (``check=``), or its contexts wait for futures.
        CarriedCodeError, ContextSerializationError
            If something that it needs cannot travel, or all of it is too large for Globus Compute.
        """
        from parsl_context.apps.standalone import standalone_function  # it knows this class

        found: StandaloneFunction | None = self._standalone.get((codec, max_contexts))
        if found is None:
            found = standalone_function(self.func, codec=codec, max_contexts=max_contexts)
            self._standalone[codec, max_contexts] = found
        return found

    def requirements(self) -> list[str]:
        """Lines for pip: the installed distributions that the body and the contexts import, as ``numpy==1.26.4``.

        What these import in turn is theirs to say. `parsl-context discover` shows what else the app needs.
        """
        from parsl_context.apps.needs import needs_of  # it knows this class

        return needs_of(self).requirements

    def call_for(self, keys: Mapping[str, Any]) -> ContextCall:
        """What an executor gets for some values of keys; those that have defaults may be left out.

        Raises
        ------
        TypeError
            If one is missing.
        """
        return self.func if self.func.keys is None else self.func.at(self.func.keys.take((), dict(keys))[0])

    def _check_keys(self, where: str, given: Mapping[str, Any]) -> None:
        known = () if self.func.keys is None else self.func.keys.names
        unknown = [name for name in given if name not in known]
        if unknown:
            has = f"its keys are {', '.join(known)}" if known else "the app has no keys"
            raise TypeError(f"{self.__name__}.{where}() got {', '.join(unknown)}, and {has}.")

    def _warn_of_keys(self) -> None:
        """Say once that contexts are built for one call each."""
        self._has_warned = True
        function = next(context.function for context in self.contexts if isinstance(context, KeyedContext))
        rows = []
        with contextlib.suppress(ParslContextError):  # of an executor that has ended; the call says so
            rows = [row for executor in self._context_executors() for row in executor.contexts()]
        times = [row.load_s for row in rows if row.name.startswith(f"{function.__name__}(") and row.loads]
        cost = f", which took {statistics.median(times):.3g} s each" if times else ""
        warnings.warn(
            f"{KeyUses.MANY} calls of {self.__name__} gave as many different values of "
            f"{', '.join(self.func.keys.names if self.func.keys else ())}: a context was built for each{cost}. What "
            "differs from call to call belongs to the body; keys are for what many calls share.",
            stacklevel=3,
        )

    def limited_func(self) -> ContextCall:
        """Its `func`, with the walltime that the app has by default."""
        walltime_s = self.kwargs.get("walltime")
        return self.func if walltime_s is None else self.func.limited(walltime_s)

    def submit_call(self, func: ContextCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AppFuture:
        kernel = self._kernel()
        future = kernel.submit(
            func,
            app_args=args,
            executors=feasible(self.__name__, self.executors, kernel.executors),
            cache=self.cache,
            ignore_for_cache=self.ignore_for_cache,
            app_kwargs={**kwargs, **self._awaited},
        )
        return ContextFuture.of(future, kernel) if type(future) is AppFuture else future

    def _runs_here(self) -> bool:
        """Whether a call is one within another, whose contexts are known, or there is nothing to submit it to."""
        if is_within_call():
            return self._is_settled
        return calls.resident is not None and not self._has_kernel()

    @property
    def _is_settled(self) -> bool:
        return all(future.done() for future in self._awaited.values())

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
        return [executors[label] for label in self._labels() if places_contexts(executors[label])]  # type: ignore[misc]

    def _labels(self) -> list[str]:
        """Of the executors that its calls may run on."""
        executors = self._kernel().executors
        labels = feasible(self.__name__, self.executors, executors)
        return list(executors if labels == "all" else labels)

    def _chunk_sizes(self, chunksize: int | None, items: int | None) -> ChunkSizes:
        workers, call_s = None, None
        if chunksize is None and items != 1 and self._has_kernel():
            with contextlib.suppress(Exception):  # of an executor that has ended, or is none: the first call says so
                call_s = self.call_times.expected(self._labels())
                workers = sum(executor.connected_workers() for executor in self._context_executors())
        return ChunkSizes(chunksize, items=items, workers=workers, call_s=call_s)


def context_app(
    function: Callable[..., Any] | None = None,
    /,
    *,
    context: Any = None,
    discover: bool = False,
    check: int = 0,
    batch: int | Literal["auto"] | None = None,
    batch_wait_s: float = 0.0,
    batch_retry: bool = False,
    data_flow_kernel: DataFlowKernel | None = None,
    executors: Any = "all",
    cache: bool = False,
    ignore_for_cache: Sequence[str] | None = None,
    echo: bool = False,
) -> Any:
    """Make a function a context app.

    Parameters
    ----------
    function
        The body. With one context, that is its first parameter; with several, each is the parameter of its name.
        Without ``context``, a function that begins with a ``with context:`` block, which is run once where calls run;
        parameters that the block uses are keys: each value of them has a context of its own.
    context : Context, KeyedContext, callable or mapping
        The context (a function without arguments stands for the context it builds), or contexts by parameter.
    discover : bool
        Find the context: leading work of the function that does not depend on its call, as far as can be told for sure.
    check : int
        With ``discover=True``: so many calls in each worker also run undivided, and are compared. Where they differ, or
        have changed the context, all later calls there run undivided, and the worker's log says why.
    batch : int or "auto", optional
        Calls that wait for a worker run together, so many at the most: the body gets a list for each of its parameters
        (keys of contexts as they are, since calls that differ in them do not run together), and returns a list with a
        result, or an exception, for each call. "auto" finds a size from the time that batches take. Each call has its
        own future. Calls with a walltime or under Parsl's monitoring of tasks reach the body one by one, in lists too.
    batch_wait_s : float
        Time that a call may wait for others although a worker is idle. [s]
    batch_retry : bool
        Where the body raises, try the calls of the batch one by one; else all of them have failed.
    executors
        Labels of executors. With "all": all that place contexts, such as `ContextExecutor`; any if none does.
    data_flow_kernel, cache, ignore_for_cache
        As in `parsl.python_app`.
    echo : bool
        Whether what the body prints, and what its contexts print as they are built, is printed by the script as well.

    Returns
    -------
    ContextApp

    Raises
    ------
    SplitError
        If there is no context, and the function cannot be split.
    ConfigurationError
        If the body does not take the contexts, or there is one and another is to be found.
    """
    if context is not None and discover:
        raise ConfigurationError("context_app(context=..., discover=True): give the context, or have it found.")
    if check and not discover:
        raise ConfigurationError(
            "context_app(check=...) is for contexts that are found: discover=True. To have others looked at: "
            "context(check=...)."
        )
    options: dict[str, Any] = {
        "data_flow_kernel": data_flow_kernel,
        "executors": executors,
        "cache": cache,
        "ignore_for_cache": ignore_for_cache,
        "echo": echo,
        "batching": make_batching(batch, batch_wait_s, batch_retry),
    }

    def decorate(body: Callable[..., Any]) -> ContextApp:
        if context is not None:
            return ContextApp(body, contexts, **options)
        if discover:
            from parsl_context.apps.automatic import parts_of

            found, either, found_context, keys = parts_of(body, check)
            return ContextApp(either, {None: found_context}, split=found, keys=keys, **options)
        found = split(body)
        return ContextApp(found.body, {None: context_of(found, block_of(found))}, split=found, **options)

    contexts: dict[str | None, Context | KeyedContext] = {}
    if isinstance(context, Mapping):
        contexts = {name: as_app_context(value) for name, value in context.items()}
    elif context is not None:
        contexts = {None: as_app_context(context)}
    return decorate if function is None else decorate(function)


def _itself(value: Any) -> Any:
    return value
