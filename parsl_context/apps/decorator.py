"""`parsl_context.context`: a decorator of context functions, and what opens the block of an app."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, overload

from parsl_context.apps.context import ContextFunction
from parsl_context.apps.options import Options, make_options
from parsl_context.retain import clean_ups


class BlockOptions:
    """Options for a context function: what ``context(...)`` gives. A decorator, or what opens a block of an app."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def __call__(self, function: Callable[..., Any]) -> ContextFunction:
        return ContextFunction(function, self.options)

    def __enter__(self) -> None:
        clean_ups.enter_block()

    def __exit__(self, *_: object) -> None:
        clean_ups.exit_block()


class ContextDecorator:
    """What `parsl_context.context` is."""

    def __init__(self) -> None:
        self.__name__ = self.__qualname__ = "context"
        self.__doc__ = ContextDecorator.__call__.__doc__
        self.__module__ = __name__

    @overload
    def __call__(self, function: Callable[..., Any], /) -> ContextFunction: ...

    @overload
    def __call__(
        self,
        function: None = None,
        /,
        *,
        reuse: str | None = None,
        share: str | None = None,
        after_fork: Callable[[Any], None] | None = None,
        memory_gb: float | None = None,
        isolation: str | None = None,
        max_uses: int | None = None,
        max_age_s: float | None = None,
        pinned: bool = False,
        build_timeout_s: float | None = None,
        check: int = 0,
        environment: str | os.PathLike[str] | None = None,
    ) -> BlockOptions: ...

    def __call__(self, function: Any = None, /, **options: Any) -> Any:
        """Make a function a context function.

        The function returns the context, or yields it once and cleans up after the yield, also under
        `contextlib.contextmanager`. It runs where the calls run,
        once per worker, not where it is written. Use as a decorator, with or without options, or on any function:
        ``context(load_model)("weights.pt")``.

        Parameters
        ----------
        function
            The function that builds the context.
        reuse : str, optional
            Level of reuse: "none", "disk", "memory" or "node"; the executor's if not given.
        share : str, optional
            Another way to say it: "node" for one instance that the workers of a node share, "worker" for one each.
        after_fork : callable, optional
            At level "node": called with the instance in each worker that shares it, before its first call. For what
            must not be shared: connections, locks, random generators.
        memory_gb : float, optional
            Memory that one instance takes. [GB]
        isolation : str, optional
            "call": each call runs in a fresh fork of the worker that holds the instance, so that nothing a body does is
            seen by later calls, and a body that dies takes only its own call with it. A call whose context has started
            threads or uses an accelerator raises `ContextIsolationError`. On other executors, where processes cannot be
            forked, each call builds an instance of its own.
        max_uses : int, optional
            Calls that one instance serves; after that it is built anew. At level "node": calls in one worker, which is
            then forked anew.
        max_age_s : float, optional
            Age from which an instance serves no further call and is built anew. [s]
        pinned : bool, optional
            Never give it up for budgets, limits or idle time; only `executor.evict` does.
        build_timeout_s : float, optional
            Time that the context function may take, and `after_fork` in a new worker; the executor's
            (`context_build_timeout`) if not given. Then its process is killed, which counts as a build that failed. On
            executors that are not ours there is no limit. [s]
        check : int, optional
            Look at the instance before and after the first so many calls in each process, then of one call each
            time their number has doubled: where calls have changed it, the script warns (`ContextDriftWarning`)
            and says what changed. Large arrays and long containers are sampled. It takes milliseconds for each call
            that is looked at.
        data : sequence of paths, optional
            Files and folders that the function reads: they are copied to the node's own disk, once for all workers and
            runs, before it runs. `local_path` gives the copy: ``torch.load(local_path("weights.pt"))``. A path is
            relative to the working directory of the script when this is written. Contexts whose data differs in size or
            time of modification are different.
        environment : path, optional
            The software that it is built with, and its calls run with, in an interpreter of their own: what
            `parsl-context pack` has made, or its http address; an archive of conda-pack; the folder of a virtual or
            conda environment that nodes see. Unpacked once per node. Contexts that go together name the same one; those
            with other content are different. On executors that are not ours it has no effect.

        Raises
        ------
        ConfigurationError
            If an option is not valid.
        """
        if isinstance(function, ContextFunction):
            return replace_options(function, **options)
        if function is not None:
            return ContextFunction(function, make_options(options))
        return BlockOptions(make_options(options))

    def cleanup(self, function: Callable[..., object], /, *args: Any, **kwargs: Any) -> None:
        """Have a function called when the context that is being built is given up; the latest is called first.

        To be called in the block of an app or in a context function, in the thread that runs it. Where the undivided
        function runs, as in a test, it is called when the process ends.

        Raises
        ------
        ConfigurationError
            If no context is being built.
        """
        clean_ups.register(functools.partial(function, *args, **kwargs))

    def __enter__(self) -> None:
        clean_ups.enter_block()

    def __exit__(self, *_: object) -> None:
        clean_ups.exit_block()

    def __reduce__(self) -> str:
        return "context"


context = ContextDecorator()


def replace_options(function: ContextFunction, **options: Any) -> ContextFunction:
    """The same context function with other options."""
    changed = dict(options)
    if changed.get("share") is not None:
        changed.setdefault("reuse", None)  # the one says what the other said
    return ContextFunction(function.function, make_options({**asdict(function.options), **changed}))
