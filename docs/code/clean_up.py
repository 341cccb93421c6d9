"""A context with a clean-up, for docs/how-to/clean-up.rst. Prints what is left of the
folder: nothing."""

import pathlib
import tempfile

import parsl
from parsl.providers import LocalProvider

from parsl_context import ContextExecutor, context, context_app


@context
def scratch():
    with tempfile.TemporaryDirectory() as folder:
        yield pathlib.Path(folder)
    # the folder has been removed


@context_app(context=scratch())
def store(folder, name, text):
    path = folder / name
    path.write_text(text)
    return str(path)


if __name__ == "__main__":
    executor = ContextExecutor(
        max_workers_per_node=1, provider=LocalProvider(init_blocks=1, max_blocks=1)
    )
    with tempfile.TemporaryDirectory() as run_dir:
        with parsl.load(parsl.Config([executor], run_dir=run_dir, strategy_period=0.5)):
            path = pathlib.Path(store("greeting.txt", "hello").result())
            print("while the executor runs:", path.exists())
        print("after it has shut down: ", path.exists() or path.parent.exists())
