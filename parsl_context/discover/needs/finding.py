"""`needs_of`: puts together what a function reaches, where its modules are, and how large its values are."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import Any

from parsl.data_provider.files import File

from parsl_context.content.statics import bound_anew
from parsl_context.discover.needs.code import Text
from parsl_context.discover.needs.data import Captured, FunctionNeeds, NeededPath, Where
from parsl_context.discover.needs.modules import Sorted, sort_modules
from parsl_context.discover.needs.objects import name_of
from parsl_context.discover.needs.reach import Reached, TakeApart, reach
from parsl_context.discover.needs.sizes import LIMIT_S, describe
from parsl_context.discover.needs.sources import is_path

_LIMIT_S = 5.0  # for the sizes of all captured values together
_OPENERS = {"open", "File", "Path", "read_text", "read_bytes", "read_csv", "load", "loadtxt"}


def needs_of(function: Any, *, take_apart: TakeApart = lambda value: None) -> FunctionNeeds:
    """What a function needs, as its code and the objects that it knows say it.

    Parameters
    ----------
    function
        A function, a Parsl app, or any object that code is in.
    take_apart
        Gives the parts of objects that are made of functions: see `reach`.

    Notes
    -----
    Pickles captured values to see how large they are, at most a fifth of a second each and five seconds in all; it
    waits for what their own code does meanwhile.
    """
    reached = reach(function, take_apart)
    found = sort_modules(reached.wanted)
    return FunctionNeeds(
        name=name_of(function),
        modules=tuple(sorted(found.modules.values(), key=lambda each: each.name)),
        distributions=tuple(sorted(found.distributions.values(), key=lambda each: each.name.lower())),
        captured=tuple(sorted(_captured(reached, found), key=lambda each: -(each.size_bytes or 0))),
        paths=tuple(_paths(reached, found)),
        lacking=tuple(sorted(found.lacking.values(), key=lambda each: (each.is_optional, each.name))),
    )


def requirements(function: Any) -> list[str]:
    """Lines for pip: the installed distributions that a function needs, in the versions that are installed here.

    Only what code of the user's imports; what libraries import in turn is theirs to say.

    Parameters
    ----------
    function
        As of `needs_of`, or a context app.
    """
    own = getattr(type(function), "requirements", None)  # context apps know what they are made of
    return list(own(function)) if own is not None else needs_of(function).requirements


def _captured(reached: Reached, found: Sorted) -> Iterator[Captured]:
    until = time.monotonic() + _LIMIT_S
    changed = (
        (name, "changed", module.name, value)
        for module in found.modules.values()
        if module.is_carried
        for name, value in bound_anew(module.name).items()
    )
    for known in [*((each.name, each.kind, each.owner, each.value) for each in reached.values), *changed]:
        yield describe(*known, limit_s=min(LIMIT_S, until - time.monotonic()))


def _paths(reached: Reached, found: Sorted) -> list[NeededPath]:
    """Each path once, in order."""
    given = ((_path(value), isinstance(value, File), where) for value, where in reached.files)
    made = [_describe(path, "File" if is_file else "path", where) for path, is_file, where in given]
    for file, text in _path_texts([*reached.texts, *found.texts]):
        made.append(_describe(text.text, "File" if text.taker == "File" else "path", Where(file, text.line)))
    return sorted({each.path: each for each in reversed(made)}.values(), key=lambda each: each.path)


def _path_texts(texts: Iterable[tuple[str, Text]]) -> Iterator[tuple[str, Text]]:
    for file, text in texts:
        is_opened = text.taker in _OPENERS and _looks_like_a_path(text.text)
        if is_opened or is_path(text.text):
            yield file, text


def _looks_like_a_path(text: str) -> bool:
    return 0 < len(text) < 4096 and "\n" not in text and bool("/" in text or os.path.splitext(text)[1])


def _path(value: Any) -> str:
    if isinstance(value, File):
        return str(value.local_path or (value.path if value.scheme == "file" else value.url))
    return str(os.fspath(value))


def _describe(path: str, kind: str, where: Where | None) -> NeededPath:
    try:
        size_bytes = os.stat(path).st_size if os.path.isfile(path) else None
        exists = os.path.exists(path)
    except (OSError, ValueError):
        exists, size_bytes = False, None
    return NeededPath(path, kind, exists, size_bytes, where)
