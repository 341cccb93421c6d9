"""Costly state kept warm for Parsl apps: contexts, discovered, distributed and retained."""

from parsl_context.app import ContextApp, context_app
from parsl_context.context import Context, context
from parsl_context.errors import (
    ConfigurationError,
    ContextBuildError,
    ContextSerializationError,
    ExecutorClosedError,
    InterchangeLost,
    ManagerLost,
    ParslContextError,
    UnservableTaskError,
    WorkerLost,
)
from parsl_context.executor import ContextExecutor
from parsl_context.messages import ContextRow
from parsl_context.mpi import ContextMPIExecutor

__version__ = "0.1.0"

__all__ = [
    "ConfigurationError",
    "Context",
    "ContextApp",
    "ContextBuildError",
    "ContextExecutor",
    "ContextMPIExecutor",
    "ContextRow",
    "ContextSerializationError",
    "ExecutorClosedError",
    "InterchangeLost",
    "ManagerLost",
    "ParslContextError",
    "UnservableTaskError",
    "WorkerLost",
    "context",
    "context_app",
]
