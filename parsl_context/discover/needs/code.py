"""What a code object says without being run: its imports, and texts that it gives to functions, each with its line."""

from __future__ import annotations

import dis
import importlib.util
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from parsl_context.content.modules import Home, home_of

_IMPORTERS = {"import_module", "__import__"}
_BETWEEN = {"PUSH_NULL", "EXTENDED_ARG", "CACHE", "NOP"}  # differ between versions of Python, and say nothing
_WITH_CONSTANTS = set(dis.hasconst)  # Python 3.12 returns some without loading them
_GLOBAL = {"LOAD_GLOBAL", "LOAD_NAME"}


@dataclass(frozen=True)
class Import:
    """An import of a module, by its full name; `parts` may be modules in it, or other names of it."""

    name: str
    line: int
    parts: tuple[str, ...] = ()

    @property
    def has_star(self) -> bool:
        """Whether it is ``from module import *``."""
        return self.parts == ("*",)


@dataclass(frozen=True)
class Text:
    """A text in code, and the name of the function that it is first argument of, if any."""

    text: str
    line: int
    taker: str | None = None


def imports_in(code: types.CodeType, package: str) -> Iterator[Import]:
    """Imports in some code and in all code inside it.

    Parameters
    ----------
    package
        That relative imports start from.
    """
    for each in codes_in(code):
        steps = list(_steps(each))
        for index, (line, step) in enumerate(steps):
            if step.opname == "IMPORT_NAME" and index >= 2:
                level, parts = steps[index - 2][1].argval, steps[index - 1][1].argval
                name = _absolute("." * level + step.argval, package)
                if name:
                    yield Import(name, line, parts or ())
        for text in _texts(steps):
            name = _absolute(text.text, package) if text.taker in _IMPORTERS else ""
            if name and all(part.isidentifier() for part in name.split(".")):
                yield Import(name, text.line)


def texts_in(code: types.CodeType) -> Iterator[Text]:
    """Texts in some code and in all code inside it; not its documentation."""
    for each in codes_in(code):
        yield from _texts(list(_steps(each)))


def modules_in(texts: Iterable[Text]) -> Iterator[Import]:
    """Texts that are names of modules of the user's which are loaded: code asks for their data files, say."""
    for text in texts:
        if home_of(text.text) is Home.CARRIED:
            yield Import(text.text, text.line)


def lines_of_names(code: types.CodeType) -> dict[str, int]:
    """The first line that uses each global name, also in code inside it."""
    found: dict[str, int] = {}
    for each in codes_in(code):
        for line, step in _steps(each):
            if step.opname in _GLOBAL:
                found.setdefault(step.argval, line)
    return found


def codes_in(code: types.CodeType) -> Iterator[types.CodeType]:
    """Some code, and all code inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes_in(constant)


def _steps(code: types.CodeType) -> Iterator[tuple[int, dis.Instruction]]:
    starts = dict(dis.findlinestarts(code))
    line = code.co_firstlineno
    for step in dis.get_instructions(code):
        line = starts.get(step.offset) or line
        if step.opname not in _BETWEEN:
            yield line, step


def _texts(steps: list[tuple[int, dis.Instruction]]) -> Iterator[Text]:
    taker: str | None = None
    for line, step in steps:
        is_constant = step.opcode in _WITH_CONSTANTS
        if is_constant:
            for text in _strings(step.argval):
                yield Text(text, line, taker if text is step.argval else None)
        is_name = step.opname.startswith("LOAD_") and isinstance(step.argval, str) and not is_constant
        taker = step.argval if is_name else None


def _strings(constant: object) -> Iterator[str]:
    if isinstance(constant, str):
        yield constant
    elif isinstance(constant, tuple | frozenset):
        for each in constant:
            yield from _strings(each)


def _absolute(name: str, package: str) -> str:
    try:
        return importlib.util.resolve_name(name, package)
    except (ImportError, ValueError):
        return ""  # it fails when it runs, too
