"""Parts of Parsl without the whole of it, in processes whose start somebody waits for.

``import parsl.curvezmq`` first runs ``parsl/__init__.py``, which imports the DataFlowKernel, every executor and
provider, the monitoring database: more than a second of CPU, of which an interchange and a manager need nothing. They
put such packages off (`put_off`), import the modules they need, and then say so (`settle`). From then on Parsl is
completed by whoever asks for more of it, a log configuration of the user for instance: first everything in the order
in which Parsl itself imports it, because its modules import each other in circles.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import sys
import threading
import types
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import Any

PACKAGES = ("parsl", "parsl.executors", "parsl.monitoring", "parsl.providers")


def put_off(packages: Sequence[str] = PACKAGES) -> None:
    """Run the ``__init__`` of these packages when it is needed. Parents come before their children."""
    for name in packages:
        spec = None if name in sys.modules else importlib.util.find_spec(name)
        if spec is None:
            continue  # imported already, or unknown to this version
        module = importlib.util.module_from_spec(spec)
        module.__class__ = _PutOff
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)


def settle(packages: Sequence[str] = PACKAGES) -> None:
    """Complete these packages before any further module of theirs is imported."""
    sys.meta_path.insert(0, _Completer(packages))


def complete(packages: Sequence[str] = PACKAGES) -> None:
    """Run what was put off."""
    for name in packages:
        module = sys.modules.get(name)
        if isinstance(module, _PutOff) and not _is_being_run(name):
            _run(module)


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Import without garbage collections; each would look through all that was imported before it.

    What there is at the end is frozen: later collections pass it over, and processes forked from this one share it.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


class _PutOff(types.ModuleType):
    """A package whose ``__init__`` has not been run."""

    def __getattr__(self, name: str) -> Any:
        # Asked for what is not there yet: a module of the package, or something that its `__init__` defines.
        if name.startswith("__") or _is_being_run(self.__name__):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        if importlib.util.find_spec(f"{self.__name__}.{name}") is not None:
            return importlib.import_module(f"{self.__name__}.{name}")
        complete([self.__name__])  # unless the search has led to that
        return getattr(self, name)


class _Completer(MetaPathFinder):
    """Finds nothing; it is asked before the others do."""

    def __init__(self, packages: Sequence[str]) -> None:
        self._packages = packages

    def find_spec(self, name: str, path: Any, target: types.ModuleType | None = None) -> ModuleSpec | None:
        if any(name.startswith(f"{package}.") for package in self._packages):
            complete(self._packages)
        return None


_being_run: set[tuple[str, int]] = set()  # packages, and the threads that run them


def _is_being_run(name: str) -> bool:
    return (name, threading.get_ident()) in _being_run


def _run(module: types.ModuleType) -> None:
    assert module.__spec__ is not None
    assert module.__spec__.loader is not None
    running = (module.__name__, threading.get_ident())
    _being_run.add(running)
    try:
        module.__spec__.loader.exec_module(module)
        module.__class__ = types.ModuleType
    finally:
        _being_run.discard(running)
