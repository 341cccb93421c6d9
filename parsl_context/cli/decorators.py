"""Which decorator makes a function an app, and what of it stays when the function gets a block."""

from __future__ import annotations

import ast
import inspect
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import parsl

from parsl_context.apps.app import context_app
from parsl_context.cli.errors import CommandError
from parsl_context.discover.sources import Source

_DROPPED = ("function", "discover", "check")  # what a block does not take


@dataclass(frozen=True)
class AppDecorator:
    """The decorator that makes an app.

    Attributes
    ----------
    number : int
        Which of those of the function.
    is_parsls : bool
        Whether it is Parsl's `python_app`, and not `context_app`.
    keywords : tuple of (int, str)
        Its positional arguments by their index, and the names that these have.
    dropped : tuple of int
        Arguments that a function with a block does not take.
    checks : bool
        Whether some calls run both ways.
    """

    number: int
    is_parsls: bool
    keywords: tuple[tuple[int, str], ...] = ()
    dropped: tuple[int, ...] = ()
    checks: bool = False


def decorator_of(source: Source, *, is_app: bool) -> AppDecorator | None:
    """The decorator that makes a function an app; None for a function that is none.

    Raises
    ------
    CommandError
        If there are others that could do anything, or what makes it an app is no decorator.
    """
    name, decorators = source.function.__name__, source.node.decorator_list
    for number, node in enumerate(decorators):
        value = value_of(node.func if isinstance(node, ast.Call) else node, source.value_of)
        if value is parsl.python_app or value is context_app:
            return _described(number, node, name, is_parsls=value is parsl.python_app)
    if is_app:
        raise CommandError(f"{name} becomes an app by other means than @python_app or @context_app: write it by hand.")
    for node in decorators:
        if value_of(node, source.value_of) is not staticmethod:
            raise CommandError(
                f"{name} has the decorator @{ast.unparse(node)}, and whether that takes an app is not known. Write "
                "@context_app and the block by hand."
            )
    return None


def value_of(node: ast.expr, known: Callable[[str], Any]) -> Any:
    """What a dotted name stands for; None if it is none.

    Parameters
    ----------
    known
        Gives what a name stands for, or raises a NameError.
    """
    match node:
        case ast.Name(id=name):
            try:
                return known(name)
            except NameError:
                return None
        case ast.Attribute(value=inner, attr=name):
            module = value_of(inner, known)
            return getattr(module, name, None) if isinstance(module, types.ModuleType) else None
    return None


def _described(number: int, node: ast.expr, name: str, *, is_parsls: bool) -> AppDecorator:
    if not isinstance(node, ast.Call):
        return AppDecorator(number, is_parsls)
    known = list(inspect.signature(parsl.python_app).parameters)
    given = [*known[: len(node.args)], *(each.arg for each in node.keywords)]
    is_hidden = None in given and not is_parsls and "discover" not in given
    if is_hidden or any(isinstance(each, ast.Starred) for each in node.args) or len(node.args) > len(known):
        raise CommandError(
            f"What the decorator of {name} is given (@{ast.unparse(node)}) is not seen in its text. Write it by hand."
        )
    return AppDecorator(
        number,
        is_parsls,
        keywords=tuple((n, known[n]) for n in range(1, len(node.args))),
        dropped=tuple(n for n, each in enumerate(given) if each in _DROPPED),
        checks="check" in given,
    )
