"""Blocks of nodes from PBS Pro or OpenPBS.

Values in capitals are yours to fill in; your centre's documentation has them. Then
`parsl-context check pbs.py --submit` says whether nodes are as expected. The script
that loads this runs on the login node and must stay alive, in tmux or as a job of its
own.
"""

from parsl.config import Config
from parsl.launchers import MpiExecLauncher
from parsl.providers import PBSProProvider

from parsl_context import ContextExecutor

config = Config(
    executors=[
        ContextExecutor(
            label="pbs",
            # One worker for each GPU of a node, which it alone sees. On nodes without
            # GPUs: max_workers_per_node=32, at most the cores divided by what one call
            # uses, and the memory divided by what one context takes.
            available_accelerators=4,
            # A context on a GPU belongs to one worker. On nodes without, reuse="node"
            # has workers share what lies in memory, copied when written to.
            reuse="memory",
            # Pin each worker to cores of its own; matters when a call uses several
            # threads.
            cpu_affinity="block",
            # Workers try all addresses of the login node. If they find none, or take
            # long, name the network interface that compute nodes can reach (`ip
            # address` lists them):
            # address=parsl.addresses.address_by_interface("ib0"),
            provider=PBSProProvider(
                account="YOUR_ACCOUNT",
                queue="YOUR_QUEUE",
                # Runs on the first node of the block before its workers start: make the
                # same Python environment active as here. mpiexec must pass the
                # variables on to the others, as most do.
                # Temporary files, and copies of files that contexts read, lie on the
                # node's own disk: name it, if it is not /tmp. PBS's own TMPDIR goes
                # with each job.
                worker_init="""
source YOUR_ENVIRONMENT/bin/activate
export TMPDIR=/tmp
export PARSL_CONTEXT_STORE=/tmp/parsl-context-$USER
""",
                walltime="02:00:00",
                nodes_per_block=2,
                cpus_per_node=64,
                # Appended to "-l select=...": here, the GPUs of each node.
                select_options="ngpus=4",
                # Blocks come when tasks wait (up to max_blocks) and go when idle. A
                # block that goes takes its warm contexts along: min_blocks=1 keeps
                # some.
                init_blocks=1,
                min_blocks=0,
                max_blocks=4,
                # One manager on each node of the block, allowed to use all its cores.
                launcher=MpiExecLauncher(
                    bind_cmd="--cpu-bind", overrides="--depth=64 --ppn 1"
                ),
                # Anything else for qsub, as for file systems:
                # scheduler_options="#PBS -l filesystems=home:scratch",
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
