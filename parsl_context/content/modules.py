"""Which modules a worker can be expected to have: what a fresh interpreter finds, not what lies beside the script."""

from __future__ import annotations

import enum
import functools
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path


class Home(enum.Enum):
    """Where the code of a module is."""

    INSTALLED = enum.auto()  # a worker has it
    CARRIED = enum.auto()  # in files of the user's, which travel
    NAMESPACE = enum.auto()  # nowhere that a worker could import it from: the script, or a module made by code


_homes: dict[str, Home] = {}


def home_of(name: object) -> Home:
    """Where the code of a module is; what is not loaded is left to those who find it."""
    if not isinstance(name, str):
        return Home.INSTALLED
    found = _homes.get(name)
    if found is None:
        if name != "__main__" and name not in sys.modules:
            return Home.INSTALLED
        found = _homes[name] = _find_home(name)
    return found


def _find_home(name: str) -> Home:
    top = name.partition(".")[0]
    if top == "parsl_context":
        return Home.INSTALLED
    if name in ("__main__", "__mp_main__") or (top in sys.modules and _is_made_by_code(sys.modules[top])):
        return Home.NAMESPACE
    return Home.INSTALLED if top not in sys.modules or is_installed(top) else Home.CARRIED


def _is_made_by_code(module: object) -> bool:
    return all(getattr(module, name, None) is None for name in ("__file__", "__path__", "__spec__"))


@functools.lru_cache(maxsize=4096)
def is_installed(name: str | None) -> bool:
    """Whether a loaded module belongs to the standard library, an installed distribution, or PYTHONPATH."""
    if name is None or name == "__main__":
        return False
    top = name.partition(".")[0]
    module = sys.modules.get(top)
    if module is None:
        return False
    locations = locations_of(module)
    return not locations or lie_where_installed(locations, top)


@functools.lru_cache(maxsize=4096)
def is_library(name: object) -> bool:
    """Whether a module is of Python or of a distribution that is installed as such, by its name.

    What is in PYTHONPATH or installed to be edited is found by workers, too, but it is written by those who use it.
    """
    if not isinstance(name, str) or name in ("__main__", "__mp_main__"):
        return False
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top == "parsl_context":
        return True
    module = sys.modules.get(top)
    if module is None:
        return False
    return lie_in_libraries(locations_of(module))


def locations_of(module: object) -> list[str]:
    """Where a module lies; a namespace package has several places, and what was made by code none."""
    file = getattr(module, "__file__", None)
    return [file] if file is not None else list(getattr(module, "__path__", []))


def lie_in_libraries(locations: Iterable[str]) -> bool:
    """Whether a module at one of these places is of Python or of an installed distribution."""
    roots = _library_roots()
    return any(path.startswith(roots) or _resolved(path).startswith(roots) for path in locations)


@functools.cache
def _library_roots() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    roots = {paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")} | _sites()
    roots |= set(map(_resolved, roots))
    return tuple(f"{root}/" for root in roots)


def _sites() -> set[str]:
    return {path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")}


def settle_python_path() -> None:
    """PYTHONPATH is what it is now, whatever it is made to be for children of this process."""
    _python_path()


def lie_where_installed(locations: Iterable[str], top: str) -> bool:
    """Whether a module at one of these places is found by a worker, too.

    Parameters
    ----------
    top
        Name of the module, or of the package that it belongs to.
    """
    return any(_lies_in_a_root(path) or _is_on_python_path(path, top) for path in locations)


def _lies_in_a_root(path: str) -> bool:
    roots = _installed_roots()
    if os.pardir not in path and path.startswith(roots):
        return True  # nearly always; to follow the links on its way costs more than all the rest of a first call
    return _resolved(path).startswith(roots)


def _is_on_python_path(path: str, top: str) -> bool:
    """Whether a module lies where a worker with our PYTHONPATH finds it, rather than somewhere below."""
    places = (f"{root}/{top}" for root in _python_path())
    return any(path == place or path.startswith((f"{place}/", f"{place}.")) for place in places)


@functools.cache
def _python_path() -> tuple[str, ...]:
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return tuple({os.path.abspath(path) for path in paths} | set(map(_resolved, paths)))


@functools.cache
def _installed_roots() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    roots = {paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    sites = _sites()
    roots |= sites
    for site in sites:
        roots |= set(_path_files(Path(site)))
    roots |= set(_editable_sources())
    roots |= set(map(_resolved, roots))
    return tuple(root + suffix for root in roots for suffix in ("/", ".py"))


def _path_files(site: Path) -> Iterator[str]:
    for file in site.glob("*.pth"):
        for line in file.read_text(errors="replace").splitlines():
            if line and not line.startswith(("#", "import ", "import\t")) and Path(site, line).is_dir():
                yield str(Path(site, line))


def _editable_sources() -> Iterator[str]:
    """Places named by the finders that setuptools installs for editable packages (PEP 660)."""
    for name, module in list(sys.modules.items()):
        if name.startswith("__editable__") and isinstance(getattr(module, "MAPPING", None), dict):
            yield from module.MAPPING.values()


def _resolved(path: str) -> str:
    return str(Path(path).resolve())
