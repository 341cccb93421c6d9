"""Texts of files, as far as they are known: what their lines import, and what looks like the path of a file."""

from __future__ import annotations

import functools
import linecache
import os
from collections.abc import Iterator
from typing import Any

from parsl_context.discover.needs.code import imports_in
from parsl_context.discover.needs.data import Where
from parsl_context.discover.needs.guards import Guards, guards_of


class Source:
    """The text of a file, as far as it is known."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._text = "".join(linecache.getlines(file))

    @functools.cached_property
    def guards(self) -> Guards:
        """Lines that do not run, and those that may fail."""
        return guards_of(self._text)

    @functools.cached_property
    def _lines(self) -> dict[str, int]:
        """The first line that imports each module."""
        try:
            code = compile(self._text, self._file, "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            return {}
        found: dict[str, int] = {}
        for each in imports_in(code, ""):
            if each.line not in self.guards.never:
                for name in (*with_parents(each.name), *(f"{each.name}.{part}" for part in each.parts)):
                    found.setdefault(name, each.line)
        return found

    def line_of(self, module: str) -> Where | None:
        """The line that imports a module, or else a package that it is in."""
        lines = [self._lines[name] for name in with_parents(module) if name in self._lines]
        return Where(self._file, lines[-1]) if lines else None


@functools.lru_cache(maxsize=64)
def _read(file: str, key: Any) -> Source:
    return Source(file)


def source_of(file: str) -> Source:
    """The text of a file as it is now."""
    # A cell that is run again, or a file that was changed, has another entry there.
    linecache.getlines(file)
    entry = linecache.cache.get(file)
    return _read(file, None if entry is None else entry[:2])


def is_path(text: str) -> bool:
    """Whether a text looks like a path, and there is something at it."""
    if not 2 < len(text) < 4096 or "\n" in text or not ("/" in text.strip("/") or os.path.splitext(text)[1]):
        return False
    try:
        return os.path.exists(text)
    except ValueError:
        return False


def with_parents(name: str) -> Iterator[str]:
    """The packages that a module is in, the outermost first, and itself."""
    parts = name.split(".")
    yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1))
