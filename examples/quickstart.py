"""Index the docstrings of Python's standard library once per worker, then search them
with many short calls.

Needs nothing but the package itself: ``python examples/quickstart.py``. It takes a few
seconds and leaves Parsl's logs in ``runinfo``.
"""

import ast
import collections
import pathlib
import re
import sysconfig
import time

import parsl
from parsl.providers import LocalProvider
from rich.console import Console
from rich.table import Table

from parsl_context import ContextExecutor, context, context_app

QUERIES = [
    *(
        "insert sorted",
        "temporary directory",
        "sorted list",
        "compress",
        "parse date",
        "lock thread",
    ),
    *(
        "random sample",
        "unicode name",
        "median",
        "socket timeout",
        "shell command",
        "iterator over lines",
    ),
]


@context_app
def search(query):
    """Find what has all words of the query in its docstring: microseconds."""
    with context:  # run once in a worker: it takes seconds
        index = collections.defaultdict(set)
        for path in pathlib.Path(sysconfig.get_path("stdlib")).glob("*.py"):
            for node in ast.walk(ast.parse(path.read_bytes())):
                if isinstance(node, ast.ClassDef | ast.FunctionDef):
                    text = (ast.get_docstring(node) or "").lower()
                    for word in re.findall("[a-z]+", text):
                        index[word].add(f"{path.stem}.{node.name}")
    return sorted(set.intersection(*(index.get(word, set()) for word in query.split())))


if __name__ == "__main__":
    executor = ContextExecutor(
        max_workers_per_node=2, provider=LocalProvider(init_blocks=1, max_blocks=1)
    )
    config = parsl.Config(executors=[executor])
    answers = Table("query", "found", "among them", "answered after", title="Calls")
    contexts = Table(
        "context",
        "state",
        "workers",
        "loads",
        "a load takes",
        "calls served",
        title="Contexts",
    )

    with parsl.load(config):
        start = time.perf_counter()
        for query, future in [(query, search(query)) for query in QUERIES]:
            found = future.result()
            shown = ", ".join(found[:2])
            answers.add_row(
                query, str(len(found)), shown, f"{time.perf_counter() - start:.3f} s"
            )
        rows = executor.contexts()

    for row in rows:
        counts = (
            str(row.workers),
            str(row.loads),
            f"{row.load_s:.2f} s",
            str(row.calls),
        )
        contexts.add_row(row.name, row.state, *counts)
    Console().print(answers, contexts)
    print(f"{len(QUERIES)} calls, {sum(row.loads for row in rows)} loads.")
