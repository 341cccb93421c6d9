"""The user's modules as files: those that some code needs, with what they import, as the script has loaded them.

A package travels whole, with its data files. What a file held when it was first carried is what travels from then on,
until the script loads the module anew; so a worker sees what the script sees, and not what the editor has saved.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.machinery
import importlib.util
import itertools
import logging
import os
import sys
import threading
import types
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parsl_context.content import imports
from parsl_context.content.carried import Tree
from parsl_context.content.digests import digest_bytes
from parsl_context.content.modules import Home, home_of, is_installed, lie_where_installed
from parsl_context.errors import CarriedCodeError
from parsl_context.wire.messages import Digest

logger = logging.getLogger(f"parsl.{__name__}")

# What is larger is data, and better given as a File.
MAX_PACKAGE_BYTES = 256 << 20
_LEFT_OUT = {"__pycache__", "node_modules"}
_COMPILED = tuple(importlib.machinery.EXTENSION_SUFFIXES)


@dataclass
class _Module:
    """A module that is carried."""

    name: str
    spec: Any  # that it was loaded with; None if it is not loaded
    place: Place
    source: bytes
    is_checked: bool  # it is what the user's process has loaded

    @functools.cached_property
    def code(self) -> types.CodeType | None:
        """What importing it runs, if that is known."""
        if self.place.file is None or not self.place.file.endswith((".py", ".pyw")):
            return None
        try:
            return compile(self.source, self.place.file, "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            return None  # the worker that imports it says so

    @functools.cached_property
    def imports(self) -> frozenset[str]:
        """Full names of what it may import."""
        if self.code is None:
            return frozenset()
        package = self.name if self.place.is_package else self.name.rpartition(".")[0]
        return frozenset(imports.in_code(self.code, {"__package__": package}))

    def check(self) -> None:
        """Make sure that it is what the user's process has loaded.

        Raises
        ------
        CarriedCodeError
            If not.
        """
        if not self.is_checked and self.spec is not None and self.place.file is not None:
            _check_unchanged(self.name, self.place.file, self.code)
        self.is_checked = True


@dataclass
class _Unit:
    """A top-level module or package."""

    origin: str  # the folder that it lies in
    files: dict[str, Digest] = field(default_factory=dict)
    modules: dict[str, _Module] = field(default_factory=dict)


class Project:
    """Modules of the user's that were carried so far. Thread-safe.

    Parameters
    ----------
    is_carried
        Whether a module is carried, by the name of its top-level package and its place; `is_users` if not given.
    """

    def __init__(self, is_carried: Callable[[str, Place], bool] | None = None) -> None:
        self._is_carried = is_carried or is_users
        self._units: dict[str, _Unit] = {}
        self._content: dict[Digest, bytes] = {}
        self._foreign: set[str] = set()  # that workers have, or nobody has
        self._numbers = itertools.count(1)
        self._tree: Tree | None = None
        self._lock = threading.RLock()

    def tree(
        self, names: Iterable[str], also: Iterable[str] = ()
    ) -> tuple[Tree | None, Mapping[Digest, bytes], Collection[str]]:
        """A tree that has these modules and what they import.

        Parameters
        ----------
        names
            Modules; others may be among them, and names that are none.
        also
            Modules that are to be there if they can be carried.

        Returns
        -------
        Tree or None
            None if none of them is the user's.
        mapping
            Content by digest.
        collection
            Modules to be looked at again: those that are in the tree, and those that nobody could import now.

        Raises
        ------
        CarriedCodeError
            If a module was changed on disk after it was loaded, or is too large to be carried.
        """
        with self._lock:
            waiting = list(names)
            met: set[str] = set()
            reached = []
            missing = []
            while waiting:
                name = waiting.pop()
                if name in met or name in self._foreign:
                    continue
                met.add(name)
                found = self._module(name)
                if found is None:
                    if name not in self._foreign and name.partition(".")[0] not in sys.modules:
                        missing.append(name)
                    continue
                found.check()
                reached.append(name)
                waiting += found.imports
                waiting += _parents(name)
            for name in also:
                with contextlib.suppress(CarriedCodeError, OSError):
                    self._module(name)
            if not self._units:
                return None, {}, missing
            files = {path: digest for unit in self._units.values() for path, digest in unit.files.items()}
            if self._tree is None or files != self._tree.files:
                origins = {name: unit.origin for name, unit in self._units.items()}
                self._tree = Tree(next(self._numbers), files, origins)
                kept = set(files.values())
                self._content = {digest: data for digest, data in self._content.items() if digest in kept}
            return self._tree, self._content, reached + missing

    def _module(self, name: str) -> _Module | None:
        """A module, read now if it is new or was loaded anew; None if it is none of the user's."""
        top = name.partition(".")[0]
        loaded = sys.modules.get(name)
        spec = getattr(loaded, "__spec__", None)
        unit = self._units.get(top)
        found = None if unit is None else unit.modules.get(name)
        if found is not None and (found.spec is spec or loaded is None):
            return found
        place = file_of(name)
        if place is None or not self._is_carried(top, place):
            if found is None and (loaded is not None or (place is not None and "." not in name)):
                self._foreign.add(name)
                if place is None and home_of(name) is Home.CARRIED:
                    logger.warning(
                        "Module %s has no file of its own and is not carried: workers cannot import it", name
                    )
            return None
        return self._read(name, top, place, spec, is_checked=found is not None and found.spec is not None)

    def _read(self, name: str, top: str, place: Place, spec: Any, *, is_checked: bool) -> _Module:
        unit = self._unit(top, name, place)
        source = b""
        if place.file is not None and place.file.endswith(_COMPILED):
            logger.warning(
                "Module %s is compiled (%s) and is not carried: install it where the workers run", name, place.file
            )
        elif place.file is not None:
            source = Path(place.file).read_bytes()
            self._keep(unit, place.path, source)
        made = unit.modules[name] = _Module(name, spec, place, source, is_checked=is_checked)
        return made

    def _unit(self, top: str, name: str, place: Place) -> _Unit:
        unit = self._units.get(top)
        if unit is None:
            parts = name.count(".") + (1 if place.is_package else 0)
            start = Path(place.file) if place.file is not None else Path(place.locations[0], "_")
            unit = _Unit(str(start.parents[parts]))
            package = file_of(top)
            if package is not None and package.is_package and package.file is not None:
                self._read_whole(unit, top, Path(package.file).parent)
            self._units[top] = unit
        return unit

    def _read_whole(self, unit: _Unit, top: str, folder: Path) -> None:
        size = 0
        for path in _files_in(folder):
            data = path.read_bytes()
            size += len(data)
            if size > MAX_PACKAGE_BYTES:
                raise CarriedCodeError(
                    f"Package {top} ({folder}) holds more than {MAX_PACKAGE_BYTES >> 20} MB and cannot be carried to "
                    "workers. Keep its data elsewhere and give it as a File, or install the package there."
                )
            self._keep(unit, f"{top}/{path.relative_to(folder).as_posix()}", data)

    def _keep(self, unit: _Unit, path: str, data: bytes) -> None:
        digest = digest_bytes(data)
        unit.files[path] = digest
        self._content[digest] = data


