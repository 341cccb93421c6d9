"""Contexts: costly state that many calls share, described so that it can be built anywhere.

A *context function* builds the state. Calling it (once it is a `ContextFunction`) runs nothing: it makes a `Context`,
a specification that is identified by the digest of its content: the function's code, its arguments, and the contexts
among them. Where and when instances are built is decided by the executor; see `parsl_context.apps.app`.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import inspect
import pickle
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from parsl.app.app import AppBase
from parsl.data_provider.files import File

from parsl_context.apps.options import Options
from parsl_context.apps.signatures import is_asynchronous, own_signature, shown_signature
from parsl_context.content.carrying import Needs, carry
from parsl_context.content.digests import digest_content
from parsl_context.content.places import fails, place_of_failure
from parsl_context.distribute import origins
from parsl_context.distribute.packed import state_of
from parsl_context.errors import ConfigurationError, ContextSerializationError, FileFetchError, sentence
from parsl_context.retain.arguments import NodeData, NodeFile, map_leaves, required, resolving
from parsl_context.retain.instances import Upkeep
from parsl_context.retain.local_paths import placing
from parsl_context.wire.messages import Digest, Environment

if TYPE_CHECKING:
    from parsl_context.apps.keys import KeyedContext


class Context:
    """A context that can be built: a context function with its arguments. Nothing runs when one is made.

    Contexts with equal content are the same context. Arguments are taken as they are at the first use; a change to
    an argument after that is not seen, and a context made anew sees it.

    Arguments may be other contexts (they are built first and arrive as their instances), Parsl `File` objects (fetched
    to the node where the context is built; `os.fspath` gives the path there), and futures (the DataFlowKernel resolves
    them before the call).
    """

    is_echoed = False  # what it prints as it is built goes to the script

    def __init__(self, function: ContextFunction, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._function = function
        self._args = args
        self._kwargs = dict(kwargs)

    @property
    def name(self) -> str:
        """The function and its arguments, shortened, as people know the context."""
        shown = [_shorten(arg) for arg in self._args]
        shown += [f"{key}={_shorten(arg)}" for key, arg in self._kwargs.items() if not key.startswith("_")]
        return f"{self._function.__name__}({', '.join(shown)})"

    @property
    def function(self) -> ContextFunction:
        """What builds it."""
        return self._function

    @property
    def options(self) -> Options:
        """Options of its context function."""
        return self._function.options

    @property
    def is_isolated(self) -> bool:
        """Whether calls run in forks of the process that holds it, for its sake or that of a context it requires."""
        return self.options.isolation == "call" or any(required.is_isolated for required in self.requires)

    def be_echoed(self) -> None:
        """Have what it prints as it is built go to the script, and what those print that it requires."""
        self.is_echoed = True
        for other in self.requires:
            other.be_echoed()

    @property
    def upkeep(self) -> Upkeep:
        """What the process that holds an instance must know."""
        options = self.options
        return Upkeep(options.after_fork, self.is_isolated, options.max_uses, options.max_age_s, options.check)

    @functools.cached_property
    def requires(self) -> tuple[Context, ...]:
        """Contexts among the arguments, whatever objects they are in."""
        found = list(_find((self._args, self._kwargs), Context))
        if any(map(_is_opaque, _find((self._args, self._kwargs), object))):
            found += _contexts_within((self._args, self._kwargs))
        return tuple({context.digest: context for context in found}.values())

    @property
    def files(self) -> list[str]:
        """Addresses of files that nodes fetch: those among the arguments, and its data."""
        data = [f"{origins.FOLDER if each.state.is_folder else origins.PATH}{each.state.path}" for each in self.data]
        return [file.url for file in _find((self._args, self._kwargs), File) if _is_fetched(file)] + data

    @property
    def futures(self) -> tuple[Future[Any], ...]:
        """Futures among the arguments, those of required contexts included; while there are any, no digest exists."""
        return tuple(_find((self._args, self._kwargs), Future, into_contexts=True))

    def renewed(self) -> Context:
        """The same context as its function is now: it may have been defined anew, or use other values."""

        def renew(value: Any) -> Any:
            return value.renewed() if isinstance(value, Context) else value

        return Context(self._function.current(), map_leaves(self._args, renew), map_leaves(self._kwargs, renew))

    def substituted(self, swap: Callable[[Any], Any]) -> Context:
        """The same context with each argument, also within containers and required contexts, swapped."""

        def swap_leaf(value: Any) -> Any:
            return value.substituted(swap) if isinstance(value, Context) else swap(value)

        return Context(self._function, map_leaves(self._args, swap_leaf), map_leaves(self._kwargs, swap_leaf))

    @functools.cached_property
    def digest(self) -> Digest:
        """Digest of the content.

        Raises
        ------
        ContextSerializationError
            If an argument or a captured value cannot be digested.
        ConfigurationError
            If futures among the arguments have not been resolved.
        """
        if self.futures:
            raise ConfigurationError(
                f"Context {self.name} has futures as arguments. Use it in a context app called under a "
                "DataFlowKernel, which waits for them, or pass their results."
            )
        states = [(data.state.path, data.state.stamp) for data in self.data]
        own = [] if self.environment is None else [self.environment.digest]
        token = _digested.set(_digested.get() | {id(self)})
        try:
            args, kwargs = self._function.bound(self._args, self._kwargs)
            return _digest([self._function.function, args, kwargs, self.options.identity, states, *own])
        except Exception as error:
            raise ContextSerializationError(self._culprit(_digest), error) from error
        finally:
            _digested.reset(token)

    @functools.cached_property
    def data(self) -> tuple[NodeData, ...]:
        """Files and folders that it names as its data, in the state that they were in when it was used first.

        Raises
        ------
        ConfigurationError
            If one cannot be read here.
        """
        try:
            return tuple(NodeData(each.given, state_of(each.path), is_kept=True) for each in self.options.data)
        except FileFetchError as error:
            raise ConfigurationError(f"data of context {self.name}: {sentence(error.reason)}") from error

    @functools.cached_property
    def environment(self) -> Environment | None:
        """The environment that it names, as it was when the context was used first.

        Raises
        ------
        ConfigurationError
            If it cannot be read here.
        """
        if (named := self.options.environment) is None:
            return None
        from parsl_context.distribute.environments import naming

        return naming.describe(named)

    @property
    def is_being_digested(self) -> bool:
        """Whether this thread is about to find its digest: its function knows an app that uses the context."""
        return id(self) in _digested.get()

    def packed(self, reuse: str) -> tuple[bytes, Needs]:
        """Function and arguments, pickled, and what the pickle needs; required contexts are named by their digests.

        Parameters
        ----------
        reuse
            Level of contexts that do not choose one.

        Raises
        ------
        ContextSerializationError
            If something in it cannot be pickled.
        """
        is_kept = (self.options.reuse or reuse) != "none"

        def swap(value: Any) -> Any:
            return NodeFile(value.url, is_kept=is_kept) if _is_fetched(value) else value

        args, kwargs = map_leaves(self._args, swap), map_leaves(self._kwargs, swap)
        data = tuple(NodeData(each.given, each.state, is_kept=is_kept) for each in self.data)
        try:
            content = (self._function.function, args, kwargs, self.upkeep, data)
            return _pack(content)
        except Exception as error:
            raise ContextSerializationError(self._culprit(_pack), error) from error

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Have its function, where it is built here, find its data where it is."""
        with placing() as places:
            for each in self.options.data:
                places[each.given] = places[each.path] = each.path
            yield

    def build(self, instance: Callable[[Digest], Any]) -> Any:
        """Run the context function here.

        Parameters
        ----------
        instance
            Gives the instance of a required context by its digest.

        Returns
        -------
        object
            What the context function returned: the instance, or a generator that yields it.
        """

        def swap(value: Any) -> Any:
            if isinstance(value, Context):
                return instance(value.digest)
            return _with_instances(value, instance) if _is_opaque(value) else value

        return self._function.function(*map_leaves(self._args, swap), **map_leaves(self._kwargs, swap))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Context) and (self is other or self.digest == other.digest)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"<Context {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Context, (self._function, self._args, self._kwargs)

    def _culprit(self, use: Callable[[Any], Any]) -> str:
        """Which part cannot be digested or pickled, tried one by one, and the place in it."""
        named = [(f"Argument {i} of context {self.name}", arg) for i, arg in enumerate(self._args)]
        named += [(f"Argument {key!r} of context {self.name}", arg) for key, arg in self._kwargs.items()]
        for description, value in named:
            if fails(use, value):
                return description + place_of_failure(use, value)
        return f"The function of context {self.name}" + place_of_failure(use, self._function.function)


