"""Costly state kept warm for Parsl apps: contexts, discovered, distributed and retained.

The public names are imported when they are first used: the interchange and the managers are modules of this package,
too, and somebody waits for their start.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parsl_context.apps.app import ContextApp, context_app
    from parsl_context.apps.context import Context
    from parsl_context.apps.decorator import context
    from parsl_context.apps.lexical import split
    from parsl_context.apps.portable import context_dirty
    from parsl_context.errors import (
        BatchResultError,
        BlockStartError,
        BodyExitError,
        CarriedCodeError,
        ConfigurationError,
        ContextBuildError,
        ContextDriftWarning,
        ContextIsolationError,
        ContextSerializationError,
        EnvironmentUnusableError,
        ExecutorClosedError,
        FileFetchError,
        InterchangeLost,
        ManagerLost,
        ParslContextError,
        PayloadLostError,
        RemoteError,
        SplitError,
        UnservableTaskError,
        VersionsDifferError,
        WorkerLost,
    )
    from parsl_context.executor.executor import ContextExecutor
    from parsl_context.executor.mpi import ContextMPIExecutor
    from parsl_context.retain.local_paths import local_path
    from parsl_context.wire.rows import ContextRow

__version__ = "0.1.0"

__all__ = [
    "BatchResultError",
    "BlockStartError",
    "BodyExitError",
    "CarriedCodeError",
    "ConfigurationError",
    "Context",
    "ContextApp",
    "ContextBuildError",
    "ContextDriftWarning",
    "ContextExecutor",
    "ContextIsolationError",
    "ContextMPIExecutor",
    "ContextRow",
    "ContextSerializationError",
    "EnvironmentUnusableError",
    "EventLogError",
    "ExecutorClosedError",
    "FileFetchError",
    "InterchangeLost",
    "ManagerLost",
    "ParslContextError",
    "PayloadLostError",
    "RemoteError",
    "SplitError",
    "UnservableTaskError",
    "VersionsDifferError",
    "WorkerLost",
    "context",
    "context_app",
    "context_dirty",
    "local_path",
    "split",
]

_HOMES = {
    "Context": "apps.context",
    "ContextApp": "apps.app",
    "ContextExecutor": "executor.executor",
    "ContextMPIExecutor": "executor.mpi",
    "ContextRow": "wire.rows",
    "context": "apps.decorator",
    "context_app": "apps.app",
    "context_dirty": "apps.portable",
    "local_path": "retain.local_paths",
    "split": "apps.lexical",
}  # all others are errors


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = importlib.import_module(f"{__name__}.{_HOMES.get(name, 'errors')}")
    value = getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
