"""The job of `lnni.py`: run all calls at one level of reuse, and measure.

The weights come from an HTTP server of this process, which counts what it sends.
"""

from __future__ import annotations

import contextlib
import functools
import pathlib
import tempfile
import threading
import time
from concurrent.futures import as_completed
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import parsl
from parsl.data_provider.files import File
from parsl.launchers import SrunLauncher
from parsl.providers import LocalProvider, SlurmProvider
from parsl.providers.base import ExecutionProvider
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from networks import Network
from parsl_context import ContextExecutor, context_app

if TYPE_CHECKING:
    import numpy as np

LEVELS = ("none", "disk", "memory", "node")
CONNECT_TIMEOUT_S = 120.0
ARCHIVE = "environment.tar.zst"

console = Console()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was measured at one level of reuse."""

    level: str
    makespan_s: float
    mean_call_s: float
    contexts_built: int
    fetched_bytes: int
    slots_busy: float  # [0, 1]
    # Share of the makespan at level none; None where that level did not run.
    saved: float | None = None


class Origin(ThreadingHTTPServer):
    """Serves the files of the network on this machine, and counts what it sends."""

    daemon_threads = True

    def __init__(self, folder: pathlib.Path) -> None:
        super().__init__(
            ("127.0.0.1", 0), functools.partial(_Handler, directory=str(folder))
        )
        self.sent_bytes = 0
        self._lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"

    def count(self, size: int) -> None:
        with self._lock:
            self.sent_bytes += size


class _Handler(SimpleHTTPRequestHandler):
    server: Origin

    def copyfile(self, source, outputfile) -> None:
        # By the kernel: it takes little from the workers. Who wants the beginning of a file alone hangs up after it.
        with contextlib.suppress(ConnectionError):
            self.server.count(self.connection.sendfile(source))

    def log_message(self, *_) -> None:
        pass


def make_executor(
    level: str,
    workers: int,
    nodes: int | None,
    store: str,
    environment: str | None = None,
) -> ContextExecutor:
    """Return an executor with one block of workers, which keep files in `store`.

    Contexts run in `environment`, the address of a packed one; without one in the Python of the workers.

    The block is on this machine, or has so many nodes of a Slurm that emulates them here.
    """
    init = f"export PARSL_CONTEXT_STORE={store}"
    provider: ExecutionProvider
    if nodes is None:
        provider = LocalProvider(init_blocks=1, max_blocks=1, worker_init=init)
    else:
        provider = SlurmProvider(
            nodes_per_block=nodes, launcher=SrunLauncher(), worker_init=init
        )
    return ContextExecutor(
        reuse=level,
        environment=environment,
        max_workers_per_node=workers,
        cores_per_worker=1,
        address="127.0.0.1",
        provider=provider,
    )


def wait_for_workers(executor: ContextExecutor, workers: int) -> None:
    """Return when all workers are connected; raise TimeoutError after `CONNECT_TIMEOUT_S`."""
    deadline = time.monotonic() + CONNECT_TIMEOUT_S
    while (
        connected := sum(
            manager["worker_count"] for manager in executor.connected_managers()
        )
    ) < workers:
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"{connected} of {workers} workers connected after {CONNECT_TIMEOUT_S:.0f} s"
            )
        time.sleep(0.05)


def run_level(
    level: str,
    workers: int,
    nodes: int | None,
    network: Network,
    batches: list[list[Any]],
    origin: Origin,
    packed: Origin | None = None,
) -> tuple[Outcome, np.ndarray]:
    """Run all calls at one level. Returns what was measured, and the results in order.

    `packed` serves the software of the network, `ARCHIVE`; without it, it is used where it is installed.
    """
    import numpy as np

    columns = (
        TextColumn("{task.description:<8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    app = context_app(context=network.load(File(origin.url(network.weights.name))))(
        network.run
    )
    origins = [origin] if packed is None else [origin, packed]
    sent_bytes = sum(each.sent_bytes for each in origins)
    with tempfile.TemporaryDirectory(prefix="lnni-") as run_dir:
        # Each level starts with an empty store.
        software = None if packed is None else packed.url(ARCHIVE)
        executor = make_executor(level, workers, nodes, f"{run_dir}/store", software)
        workers *= nodes or 1
        with parsl.load(
            parsl.Config(executors=[executor], run_dir=run_dir, strategy_period=0.5)
        ):
            with console.status(f"{level}: starting {workers} workers"):
                wait_for_workers(executor, workers)
            with Progress(*columns, console=console) as progress:
                bar = progress.add_task(level, total=len(batches))
                start = time.monotonic()
                futures = [app(batch) for batch in batches]
                for future in as_completed(futures):
                    future.result()  # raise at once, not after the last call
                    progress.advance(bar)
                makespan_s = time.monotonic() - start
            rows = executor.contexts()

    arrays, bodies_s = zip(*(future.result() for future in futures), strict=True)
    body_s = sum(bodies_s)
    build_s = sum(row.loads * row.load_s for row in rows)
    outcome = Outcome(
        level=level,
        makespan_s=makespan_s,
        mean_call_s=(body_s + build_s) / len(batches),
        contexts_built=sum(row.loads for row in rows),
        fetched_bytes=sum(each.sent_bytes for each in origins) - sent_bytes,
        slots_busy=body_s / (workers * makespan_s),
    )
    return outcome, np.concatenate(arrays)
