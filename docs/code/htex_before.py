"""A script for HighThroughputExecutor that keeps its table in a module's global by
hand, for docs/how-to/convert-an-htex-script.rst."""

import parsl
from parsl import python_app
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider


@python_app
def lookup(word):
    import builtins  # survives from call to call, as this function's globals do not

    if not hasattr(builtins, "_lengths"):
        builtins._lengths = {"a" * size: size for size in range(1000)}
    return builtins._lengths[word]


if __name__ == "__main__":
    config = parsl.Config(
        executors=[
            HighThroughputExecutor(
                label="workers",
                max_workers_per_node=2,
                provider=LocalProvider(init_blocks=1, max_blocks=1),
            )
        ]
    )
    with parsl.load(config):
        futures = [lookup("a" * size) for size in range(20)]
        print(sum(future.result() for future in futures))