@dataclass(frozen=True)
class Place:
    """Where a module lies."""

    path: str  # of its file, relative to the folder of its top-level package; by its name, not by where it was found
    file: str | None  # None for a package without __init__.py
    is_package: bool
    locations: tuple[str, ...]


def file_of(name: str) -> Place | None:
    """Where a module lies that is loaded, or would be found by an import here. Nothing is imported for it."""
    if name == "__main__" or not all(part.isidentifier() for part in name.split(".")):
        return None
    loaded = sys.modules.get(name)
    spec = getattr(loaded, "__spec__", None)
    if spec is None and loaded is not None:
        file = getattr(loaded, "__file__", None)
        return None if file is None else _place(name, file, getattr(loaded, "__path__", None))
    if spec is None:
        spec = _find_spec(name)
    if spec is None or spec.origin in ("built-in", "frozen"):
        return None
    file = spec.origin if spec.has_location else None
    return _place(name, file, spec.submodule_search_locations)


def is_users(top: str, place: Place) -> bool:
    """Whether a module, or the package that it belongs to, is none that a worker can be expected to have.

    Parameters
    ----------
    top
        Name of its top-level package.
    """
    if top in sys.modules and top != "__main__":
        return not is_installed(top)
    return not lie_where_installed(place.locations, top)


