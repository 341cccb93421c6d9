"""Keyed contexts: arguments of a call that say which context it wants. Each value has a context of its own.

What `ContextFunction.by` makes is a `KeyedContext`; `Keys` finds the values in the arguments of calls.
"""

from __future__ import annotations

import enum
import functools
import inspect
import pickle
import types
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from parsl.data_provider.files import File
from parsl.dataflow.memoization import id_for_memo

from parsl_context.apps.context import Context, ContextFunction, as_context
from parsl_context.content.digests import digest_content
from parsl_context.errors import ConfigurationError
from parsl_context.retain.arguments import map_leaves
from parsl_context.wire.messages import Digest

if TYPE_CHECKING:
    from parsl_context.apps.options import Options

# Parsl takes these from the arguments of any app.
RESERVED = ("inputs", "outputs", "stdout", "stderr", "walltime", "parsl_resource_specification")


class KeyedContext:
    """A context for each value of some arguments of a call.

    Attributes
    ----------
    function : ContextFunction
        What builds it.
    keys : tuple of str
        Parameters of it that a call gives.
    kwargs : mapping
        Its other arguments.
    """

    requires: tuple[Context, ...] = ()
    is_being_digested = False

    def __init__(self, function: ContextFunction, keys: tuple[str, ...], kwargs: Mapping[str, Any]) -> None:
        self.function = function
        self.keys = keys
        self.kwargs = dict(kwargs)

    @property
    def name(self) -> str:
        """The function and its keys."""
        return f"{self.function.__name__}({', '.join(f'{key}=…' for key in self.keys if not key.startswith('_'))})"

    @property
    def options(self) -> Options:
        """Options of its context function."""
        return self.function.options

    @property
    def futures(self) -> tuple[Future[Any], ...]:
        """Futures among its other arguments."""
        return self._any.futures

    @functools.cached_property
    def digest(self) -> Digest:
        """Digest of what all contexts of it share."""
        return digest_content([self.keys, self._any.digest])

    @property
    def _any(self) -> Context:
        return self.at(dict.fromkeys(self.keys))

    def at(self, values: Mapping[str, Any]) -> Context:
        """The context for some values of keys; the function's defaults stand for those that are not given."""
        return self.function(**self.kwargs, **{key: values[key] for key in self.keys if key in values})

    def __call__(self, **keys: Any) -> Context:
        """The context for some values of keys, to be preloaded or evicted: ``app.contexts[0](weights="a.pt")``.

        Raises
        ------
        TypeError
            If one is missing, or is no key.
        """
        unknown = [name for name in keys if name not in self.keys]
        if unknown:
            raise TypeError(f"{self.name} got {', '.join(unknown)}, and its keys are {', '.join(self.keys)}.")
        return self.at(keys)

    def renewed(self) -> KeyedContext:
        """The same as its function is now, see `Context.renewed`."""
        return KeyedContext(self.function.current(), self.keys, self.kwargs)

    def substituted(self, swap: Callable[[Any], Any]) -> KeyedContext:
        """The same with each of its other arguments swapped."""
        return KeyedContext(self.function, self.keys, map_leaves(self.kwargs, swap))

    def __repr__(self) -> str:
        return f"<KeyedContext {self.name}>"


def keyed(function: ContextFunction, keys: Sequence[str], kwargs: Mapping[str, Any]) -> KeyedContext:
    """A keyed context, checked.

    Raises
    ------
    ConfigurationError, TypeError
        If the context function does not take these arguments, or a call cannot give them.
    """
    where = f"Keys of context function {function.__name__}"
    if not keys:
        raise ConfigurationError(f"{where}: name at least one of its parameters, as in {function.__name__}.by('name').")
    for key in keys:
        if not str(key).isidentifier():
            raise ConfigurationError(f"{where}: {key!r} is no name of a parameter.")
        if key in RESERVED:
            raise ConfigurationError(f"{where}: Parsl takes {key!r} of every call for itself. Give it another name.")
        if key in kwargs:
            raise ConfigurationError(f"{where}: {key!r} is given as an argument, too.")
    made = KeyedContext(function, tuple(dict.fromkeys(keys)), kwargs)
    function(**kwargs, **dict.fromkeys(made.keys))  # or it says what is missing
    return made


def as_app_context(value: object) -> Context | KeyedContext:
    """A context from what `context=` of an app may be: a context, a keyed one, or a function without arguments.

    Raises
    ------
    ConfigurationError
        If it is none of them.
    """
    return value if isinstance(value, KeyedContext) else as_context(value)


