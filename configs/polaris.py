"""Polaris at ALCF, and what is like it: PBS Pro, four NVIDIA A100 and an SSD a node.

After https://docs.alcf.anl.gov/polaris/workflows/parsl/ (provider, launcher, network).
Never tried there, nor on another PBS Pro: where a comment has (?), the value is as
ALCF's pages gave it, was not seen on the machine, and may change. Values in capitals
are yours to fill in; then `parsl-context check polaris.py --submit` says whether nodes
are as expected.
"""

from parsl.config import Config
from parsl.launchers import MpiExecLauncher
from parsl.providers import PBSProProvider

from parsl_context import ContextExecutor

config = Config(
    executors=[
        ContextExecutor(
            label="polaris",
            # A worker for each device. Workers that share one name it as often:
            # ["0", "0", "1", "1", "2", "2", "3", "3"].
            available_accelerators=4,
            # The cores with the highest numbers are next to the first device (?).
            cpu_affinity="block-reverse",
            # A context on a device belongs to one worker; reuse="node" would share
            # what lies in memory of the node, but not on a device.
            reuse="memory",
            # Workers try all addresses of the login node; to name that of the network
            # which nodes share with it saves time (?):
            # address=parsl.addresses.address_by_interface("bond0"),
            provider=PBSProProvider(
                account="YOUR_PROJECT",
                # "debug" for one or two nodes; "prod" wants ten at the least (?).
                queue="debug-scaling",
                # Appended to "-l select=...", and the file systems that jobs use (?).
                select_options="ngpus=4",
                scheduler_options="#PBS -l filesystems=home:eagle",
                # Temporary files, and copies of files that contexts read, lie on the
                # SSD (?): PBS's own TMPDIR goes with the job, and may be memory.
                worker_init="""
source YOUR_ENVIRONMENT/bin/activate
export TMPDIR=/local/scratch
export PARSL_CONTEXT_STORE=/local/scratch/parsl-context-$USER
""",
                walltime="01:00:00",
                nodes_per_block=2,
                # Hardware threads of a node (?), all of which its one manager may use.
                cpus_per_node=64,
                # ALCF knows of Python programs that hang when mpiexec starts them and
                # they fork, as managers do: if blocks start and calls do not end, use
                # GnuParallelLauncher(), and `module load gnu-parallel` in worker_init.
                launcher=MpiExecLauncher(
                    bind_cmd="--cpu-bind", overrides="--depth=64 --ppn 1"
                ),
                init_blocks=1,
                max_blocks=1,
            ),
        )
    ],
    retries=2,
    strategy="htex_auto_scale",
    max_idletime=600,  # [s]
    # A database of calls and nodes (pip install "parsl[monitoring]"):
    # monitoring=parsl.MonitoringHub(),
)
