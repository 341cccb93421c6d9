"""The same for ContextExecutor, for docs/how-to/convert-an-htex-script.rst."""

import parsl
from parsl.providers import LocalProvider

from parsl_context import ContextExecutor, context, context_app


@context
def lengths():
    return {"a" * size: size for size in range(1000)}


@context_app(context=lengths())
def lookup(table, word):
    return table[word]


if __name__ == "__main__":
    config = parsl.Config(
        executors=[
            ContextExecutor(
                label="workers",
                max_workers_per_node=2,
                provider=LocalProvider(init_blocks=1, max_blocks=1),
            )
        ]
    )
    with parsl.load(config):
        futures = [lookup("a" * size) for size in range(20)]
        print(sum(future.result() for future in futures))
