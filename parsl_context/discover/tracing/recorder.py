"""Notes what this process imports, opens and maps, from a moment on. Linux only, for what is mapped."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from parsl_context.discover.tracing.data import Imported, Opened

_CODE = (".py", ".pyc", ".pyi", ".pth", ".so")
_OF_INSTALLING = ".dist-info/"
_SYSTEM = ("/proc/", "/sys/", "/dev/")
_MAPS = Path("/proc/self/maps")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Recorder:
    """Listens from when it is made. There is no way to have Python not call it any more: see `sys.addaudithook`.

    Parameters
    ----------
    folder
        Of files that do not count.

    Attributes
    ----------
    during : str
        What is being done now, for people.
    """

    def __init__(self, folder: str) -> None:
        self.during = ""
        self._folder = f"{folder}/"
        self._began = time.monotonic()
        self._is_listening = True
        self._opened: dict[str, tuple[str, float]] = {}
        self._written: set[str] = set()
        self._before = set(sys.modules)
        self._met: dict[str, str] = {}
        self._mapped = set(_mapped_files())
        sys.addaudithook(self._hear)

    def look(self) -> None:
        """Put down what was imported since the last look as imported during what was done."""
        for name in list(sys.modules):
            if name not in self._before:
                self._met.setdefault(name, self.during)

    def stop(self) -> None:
        """Listen no more."""
        self.look()
        self._is_listening = False

    def imported(self) -> Iterator[Imported]:
        """Modules, in the order in which they were imported."""
        for name, during in self._met.items():
            module = sys.modules.get(name)
            if module is not None:
                yield Imported(name, _file_of(module), during)

    def opened(self) -> Iterator[Opened]:
        """Files that Python code opened and that are no modules, in the order in which it did."""
        for path, (during, at_s) in self._opened.items():
            if self._counts(path) and os.path.isfile(path):
                yield Opened(path, during, at_s, _size_of(path), path in self._written)

    def mapped(self) -> tuple[list[Opened], list[Opened]]:
        """Shared libraries that are no modules, and other files, which are in memory now and were not before."""
        files = filter(None, map(_file_of, list(sys.modules.values())))
        known = self._mapped | set(map(os.path.realpath, files))  # the system tells where links lead to
        new = [path for path in dict.fromkeys(_mapped_files()) if path not in known]
        libraries = [Opened(path, size_bytes=_size_of(path)) for path in new if _is_library(path)]
        return libraries, [Opened(path, size_bytes=_size_of(path)) for path in new if not _is_library(path)]

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if event != "open" or not self._is_listening:
            return
        path, mode, flags = args
        if isinstance(path, int) or path is None:
            return
        try:
            known = os.path.abspath(os.fsdecode(path))
        except (TypeError, ValueError, OSError):
            return  # it cannot be opened either
        self._opened.setdefault(known, (self.during, time.monotonic() - self._began))
        if (isinstance(mode, str) and set(mode) & set("wax+")) or (not mode and flags & _WRITING):
            self._written.add(known)

    def _counts(self, path: str) -> bool:
        is_ours = path.startswith(self._folder) and "/trees/" not in path
        return not (is_ours or path.startswith(_SYSTEM) or path.endswith(_CODE) or _OF_INSTALLING in path)


def _file_of(module: Any) -> str | None:
    file = getattr(module, "__file__", None)
    return file if isinstance(file, str) else None


def _is_library(path: str) -> bool:
    return ".so" in os.path.basename(path)


def _size_of(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None


def _mapped_files() -> list[str]:
    try:
        lines = _MAPS.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []
    fields = (line.split(maxsplit=5) for line in lines)
    paths = (each[5] for each in fields if len(each) == 6 and each[5].startswith("/"))
    return [path for path in paths if os.path.isfile(path)]
