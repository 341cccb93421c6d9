"""Blocks of nodes from Slurm.

Values in capitals are yours to fill in; your centre's documentation has them. Then
`parsl-context check slurm.py --submit` says whether nodes are as expected. The script
that loads this runs on the login node and must stay alive, in tmux or as a job of its
own.
"""

from parsl.config import Config
from parsl.launchers import SrunLauncher
from parsl.providers import SlurmProvider

from parsl_context import ContextExecutor

config = Config(
    executors=[
        ContextExecutor(
            label="slurm",
            # Workers on a node: at most its cores divided by what one call uses, and
            # its memory divided by what one context takes. With GPUs, one for each:
            # available_accelerators=4 replaces this line.
            max_workers_per_node=32,
            # Each worker builds a context for itself. reuse="node" has the workers of a
            # node share one, copied when written to: try it where memory is short.
            reuse="memory",
            # Pin each worker to cores of its own; matters when a call uses several
            # threads.
            cpu_affinity="block",
            # Workers try all addresses of the login node. If they find none, or take
            # long, name the network interface that compute nodes can reach (`ip
            # address` lists them):
            # address=parsl.addresses.address_by_interface("ib0"),
            provider=SlurmProvider(
                account="YOUR_ACCOUNT",
                partition="YOUR_PARTITION",
                # Runs once for each block, on its first node, before srun starts the
                # managers: make the same Python environment active as here. srun passes
                # its variables on.
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
                walltime="02:00:00",
                nodes_per_block=2,
                # Blocks come when tasks wait (up to max_blocks) and go when idle. A
                # block that goes takes its warm contexts along: min_blocks=1 keeps
                # some.
                init_blocks=1,
                min_blocks=0,
                max_blocks=4,
                # One manager on each node of the block.
                launcher=SrunLauncher(overrides="--cpus-per-task=32"),
                # Whole nodes; set to False, and mem_per_node as well, to share them.
                exclusive=True,
                # With GPUs: gpus_per_node=4,
                # Anything else for sbatch:
                # scheduler_options="#SBATCH --constraint=...",
            ),
        )
    ],
    # A call whose worker or node is lost is tried again, this often.
    retries=2,
    # Give idle blocks back one by one, rather than all or none.
    strategy="htex_auto_scale",
    max_idletime=600,  # [s]
    # A database of calls and nodes (pip install "parsl[monitoring]"):
    # monitoring=parsl.MonitoringHub(),
)
