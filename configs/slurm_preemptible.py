"""Nodes that Slurm may take away at any time: cheap, and good for short calls.

Values in capitals are yours to fill in; then `parsl-context check
slurm_preemptible.py --submit` says whether nodes are as expected.
"""

from parsl.config import Config
from parsl.launchers import SrunLauncher
from parsl.providers import SlurmProvider

from parsl_context import ContextExecutor

config = Config(
    executors=[
        ContextExecutor(
            label="spare",
            max_workers_per_node=32,
            # Each worker builds a context for itself. reuse="node" has the workers of a
            # node share one, copied when written to: try it where memory is short.
            reuse="memory",
            # A call that was running on a node that is taken away waits again, twice,
            # before it fails: `retries` below is left for errors of the calls. It may
            # run twice, at least in part.
            requeue_lost=2,
            provider=SlurmProvider(
                account="YOUR_ACCOUNT",
                partition="YOUR_PREEMPTIBLE_PARTITION",
                # Where a quality of service makes jobs preemptible: qos="YOUR_QOS",
                # Temporary files, and copies of files that contexts read, lie on the
                # node's own disk: name it, if it is not /tmp.
                worker_init="""
source YOUR_ENVIRONMENT/bin/activate
export TMPDIR=/tmp
export PARSL_CONTEXT_STORE=/tmp/parsl-context-$USER
""",
                # All cores of a node. srun of newer Slurms hands out one to each
                # manager unless it is told the number, too (`launcher`).
                cores_per_node=32,
                walltime="04:00:00",
                # Small blocks are lost one by one.
                nodes_per_block=1,
                init_blocks=4,
                max_blocks=16,
                # srun passes on the signal that comes with the grace time: managers
                # give back what has not started and let what is short end.
                launcher=SrunLauncher(overrides="--cpus-per-task=32"),
                exclusive=True,
            ),
        )
    ],
    retries=1,
    strategy="htex_auto_scale",
    max_idletime=600,  # [s]
    # A database of calls and nodes (pip install "parsl[monitoring]"):
    # monitoring=parsl.MonitoringHub(),
)
