"""Short blocks that follow each other, for docs/how-to/walltime.rst."""

from parsl.config import Config
from parsl.launchers import SrunLauncher
from parsl.providers import SlurmProvider

from parsl_context import ContextExecutor

config = Config(
    executors=[
        ContextExecutor(
            label="following",
            max_workers_per_node=2,
            # The next block is asked for before this one ends, as early as blocks and
            # contexts have taken to be ready lately.
            overlap_blocks=1,
            # A call that the end of a block has cut off waits again, once.
            requeue_lost=1,
            provider=SlurmProvider(
                account="YOUR_ACCOUNT",
                partition="YOUR_PARTITION",
                worker_init="source YOUR_ENVIRONMENT/bin/activate",
                # What the queue prefers; the run may take as long as it likes.
                walltime="00:30:00",
                nodes_per_block=1,
                init_blocks=1,
                min_blocks=1,
                max_blocks=1,
                launcher=SrunLauncher(),
                exclusive=True,
            ),
        )
    ],
    strategy="htex_auto_scale",
)
