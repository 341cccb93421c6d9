"""Workers on the machine where the script runs: a workstation, or one node that you are
logged in to.

Use it as ``parsl.load(config)``, with ``from local import config`` in a script beside
this file.
"""

from parsl.config import Config
from parsl.providers import LocalProvider

from parsl_context import ContextExecutor

config = Config(
    executors=[
        ContextExecutor(
            label="local",
            # One worker runs one call at a time. Each keeps a context of its own: count
            # the memory of one, times the workers, before you raise this.
            max_workers_per_node=4,
            # Each worker builds a context for itself. reuse="node" has the workers of
            # this machine share one, copied when written to: try it where memory is
            # short.
            reuse="memory",
            # Everything stays on this machine, so listen here only.
            address="127.0.0.1",
            # With GPUs, name them; each worker then sees exactly one:
            # available_accelerators=["0", "1"],
            provider=LocalProvider(
                init_blocks=1,
                max_blocks=1,
                # Commands to run before the workers start, as for an environment of
                # their own:
                # worker_init="source ~/envs/science/bin/activate",
                # Copies of files that contexts read from elsewhere go to a folder in
                # TMPDIR, or /tmp: `export PARSL_CONTEXT_STORE=...` names another.
            ),
        )
    ],
    # Parsl looks after the blocks as often. The first are there at once.
    strategy_period=0.5,  # [s]; 5 if not given
    # A database of calls and nodes (pip install "parsl[monitoring]"):
    # monitoring=parsl.MonitoringHub(),
)
