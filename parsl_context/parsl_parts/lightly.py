"""Parts of Parsl without the whole of it, in processes whose start somebody waits for.

``import parsl.curvezmq`` first runs ``parsl/__init__.py``, which imports the DataFlowKernel, every executor and
provider, the monitoring database: more than a second of CPU, of which an interchange and a manager need nothing. They
put such packages off (`put_off`), import the modules they need, and then say so (`settle`). From then on Parsl is
completed by whoever asks for more of it, a log configuration of the user for instance: first everything in the order
in which Parsl itself imports it, because its modules import each other in circles.

A zygote completes Parsl for the code of users (`complete_for_users`), but for what Parsl imports and hardly any task
needs: that would be half of the time, 20 MB in each worker, and half of what a fork costs.
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
# What Parsl imports from others for functions that neither we nor most tasks call.
RARE = ("filelock", "requests")
# Of the process that writes the monitoring database; the second is what it imports.
_RARE_FUNCTION = ("parsl.monitoring.db_manager", "dbm_starter")
_RARE_IF = "sqlalchemy"


def put_off(packages: Sequence[str] = (*PACKAGES, *RARE)) -> None:
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


def settle(packages: Sequence[str] = PACKAGES, rare: Sequence[str] = RARE) -> None:
    """Complete these packages before any further module of theirs is imported; the rare ones each by itself."""
    sys.meta_path[:0] = [_Completer(packages), *(_Completer([name]) for name in rare)]


def complete(packages: Sequence[str] = PACKAGES) -> None:
    """Run what was put off."""
    for name in packages:
        module = sys.modules.get(name)
        if isinstance(module, _PutOff) and not _is_being_run(name):
            _run(module)


def complete_for_users(packages: Sequence[str] = PACKAGES) -> None:
    """Run what was put off of Parsl; what tasks hardly ever need loads when one does."""
    module, function = _RARE_FUNCTION
    is_rare = module not in sys.modules and importlib.util.find_spec(_RARE_IF) is not None
    if is_rare:
        stands_in = sys.modules[module] = types.ModuleType(module)
        setattr(stands_in, function, _Later(module, function))
    try:
        complete(packages)
    finally:
        if is_rare:
            del sys.modules[module]


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


class _Later:
    """A function of a module that is imported when it is called, or has come to another process."""

    def __init__(self, module: str, name: str) -> None:
        self._named = module, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _function(*self._named)(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return _function, self._named


def _function(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


_ASKED_BY_USERS = ("__all__", "__version__")  # by others than those who look through all modules


class _PutOff(types.ModuleType):
    """A package whose ``__init__`` has not been run."""

    def __getattr__(self, name: str) -> Any:
        # Asked for what is not there yet: a module of the package, or something that its `__init__` defines.
        if (name.startswith("__") and name not in _ASKED_BY_USERS) or _is_being_run(self.__name__):
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
