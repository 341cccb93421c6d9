"""Apps that are written as one function whose context is found: ``@context_app(discover=True)``."""

from __future__ import annotations

import ast
import inspect
import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from parsl_context.apps.context import Context, ContextFunction
from parsl_context.apps.keys import KeyedContext, Keys
from parsl_context.apps.options import Options
from parsl_context.discover.automatic import split_by_itself
from parsl_context.discover.halves import Split
from parsl_context.discover.literals import texts_in
from parsl_context.discover.names import names_of
from parsl_context.discover.sources import source_of
from parsl_context.errors import ConfigurationError
from parsl_context.retain.undivided import EitherWay, LeadingWork

_FILES = "_files"
_MOST_PATHS = 32
_LOOKS_LIKE_A_PATH = re.compile(r"^[\w.~/@+-]*[\w-]\.\w{1,8}$|^[~.]?/?[\w.@+-]+(/[\w.@+-]+)+/?$")


class LiteralFiles(Keys):
    """Files that an automatic context names: it is another one when one of these has changed.

    Parameters
    ----------
    paths
        The files.
    signature
        What calls may give.
    """

    def __init__(self, paths: Sequence[str], signature: inspect.Signature) -> None:
        super().__init__((), signature, ())
        self.paths = tuple(paths)

    def take(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[dict[str, Any], tuple[Any, ...], dict[str, Any]]:
        """How the files are now, and the arguments of the call."""
        return {_FILES: tuple(map(_stamp, self.paths))}, args, kwargs


def parts_of(function: Any, check: int = 0) -> tuple[Split, EitherWay, Context | KeyedContext, Keys | None]:
    """A split, the body and the context of the app, and what its calls are told apart by.

    Parameters
    ----------
    check
        Calls in each process that run both ways and are compared.

    Raises
    ------
    ConfigurationError
        If that is no number of calls.
    SplitError
        If nothing of the function may become a context.
    """
    if type(check) is not int or check < 0:
        raise ConfigurationError(f"check={check!r} of an app must be a number of calls.")
    found = split_by_itself(function)
    made = ContextFunction(LeadingWork(found.context, found.terms), Options())
    made.is_block = True
    paths = list(literal_paths(found))
    body = EitherWay(found.body, found.function, check, found.terms)
    if not paths:
        return found, body, made(), None
    return found, body, KeyedContext(made, (_FILES,), {}), LiteralFiles(paths, inspect.signature(found.function))


def literal_paths(found: Split) -> Iterator[str]:
    """Texts in what has moved, and in functions of the user's that it calls, that are, or look like, paths of files."""
    moved = [each.node for each in found.verdicts if each.place != "body"]
    names = {each.id for node in moved for each in ast.walk(node) if isinstance(each, ast.Name)}
    texts = texts_in(moved, names_of(source_of(found.function)))
    paths = (each for each in texts if 1 < len(each) < 1024)
    known = dict.fromkeys(each for each in paths if _LOOKS_LIKE_A_PATH.match(each) or os.path.exists(each))
    found_paths = list(known)[:_MOST_PATHS]
    yield from found_paths
    if "sqlite3" in sys.modules or not names.isdisjoint(("sqlite3", "connect")):
        yield from (f"{each}-wal" for each in found_paths)  # where what is written to a database may be at first


def _stamp(path: str) -> tuple[str, int, int]:
    try:
        status = os.stat(os.path.expanduser(path))
    except (OSError, ValueError):
        return path, -1, -1
    return path, status.st_size, status.st_mtime_ns
