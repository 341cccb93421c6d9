"""`app.map` beside mpire's chunked map: the first map of an app, its second, and one whose calls became slow.

    python -m benchmarks.maps [--rounds 21] [--calls 2000 100000]

Two workers each, in one process, in turns: mpire's map, the map of an app that has made none (on workers that hold its
context), the same app's map once more. Of both, calls give back what they are given. Printed are medians, smallest and
largest, and the median of the ratios to mpire in the same round.

*slow*: an app whose calls did nothing is mapped over calls of 10 ms each. Printed is the time beside that of so many
calls on two workers, and the largest task: sizes of tasks start from what was measured, which is wrong here.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import parsl
from parsl.providers import LocalProvider
from rich.console import Console
from rich.table import Table

from benchmarks import harness, work
from benchmarks.systems.peers import Mpire
from parsl_context import Context, ContextApp, ContextExecutor, context, context_app

RESULTS = pathlib.Path(__file__).parent / "results"
WORKERS = 2
SLOW_S = 0.01
SLOW_CALLS = 400
WAYS = ("mpire", "first map", "second map")

Rounds = dict[str, list[float]]  # seconds, by way


def new_app(held: Context) -> ContextApp:
    """An app that has made no map."""
    made: ContextApp = context_app(context=held)(lambda value, x: x if x == int(x) else time.sleep(x % 1))
    return made


def measure(
    ways: Sequence[Callable[[ContextApp, Sequence[Any]], Any]], held: Context, calls: int, rounds: int
) -> Rounds:
    """All ways in turns."""
    items = list(range(calls))
    found: Rounds = {way: [] for way in WAYS}
    for _ in range(rounds):
        app = new_app(held)
        for name, way in zip(WAYS, ways, strict=True):
            began = time.perf_counter()
            results = way(app, items)
            found[name].append(time.perf_counter() - began)
            assert results == items
    return found


def measure_slow(held: Context) -> dict[str, float]:
    """Calls that take longer than those before."""
    app = new_app(held)
    list(app.map(range(20_000)))
    sizes: list[int] = []
    submit = app.submit_call
    app.submit_call = lambda func, args, kwargs: sizes.append(len(args[0])) or submit(func, args, kwargs)  # type: ignore[method-assign, func-returns-value]
    began = time.perf_counter()
    list(app.map([SLOW_S] * SLOW_CALLS))
    took_s = time.perf_counter() - began
    return {"over_ideal": took_s / (SLOW_CALLS * SLOW_S / WORKERS), "largest": max(sizes), "tasks": len(sizes)}


def run(calls: Sequence[int], rounds: int) -> dict[str, Any]:
    """Measure everything. The pool that forks comes first."""
    pool = Mpire(chunked=True)
    pool.open(WORKERS)
    pool.hold("give back")
    pool.many(range(10))
    with tempfile.TemporaryDirectory() as run_dir:
        executor = ContextExecutor(
            address="127.0.0.1",
            max_workers_per_node=WORKERS,
            cores_per_worker=0.01,
            provider=LocalProvider(init_blocks=1, max_blocks=1),
        )
        with parsl.load(parsl.Config(executors=[executor], run_dir=run_dir, usage_tracking=0)):
            held = context(work.build_nothing)()
            list(new_app(held).map(range(100), chunksize=1))
            ways = (lambda _, items: pool.many(items), *[lambda app, items: list(app.map(items))] * 2)
            seconds = {n: measure(ways, held, n, rounds if n < 10_000 else max(3, rounds // 3)) for n in calls}
            slow = measure_slow(held)
    pool.close()
    return {"machine": harness.machine(), "versions": harness.versions(), "seconds": seconds, "slow": slow}


def table(seconds: dict[int, Rounds]) -> Table:
    """Calls a second."""
    made = Table("calls", "", "calls/s", "smallest", "largest", "beside mpire")
    for calls, rounds in seconds.items():
        for way in WAYS:
            rates = [calls / took for took in rounds[way]]
            ratios = [m / took for m, took in zip(rounds["mpire"], rounds[way], strict=True)]
            cells = [f"{f(rates):,.0f}" for f in (statistics.median, min, max)]
            made.add_row(f"{calls:,}", way, *cells, f"{statistics.median(ratios):.2f}")
    return made


def show(found: dict[str, Any], console: Console) -> None:
    """What people look at."""
    machine, slow = found["machine"], found["slow"]
    console.print(f"{machine['cpu']}, {machine['cores']} cores; Python {machine['python']}", style="dim")
    console.print(table(found["seconds"]))
    console.print(
        f"{SLOW_CALLS} calls of {1000 * SLOW_S:g} ms, after 20,000 that did nothing: {slow['over_ideal']:.2f} times "
        f"what two workers need, in {slow['tasks']} tasks of {slow['largest']} calls at most"
    )


def main() -> None:
    """Measure, show, keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--calls", type=int, nargs="+", default=[2000, 100_000])
    parser.add_argument("--output", type=pathlib.Path, default=RESULTS, help="folder of the results")
    chosen = parser.parse_args()
    found = run(chosen.calls, chosen.rounds)
    show(found, Console())
    (chosen.output / "maps.json").write_text(json.dumps(found, indent=1) + "\n")
    with (chosen.output / "maps.txt").open("w") as file:
        show(found, Console(file=file, width=110))


if __name__ == "__main__":
    main()
