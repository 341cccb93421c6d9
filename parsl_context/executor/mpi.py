"""`ContextMPIExecutor`: MPIExecutor with contexts."""

from __future__ import annotations

from typing import Any

from parsl.executors.errors import InvalidResourceSpecification
from parsl.executors.high_throughput.mpi_executor import MPIExecutor

from parsl_context.executor.executor import ContextExecutor
from parsl_context.executor.signatures import full_signature


class ContextMPIExecutor(ContextExecutor, MPIExecutor):
    """A drop-in for Parsl's MPIExecutor: each task gets nodes of its block for itself, and contexts stay warm.

    Takes every argument of `parsl.MPIExecutor`, with its meaning, and those that `ContextExecutor` adds. Calls get
    their nodes in the order in which they were submitted; none is overtaken by one that needs fewer nodes.
    """

    def __init__(self, label: str = "ContextMPIExecutor", *args: Any, **kwargs: Any) -> None:
        super().__init__(label, *args, **kwargs)

    def validate_resource_spec(self, resource_specification: dict[str, Any]) -> None:
        """Refuse what cannot be given, before it is sent anywhere.

        Raises
        ------
        InvalidResourceSpecification
            If it holds what MPIExecutor does not know, or a number of nodes that is none.
        """
        nodes = resource_specification.get("num_nodes", 1)
        if not isinstance(nodes, int) or nodes < 1:
            raise InvalidResourceSpecification({"num_nodes"}, f"num_nodes is {nodes!r}; give a number of at least 1")
        super().validate_resource_spec(resource_specification)


ContextMPIExecutor.__init__.__signature__ = full_signature(  # type: ignore[attr-defined]
    MPIExecutor.__init__, ContextExecutor.__init__, ContextMPIExecutor.__init__
)
