"""GPU nodes from Slurm: a worker for each GPU, or several that share one.

Values in capitals are yours to fill in; then `parsl-context check slurm_gpu.py
--submit` says whether nodes are as expected.
"""

from parsl.config import Config
from parsl.launchers import SrunLauncher
from parsl.providers import SlurmProvider

from parsl_context import ContextExecutor

config = Config(
    executors=[
        ContextExecutor(
            label="gpu",
            # One worker for each of the four GPUs of a node. It sees that one alone, as
            # "cuda", before it builds any context. Workers that share a GPU name it as
            # often: ["0", "0", "1", "1"]; a worker with two: ["0,1", "2,3"].
            available_accelerators=4,
            # A context on a GPU belongs to one worker; reuse="node" would share what
            # lies in memory of the node, but not on the GPU.
            reuse="memory",
            cpu_affinity="block",
            provider=SlurmProvider(
                account="YOUR_ACCOUNT",
                partition="YOUR_GPU_PARTITION",
                gpus_per_node=4,
                # All cores of a node. srun of newer Slurms hands out one to each
                # manager unless it is told the number, too (`launcher`).
                cores_per_node=64,
                # Temporary files, and copies of files that contexts read, lie on the
                # node's own disk: name it, if it is not /tmp.
                worker_init="""
source YOUR_ENVIRONMENT/bin/activate
export TMPDIR=/tmp
export PARSL_CONTEXT_STORE=/tmp/parsl-context-$USER
""",
                walltime="02:00:00",
                nodes_per_block=1,
                init_blocks=1,
                max_blocks=4,
                # Also for one node: what srun has started hears of preemption in time.
                launcher=SrunLauncher(overrides="--cpus-per-task=64"),
                exclusive=True,
            ),
            # A network takes long to load: the next block is ready when one ends.
            overlap_blocks=1,
        )
    ],
    retries=2,
    strategy="htex_auto_scale",
    max_idletime=600,  # [s]
    # A database of calls and nodes (pip install "parsl[monitoring]"):
    # monitoring=parsl.MonitoringHub(),
)
