"""Managers and workers in a container of Apptainer, for docs/how-to/containers.rst."""

from parsl.config import Config
from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD
from parsl.launchers import SrunLauncher
from parsl.providers import SlurmProvider

from parsl_context import ContextExecutor

# The image needs Python with parsl-context, of the versions that this script has. --nv
# is for NVIDIA devices, --rocm for AMD's. Folders that both sides name: that of the run
# (certificates, logs), that of the script, and the node's own for copies of files.
CONTAINER = "apptainer exec --nv --bind YOUR_RUN_DIR,/tmp YOUR_IMAGE.sif"

config = Config(
    executors=[
        ContextExecutor(
            label="contained",
            max_workers_per_node=2,
            # On each node. `exec`, so that the signals that announce the end of a job
            # reach the manager, and no shell dies of them.
            launch_cmd=f"exec {CONTAINER} {DEFAULT_LAUNCH_CMD}",
            provider=SlurmProvider(
                account="YOUR_ACCOUNT",
                partition="YOUR_PARTITION",
                # Outside of the container: what makes apptainer known.
                worker_init="module load apptainer",
                walltime="01:00:00",
                nodes_per_block=2,
                max_blocks=1,
                launcher=SrunLauncher(),
                exclusive=True,
            ),
        )
    ],
)
