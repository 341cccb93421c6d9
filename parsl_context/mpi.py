"""`ContextMPIExecutor`: MPIExecutor with contexts."""

from __future__ import annotations

from typing import Any

from parsl.executors.high_throughput.mpi_executor import MPIExecutor

from parsl_context.executor import ContextExecutor, full_signature


class ContextMPIExecutor(ContextExecutor, MPIExecutor):
    """A drop-in for Parsl's MPIExecutor: each task gets nodes of its block for itself, and contexts stay warm.

    Takes every argument of `parsl.MPIExecutor`, with its meaning, and those that `ContextExecutor` adds. Calls get
    their nodes in the order in which they were submitted; none is overtaken by one that needs fewer nodes.
    """

    def __init__(self, label: str = "ContextMPIExecutor", *args: Any, **kwargs: Any) -> None:
        super().__init__(label, *args, **kwargs)


ContextMPIExecutor.__init__.__signature__ = full_signature(  # type: ignore[attr-defined]
    MPIExecutor.__init__, ContextMPIExecutor.__init__
)
