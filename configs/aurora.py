"""Aurora at ALCF, and what is like it: PBS Pro, six Intel devices of two tiles a node.

After https://docs.alcf.anl.gov/aurora/workflows/parsl (provider, launcher, tiles and
the cores next to them). Never tried there, nor on another PBS Pro: where a comment has
(?), the value is as that page gave it, was not seen on the machine, and may change.
Values in capitals are yours to fill in; then `parsl-context check aurora.py --submit`
says whether nodes are as expected.
"""

from parsl.config import Config
from parsl.launchers import MpiExecLauncher
from parsl.providers import PBSProProvider

from parsl_context import ContextExecutor

# Of each tile, eight cores and their second threads. Each socket's first cores, and
# the threads of these, are left to the system or to the first worker (?).
CORES = [
    "0-7,104-111",
    "8-15,112-119",
    "16-23,120-127",
    "24-31,128-135",
    "32-39,136-143",
    "40-47,144-151",
    "52-59,156-163",
    "60-67,164-171",
    "68-75,172-179",
    "76-83,180-187",
    "84-91,188-195",
    "92-99,196-203",
]

config = Config(
    executors=[
        ContextExecutor(
            label="aurora",
            # A worker for each tile. These names hold where ZE_FLAT_DEVICE_HIERARCHY is
            # COMPOSITE (?); where it is FLAT, tiles are "0" to "11": say so in
            # worker_init.
            available_accelerators=[
                f"{device}.{tile}" for device in range(6) for tile in range(2)
            ],
            cpu_affinity="list:" + ":".join(CORES),
            # A context on a device belongs to one worker; reuse="node" would share
            # what lies in memory of the node, but not on a device.
            reuse="memory",
            # Workers try all addresses of the login node; `ip address` lists them, and
            # `check --submit` says which of them nodes reach.
            # address=parsl.addresses.address_by_interface("YOUR_INTERFACE"),
            provider=PBSProProvider(
                account="YOUR_PROJECT",
                queue="YOUR_QUEUE",
                # File systems that jobs use (?); and whole nodes, with all devices (?).
                scheduler_options="""
#PBS -l filesystems=home:flare
#PBS -l place=scatter:excl
""",
                # Temporary files, and copies of files that contexts read, lie in
                # memory, where nodes have no disk (?), and these should not take more
                # of it than is said here.
                worker_init="""
source YOUR_ENVIRONMENT/bin/activate
export ZE_FLAT_DEVICE_HIERARCHY=COMPOSITE
export TMPDIR=/tmp
export PARSL_CONTEXT_STORE=/tmp/parsl-context-$USER PARSL_CONTEXT_STORE_GB=50
""",
                walltime="00:30:00",
                nodes_per_block=1,
                # Hardware threads of a node (?).
                cpus_per_node=208,
                launcher=MpiExecLauncher(bind_cmd="--cpu-bind", overrides="--ppn 1"),
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
