"""Perlmutter at NERSC, and what is like it: Slurm, four NVIDIA A100 a node, no disks.

After https://docs.nersc.gov/jobs/ and https://docs.nersc.gov/systems/perlmutter/
(accounts, constraints, QOS, nodes). Tried with another Slurm alone: where a comment
has (?), the value is as those pages gave it, was not seen on the machine, and may
change. Values in capitals are yours to fill in; then `parsl-context check
perlmutter.py --submit` says whether nodes are as expected.
"""

from parsl.config import Config
from parsl.launchers import SrunLauncher
from parsl.providers import SlurmProvider

from parsl_context import ContextExecutor

config = Config(
    executors=[
        ContextExecutor(
            label="perlmutter",
            # A worker for each device. Workers that share one name it as often:
            # ["0", "0", "1", "1", "2", "2", "3", "3"].
            available_accelerators=4,
            cpu_affinity="block",
            # A context on a device belongs to one worker; reuse="node" would share
            # what lies in memory of the node, but not on a device.
            reuse="memory",
            # Workers try all addresses of the login node; to name that of the network
            # which nodes share with it saves time (?):
            # address=parsl.addresses.address_by_interface("hsn0"),
            provider=SlurmProvider(
                # The project; its hours on GPUs are those of the name with _g (?).
                account="YOUR_PROJECT",
                # No partition: NERSC chooses it from these two (?).
                constraint="gpu",
                qos="regular",
                gpus_per_node=4,
                # All hardware threads of a node's 64 cores (?). srun of newer Slurms
                # hands out few to each manager unless it is told the number, too; and
                # all devices must be seen by the one manager of a node.
                cores_per_node=128,
                launcher=SrunLauncher(overrides="--cpus-per-task=128 --gpu-bind=none"),
                # Nodes have no disk (?): temporary files, and copies of files that
                # contexts read, lie in memory, and these should not take more of it
                # than is said here.
                worker_init="""
source YOUR_ENVIRONMENT/bin/activate
export TMPDIR=/tmp
export PARSL_CONTEXT_STORE=/tmp/parsl-context-$USER PARSL_CONTEXT_STORE_GB=20
""",
                walltime="02:00:00",
                nodes_per_block=2,
                init_blocks=1,
                max_blocks=4,
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