class Keys:
    """Where the values of keys are among the arguments of a call.

    Parameters
    ----------
    names
        The keys.
    signature
        What calls may give.
    of_body
        Parameters of the body; keys that are not among them do not reach it.
    """

    def __init__(self, names: Sequence[str], signature: inspect.Signature, of_body: Collection[str]) -> None:
        self.names = tuple(names)
        self.signature = signature
        self._of_body = frozenset(of_body)
        positional = [p.name for p in signature.parameters.values() if p.kind in _POSITIONAL]
        self._positional = len(positional)
        self._named = frozenset(p.name for p in signature.parameters.values() if p.kind in _NAMED)
        self._places: list[tuple[str, int | None, Any]] = []
        self._rest: str | None = None  # the key that takes all further positional arguments, and
        self._others: str | None = None  # the one that takes all further named ones
        for name in self.names:
            parameter = signature.parameters[name]
            if parameter.kind is parameter.VAR_POSITIONAL:
                self._rest = name
            elif parameter.kind is parameter.VAR_KEYWORD:
                self._others = name
            else:
                index = positional.index(name) if name in positional else None
                self._places.append((name, index, parameter.default))
        dropped = [name for name in self.names if name not in self._of_body]
        self._dropped = frozenset(dropped)
        self._dropped_at = frozenset(index for name, index, _ in self._places if name in dropped and index is not None)

    def take(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[dict[str, Any], tuple[Any, ...], dict[str, Any]]:
        """The values of the keys, and the arguments that the body gets. What has no value has none there."""
        values = {}
        for name, index, default in self._places:
            if index is not None and index < len(args):
                values[name] = _shown(args[index])
            elif name in kwargs:
                values[name] = _shown(kwargs[name])
            elif default is not inspect.Parameter.empty:
                values[name] = default
        if self._rest is not None:
            values[self._rest] = args[self._positional :]
        if self._others is not None:
            values[self._others] = {name: value for name, value in kwargs.items() if name not in self._named}
        return values, self._of_call(args), self._of_call_by_name(kwargs)

    def shield(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments in which files that are keys are out of sight of the DataFlowKernel, which would stage them."""
        for name, index, _ in self._places:
            if index is not None and index < len(args):
                if isinstance(args[index], File):
                    args = (*args[:index], KeyFile(args[index]), *args[index + 1 :])
            elif isinstance(kwargs.get(name), File):
                kwargs = {**kwargs, name: KeyFile(kwargs[name])}
        return args, kwargs

    def _of_call(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        if self._rest in self._dropped:
            args = args[: self._positional]
        kept = args if not self._dropped_at else tuple(v for i, v in enumerate(args) if i not in self._dropped_at)
        return tuple(map(_shown, kept)) if any(type(value) is KeyFile for value in kept) else kept

    def _of_call_by_name(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        if self._others in self._dropped:
            kwargs = {name: value for name, value in kwargs.items() if name in self._named or name in RESERVED}
        return {name: _shown(value) for name, value in kwargs.items() if name not in self._dropped}


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class KeyFile:
    """A file that is a key, on its way past the DataFlowKernel."""

    __slots__ = ("file",)

    def __init__(self, file: File) -> None:
        self.file = file


@id_for_memo.register(KeyFile)
def _id_for_memo_file(key: KeyFile, output_ref: bool = False) -> bytes:
    return pickle.dumps(["KeyFile", key.file.url])


def _shown(value: Any) -> Any:
    return value.file if type(value) is KeyFile else value


def signature_of_calls(
    body: inspect.Signature, contexts: Sequence[KeyedContext | Context], names: Sequence[str | None]
) -> inspect.Signature:
    """What calls of an app may give: the parameters of its body without contexts, and keys that it does not name.

    Parameters
    ----------
    body
        Signature of the body.
    contexts, names
        Its contexts, and how it gets them, as `place_contexts` says it.
    """
    given = []
    is_reached = True  # by position
    for parameter in list(body.parameters.values())[list(names).count(None) :]:
        if parameter.name in names:
            is_reached = is_reached and parameter.kind is parameter.KEYWORD_ONLY
        elif is_reached or parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD):
            given.append(parameter)
        elif parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            given.append(parameter.replace(kind=parameter.KEYWORD_ONLY))
    last = [given.pop()] if given and given[-1].kind is inspect.Parameter.VAR_KEYWORD else []
    known = {p.name for p in given}
    for context in contexts:
        new = [key for key in context.keys if key not in known] if isinstance(context, KeyedContext) else []
        known.update(new)
        given += [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=context.function.default(key)) for key in new
        ]
    return body.replace(parameters=[*given, *last])


class KeyUses:
    """Counts calls whose key was there before, and others."""

    MANY = 20

    def __init__(self) -> None:
        self._known = 0
        self._new = 0

    def count(self, *, is_known: bool) -> None:
        """A call was made."""
        if is_known:
            self._known += 1
        else:
            self._new += 1

    @property
    def is_wasteful(self) -> bool:
        """Whether many calls were made, and no key came twice."""
        return not self._known and self._new >= self.MANY


def cache_key(values: Mapping[str, Any]) -> Hashable:
    """What stands for the values of keys where that need not be digested; equal only for what has equal content.

    Hashable objects that compare by value are taken to stay as they are. All others are digested.
    """
    return tuple(values), *map(_key, values.values())


def _key(value: Any) -> Hashable:
    kind = type(value)
    if kind in (str, int, bool, bytes, types.NoneType):
        return kind, value
    if kind in (float, complex):
        return kind, repr(value)  # 0.0 equals -0.0, and nan does not equal itself
    if kind is tuple:
        return kind, tuple(map(_key, value))
    if kind is File:
        return kind, value.url, value.local_path
    try:
        if isinstance(value, Context):
            return kind, value.digest
        if isinstance(value, enum.Enum | type | types.FunctionType):
            return kind, _Same(value)
        is_fixed = getattr(kind, "__hash__", None) not in (None, object.__hash__)
        return kind, _digest_of(_Same(value)) if is_fixed else digest_content(value)
    except Exception:
        return kind, _Same(value)  # its context cannot be digested either, and says why


class _Same:
    """An object that equals itself alone, and lives as long as this does."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


@functools.lru_cache(maxsize=1024)
def _digest_of(same: _Same) -> Digest:
    return digest_content(same.value)
