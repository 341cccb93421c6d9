"""`ContextCall`: a body with its contexts, which is what the DataFlowKernel hands to an executor for a context app.

`ContextExecutor` sends it by digest; any other executor just calls it.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
import pickle
import types
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from parsl.app.app import AppBase
from parsl.app.bash import BashApp
from parsl.app.python import PythonApp, timeout
from parsl.dataflow.memoization import id_for_memo

from parsl_context.apps.batching import with_shared
from parsl_context.apps.context import Context
from parsl_context.apps.keys import KeyedContext, Keys, KeyUses, cache_key, signature_of_calls
from parsl_context.apps.portable import process_contexts
from parsl_context.apps.signatures import is_asynchronous, what_runs
from parsl_context.content.digests import digest_content
from parsl_context.content.exceptions import stand_in, with_text
from parsl_context.content.serialization import pack_code
from parsl_context.discover.halves import Split
from parsl_context.errors import ConfigurationError, ContextSerializationError
from parsl_context.retain import calls
from parsl_context.retain.batches import Batching, Columns, columns_of, run_together
from parsl_context.retain.calls import (
    BatchCall,
    BatchChunkCall,
    BodyCall,
    ChunkCall,
    Guest,
    bind,
    run_batches,
    run_chunk,
)
from parsl_context.retain.drift import DriftCheck, checked, may_say
from parsl_context.wire.messages import Digest

_MAX_KEYS = 1024  # values of keys that an app remembers
_AWAITED = "_parsl_context_argument_{}"


class _Awaited:
    """Stands for a future among the arguments of a context until the DataFlowKernel gives its result."""

    __slots__ = ("key",)

    def __init__(self, key: str) -> None:
        self.key = key


class ContextCall:
    """A body with its contexts: a callable that an executor runs.

    Calling it runs the body here, with contexts that this process retains; so it works on any executor, and in a unit
    test without Parsl. `ContextExecutor` recognises it, also inside the wrappers that the DataFlowKernel adds, and
    sends digests instead.
    """

    __slots__ = (
        "__name__",
        "__qualname__",
        "_columns",
        "_is_away",
        "_memo",
        "batching",
        "body",
        "chunked",
        "contexts",
        "digests",
        "echo",
        "keys",
        "late",
        "names",
        "split",
        "uses",
        "walltime_s",
    )

    def __init__(
        self,
        body: Callable[..., Any],
        names: tuple[str | None, ...],
        contexts: tuple[Context | KeyedContext, ...],
        *,
        chunked: bool = False,
        walltime_s: float | None = None,
        late: bool = False,
        keys: Keys | None = None,
        batching: Batching | None = None,
    ) -> None:
        self.body = body
        self.names = names
        self.contexts = contexts
        self.keys = keys
        self.uses = KeyUses()
        self.chunked = chunked
        self.walltime_s = walltime_s
        self.batching = batching  # how calls run together
        self._columns: Columns | None = None
        self.late = late  # some contexts wait for values that come with the call
        self.digests: tuple[Digest, ...] = ()  # of its contexts, where the process that it came from knew them
        self.__name__ = getattr(body, "__name__", type(body).__name__)
        self.__qualname__ = self.__name__
        self.split: Split | None = None  # how the function was split that its body is a half of
        self.echo = False  # what is printed goes to the script, see `echoed`
        self._is_away = False  # it was sent here by an executor that is not ours, and what it raises is sent back
        self._memo: dict[Any, Any] = {}

    @property
    def func(self) -> ContextCall:
        """Itself: on a worker it stands for its app, whose `func` it is."""
        return self

    @property
    def __signature__(self) -> inspect.Signature:
        if self.keys is not None:
            return self.keys.signature
        return signature_of_calls(inspect.signature(self.body), self.contexts, self.names)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        resident = calls.resident
        if resident is not None and not self.late:  # within another call
            call, given, named = self.settled(args, kwargs)
            if (digests := call._digests()) and all(digest in resident for digest in digests):
                return call._run([resident[digest] for digest in digests], given, named)
        try:
            return self._run_here(args, kwargs)
        except Exception as error:
            # The DataFlowKernel shows what is raised in its own process too, and goes no further where that raises.
            shown = with_text(error) if not self._is_away else (stand_in(error) or error)
            if shown is error:
                raise
        raise shown

    @property
    def known(self) -> tuple[Context, ...]:
        """Its contexts, which no value of a key is missing to."""
        assert self.keys is None, "a call with keys is settled first"
        return self.contexts  # type: ignore[return-value]

    def _digests(self) -> tuple[Digest, ...]:
        """Digests of its contexts, on a worker."""
        if not self.digests and not self.late and self.keys is None:
            self.digests = tuple(context.digest for context in self.contexts)
        return self.digests

    def _run_here(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call, args, kwargs = self.settled(args, kwargs)
        with process_contexts.using(call.known) as instances:
            checks = process_contexts.drift_checks(call.known)
            return call._run(instances, args, kwargs, checks, is_away=self._is_away)

    def _run(
        self,
        instances: list[Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        checks: Sequence[DriftCheck] = (),
        *,
        is_away: bool = False,
    ) -> Any:
        body = self.body if self.walltime_s is None else timeout(self.body, self.walltime_s)
        bound = bind(body, self.names, instances)
        if checks or may_say(self.body):
            bound = checked(bound, checks, self.__name__, is_away=is_away)
        if self.batching is None:
            goes_on = args[1:] == (True,)
            return run_chunk(bound, args[0], kwargs, goes_on=goes_on) if self.chunked else bound(*args, **kwargs)
        if self._columns is None:
            self._columns = columns_of(self.body, self.names, self.batching.shared)
        together = functools.partial(
            run_together, bound, columns=self._columns, batching=self.batching, name=self.__name__
        )
        if self.chunked:
            return run_batches(together, args[0], kwargs, self.batching.size, goes_on=args[1:] == (True,))
        return together([(args, kwargs)])[0].get()

    def settled(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[ContextCall, tuple[Any, ...], dict[str, Any]]:
        """This call with the contexts that its arguments ask for, and the arguments that its body gets."""
        if self.late:
            call, kwargs = self._with_results(kwargs)
            return call.settled(args, kwargs)
        if self.keys is None:
            return self, args, kwargs
        values, args, kwargs = self.keys.take(args, kwargs)
        return self.at(values), args, kwargs

    def at(self, values: Mapping[str, Any]) -> ContextCall:
        """This call for some values of its keys."""
        key = cache_key(values)
        found: ContextCall | None = self._memo.get(key)
        self.uses.count(is_known=found is not None)
        if found is None:
            contexts = tuple(each.at(values) if isinstance(each, KeyedContext) else each for each in self.contexts)
            found = self._with(contexts=contexts, keys=None)
            for old in list(self._memo)[: len(self._memo) - _MAX_KEYS + 1] if len(self._memo) >= _MAX_KEYS else ():
                self._memo.pop(old, None)
        else:
            self._memo.pop(key, None)  # what was used last is forgotten last
        self._memo[key] = found
        return found

    def _with_results(self, kwargs: dict[str, Any]) -> tuple[ContextCall, dict[str, Any]]:
        """This call with the values filled in that its contexts waited for, and the arguments without them."""
        prefix = _AWAITED.format("")
        values = {key: value for key, value in kwargs.items() if key.startswith(prefix)}
        if not values:
            raise ConfigurationError(
                f"The contexts of {self.__name__} have futures as arguments. Call the app under a DataFlowKernel, "
                "which waits for them, or pass their results."
            )
        rest = {key: value for key, value in kwargs.items() if key not in values}
        identity = tuple(id(value) for value in values.values())
        # The DataFlowKernel gives the same object to every call that waits for one future: digest it once.
        found = self._memo.get(identity)
        if found is None:
            if len(self._memo) > 64:
                self._memo.clear()
            contexts = tuple(
                context.substituted(lambda leaf: values[leaf.key] if isinstance(leaf, _Awaited) else leaf)
                for context in self.contexts
            )
            settled = self._with(contexts=contexts, late=False)
            found = self._memo[identity] = (settled, list(values.values()))
        return found[0], rest

    def renewed(self) -> ContextCall:
        """The same call with its contexts as they are now, see `Context.renewed`."""
        return self._with(contexts=tuple(context.renewed() for context in self.contexts))

    def limited(self, walltime_s: float) -> ContextCall:
        """The same call with a limit on the run time of its body. [s]"""
        return self._variant(("walltime", walltime_s), walltime_s=walltime_s)

    def as_chunk(self) -> ContextCall:
        """The same call for lists of argument tuples."""
        return self._variant("chunk", chunked=True)

    def hosting(self, function: Callable[..., Any]) -> ContextCall:
        """A call of another function where these contexts are; it gets its own arguments alone."""
        count = len(self.names)
        return self._with(body=Guest(function, count), names=(None,) * count, batching=None)

    def _variant(self, key: Any, **changes: Any) -> ContextCall:
        found: ContextCall | None = self._memo.get(key)
        if found is None:
            found = self._memo[key] = self._with(**changes)
        return found

    def _with(self, **changes: Any) -> ContextCall:
        names = ("body", "names", "contexts", "chunked", "walltime_s", "late", "keys", "batching")
        made = ContextCall(**{**{name: getattr(self, name) for name in names}, **changes})
        made.uses = self.uses
        made.split = self.split if made.body is self.body else None
        return made.echoed() if self.echo else made

    def echoed(self) -> ContextCall:
        """Have what its body and its contexts print go to the script, where workers are of a `ContextExecutor`."""
        self.echo = True
        for context in self.contexts:
            if isinstance(context, Context):
                context.be_echoed()
        return self

    def for_worker(self) -> BodyCall:
        """What a worker of `ContextExecutor` runs."""
        digests = [context.digest for context in self.contexts]
        if self.batching is not None:
            kind = BatchChunkCall if self.chunked else BatchCall
            return kind(self.body, self.names, digests, self.walltime_s, self.batching, self.echo)
        return (ChunkCall if self.chunked else BodyCall)(self.body, self.names, digests, self.walltime_s, self.echo)

    def __reduce__(self) -> tuple[Any, ...]:
        # By value, like the context functions, so that workers of other executors need no module of the user's.
        return _unpack_call, (
            pack_code((self.body, self.names, self.contexts, self.keys, self.batching)),
            self.chunked,
            self.walltime_s,
            self.late,
        )

    def __reduce_code__(self) -> tuple[Any, ...]:
        # The body may mention the app that this is of: what is taken apart is there before its parts are.
        digests: tuple[Digest, ...] = ()
        is_known = not self.late and self.keys is None
        if is_known and not any(context.is_being_digested for context in self.contexts):
            with contextlib.suppress(ContextSerializationError):
                digests = tuple(context.digest for context in self.contexts)
        given = (self.body, self.names, self.contexts)
        options = {
            "chunked": self.chunked,
            "walltime_s": self.walltime_s,
            "late": self.late,
            "keys": self.keys,
            "batching": self.batching,
        }
        state = (given, options, digests)
        return _bare_call, (), state, None, None, _fill_call

    def __repr__(self) -> str:
        return f"<ContextCall {self.__name__}>"


def _bare_call() -> ContextCall:
    return ContextCall.__new__(ContextCall)


def _fill_call(call: ContextCall, state: tuple[Any, ...]) -> None:
    given, options, digests = state
    call.__init__(*given, **options)  # type: ignore[misc]
    call.digests = digests


def _unpack_call(packed: bytes, chunked: bool, walltime_s: float | None, late: bool) -> ContextCall:
    # dill pickles what `lru_cache` returns by value, and every call would unpack with an empty cache of its own.
    return _unpacked_call(packed, chunked, walltime_s, late)


@functools.lru_cache(maxsize=64)
def _unpacked_call(packed: bytes, chunked: bool, walltime_s: float | None, late: bool) -> ContextCall:
    body, names, contexts, keys, batching = pickle.loads(packed)
    options = {"walltime_s": walltime_s, "late": late, "keys": keys, "batching": batching}
    call = ContextCall(body, names, contexts, chunked=chunked, **options)
    call._is_away = True
    return call


@id_for_memo.register(ContextCall)
def _id_for_memo_call(call: ContextCall, output_ref: bool = False) -> bytes:
    """Memoization tells calls apart by body (name and module, as for any app) and by the content of the contexts."""
    digests = [] if call.late else [context.digest for context in call.contexts]
    body = call.body
    # Methods, partials and other callables have no name of their own that tells them apart.
    name = [body.__module__, body.__name__] if isinstance(body, types.FunctionType) else digest_content(body)
    return pickle.dumps(["ContextCall", name, call.names, call.chunked, digests])


def check_of(call: ContextCall) -> Callable[..., None]:
    """A function without a body that takes what calls of an app give, and complains of anything else as Python does."""
    try:
        signature = call.__signature__
    except (TypeError, ValueError):
        return lambda *args, **kwargs: None
    given = [
        p.replace(annotation=p.empty, default=p.empty if p.default is p.empty else _DEFAULT)
        for p in signature.parameters.values()
    ]
    made: dict[str, Any] = {"_": None}
    exec(f"def check{inspect.Signature(given)}: pass", made)
    check: types.FunctionType = made["check"]
    check.__qualname__ = getattr(call.body, "__qualname__", type(call.body).__qualname__)
    return check


class _Default:
    def __repr__(self) -> str:
        return "_"


_DEFAULT = _Default()


def _why_no_body(body: Callable[..., Any]) -> str | None:
    """What is wrong with a callable whose value could not come back from a worker."""
    if isinstance(body.func if isinstance(body, AppBase) else body, ContextCall):
        return (
            "is a context app, or the `func` of one, which has contexts of its own and gets no other: give "
            "context_app the plain function (app.body), or list both contexts where the app is made, "
            'context={"a": ..., "b": ...}. A body may call another app, which then runs on the same worker.'
        )
    if isinstance(body, PythonApp | BashApp):
        return "is a Parsl app: give context_app the function itself, in place of the other decorator."
    if is_asynchronous(body):
        return "is asynchronous: write it as a plain function, which may use asyncio.run."
    if any(map(inspect.isgeneratorfunction, what_runs(body))):
        return "is a generator function, whose values cannot come back one by one: return a list."
    return None


def place_contexts(
    body: Callable[..., Any], contexts: Mapping[str | None, Context | KeyedContext]
) -> tuple[tuple[str | None, ...], tuple[Context | KeyedContext, ...]]:
    """How the body gets its contexts: the leading parameters by position (None), the others by name.

    Raises
    ------
    ConfigurationError
        If the body does not take them.
    """
    where = f"The body {getattr(body, '__name__', body)!r}"
    if (reason := _why_no_body(body)) is not None:
        raise ConfigurationError(f"{where} {reason}")
    if not contexts:
        raise ConfigurationError(f"{where} has an empty mapping of contexts.")
    try:
        parameters = list(inspect.signature(body).parameters.values())
    except ValueError:
        raise ConfigurationError(f"{where} does not tell its parameters; wrap it in a function that does.") from None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if None in contexts:
        if not parameters or parameters[0].kind not in (*positional, inspect.Parameter.VAR_POSITIONAL):
            raise ConfigurationError(f"{where} has no first positional parameter to take its context.")
        return (None,), tuple(contexts.values())
    by_name = dict(contexts)
    leading = []
    for parameter in parameters:
        if parameter.kind not in positional or parameter.name not in by_name:
            break
        leading.append(by_name.pop(parameter.name))
    named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    missing = [name for name in by_name if name not in named and not takes_any]
    if missing:
        raise ConfigurationError(f"{where} has no parameter {', '.join(map(repr, missing))} to take its context.")
    return (*[None] * len(leading), *by_name), (*leading, *by_name.values())


def call_of(
    body: Callable[..., Any],
    names: tuple[str | None, ...],
    contexts: tuple[Context | KeyedContext, ...],
    signature: inspect.Signature | None = None,
    keys: Keys | None = None,
    batching: Batching | None = None,
) -> tuple[ContextCall, dict[str, Future[Any]]]:
    """The call of an app, with futures in its contexts replaced by keys, and the futures by key.

    Parameters
    ----------
    signature
        What calls may give, if the body does not tell.
    keys
        What tells calls apart, if that is not what its contexts say.
    batching
        How calls run together, if they may.

    Raises
    ------
    ConfigurationError
        If the body does not take lists.
    """
    awaited: dict[str, Future[Any]] = {}
    places: dict[int, str] = {}
    for future in itertools.chain.from_iterable(context.futures for context in contexts):
        if id(future) not in places:
            places[id(future)] = _AWAITED.format(len(places))
            awaited[places[id(future)]] = future

    def swap(leaf: Any) -> Any:
        return _Awaited(places[id(leaf)]) if isinstance(leaf, Future) else leaf

    made = tuple(context.substituted(swap) if awaited else context for context in contexts)
    keys = keys or _keys_of(body, names, contexts, signature)
    if batching is not None:
        batching = with_shared(batching, body, names, keys)
    return ContextCall(body, names, made, late=bool(awaited), keys=keys, batching=batching), awaited


def _keys_of(
    body: Callable[..., Any],
    names: tuple[str | None, ...],
    contexts: tuple[Context | KeyedContext, ...],
    signature: inspect.Signature | None,
) -> Keys | None:
    """Where calls have their keys; None if the contexts have none."""
    found = [key for context in contexts if isinstance(context, KeyedContext) for key in context.keys]
    if not found:
        return None
    own = inspect.signature(body)
    taken = [*own.parameters][: list(names).count(None)]
    for key in found:
        if key in (*names, *taken):
            raise ConfigurationError(
                f"The body {getattr(body, '__name__', body)!r} takes a context as {key!r}, which is a key: calls give "
                "it. Give one of them another name."
            )
    return Keys(tuple(dict.fromkeys(found)), signature or signature_of_calls(own, contexts, names), own.parameters)
