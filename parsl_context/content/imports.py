"""Modules that code imports, also in functions that have not run."""

from __future__ import annotations

import importlib.util
import modulefinder
import sys
import types
from collections.abc import Iterator
from typing import Any

_IMPORTERS = {"import_module", "__import__", "find_spec"}
_FINDER = modulefinder.ModuleFinder()


def in_code(code: types.CodeType, names: dict[str, Any]) -> set[str]:
    """Full names of the modules that some code may import, and of what may be modules: `from a import b` may mean a.b.

    Parameters
    ----------
    names
        The globals of the code, which tell to which package it belongs.
    """
    return set(_found(code, package_of(names)))


def package_of(names: dict[str, Any]) -> str:
    """The package that relative imports start from."""
    package = names.get("__package__")
    if isinstance(package, str):
        return package
    name = str(names.get("__name__"))
    return name if "__path__" in names else name.rpartition(".")[0]


def _found(code: types.CodeType, package: str) -> Iterator[str]:
    for kind, what in _FINDER.scan_opcodes(code):
        if kind == "absolute_import":
            yield from _with_parts(what[1], what[0])
        elif kind == "relative_import":
            level, parts, name = what
            try:
                yield from _with_parts(importlib.util.resolve_name("." * level + name, package), parts)
            except ImportError:
                continue  # it fails when it runs, too
    imports_by_text = not _IMPORTERS.isdisjoint(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _found(constant, package)
        elif isinstance(constant, str) and (constant in sys.modules or imports_by_text):
            yield constant


def _with_parts(name: str, parts: tuple[str, ...] | None) -> Iterator[str]:
    yield name
    for part in parts or ():
        if part != "*":
            yield f"{name}.{part}"
