"""From the start of a script to its first result, with 16 workers: what each part takes, beside the bound.

    python -m benchmarks.start [--rounds 5] [--against FOLDER]

*bound*  nobody can be faster who uses Parsl on both sides: an interpreter that does ``import parsl`` in the script, and
         after it one on the node
*this*   a script with one context app, from its interpreter's start to the first result; its parts end when

    import parsl      the script has it, with the start of the interpreter
    import ours       and what it uses of this package
    interchange       that listens
    manager           that has begun, with the imports of the pool
    joined            and the interchange knows it
    first result      a worker was forked, has built the context and has run the call

With ``--against``, the folder of another version of this package, that too (*before*). All take turns, a round each, in
fresh processes; medians count. The table goes to `results/start.json`, the bars to `results/start.png`.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from rich.console import Console
from rich.table import Table

HERE = pathlib.Path(__file__).parents[1]
RESULTS = pathlib.Path(__file__).parent / "results"
WORKERS = 16
BOUND_PARTS = ("import parsl", "and in a zygote")
PARTS = ("import parsl", "import ours", "interchange", "manager", "joined", "first result")
TARGET = 1.3  # times the bound

SCRIPT = f"""
import time
import parsl
marks = [time.time()]
from parsl.providers import LocalProvider
from parsl_context import ContextExecutor, context, context_app
marks.append(time.time())

@context
def nothing():
    return 0

@context_app(context=nothing)
def app(held, x):
    return held + x

executor = ContextExecutor(label="bench", max_workers_per_node={WORKERS}, cores_per_worker=0.01,
                           provider=LocalProvider(init_blocks=1, max_blocks=1))
with parsl.load(parsl.Config(executors=[executor], usage_tracking=0)):
    app(1).result()
    marks.append(time.time())
print(*marks)
"""
# What the logs say when a part has ended.
LOGS = (("interchange.log", "listens on port"), ("manager.log", " starts: "), ("manager.log", "Joined as"))


def import_parsl() -> float:
    """Time of a fresh interpreter that imports Parsl. [s]"""
    began = time.time()
    subprocess.run([sys.executable, "-c", "import parsl, os; os._exit(0)"], check=True)
    return time.time() - began


def run_script(package: pathlib.Path) -> list[float]:
    """Time that each part of the script takes, with the package of a folder. [s]"""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        path = pathlib.Path(folder)
        (path / "script.py").write_text(SCRIPT)
        began = time.time()
        environment = {**os.environ, "PYTHONPATH": str(package)}
        command = [sys.executable, "script.py"]
        ended = subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        parsl_at, ours_at, result_at = map(float, ended.stdout.split())
        ends = [parsl_at, ours_at, *(logged(path, name, words) for name, words in LOGS), result_at]
    return [end - start for start, end in zip([began, *ends], ends, strict=False)]


def logged(folder: pathlib.Path, name: str, words: str) -> float:
    """When a log first says something, as it was written: its lines begin with that. [s]"""
    (file,) = folder.rglob(name)
    line = next(line for line in file.read_text().splitlines() if words in line)
    return float(line.split()[0])


def main() -> int:
    """Measure, show, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--against", type=pathlib.Path, metavar="FOLDER")
    chosen = parser.parse_args()
    packages = {"this": HERE} | ({"before": chosen.against.resolve()} if chosen.against else {})
    rounds: dict[str, list[list[float]]] = {"bound": [], **{name: [] for name in packages}}
    run_script(HERE)  # fills the caches of the file system
    for _ in range(chosen.rounds):
        rounds["bound"].append([import_parsl(), import_parsl()])
        for name, package in packages.items():
            rounds[name].append(run_script(package))
    show(rounds)
    (RESULTS / "start.json").write_text(json.dumps({"workers": WORKERS, "load": os.getloadavg(), **rounds}, indent=1))
    draw(rounds)
    return 0


def total(rounds: list[list[float]]) -> float:
    """Median of what all parts took. [s]"""
    return statistics.median(map(sum, rounds))


def parts(rounds: list[list[float]]) -> list[float]:
    """Median of what each part took. [s]"""
    return [statistics.median(part) for part in zip(*rounds, strict=True)]


def times_bound(rounds: dict[str, list[list[float]]], name: str) -> float:
    """How many times the bound of its round something took: the median."""
    return statistics.median(sum(a) / sum(b) for a, b in zip(rounds[name], rounds["bound"], strict=True))


def show(rounds: dict[str, list[list[float]]]) -> None:
    """Print what was measured."""
    table = Table("", "total [s]", "times the bound", *PARTS)
    for name, found in rounds.items():
        table.add_row(
            name, f"{total(found):.2f}", f"{times_bound(rounds, name):.2f}", *(f"{p:.3f}" for p in parts(found))
        )
    Console(width=140).print(table, f"at most {TARGET} times the bound is wanted")


def draw(rounds: dict[str, list[list[float]]]) -> None:
    """A bar for each, in parts."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 1.2 + 0.5 * len(rounds)), layout="constrained")
    for row, (name, found) in enumerate(rounds.items()):
        left = 0.0
        labels = BOUND_PARTS if name == "bound" else PARTS
        for number, (label, width) in enumerate(zip(labels, parts(found), strict=True)):
            axes.barh(row, width, left=left, color=f"C{number}", edgecolor="white")
            if width > 0.06 * total(found):
                axes.text(left + width / 2, row, label, ha="center", va="center", fontsize=7, color="white")
            left += width
    limit = TARGET * total(rounds["bound"])
    axes.axvline(limit, color="black", linestyle=":", label=f"{TARGET} times the bound")
    axes.set_yticks(range(len(rounds)), list(rounds))
    axes.invert_yaxis()
    axes.set_xlabel(f"from the script's start to its first result, {WORKERS} workers [s]")
    axes.legend(loc="upper right", fontsize=7)
    figure.savefig(RESULTS / "start.png", dpi=120)


if __name__ == "__main__":
    sys.exit(main())
