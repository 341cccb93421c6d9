"""What a self-contained function is made of: takes apps and contexts apart for `standalone`, which knows neither."""

from __future__ import annotations

import hashlib
import inspect
from typing import Any

from parsl.app.app import AppBase
from parsl.data_provider.files import File

from parsl_context.apps.automatic import LiteralFiles
from parsl_context.apps.context import Context, ContextFunction
from parsl_context.apps.context_call import ContextCall
from parsl_context.apps.decorator import ContextDecorator
from parsl_context.apps.keys import KeyedContext, Keys
from parsl_context.apps.portable import context_dirty
from parsl_context.errors import ConfigurationError
from parsl_context.retain.undivided import EitherWay
from parsl_context.standalone.building import Builder, Half, Pid
from parsl_context.standalone.function import StandaloneFunction

CODECS = ("source", "bytecode")
MAX_CONTEXTS = 16  # that one process keeps
_MAKERS = ("parsl_context", "parsl.app")


def standalone_function(
    call: ContextCall, *, codec: str = CODECS[0], max_contexts: int = MAX_CONTEXTS
) -> StandaloneFunction:
    """A context app as one function that needs nothing of ours where it runs.

    Parameters
    ----------
    call
        What the app hands to executors.
    codec
        How functions travel: "source" or "bytecode".
    max_contexts
        Contexts that one process keeps.

    Raises
    ------
    ConfigurationError
        If the app is of a kind that needs an executor of ours.
    CarriedCodeError, ContextSerializationError
        If something that it needs cannot travel.
    """
    if codec not in CODECS:
        raise ConfigurationError(
            f"codec={codec!r} of a function for endpoints is one of {', '.join(map(repr, CODECS))}."
        )
    taking = _TakingApart(is_compiled=codec == "bytecode")
    taking.add_app(call)
    parts = taking.builder.finish()
    affinity = hashlib.sha256("\n".join(each["key"] for each in parts["contexts"]).encode()).hexdigest()[:32]
    doc = inspect.getdoc(call.body) or ""
    return StandaloneFunction(call.__name__, doc, parts, affinity, taking.builder.named, max_contexts)


class _TakingApart:
    def __init__(self, *, is_compiled: bool) -> None:
        self.builder = Builder(self._special, _makes_apps, is_compiled=is_compiled)
        self._apps: dict[int, int] = {}  # their places in the program, by the id of the body
        self._contexts: dict[int, int] = {}
        self._alive: list[Any] = []

    def add_app(self, call: ContextCall) -> int:
        """The place of an app in the program."""
        if id(call.body) in self._apps:
            return self._apps[id(call.body)]
        _check(call)
        apps = self.builder.parts.apps
        number = self._apps[id(call.body)] = len(apps)
        told: dict[str, Any] = {"name": call.__name__, "names": list(call.names), "keys": [], "of_body": []}
        apps.append(told)
        self._add_halves(call)
        where = f"The body of {call.__name__}"
        told["body"] = self.builder.pack(call.body, where)
        told["contexts"] = [self._add_context(context) for context in call.contexts]
        if call.keys is not None:
            told["keys"] = list(call.keys.names)
            told["of_body"] = list(inspect.signature(call.body).parameters)
            told["signature"] = self.builder.pack(_parameters(call.keys), f"{where}, its defaults,")
        return number

    def _add_halves(self, call: ContextCall) -> None:
        split = call.split
        if split is None:
            return
        kept = tuple(inspect.signature(split.body).parameters)[1:]
        self.builder.add_half(split.context, Half(split.function, "context", split.keys, split.names))
        self.builder.add_half(split.body, Half(split.function, "body", kept, split.names))

    def _add_context(self, context: Context | KeyedContext) -> int:
        if id(context) in self._contexts:
            with self.builder.using(("context", self._contexts[id(context)])):
                return self._contexts[id(context)]
        contexts = self.builder.parts.contexts
        number = self._contexts[id(context)] = len(contexts)
        self._alive.append(context)
        options, where = context.options, f"Context {context.name}"
        args: tuple[Any, ...] = ()
        if isinstance(context, KeyedContext):
            kwargs = context.kwargs
        else:
            _, (_, args, kwargs) = context.__reduce__()
        told: dict[str, Any] = {
            "key": context.digest,
            "name": context.name,
            "keys": list(context.keys) if isinstance(context, KeyedContext) else [],
            "max_uses": 1 if options.isolation == "call" else options.max_uses,
            "max_age_s": options.max_age_s,
            "is_kept": options.reuse not in ("none", "disk"),
        }
        contexts.append(told)
        with self.builder.using(("context", number)):
            told["function"] = self.builder.pack(context.function.function, f"The function of {where.lower()}")
            told["args"] = self.builder.pack((args, kwargs), f"{where}, its arguments,")
        return number

    def _special(self, value: Any) -> Pid | None:
        if isinstance(value, Context):
            return ("context", self._add_context(value))
        if isinstance(value, AppBase | ContextCall) and isinstance(value.func, ContextCall):
            return ("app", self.add_app(value.func))
        if isinstance(value, File) and value.local_path is None:
            return ("file", value.url)
        if isinstance(value, ContextDecorator):
            return ("ours", "context")
        if value is context_dirty:
            return ("ours", "context_dirty")
        if getattr(value, "__name__", None) == "parsl_context" and inspect.ismodule(value):
            return ("ours", "module")
        if isinstance(value, ContextFunction | KeyedContext):
            raise ConfigurationError(
                f"{value!r} is used by code that runs on an endpoint, where contexts are not made: call its plain "
                "function there, or take it as a context of the app."
            )
        return None


def _check(call: ContextCall) -> None:
    """Refuse what needs an executor of ours.

    Raises
    ------
    ConfigurationError
    """
    reason = None
    if isinstance(call.body, EitherWay) or isinstance(call.keys, LiteralFiles):
        reason = "its context is found by itself (discover=True). Write the set-up as a block: with context:"
    elif call.batching is not None:
        reason = "its calls run together (batch=). Give it lists, without batch="
    elif call.late:
        reason = "its contexts wait for futures among their arguments. Give their results"
    if reason is not None:
        raise ConfigurationError(f"{call.__name__} cannot be one function for an endpoint: {reason}.")


def _parameters(keys: Keys) -> list[tuple[str, int, bool, Any]]:
    given = keys.signature.parameters.values()
    return [
        (
            each.name,
            int(each.kind),
            each.default is not each.empty,
            None if each.default is each.empty else each.default,
        )
        for each in given
    ]


def _makes_apps(value: Any) -> bool:
    return isinstance(value, ContextDecorator) or str(getattr(value, "__module__", "")).startswith(_MAKERS)
