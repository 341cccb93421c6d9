"""What a warm call costs more than a plain function on the same engine of a Globus Compute endpoint, by the wall clock.

Each engine runs in this process, with one worker; calls of both kinds are made in turn, one at a time, in pairs whose
order changes. Needs what `make test-globus` needs: ``.venv-globus/bin/python -m benchmarks.globus_calls``
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from globus_compute_common import messagepack
from globus_compute_common.messagepack.message_types import Task
from globus_compute_endpoint.engines import GCFuture, GlobusComputeEngine, ThreadPoolEngine
from globus_compute_sdk.serialize import ComputeSerializer, PureSourceTextInspect
from parsl.providers import LocalProvider
from rich.console import Console
from rich.table import Table

from benchmarks import harness
from parsl_context import context, context_app
from parsl_context.globus import ContextEngine

RESULTS = Path(__file__).parent / "results" / "globus-calls.json"
TARGET_MS = 1.0
WITHIN_S = 120
_DRAWS = 1000  # of the differences, for their mean's interval
ENGINES = {"threads": ThreadPoolEngine, "stock": GlobusComputeEngine, "ours": ContextEngine}


@context
def table(size: int) -> list[int]:
    """What the calls share."""
    return list(range(size))


@context_app(context=table(1000))
def ours(values: list[int], x: int) -> int:
    """A call of a context app."""
    return values[x]


def plain(x):  # type: ignore[no-untyped-def]
    """A call of a plain function."""
    return x


@contextlib.contextmanager
def engine(name: str, folder: str) -> Iterator[Any]:
    """An engine that runs."""
    if name == "threads":
        made = ThreadPoolEngine(max_workers=1)
    else:
        block = LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1)
        made = ENGINES[name](
            label=name, address="127.0.0.1", max_workers_per_node=1, cores_per_worker=0.1, provider=block
        )
    made.start(endpoint_id=uuid.uuid4(), run_dir=folder)
    try:
        yield made
    finally:
        made.shutdown()


class Calls:
    """Calls of a function, packed as the web service hands them over."""

    def __init__(self, engine: Any, function: Any) -> None:
        self._engine = engine
        self._serializer = ComputeSerializer(strategy_code=PureSourceTextInspect())
        is_plain = function is plain
        self._code = (self._serializer if is_plain else ComputeSerializer()).serialize(function)
        self._rest = [self._serializer.serialize((7,)), self._serializer.serialize({})]

    def one(self) -> float:
        """Make one. Gives what it took. [s]"""
        task_id = uuid.uuid4()
        task = Task(task_id=task_id, task_buffer=self._serializer.pack_buffers([self._code, *self._rest]))
        packed, future = messagepack.pack(task), GCFuture(task_id)
        start = time.perf_counter()
        self._engine.submit(future, packed, {}, [])
        result = messagepack.unpack(future.result(WITHIN_S))
        took = time.perf_counter() - start
        if result.is_error or self._serializer.deserialize(result.data) != 7:
            raise RuntimeError(f"A call went wrong: {result.data}")
        return took


def pairs(engine: Any, count: int) -> list[tuple[float, float]]:
    """What a plain call and one of ours took, in turn. [s]"""
    kinds = [Calls(engine, plain), Calls(engine, ours.as_globus_function())]
    for each in kinds * 5:
        each.one()  # imports, and the build
    found = []
    for number in range(count):
        order = (0, 1) if number % 2 else (1, 0)
        took = {which: kinds[which].one() for which in order}
        found.append((took[0], took[1]))
    return found


def interval_ms(found: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """The mean of the differences, with its interval of 95 %. [ms]"""
    differences = [1e3 * (of_ours - of_plain) for of_plain, of_ours in found]
    draw = random.Random(1)
    means = sorted(statistics.mean(draw.choices(differences, k=len(differences))) for _ in range(_DRAWS))
    return means[int(0.025 * _DRAWS)], statistics.mean(differences), means[int(0.975 * _DRAWS) - 1]


def main() -> int:
    """Print a table and write what was measured. Gives 1 if the target is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--on", action="append", choices=list(ENGINES))
    arguments = parser.parse_args()
    os.environ["PATH"] = f"{sys.prefix}/bin{os.pathsep}{os.environ['PATH']}"  # engines start their command by name
    output, here = (
        Table("engine", "plain [ms]", "ours [ms]", "more, mean and 95 % [ms]", f"at most {TARGET_MS:g}"),
        os.getcwd(),
    )
    told: dict[str, Any] = {}
    for name in arguments.on or ENGINES:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            os.chdir(folder)
            load = os.getloadavg()
            with engine(name, folder) as made:
                found = pairs(made, arguments.pairs)
            os.chdir(here)
        low, mean, high = interval_ms(found)
        plain_ms, ours_ms = (1e3 * statistics.median(each) for each in zip(*found, strict=True))
        verdict = "met" if high <= TARGET_MS else "NOT met"
        output.add_row(name, f"{plain_ms:.2f}", f"{ours_ms:.2f}", f"{mean:.2f} ({low:.2f} to {high:.2f})", verdict)
        told[name] = {"load": load, "more_ms": (low, mean, high), "seconds": found}
    console = Console()
    console.print(output)
    console.print(f"{arguments.pairs} pairs each; load of the machine before: {told[next(iter(told))]['load']}")
    niceness = os.nice(0)  # of all processes of the engines, too
    console.print(f"niceness: {niceness}")
    data = {
        "machine": harness.machine(),
        "niceness": niceness,
        "versions": harness.versions(),
        "pairs": arguments.pairs,
        "engines": told,
    }
    RESULTS.write_text(json.dumps(data) + "\n")
    return 0 if all(each["more_ms"][2] <= TARGET_MS for each in told.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
