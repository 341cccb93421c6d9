"""One large block of Slurm, of hundreds of nodes, whose contexts are built ahead.

Values in capitals are yours to fill in; then `parsl-context check
slurm_many_nodes.py --submit` says whether nodes are as expected.
"""

from parsl.config import Config
from parsl.launchers import SrunLauncher
from parsl.providers import SlurmProvider

from parsl_context import ContextExecutor

config = Config(
    executors=[
        ContextExecutor(
            label="large",
            max_workers_per_node=64,
            cpu_affinity="block",
            # Contexts that every call needs, built as soon as a node joins:
            # preload=[classifier("weights.pt")],
            # Workers of a node share what a context holds, copied when written to.
            reuse="node",
            # Hundreds of managers try addresses one after the other: name the network
            # that nodes share with the host of this script.
            # address=parsl.addresses.address_by_interface("hsn0"),
            # Logs of workers are many small files: on the nodes' own disks.
            worker_logdir_root="/tmp",
            provider=SlurmProvider(
                account="YOUR_ACCOUNT",
                partition="YOUR_PARTITION",
                # Temporary files, and copies of files that contexts read, lie on the
                # node's own disk: name it, if it is not /tmp.
                worker_init="""
source YOUR_ENVIRONMENT/bin/activate
export TMPDIR=/tmp
export PARSL_CONTEXT_STORE=/tmp/parsl-context-$USER
""",
                # All cores of a node. srun of newer Slurms hands out one to each
                # manager unless it is told the number, too (`launcher`).
                cores_per_node=64,
                walltime="06:00:00",
                nodes_per_block=256,
                init_blocks=1,
                max_blocks=1,
                launcher=SrunLauncher(overrides="--cpus-per-task=64"),
                exclusive=True,
            ),
        )
    ],
    retries=2,
    # The block is asked for at once, and stays until its walltime or the end.
    strategy="none",
    # A database of calls and nodes (pip install "parsl[monitoring]"):
    # monitoring=parsl.MonitoringHub(),
)