def _place(name: str, file: str | None, parts: Iterable[str] | None) -> Place | None:
    path = name.replace(".", "/")
    if file is None:
        locations = tuple(parts or ())
        return Place(path, None, is_package=True, locations=locations) if locations else None
    if not os.path.isfile(file):
        return None
    suffix = "".join(Path(file).suffixes[-1:])
    is_package = parts is not None
    path = f"{path}/__init__{suffix}" if is_package else f"{path}{suffix}"
    return Place(path, file, is_package=is_package, locations=(file,))


def _find_spec(name: str) -> Any:
    parent = name.rpartition(".")[0]
    try:
        if not parent:
            return importlib.machinery.PathFinder.find_spec(name)
        loaded = sys.modules.get(parent)
        above = getattr(loaded, "__path__", None)
        if loaded is None:
            spec = _find_spec(parent)
            above = None if spec is None else spec.submodule_search_locations
        return None if above is None else importlib.machinery.PathFinder.find_spec(name, above)
    except (ImportError, ValueError, AttributeError):
        return None


def _check_unchanged(name: str, file: str, code: types.CodeType | None) -> None:
    """Refuse a module whose file is not the one that was loaded, as far as can be told."""
    module = sys.modules[name]
    if _is_older(file, module.__spec__) or (code is not None and _runs_other_code(module, file, code)):
        raise CarriedCodeError(
            f"Module {name} ({file}) was changed after it was imported. Workers would not run what this process runs: "
            f"load it anew (importlib.reload), or start again."
        )


def _is_older(file: str, spec: Any) -> bool:
    """Whether what Python has cached of a module is of another version than its file."""
    cached = getattr(spec, "cached", None)
    if not cached or sys.dont_write_bytecode or not os.access(os.path.dirname(cached), os.W_OK):
        return False
    try:
        with open(cached, "rb") as stream:
            head = stream.read(16)
        status = os.stat(file)
    except OSError:
        return False
    was = (int.from_bytes(head[8:12], "little"), int.from_bytes(head[12:16], "little"))
    is_dated = len(head) == 16 and head[4:8] == bytes(4)
    return is_dated and was != (int(status.st_mtime) & 0xFFFFFFFF, status.st_size & 0xFFFFFFFF)


def _runs_other_code(module: types.ModuleType, file: str, code: types.CodeType) -> bool:
    """Whether a module has functions that its file does not make. Not where a loader changes code, as pytest's does."""
    if type(getattr(module.__spec__, "loader", None)) is not importlib.machinery.SourceFileLoader:
        return False
    made = set(_codes(code))
    names = list(vars(module).values())
    classes = [value for value in names if isinstance(value, type) and value.__module__ == module.__name__]
    functions = [*names, *(value for each in classes for value in vars(each).values())]
    of_module = (value for value in functions if type(value) is types.FunctionType)
    own = (value.__code__ for value in of_module if value.__module__ == module.__name__)
    return any(each.co_filename == file and each not in made for each in own)


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _files_in(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _LEFT_OUT and not name.startswith("."))
        for name in sorted(files):
            path = Path(root, name)
            if not name.endswith((".pyc", *_COMPILED)) and not name.startswith(".") and path.is_file():
                yield path


def _parents(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name
