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
            # A call that was running on a node that is taken away waits again, twice,
            # before it fails: `retries` below is left for errors of the calls. It may
            # run twice, at least in part.
            requeue_lost=2,
            provider=SlurmProvider(
                account="YOUR_ACCOUNT",
                partition="YOUR_PREEMPTIBLE_PARTITION",
                # Where a quality of service makes jobs preemptible: qos="YOUR_QOS",
                worker_init="source YOUR_ENVIRONMENT/bin/activate",
                walltime="04:00:00",
                # Small blocks are lost one by one.
                nodes_per_block=1,
                init_blocks=4,
                max_blocks=16,
                # srun passes on the signal that comes with the grace time: managers
                # give back what has not started and let what is short end.
                launcher=SrunLauncher(),
                exclusive=True,
            ),
        )
    ],
    retries=1,
    strategy="htex_auto_scale",
    max_idletime=600,  # [s]
)
