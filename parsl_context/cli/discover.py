"""`parsl-context discover FILE:APP`: what an app or a function needs, as tables or as JSON."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import sys
import types
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from parsl.app.app import AppBase
from rich.console import Console

from parsl_context.apps.app import ContextApp
from parsl_context.apps.context import Context, ContextFunction
from parsl_context.apps.needs import needs_of
from parsl_context.cli.applying import rewrite
from parsl_context.cli.errors import CommandError
from parsl_context.cli.loading import Loaded, load
from parsl_context.cli.replacing import check_writable, replace_file, text_of, unified
from parsl_context.cli.running import Call, measure, show_run
from parsl_context.cli.showing import show_diff, show_names, show_needs, show_trace
from parsl_context.cli.splitting import statements_of, table_of
from parsl_context.cli.tracing import takes_nothing, trace
from parsl_context.discover.needs import FunctionNeeds
from parsl_context.discover.tracing.data import Trace
from parsl_context.discover.tracing.summary import by_distribution
from parsl_context.errors import ParslContextError, sentence


def discover(
    target: str,
    *,
    as_json: bool,
    traces: bool,
    keys: Sequence[str] = (),
    splits: bool = False,
    call: str | None = None,
    applies: bool = False,
    shows_diff: bool = False,
) -> int:
    """Find and print what is needed. Gives the exit status.

    Parameters
    ----------
    target
        FILE:APP, or FILE alone to see what there is.
    keys
        NAME=VALUE for keys of the app's contexts, if these are to be built.
    splits
        Show how the function is split, or would be, in place of what it needs.
    call
        A call of the function: make it, and show what a context saves.
    applies
        Write the split into the file, as a block.
    shows_diff
        Of that, only show what it would write.
    """
    try:
        if call is not None:
            return _run(target, call, as_json=as_json)
        if applies or shows_diff:
            return _apply(target, writes=not shows_diff, as_json=as_json)
        if splits:
            return _show_split(target, as_json=as_json)
        return _discover(target, as_json=as_json, traces=traces, keys=keys)
    except CommandError as error:
        return _complain(str(error), error.status)
    except ParslContextError as error:
        return _complain(sentence(str(error)), 1)


def _discover(target: str, *, as_json: bool, traces: bool, keys: Sequence[str]) -> int:
    name, _, place = target.partition(":")
    loaded = load(name)
    if not place:
        if traces:
            raise CommandError(f"--trace needs to know what to trace: parsl-context discover --trace {name}:APP", 2)
        _print_names(loaded, as_json=as_json)
        return 0
    value = loaded.find(place)
    if not callable(value) and not isinstance(value, Context):
        raise CommandError(f"{place} of {name} is neither an app nor a function nor a context, but {_a(value)}.", 2)
    if loaded.stopped:
        print(f"{name}: {loaded.stopped}", file=sys.stderr)
    needs = needs_of(value)
    if not as_json:
        for part in show_needs(needs, _kind(value)):
            Console().print(part)
    if traces and isinstance(value, ContextFunction) and not takes_nothing(value):
        told = "takes arguments, so it is not built: name a context that was given them, or an app that has one."
        print(f"{place} {told}", file=sys.stderr)
    found = trace(_call_for(value, place, keys), needs) if traces else None
    if as_json:
        print(json.dumps(as_data(needs, found), indent=2))
    elif found is not None:
        for part in show_trace(found):
            Console().print(part)
    for error in () if found is None else found.errors:
        print(error, file=sys.stderr)
    return 1 if found is not None and found.errors else 0


def _show_split(target: str, *, as_json: bool) -> int:
    _, value, _ = _found(target, "--split", "split")
    statements = statements_of(value)
    if as_json:
        print(json.dumps([asdict(each) for each in statements], indent=2))
        return 0
    Console().print(table_of(statements))
    if not any(each.place == "context" for each in statements):
        print("Nothing of it may become a context.")
    return 0


def _run(target: str, text: str, *, as_json: bool) -> int:
    loaded, value, place = _found(target, "--run", "call")
    return show_run(measure(value, Call(text, loaded, value, place)), as_json=as_json)


def _apply(target: str, *, writes: bool, as_json: bool) -> int:
    loaded, value, place = _found(target, "--apply", "rewrite")
    with contextlib.redirect_stdout(sys.stderr):  # its context is built
        made = rewrite(loaded, value, place)
    if writes:
        check_writable(made.path)
    diff = unified(os.path.relpath(made.path), text_of(made.old), text_of(made.new))
    if not as_json:
        show_diff(diff)
        for note in made.notes:
            print(f"Note: {note}", file=sys.stderr)
    if writes:
        replace_file(made.path, made.old, made.new)
    if as_json:
        print(json.dumps({"file": str(made.path), "diff": diff, "notes": made.notes, "is_written": writes}, indent=2))
    elif writes:
        print(f"{os.path.relpath(made.path)} is written.", file=sys.stderr)
    return 0


def _found(target: str, option: str, verb: str) -> tuple[Loaded, Any, str]:
    """What a target names, for an option that is about one function."""
    name, _, place = target.partition(":")
    if not place:
        raise CommandError(f"{option} needs to know what to {verb}: parsl-context discover {option} {name}:APP", 2)
    loaded = load(name)
    value = loaded.find(place)
    if not callable(value):
        raise CommandError(f"{place} of {name} is neither an app nor a function, but {_a(value)}.", 2)
    return loaded, value, place


def _call_for(value: Any, place: str, keys: Sequence[str]) -> Any:
    """What is to be traced: of an app, its call for these keys."""
    if not isinstance(value, ContextApp):
        return value
    known = () if value.func.keys is None else value.func.keys.names
    given = {}
    for text in keys:
        name, _, worth = text.partition("=")
        if name not in known:
            has = f"its keys are {', '.join(known)}" if known else "it has none"
            raise CommandError(f"{name} is no key of {place}: {has}.", 2)
        given[name] = _literal(worth)
    try:
        return value.call_for(given)
    except TypeError as error:
        raise CommandError(
            f"{sentence(str(error))} Give a value of each key of {place}: --key {known[0]}=VALUE", 2
        ) from None


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def as_data(needs: FunctionNeeds, found: Trace | None) -> dict[str, Any]:
    """What was found, as JSON has it."""
    made: dict[str, Any] = {**asdict(needs), "requirements": needs.requirements}
    if found is not None:
        imported = [asdict(each) for each in by_distribution(found.imported)]
        made["trace"] = {**asdict(found), "imported": imported}
    return made


def names_in(module: types.ModuleType) -> dict[str, str]:
    """Names that can be looked at, with what they are: those that the module itself defines."""
    found = {}
    for name, value in vars(module).items():
        is_own = getattr(value, "__module__", None) == module.__name__ or isinstance(value, Context)
        if is_own and not name.startswith("__") and (kind := _kind(value)) is not None:
            found[name] = kind
    return found


def _kind(value: Any) -> str | None:
    kinds: dict[type, str] = {
        ContextApp: "context app",
        ContextFunction: "context function",
        Context: "context",
        AppBase: "app",
        types.FunctionType: "function",
    }
    return next((name for kind, name in kinds.items() if isinstance(value, kind)), None)


def _print_names(loaded: Loaded, *, as_json: bool) -> None:
    names = names_in(loaded.module)
    if loaded.stopped:
        print(f"{loaded.name}: {loaded.stopped}", file=sys.stderr)
    if as_json:
        print(json.dumps([{"name": name, "kind": kind} for name, kind in names.items()], indent=2))
    elif names:
        Console().print(show_names(loaded.name, names))
    else:
        raise CommandError(f"{loaded.name} defines no app, context or function.")


def _a(value: Any) -> str:
    return f"an object of type {type(value).__qualname__}"


def _complain(text: str, status: int) -> int:
    print(text, file=sys.stderr)
    return status
