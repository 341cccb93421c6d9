"""A context that cannot be built, for docs/how-to/debug-a-failing-context.rst."""

import json
import pathlib
import tempfile

import parsl
from parsl.providers import LocalProvider

from parsl_context import ContextExecutor, context, context_app
from parsl_context.errors import ContextBuildError


@context
def lookup(path):
    return json.loads(pathlib.Path(path).read_text())


@context_app(context=lookup("/no/such/table.json"))
def translate(table, word):
    return table.get(word, word)


def try_without_parsl():
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "table.json")
        path.write_text('{"hello": "bonjour"}')
        table = lookup.function(path)
        assert translate.body(table, "hello") == "bonjour"


if __name__ == "__main__":
    try_without_parsl()
    executor = ContextExecutor(
        max_workers_per_node=1, provider=LocalProvider(init_blocks=1, max_blocks=1)
    )
    with (
        tempfile.TemporaryDirectory() as run_dir,
        parsl.load(parsl.Config([executor], run_dir=run_dir, strategy_period=0.5)),
    ):
        try:
            translate("hello").result()
        except ContextBuildError as error:
            print("what: ", error)
            print(
                "where:", error.host, error.block, "after", error.attempts, "attempts"
            )
            print("cause:", repr(error.__cause__))
