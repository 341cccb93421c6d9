"""Measures some cases on one system, in a process of its own: started by the harness, once for each run.

    python -m benchmarks.measure '{"system": ..., "cases": [...], "quick": ..., "started": ..., "output": ...}'

Writes to `output` the metrics by case, or why there are none.
"""

from __future__ import annotations

import json
import pathlib
import sys
import traceback
from typing import Any

from benchmarks.cases import CASES
from benchmarks.cases.base import Case, Run
from benchmarks.systems import SYSTEMS
from benchmarks.systems.base import Entry, System, Unavailable


def main() -> None:
    order = json.loads(sys.argv[1])
    cases = [CASES[name] for name in order["cases"]]
    answer = answer_to(SYSTEMS[order["system"]], cases, order["quick"], order["started"])
    pathlib.Path(order["output"]).write_text(json.dumps(answer))


def answer_to(entry: Entry, cases: list[Case], quick: bool, started: float) -> dict[str, Any]:
    """Metrics by case under "cases", and "skipped" or "failed" with the reason if not all could be measured."""
    answer: dict[str, Any] = {"cases": {}}
    system = None
    try:
        system = entry.make()
        if cases[0].warm:
            warm_up(system, cases[0])
        run = Run(system, entry.retains, quick, started)
        for case in cases:
            answer["cases"][case.name] = case.measure(run)
    except Unavailable as reason:
        answer["skipped"] = str(reason)
    except Exception:
        answer["failed"] = traceback.format_exc()
    finally:
        if system is not None and "skipped" not in answer:
            system.close()
    return answer


def warm_up(system: System, case: Case) -> None:
    """Start the workers and have the context made in each."""
    system.open(case.workers)
    system.ready()
    system.hold(case.job)
    for _ in range(2):
        system.many([0] * 2 * case.workers)


if __name__ == "__main__":
    main()
