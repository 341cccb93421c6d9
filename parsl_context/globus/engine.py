"""`ContextEngine`: our executor within a Globus Compute endpoint."""

from __future__ import annotations

import logging
from typing import Any

from globus_compute_endpoint.engines import GlobusComputeEngine
from parsl.executors.high_throughput.executor import HTEXFuture

from parsl_context.executor.executor import ContextExecutor
from parsl_context.globus.placing import Placing

logger = logging.getLogger(f"parsl.{__name__}")


class EndpointExecutor(ContextExecutor):
    """A `ContextExecutor` that gets tasks of an endpoint, and sends those of context apps to where they are warm."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._placing = Placing()

    def submit_payload(self, context: dict[str, Any], buffer: bytes) -> HTEXFuture:
        """Run a task of an endpoint.

        Parameters
        ----------
        context
            What runs it, under "task_executor", and its "resource_spec".
        buffer
            The task.
        """
        if "task_executor" not in context or (call := self._placing.call_of(buffer)) is None:
            return super().submit_payload(context, buffer)
        return self.submit(call, context.get("resource_spec") or {}, context["task_executor"], buffer)


class ContextEngine(GlobusComputeEngine):  # type: ignore[misc]
    """The engine of an endpoint whose blocks run our workers: ``type: ContextEngine`` in its configuration.

    It takes what `GlobusComputeEngine` takes, and what `ContextExecutor` takes besides. Calls of context apps go to
    workers that hold their contexts; a worker that is new, or has died, costs no other worker's. This package has to be
    installed where the endpoint is and where its workers are, and the endpoint to be started by
    ``python -m parsl_context.globus.endpoint``, which knows this class.
    """

    _ExecutorClass = EndpointExecutor

    def _get_compute_ix_launch_cmd(self) -> list[str]:
        """The command that starts the interchange: ours."""
        return list(self.executor.interchange_launch_cmd)
