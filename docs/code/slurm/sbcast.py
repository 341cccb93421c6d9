"""An environment that is copied to the disk of each node before workers start, for
docs/how-to/copy-an-environment-to-nodes.rst."""

from parsl.config import Config
from parsl.launchers import SrunLauncher
from parsl.providers import SlurmProvider

from parsl_context import ContextExecutor

# Made by `conda-pack -o environment.tar.gz`, or another archive that can be unpacked
# anywhere; on a disk of the nodes.
WORKER_INIT = """
set -e
HERE=/mnt/bb/$USER/environment
sbcast --force YOUR_ENVIRONMENT.tar.gz $HERE.tar.gz
srun --ntasks=$SLURM_JOB_NUM_NODES --ntasks-per-node=1 \\
    bash -c "mkdir -p $HERE && tar --extract --file $HERE.tar.gz --directory $HERE"
export PATH=$HERE/bin:$PATH
export PARSL_CONTEXT_STORE=/mnt/bb/$USER/parsl-context
"""

config = Config(
    executors=[
        ContextExecutor(
            label="copied",
            max_workers_per_node=2,
            provider=SlurmProvider(
                account="YOUR_ACCOUNT",
                partition="YOUR_PARTITION",
                # Disks that are mounted where they are asked for, as on Frontier:
                constraint="nvme",
                worker_init=WORKER_INIT,
                walltime="01:00:00",
                nodes_per_block=1,
                max_blocks=1,
                launcher=SrunLauncher(),
                exclusive=True,
            ),
        )
    ],
)
