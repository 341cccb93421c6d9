"""Costly state kept warm for Parsl apps: contexts, discovered, distributed and retained.

The public names are imported when they are first used: the interchange and the managers are modules of this package,
too, and somebody waits for their start.
"""

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parsl_context.app import ContextApp, context_app
    from parsl_context.context import Context, context
    from parsl_context.errors import (
        ConfigurationError,
        ContextBuildError,
        ContextIsolationError,
        ContextSerializationError,
        ExecutorClosedError,
        FileFetchError,
        InterchangeLost,
        ManagerLost,
        ParslContextError,
        PayloadLostError,
        UnservableTaskError,
        WorkerLost,
    )
    from parsl_context.executor import ContextExecutor
    from parsl_context.messages import ContextRow
    from parsl_context.mpi import ContextMPIExecutor
    from parsl_context.portable import context_dirty

__version__ = "0.1.0"

__all__ = [
    "ConfigurationError",
    "Context",
    "ContextApp",
    "ContextBuildError",
    "ContextExecutor",
    "ContextIsolationError",
    "ContextMPIExecutor",
    "ContextRow",
    "ContextSerializationError",
    "ExecutorClosedError",
    "FileFetchError",
    "InterchangeLost",
    "ManagerLost",
    "ParslContextError",
    "PayloadLostError",
    "UnservableTaskError",
    "WorkerLost",
    "context",
    "context_app",
    "context_dirty",
]

_HOMES = {
    "Context": "context",
    "ContextApp": "app",
    "ContextExecutor": "executor",
    "ContextMPIExecutor": "mpi",
    "ContextRow": "messages",
    "context": "context",
    "context_app": "app",
    "context_dirty": "portable",
}  # all others are errors


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = importlib.import_module(f"{__name__}.{_HOMES.get(name, 'errors')}")
    value = getattr(home, name)
    if name != "context":
        globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(types.ModuleType):
    """`context` is a function as well as a module of the package; that this is imported must not hide the function."""

    @property
    def context(self) -> Any:
        return __getattr__("context")

    @context.setter
    def context(self, module: types.ModuleType) -> None:
        pass


sys.modules[__name__].__class__ = _Package
