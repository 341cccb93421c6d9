"""Keyed contexts beside what people write without them: an app for each key, by hand.

    python -m benchmarks.keys [--rounds 5] [--calls 2000]

50 keys whose popularity follows Zipf's law (the k-th is asked for 1/k as often as the first), two workers that keep 10
contexts each, so 20 of the 50; a build takes 50 ms, a body 1 ms. The same calls in the same order are made

*keyed*    by one app with a key: ``classifier.by("weights")``
*block*    by one app with a ``with context:`` block that uses a parameter
*by hand*  by 50 apps, one for each key, in a dictionary

each in an interpreter of its own, in turns. Printed are calls a second, builds, and builds beyond the first of each key
(reloads), and the ratio to *by hand* of each round; medians count.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import parsl
from parsl.providers import LocalProvider
from rich.console import Console
from rich.table import Table

from parsl_context import ContextExecutor, context, context_app

RESULTS = pathlib.Path(__file__).parent / "results" / "keys.json"
ROOT = pathlib.Path(__file__).parents[1]
KEYS = 50
ROOM = 20
WORKERS = 2
BUILD_S = 0.05
BODY_S = 0.001
WAYS = ("keyed", "block", "by hand")


@context
def held(key: int) -> int:
    """A context that takes a while to build."""
    time.sleep(BUILD_S)
    return key


@context_app(context=held.by("key"))
def keyed(value: int, x: int) -> int:
    """Its key does not reach the body."""
    time.sleep(BODY_S)
    return value + x


@context_app
def block(x: int, key: int) -> int:
    """The same, written as a block."""
    with context:
        time.sleep(BUILD_S)
        value = key
    time.sleep(BODY_S)
    return value + x


def by_hand() -> Callable[..., Any]:
    """An app for each key."""

    def body(value: int, x: int) -> int:
        time.sleep(BODY_S)
        return value + x

    apps = {key: context_app(context=held(key))(body) for key in range(KEYS)}
    return lambda x, key: apps[key](x)


def zipf(calls: int, seed: int) -> list[int]:
    """Keys of so many calls."""
    weights = [1 / (rank + 1) for rank in range(KEYS)]
    return random.Random(seed).choices(range(KEYS), weights, k=calls)


def measure(way: str, calls: int, seed: int) -> dict[str, float]:
    """Make the calls in one way, in this process."""
    make = {"keyed": keyed, "block": block}.get(way) or by_hand()
    keys = zipf(calls, seed)
    with tempfile.TemporaryDirectory() as run_dir:
        executor = ContextExecutor(
            address="127.0.0.1",
            max_workers_per_node=WORKERS,
            cores_per_worker=0.1,
            max_contexts_per_worker=ROOM // WORKERS,
            provider=LocalProvider(init_blocks=1, max_blocks=1),
        )
        config = parsl.Config(executors=[executor], run_dir=run_dir, strategy="none", usage_tracking=0)
        with parsl.load(config):
            make(0, key=keys[0]).result()
            began = time.perf_counter()
            futures = [make(i, key=key) for i, key in enumerate(keys)]
            wrong = sum(future.result() != key + i for i, (key, future) in enumerate(zip(keys, futures, strict=True)))
            took_s = time.perf_counter() - began
            loads = sum(row.loads for row in executor.contexts())
    assert not wrong, f"{wrong} results are wrong"
    return {"calls_per_s": calls / took_s, "builds": loads, "reloads": loads - len(set(keys))}


def run(way: str, calls: int, seed: int) -> dict[str, float]:
    """Measure in an interpreter of its own."""
    command = [sys.executable, "-m", "benchmarks.keys", "--one", way, "--calls", str(calls), "--seed", str(seed)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout.rpartition("RESULT ")[2])
    return figures


def table(rounds: Sequence[dict[str, dict[str, float]]]) -> Table:
    """Medians, and ratios to what was written by hand in the same round."""
    made = Table("", "calls/s", "builds", "reloads", "calls/s beside by hand", "builds beside by hand")
    for way in WAYS:
        medians = [
            f"{statistics.median(r[way][name] for r in rounds):.0f}" for name in ("calls_per_s", "builds", "reloads")
        ]
        ratios = [
            f"{statistics.median(r[way][name] / r['by hand'][name] for r in rounds):.2f}"
            for name in ("calls_per_s", "builds")
        ]
        made.add_row(way, *medians, *ratios)
    return made


def main() -> None:
    """Measure all ways in turns."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print("RESULT " + json.dumps(measure(arguments.one, arguments.calls, arguments.seed)))
        return
    rounds = []
    for number in range(arguments.rounds):
        ways = WAYS if number % 2 == 0 else WAYS[::-1]
        rounds.append({way: run(way, arguments.calls, number) for way in ways})
        seen = (f"{way} {f['calls_per_s']:.0f}/s, {f['builds']:.0f} builds" for way, f in rounds[-1].items())
        print(f"round {number + 1}: " + "; ".join(seen))
    Console().print(table(rounds))
    RESULTS.write_text(json.dumps(rounds, indent=1) + "\n")


if __name__ == "__main__":
    main()
