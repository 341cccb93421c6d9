"""`parsl-context discover FILE:APP --apply`: writes the split that was found into the file, as a block.

What is written is checked first: the function of the new text must be split at its block, and its variables must flow.
"""

from __future__ import annotations

import ast
import os
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parsl.app.app import AppBase
from parsl.app.python import PythonApp

import parsl_context
from parsl_context.apps.app import ContextApp, context_app
from parsl_context.apps.automatic import literal_paths
from parsl_context.cli.checking import checked
from parsl_context.cli.decorators import AppDecorator, decorator_of
from parsl_context.cli.errors import CommandError
from parsl_context.cli.loading import Loaded
from parsl_context.cli.replacing import text_of
from parsl_context.cli.showing import progress
from parsl_context.cli.spelling import PACKAGE, Spelling, spelling_in
from parsl_context.cli.splitting import tried
from parsl_context.content import syntax
from parsl_context.discover.automatic import split_by_itself
from parsl_context.discover.halves import Split
from parsl_context.discover.names import names_of
from parsl_context.discover.sources import Source, codes_of, source_of
from parsl_context.errors import sentence


@dataclass(frozen=True)
class Rewrite:
    """A file, and what it is to be.

    Attributes
    ----------
    path : Path
        The file.
    old, new : bytes
        Its content.
    notes : tuple of str
        What people should know before they use it.
    """

    path: Path
    old: bytes
    new: bytes
    notes: tuple[str, ...]


def rewrite(loaded: Loaded, value: Any, place: str) -> Rewrite:
    """The file of a function, with the split that is found as a block.

    The context is built once: only then is it seen whether calls may share it.

    Raises
    ------
    CommandError
        If that cannot be, with the reason.
    SplitError
        If nothing of the function may become a context.
    """
    rewriting = _libcst()
    found = _split(value, place)
    source = source_of(found.function)
    path, content = _file_of(source, loaded, place)
    decorator = decorator_of(source, is_app=isinstance(value, AppBase))
    places = places_of(found, source)
    plan = rewriting.Plan(
        name=source.node.name,
        line=source.node.lineno,
        has_docstring=ast.get_docstring(source.node, clean=False) is not None,
        places=tuple(places),
        spelling=_spelling(source, content, says_app=decorator is None or decorator.is_parsls),
        decorator=None if decorator is None else decorator.number,
        keywords=() if decorator is None else decorator.keywords,
        dropped=() if decorator is None else decorator.dropped,
    )
    try:
        new = rewriting.rewritten(content, plan)
    except rewriting.RewriteError as error:
        raise CommandError(f"{path} stays as it is: {sentence(str(error))}") from None
    block = checked(new, source, found)
    with progress("building its context once"):
        trial = tried(block.context, found)
    if trial.refusal is not None:
        raise CommandError(f"{place} stays as it is. Calls must not share what would be its context: {trial.refusal}.")
    return Rewrite(path, content, new, tuple(_notes(value, found, places, decorator, trial.failure)))


def _libcst() -> Any:
    try:
        from parsl_context.cli import rewriting
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "libcst":
            raise
        told = "--apply takes libcst, which is not installed here: pip install 'parsl-context[apply]'"
        raise CommandError(told) from None
    return rewriting


# --- what is rewritten


def _split(value: Any, place: str) -> Split:
    """How a function is split by itself; refused if it is split already, or another kind of app."""
    if isinstance(value, ContextApp):
        if value.split is None:
            raise CommandError(f"{place} is split already: its context and its body are written as two functions.")
        if value.split.marker is not None:
            raise CommandError(f"{place} is split already: it has a `with context:` block.")
        return value.split
    if isinstance(value, PythonApp) and not value.join:
        return split_by_itself(getattr(value.func, "__wrapped__", value.func))  # below what Parsl wraps it in
    if isinstance(value, AppBase):
        kind = "join" if isinstance(value, PythonApp) else "bash"
        raise CommandError(f"{place} is a {kind} app, and these have no contexts.")
    return split_by_itself(value)


