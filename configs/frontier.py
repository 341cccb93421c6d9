"""Frontier at OLCF, and what is like it: Slurm, eight AMD devices and an NVMe a node.

After https://docs.olcf.ornl.gov/systems/frontier_user_guide.html (compute nodes and
their NUMA domains, low-noise mode, burst buffers). Tried with another Slurm alone:
where a comment has (?), the value is as that guide gave it, was not seen on the
machine, and may change. Values in capitals are yours to fill in; then
`parsl-context check frontier.py --submit` says whether nodes are as expected.
"""

from parsl.config import Config
from parsl.launchers import SrunLauncher
from parsl.providers import SlurmProvider

from parsl_context import ContextExecutor

config = Config(
    executors=[
        ContextExecutor(
            label="frontier",
            # A worker for each of the eight dies, which count as devices. In the order
            # of the cores that are next to them: those of the first worker lie by 4
            # (?).
            available_accelerators=["4", "5", "2", "3", "6", "7", "0", "1"],
            # Seven cores for each: Frontier keeps one of each eight to itself (?).
            cpu_affinity="block",
            # A context on a device belongs to one worker; reuse="node" would share
            # what lies in memory of the node, but not on a device.
            reuse="memory",
            # Workers try all addresses of the login node; to name that of the network
            # which nodes share with it saves time (?):
            # address=parsl.addresses.address_by_interface("hsn0"),
            provider=SlurmProvider(
                account="YOUR_PROJECT",
                partition="batch",  # (?)
                # The NVMe of a node is mounted where it was asked for (?), and is
                # empty.
                constraint="nvme",
                gpus_per_node=8,
                # All that is left of 64 (?). srun of newer Slurms hands out one core to
                # each manager unless it is told the number, too.
                cores_per_node=56,
                launcher=SrunLauncher(overrides="--cpus-per-task=56"),
                # Temporary files, and copies of files that contexts read, lie on the
                # NVMe (?), not in /tmp, which is memory. An environment is best copied
                # there as well: see "Copy an environment to nodes" in the how-to
                # guides.
                worker_init="""
source YOUR_ENVIRONMENT/bin/activate
export TMPDIR=/mnt/bb/$USER
export PARSL_CONTEXT_STORE=/mnt/bb/$USER/parsl-context
""",
                walltime="02:00:00",
                nodes_per_block=8,
                init_blocks=1,
                max_blocks=2,
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
