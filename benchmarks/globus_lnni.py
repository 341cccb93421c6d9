"""The job of `examples/lnni.py`, unchanged, on five kinds of executors: equal results, and how often it is set up.

Needs what `make test-globus` needs, and the extra ``examples`` in both of its environments:
``.venv-globus/bin/python -m benchmarks.globus_lnni --calls 40``
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import parsl
from parsl.config import Config
from parsl.executors import HighThroughputExecutor, ThreadPoolExecutor
from parsl.providers import LocalProvider
from rich.console import Console
from rich.table import Table

from parsl_context import ContextExecutor, context, context_app
from parsl_context.globus import GlobusContextExecutor
from parsl_context.testing.globus import Broker, LocalEndpoint, LocalService

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "examples"))  # where its script lies
WORKERS = 2
_CONFIG = """\
display_name: lnni
heartbeat_period: 5
engine:
  type: {engine}
  address: 127.0.0.1
  max_workers_per_node: 2
  cores_per_worker: 0.5
  provider: {{type: LocalProvider, init_blocks: 1, min_blocks: 1, max_blocks: 1}}
"""


def _local(kind: type[HighThroughputExecutor]) -> HighThroughputExecutor:
    provider = LocalProvider(init_blocks=1, max_blocks=1)
    return kind(address="127.0.0.1", max_workers_per_node=WORKERS, cores_per_worker=0.5, provider=provider)


@contextlib.contextmanager
def _endpoint(broker: Broker, engine: str, environment: Path, *command: str) -> Iterator[GlobusContextExecutor]:
    config = _CONFIG.format(engine=engine)
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        LocalService(broker.url) as service,
        LocalEndpoint(service, Path(folder, "e"), environment, config, command),
    ):
        yield GlobusContextExecutor(service.executor())


@contextlib.contextmanager
def _executor(name: str, broker: Broker) -> Iterator[Any]:
    stock = Path(os.environ.get("GLOBUS_ENDPOINT_ENVIRONMENT", ROOT / ".venv-endpoint"))
    ours = ("python", "-m", "parsl_context.globus.endpoint")
    if name == "threads":
        yield ThreadPoolExecutor(max_threads=WORKERS)
    elif name == "stock HTEX":
        yield _local(HighThroughputExecutor)
    elif name == "ContextExecutor":
        yield _local(ContextExecutor)
    elif name == "stock endpoint":
        with _endpoint(broker, "GlobusComputeEngine", stock, "globus-compute-endpoint") as made:
            yield made
    else:
        with _endpoint(broker, "ContextEngine", Path(sys.prefix), *ours) as made:
            yield made


NAMES = ("threads", "stock HTEX", "ContextExecutor", "stock endpoint", "endpoint with our pool")


def run(name: str, broker: Broker, network: Any, batches: list[Any]) -> tuple[np.ndarray, int, float, float]:
    """All calls on one executor: results, builds, time to the first result and from it to the last. [s]"""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, _executor(name, broker) as executor:
        load = network.load.function

        @context
        def counted(weights: str, marks: str) -> Any:
            import os
            import tempfile

            tempfile.mkstemp(prefix=f"built-{os.getpid()}-", dir=marks)
            return load(weights)

        app = context_app(context=counted(str(network.weights), folder))(network.run)
        config = Config(executors=[executor], run_dir=f"{folder}/runinfo", initialize_logging=False)
        with parsl.load(config):
            start = time.monotonic()
            first = app(batches[0]).result(120)
            warm = time.monotonic()
            futures: list[Future[Any]] = [app(each) for each in batches[1:]]
            found = [first, *(future.result(120) for future in futures)]
            end = time.monotonic()
        return (
            np.concatenate([each for each, _ in found]),
            len(list(Path(folder).glob("built-*"))),
            warm - start,
            end - warm,
        )


def main() -> int:
    """Print a table. Gives 1 if results differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--calls", type=int, default=40)
    parser.add_argument("--on", action="append", choices=NAMES)
    arguments = parser.parse_args()
    from networks.filetypes import NETWORK

    os.environ["PATH"] = f"{sys.prefix}/bin{os.pathsep}{os.environ['PATH']}"  # Parsl starts its scripts by name

    _, batches = NETWORK.batches(arguments.calls)
    table = Table("executor", "builds", "first result [s]", f"{arguments.calls - 1} more calls [s]", "equal")
    results: list[np.ndarray] = []
    with Broker() as broker:
        for name in arguments.on or NAMES:
            found, builds, first_s, rest_s = run(name, broker, NETWORK, batches)
            results.append(found)
            is_equal = bool(np.array_equal(found, results[0]))
            table.add_row(name, str(builds), f"{first_s:.2f}", f"{rest_s:.2f}", str(is_equal))
    Console().print(table)
    return 0 if all(np.array_equal(each, results[0]) for each in results) else 1


if __name__ == "__main__":
    sys.exit(main())
