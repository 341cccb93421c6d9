"""Apps that the tests on Slurm share."""

from __future__ import annotations

import os
import time

from parsl_context import context, context_app


@context
def node() -> str:
    """Name of the node on which it is built."""
    return os.environ["SLURMD_NODENAME"]


@context_app(context=node())
def on_node(node: str, seconds: float = 0.0) -> str:
    """The node, after a while."""
    time.sleep(seconds)
    return node
