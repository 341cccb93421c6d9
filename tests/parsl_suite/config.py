"""The project's own configuration for ``--config``: local, encrypted, 2 workers."""

from parsl.config import Config
from parsl.executors import HighThroughputExecutor  # the class under test
from parsl.launchers import SimpleLauncher
from parsl.providers import LocalProvider


def fresh_config() -> Config:
    executor = HighThroughputExecutor(
        label="parsl_suite",
        encrypted=True,
        max_workers_per_node=2,
        cores_per_worker=0.1,  # two workers on a single core too
        worker_debug=True,
        provider=LocalProvider(init_blocks=1, max_blocks=1, launcher=SimpleLauncher()),
    )
    return Config(executors=[executor], strategy="none")