class ContextFunction:
    """A context function with its options. Calling it makes a `Context` and runs nothing.

    `function` is the plain function, to be called in unit tests.
    """

    def __init__(self, function: Callable[..., Any], options: Options) -> None:
        if not callable(function):
            raise ConfigurationError(f"A context needs a function; {function!r} cannot be called.")
        if isinstance(function, AppBase):
            raise ConfigurationError(f"Context function {function!r} is a Parsl app; give the plain function.")
        if is_asynchronous(function):
            raise ConfigurationError(f"Context function {function!r} is asynchronous; write it as a plain function.")
        self.function = function
        self.options = options
        self._signature = shown_signature(function)
        self._stood_there = False
        self.is_block = False  # it is a part of an app, which goes with the other part alone
        self._own_signature = own_signature(function)
        self.__name__ = getattr(function, "__name__", type(function).__name__)
        self.__doc__ = function.__doc__
        self.__module__ = function.__module__

    def __call__(self, *args: Any, **kwargs: Any) -> Context:
        """A context that this function builds with these arguments.

        Raises
        ------
        TypeError
            If the function does not take such arguments; found here rather than on a node.
        """
        try:
            if self._signature is not None:
                self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"context function {self.__name__}: {error}") from None
        return Context(self, args, kwargs)

    def by(self, *keys: str, **kwargs: Any) -> KeyedContext:
        """A context for each value of some of its arguments, which each call gives: ``classifier.by("weights")``.

        Parameters
        ----------
        *keys : str
            Parameters of this function that calls give, as arguments of these names.
        **kwargs
            Its other arguments.

        Raises
        ------
        ConfigurationError, TypeError
            If it does not take such arguments, or Parsl takes a name for itself.
        """
        from parsl_context.apps.keys import keyed  # which knows contexts

        return keyed(self, keys, kwargs)

    def default(self, name: str) -> Any:
        """Default of a parameter; `inspect.Parameter.empty` if it has none."""
        parameters = {} if self._signature is None else self._signature.parameters
        return parameters[name].default if name in parameters else inspect.Parameter.empty

    @property
    def place(self) -> tuple[dict[str, Any], str] | None:
        """The namespace that it was defined in, and its name there; None if it was not defined at the top of one."""
        module = sys.modules.get(self.__module__ or "")
        name = getattr(self.function, "__qualname__", "")
        return (vars(module), name) if module is not None and name.isidentifier() else None

    def current(self) -> ContextFunction:
        """What stands under its name now, if that is a context function, or a function as its own; or itself."""
        if self.is_block or not self._stood_there or (place := self.place) is None:
            return self
        found = place[0].get(place[1])
        if isinstance(found, ContextFunction):
            return found
        is_plain = type(found) is types.FunctionType and found is not self.function
        return ContextFunction(found, self.options) if is_plain else self  # type: ignore[arg-type]

    def stands_there(self) -> bool:
        """Whether its name stands for it, or for its function; to be remembered for `current`."""
        self._stood_there = self._stands_there()
        return self._stood_there

    @property
    def was_replaced(self) -> bool:
        """Whether its name stood for it once, and stands for something else of the kind now."""
        if self.is_block:
            return self._stood_there and not self._stands_there()
        return self.current() is not self

    def _stands_there(self) -> bool:
        place = self.place
        found = None if place is None else place[0].get(place[1])
        return found is self or found is self.function or (self.is_block and getattr(found, "block", None) is self)

    def bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """Arguments as the function gets them: those that have a place by their places, with defaults.

        Where the function does not tell for sure what it does with them, they stay as they were given.
        """
        try:
            if self._own_signature is not None:
                given = self._own_signature.bind(*args, **kwargs)
                given.apply_defaults()
                return given.args, given.kwargs
        except TypeError:
            pass
        return args, kwargs

    def __reduce__(self) -> tuple[Any, ...]:
        return ContextFunction, (self.function, self.options)

    def __repr__(self) -> str:
        return f"<context function {self.__name__}>"


