"""What a self-contained function is made of: takes apps and contexts apart for `standalone`, which knows neither."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
from collections.abc import Mapping
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
from parsl_context.retain.batches import Batching
from parsl_context.retain.terms import Terms
from parsl_context.retain.undivided import EitherWay, LeadingWork
from parsl_context.standalone.building import Builder, Half, Pid
from parsl_context.standalone.function import StandaloneFunction
from parsl_context.standalone.own_texts import extra_text

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
    parts = {**taking.builder.finish(), "extras": {name: extra_text(name) for name in sorted(taking.extras)}}
    affinity = hashlib.sha256("\n".join(each["key"] for each in parts["contexts"]).encode()).hexdigest()[:32]
    doc = inspect.getdoc(call.body) or ""
    return StandaloneFunction(call.__name__, doc, parts, affinity, taking.builder.named, max_contexts)


class _TakingApart:
    def __init__(self, *, is_compiled: bool) -> None:
        self.builder = Builder(self._special, _makes_apps, is_compiled=is_compiled)
        self._apps: dict[int, int] = {}  # their places in the program, by the id of the body
        self._contexts: dict[int, int] = {}
        self._alive: list[Any] = []
        self.extras: set[str] = set()

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
        where, body = f"The body of {call.__name__}", call.body
        either = body if isinstance(body, EitherWay) else None
        told["body"] = self.builder.pack(body if either is None else either.body, where)
        told["whole"] = None if either is None else self.builder.pack(either.whole, where)
        told["terms"] = None if either is None else self._terms(either.terms)
        told["contexts"] = [self._add_context(context, call.keys) for context in call.contexts]
        told["batching"] = self._batching(call.batching)
        if call.keys is not None and either is None:
            told["keys"] = list(call.keys.names)
            told["of_body"] = list(inspect.signature(call.body).parameters)
            told["signature"] = self.builder.pack(_parameters(call.keys), f"{where}, its defaults,")
        return number

    def _add_halves(self, call: ContextCall) -> None:
        split = call.split
        if split is None:
            return
        kept = tuple(inspect.signature(split.body).parameters)[1:]
        places = tuple(each.place for each in split.verdicts)
        self.builder.add_half(split.context, Half(split.function, "context", split.keys, split.names, places))
        self.builder.add_half(split.body, Half(split.function, "body", kept, split.names, places))
        if split.verdicts:
            self.builder.add_half(split.function, Half(split.function, "whole"))

    def _terms(self, terms: Terms) -> dict[str, Any]:
        """What must hold for calls to share variables, in an order that is the same in every process."""
        self.extras.add("terms")
        told = {each.name: getattr(terms, each.name) for each in dataclasses.fields(terms)}
        return {name: _ordered(value) for name, value in told.items()}

    def _batching(self, batching: Batching | None) -> dict[str, Any] | None:
        if batching is None:
            return None
        self.extras.add("batches")
        return {"size": batching.size, "retries": batching.retries, "shared": list(batching.shared)}

    def _add_context(self, context: Context | KeyedContext, told_apart: Keys | None = None) -> int:
        if id(context) in self._contexts:
            with self.builder.using(("context", self._contexts[id(context)])):
                return self._contexts[id(context)]
        contexts = self.builder.parts.contexts
        number = self._contexts[id(context)] = len(contexts)
        self._alive.append(context)
        options, where = context.options, f"Context {context.name}"
        args: tuple[Any, ...] = ()
        paths = list(told_apart.paths) if isinstance(told_apart, LiteralFiles) else []
        if isinstance(context, KeyedContext):
            kwargs = context.kwargs
        else:
            _, (_, args, kwargs) = context.__reduce__()
        told: dict[str, Any] = {
            "key": context.digest,
            "name": context.name,
            "keys": list(context.keys) if isinstance(context, KeyedContext) and not paths else [],
            "paths": paths,
            "max_uses": 1 if options.isolation == "call" else options.max_uses,
            "max_age_s": options.max_age_s,
            "is_kept": options.reuse not in ("none", "disk"),
        }
        contexts.append(told)
        with self.builder.using(("context", number)):
            function = context.function.function
            leading = function if isinstance(function, LeadingWork) else None
            told["terms"] = None if leading is None else self._terms(leading.terms)
            told["function"] = self.builder.pack(
                leading.function if leading else function, f"The function of {where.lower()}"
            )
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
    if isinstance(call.body, EitherWay) and call.body.check:
        reason = "some of its calls run both ways and are compared (check=), which workers of ours do. Leave check= out"
    elif call.late:
        reason = "its contexts wait for futures among their arguments. Give their results"
    if reason is not None:
        raise ConfigurationError(f"{call.__name__} cannot be one function for an endpoint: {reason}.")


def _ordered(value: Any) -> Any:
    """Built-in types alone, and no sets, whose order differs from process to process."""
    if isinstance(value, Mapping):
        return {name: _ordered(value[name]) for name in sorted(value)}
    if isinstance(value, frozenset | set):
        return sorted(map(_ordered, value))
    return tuple(map(_ordered, value)) if isinstance(value, tuple) else value


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
