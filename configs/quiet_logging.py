"""Log warnings and errors only, everywhere: in the script, the interchange, the
managers and the workers.

By default Parsl writes several DEBUG records for each task. For short calls that costs
more than all else that its DataFlowKernel does for a call. The setting is called
`initialize_logging`; it takes a `LogConfig` since version 2026.7.
"""

import logging

from parsl.config import Config
from parsl.logconfigs.file import FileLogging
from parsl.providers import LocalProvider

from parsl_context import ContextExecutor

config = Config(
    executors=[
        ContextExecutor(
            label="local",
            max_workers_per_node=4,
            address="127.0.0.1",
            provider=LocalProvider(init_blocks=1, max_blocks=1),
        )
    ],
    strategy_period=0.5,
    initialize_logging=FileLogging(level=logging.WARNING),
)