def as_context(value: object) -> Context:
    """A context from a context, or a function without arguments.

    Raises
    ------
    ConfigurationError
        If it is neither.
    """
    if isinstance(value, Context):
        return value
    if (keys := getattr(value, "keys", None)) is not None and hasattr(value, "at"):
        given = ", ".join(f"{key}=..." for key in keys)
        name = getattr(value, "name", value)
        raise ConfigurationError(f"Context {name} is keyed: give the context of one value, app.contexts[0]({given}).")
    if isinstance(value, ContextFunction) or (callable(value) and not isinstance(value, type)):
        function = value if isinstance(value, ContextFunction) else ContextFunction(value, Options())
        try:
            return function()
        except TypeError as error:
            raise ConfigurationError(
                f"{sentence(str(error))} Give the arguments where the app is made: context={function.__name__}(...)."
            ) from None
    raise ConfigurationError(f"context={value!r} is neither a context nor a function that builds one.")


def _escape_context(value: object) -> str | None:
    if not isinstance(value, Context):
        return None
    return f"context {value.name}, within itself" if value.is_being_digested else f"context {value.digest}"


_digested: contextvars.ContextVar[frozenset[int]] = contextvars.ContextVar("digested", default=frozenset())
"""Contexts, by id, that are about to be digested here."""


