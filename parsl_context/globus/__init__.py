"""Context apps on Globus Compute: Parsl's executor for it, and our executor within an endpoint.

`GlobusContextExecutor` needs globus-compute-sdk, and `ContextEngine` globus-compute-endpoint;
`ContextApp.as_globus_function` needs neither. See the how-to page about Globus Compute.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parsl_context.globus.engine import ContextEngine
    from parsl_context.globus.executor import GlobusContextExecutor

__all__ = ["ContextEngine", "GlobusContextExecutor"]
_HOMES = {"ContextEngine": "engine", "GlobusContextExecutor": "executor"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
