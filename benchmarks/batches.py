"""What `context_app(batch=...)` gains, beside what the body itself gains from lists.

    python -m benchmarks.batches [--rounds 3] [--network]

*body*     a body that takes 5 ms and 0.1 ms for each item: calls a second without and with ``batch=32``
*auto*     the same with ``batch="auto"``
*lone*     one call at a time: the round trip with ``batch=32`` beside that without
*network*  (with ``--network``, needs the extra ``minilm``) all-MiniLM-L6-v2 of `examples/networks`, a sentence in each
           call: what ``batch=32`` gains, beside what the network gains from lists of 32 in a plain loop on a worker

on one worker; without and with take turns, and medians of the rounds count. Calls are made by calling the app.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import parsl
from parsl.providers import LocalProvider
from rich.console import Console
from rich.progress import track
from rich.table import Table

from parsl_context import ContextExecutor, context, context_app

RESULTS = pathlib.Path(__file__).parent / "results" / "batches.json"
SIZE = 32
FIXED_S = 0.005
EACH_S = 0.0001
Times = dict[str, list[float]]


@context
def nothing() -> int:
    """A context that costs nothing."""
    return 0


def work(_: int, items: Sequence[int]) -> list[int]:
    """A body with a fixed cost: a kernel that is launched, a request."""
    time.sleep(FIXED_S + EACH_S * len(items))
    return list(items)


single = context_app(context=nothing)(lambda state, item: work(state, [item])[0])
batched = context_app(context=nothing, batch=SIZE)(work)
chosen = context_app(context=nothing, batch="auto")(work)


def many(app: Callable[..., Any], items: Sequence[Any]) -> float:
    """Time for a call with each item, all made at once. [s]"""
    began = time.perf_counter()
    for future in [app(item) for item in items]:
        future.result()
    return time.perf_counter() - began


def lone(app: Callable[..., Any], calls: int) -> float:
    """Median round trip of calls that are made one at a time. [s]"""
    times = []
    for number in range(calls):
        began = time.perf_counter()
        app(number).result()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def measure_body(rounds: int, calls: int) -> Times:
    """Times of the body's cases, round by round."""
    found: Times = {"single": [], "batched": [], "auto": [], "lone": [], "lone batched": []}
    for app in (single, batched, chosen):
        app(0).result()
    for _ in track(range(rounds), "a body of 5 ms + 0.1 ms an item"):
        found["single"].append(many(single, range(calls)))
        found["batched"].append(many(batched, range(calls)))
        found["auto"].append(many(chosen, range(calls)))
        found["lone"].append(lone(single, 200))
        found["lone batched"].append(lone(batched, 200))
    return found


def measure_network(rounds: int, calls: int) -> Times:
    """Times of the network's cases, round by round."""
    sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "examples"))
    from networks.minilm import NETWORK

    held = NETWORK.load(str(NETWORK.weights))
    sentences = [text for batch in NETWORK.batches(calls // NETWORK.inferences_per_call)[1] for text in batch]

    @context_app(context=held)
    def embed(model: Any, sentence: str) -> Any:
        return model.encode([sentence], show_progress_bar=False)[0]

    @context_app(context=held, batch=SIZE)
    def embed_batch(model: Any, sentences: list[str]) -> Any:
        return model.encode(sentences, show_progress_bar=False)

    @context_app(context=held)
    def loop(model: Any, sentences: list[str], size: int) -> float:
        began = time.perf_counter()
        for start in range(0, len(sentences), size):
            model.encode(sentences[start : start + size], show_progress_bar=False)
        return time.perf_counter() - began

    loop(sentences[:SIZE], SIZE).result()
    found: Times = {"single": [], "batched": [], "loop": [], "loop of lists": []}
    for _ in track(range(rounds), f"{NETWORK.title}"):
        found["loop"].append(loop(sentences, 1).result())
        found["single"].append(many(embed, sentences))
        found["loop of lists"].append(loop(sentences, SIZE).result())
        found["batched"].append(many(embed_batch, sentences))
    return found


def main() -> int:
    """Measure, show, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=640)
    parser.add_argument("--network", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        executor = ContextExecutor(max_workers_per_node=1, provider=LocalProvider())
        with parsl.load(parsl.Config(executors=[executor], run_dir=folder, initialize_logging=False)):
            body = measure_body(arguments.rounds, arguments.calls)
            network = measure_network(arguments.rounds, arguments.calls) if arguments.network else None
    ratios = {
        "batch=32 beside none": ratio(body, "single", "batched"),
        'batch="auto" beside none': ratio(body, "single", "auto"),
        "lone call beside none": ratio(body, "lone batched", "lone"),
    }
    if network is not None:
        ratios["network: gain of batch=32"] = gain = ratio(network, "single", "batched")
        ratios["network: gain of lists in a loop"] = own = ratio(network, "loop", "loop of lists")
        ratios["network: the one by the other"] = gain / own
    table = Table("what", "ratio")
    for name, value in ratios.items():
        table.add_row(name, f"{value:.2f}")
    Console().print(table)
    report = {"calls": arguments.calls, "ratios": ratios, "body_s": body, "network_s": network}
    RESULTS.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def ratio(times: Times, slow: str, fast: str) -> float:
    """Median over the rounds of how many times one took of the other."""
    return statistics.median(a / b for a, b in zip(times[slow], times[fast], strict=True))


if __name__ == "__main__":
    sys.exit(main())