def _digest(value: object) -> Digest:
    return digest_content(value, escape=_escape_context)


def _pack(value: object) -> tuple[bytes, Needs]:
    return carry(value, defines=True, replace=_replace_context)


def _replace_context(value: object) -> Any:
    return (required, (value.digest,)) if isinstance(value, Context) else NotImplemented


def _is_opaque(value: object) -> bool:
    """Whether contexts may be in an object that is no list, tuple or dictionary."""
    return not isinstance(value, _TRANSPARENT)


def _contexts_within(value: object) -> list[Context]:
    found: list[Context] = []

    def note(each: object) -> Any:
        if not isinstance(each, Context):
            return NotImplemented
        found.append(each)
        return required, ("",)

    with contextlib.suppress(Exception):  # what cannot be pickled is complained of where it is sent
        carry(value, defines=True, replace=note, buffer_callback=lambda _: None)
    return found


def _with_instances(value: Any, instance: Callable[[Digest], Any]) -> Any:
    """A copy of an object with the contexts in it replaced; itself if there are none."""
    if not _contexts_within(value):
        return value
    stream, _ = carry(value, defines=True, replace=_replace_context)
    with resolving(instance):
        return pickle.loads(stream)


_TRANSPARENT = (Context, Future, File, str, bytes, int, float, complex, type(None), type, types.FunctionType)


def _is_fetched(value: object) -> bool:
    """Whether it is a file that the node fetches: one that is not staged, with an address that the store can read."""
    return isinstance(value, File) and value.local_path is None and value.scheme in origins.SCHEMES


def _find(whole: Any, kind: type, *, into_contexts: bool = False) -> Iterator[Any]:
    """Those of a kind in nested lists, tuples and dictionaries, in order; what is in there twice is looked at once."""
    met: set[int] = set()
    waiting = [whole]
    while waiting:
        value = waiting.pop()
        if isinstance(value, kind):
            yield value
        elif isinstance(value, list | tuple | dict):
            if id(value) not in met:
                met.add(id(value))
                waiting += reversed(list(value.values()) if isinstance(value, dict) else list(value))
        elif isinstance(value, Context) and into_contexts:
            waiting += [value._kwargs, value._args]


def _shorten(value: object) -> str:
    if isinstance(value, Context):
        return value.name
    if isinstance(value, File):
        return repr(value.local_path or (value.path if value.scheme == "file" else value.url))
    text = repr(value) if isinstance(value, str | int | float | bool | type(None)) else f"<{type(value).__name__}>"
    return text if len(text) <= 40 else text[:37] + "..."