def _file_of(source: Source, loaded: Loaded, place: str) -> tuple[Path, bytes]:
    """The file that a function is written in, and its content, if that is what was loaded."""
    file = source.function.__code__.co_filename
    if "<locals>" in source.function.__qualname__:
        raise CommandError(f"{place} is made by another function, in {file}: write its block by hand.")
    if not os.path.exists(file) or not os.path.samefile(file, loaded.module.__file__ or ""):
        raise CommandError(f"{place} is written in {file}, not in {loaded.name}: name it there.", 2)
    content = Path(file).read_bytes()
    try:
        is_same = source.function.__code__ in codes_of(text_of(content), file)
    except (SyntaxError, ValueError):
        is_same = False
    if not is_same:
        raise CommandError(f"{file} was changed after it was loaded, and stays as it is. Try again.")
    return Path(file), content


def places_of(found: Split, source: Source) -> list[str]:
    """Where each statement goes: to the "block", the "rest" or "both".

    Into the block go those that have moved; imports above the last of these, because what they do may be needed though
    it is not named; and constants and functions that are used there. Names flow to the rest. What is imported and may
    be bound anew in its module is imported in both, as a block would go on with what it was.
    """
    verdicts = found.verdicts
    last = max(number for number, each in enumerate(verdicts) if each.place == "context")
    used = {name for each in verdicts if each.place == "context" for name in _names(each.node, ast.Load)}
    places = []
    for number, each in enumerate(verdicts):
        place = "block" if each.place == "context" else "rest"
        if each.place == "both" and number < last:
            if isinstance(each.node, ast.Import | ast.ImportFrom):
                place = "both" if _may_be_bound_anew(each.node, source) else "block"
            elif _names(each.node, ast.Store) & used or getattr(each.node, "name", None) in used:
                place = "block"
        places.append(place)
    return places


def _may_be_bound_anew(node: ast.Import | ast.ImportFrom, source: Source) -> bool:
    """Whether an import takes something out of a module of the user's that is no module, function or class."""
    names = names_of(source)
    names.add_import(node)
    taken = [alias.asname or alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []
    users = (name for name in taken if names.full_name(ast.Name(name, ast.Load())) is None)
    return any(not isinstance(names.value_of(name), types.ModuleType | types.FunctionType | type) for name in users)


def _names(node: ast.stmt, context: type[ast.expr_context]) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, context)}


def _spelling(source: Source, content: bytes, *, says_app: bool) -> Spelling:
    code, names = source.function.__code__, source.function.__globals__
    ours = {"context": parsl_context.context, "context_app": context_app, PACKAGE: parsl_context}
    found = spelling_in(
        syntax.parse(content),
        source.node.lineno,
        {*code.co_varnames, *code.co_cellvars},
        {name for name, value in ours.items() if names.get(name, value) is not value},
        says_app=says_app,
    )
    if found is None:
        told = f"`context` and `{PACKAGE}` mean something else in {code.co_name}, or in its file. Rename these first."
        raise CommandError(told)
    return found


# --- what comes of it


def _notes(
    value: Any, found: Split, places: Sequence[str], decorator: AppDecorator | None, failure: str | None
) -> Iterator[str]:
    name = found.function.__name__
    last = max(number for number, each in enumerate(places) if each == "block")
    for verdict, place in zip(found.verdicts[:last], places, strict=False):
        node = verdict.node
        if place == "both":
            yield f"Line {node.lineno} is in both halves: what it imports may be bound anew where it is imported from."
        if verdict.place != "body" or isinstance(node, ast.Import | ast.ImportFrom | ast.Pass):
            continue
        line = found.verdicts[last].node.lineno
        if isinstance(node, ast.If | ast.Assert):
            told = "now the context is built first, for calls that the guard ends as well"
            yield f"Line {node.lineno}, a guard, ran before line {line}: {told}."
        else:
            yield f"Line {node.lineno} ran before line {line}, and runs after the block now."
    if failure is not None:
        told = "whether calls may share it was not seen. Look at what it makes before you use it"
        yield f"The context could not be built here ({failure}), so {told}."
    if isinstance(value, ContextApp):
        yield "A build that fails is an error now; calls of a context that is found run undivided then."
    if decorator is None:
        yield f"{name} is an app now: a call gives a future; {name}.func(...) runs here, without Parsl."
    elif decorator.checks:
        yield "check= is gone: it is for contexts that are found."
    if paths := [each for each in literal_paths(found) if os.path.exists(each)]:
        yield f"The block reads what it names once: a change of {', '.join(paths)} is not seen while a context is kept."
