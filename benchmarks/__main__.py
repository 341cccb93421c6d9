"""Measure ContextExecutor and what else one could use, side by side.

python -m benchmarks                                           everything, into benchmarks/results/
python -m benchmarks --case noop --system ours-submit --system loky     a part, into benchmarks/output/
python -m benchmarks --list
python -m benchmarks --report benchmarks/results               tables and plots of what was measured before
"""

from __future__ import annotations

import argparse
import json
import pathlib
import signal
import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks import harness, report
from benchmarks.cases import CASES
from benchmarks.systems import SYSTEMS

_HERE = pathlib.Path(__file__).parent
_FILE = "runs.jsonl"
console = Console()


def main() -> int:
    chosen = _parse()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    if chosen.list:
        _list()
        return 0
    if chosen.report:
        return _report(chosen.report)
    folder: pathlib.Path = chosen.output or _HERE / ("output" if _is_part(chosen) else "results")
    folder.mkdir(parents=True, exist_ok=True)
    cases = [CASES[name] for name in chosen.case or CASES]
    systems = [SYSTEMS[name] for name in chosen.system or SYSTEMS]
    runs = harness.plan(cases, systems, 1 if chosen.quick and not chosen.repeat else chosen.repeat)
    if not runs:
        console.print("None of these systems takes part in these cases; see --list.")
        return 2
    path = folder / _FILE
    _keep(path, {case.name for case in cases} if chosen.add else None)
    _measure(runs, path, chosen)
    return _report(folder)


def _is_part(chosen: argparse.Namespace) -> bool:
    return bool(chosen.case or chosen.system or chosen.quick)


def _keep(path: pathlib.Path, replaced: set[str] | None) -> None:
    """Keep the lines of cases that are not measured anew, or none."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() and replaced is not None else []
    path.write_text("".join(line for line in lines if json.loads(line)["case"] not in (replaced or ())))


def _measure(runs: list[harness.Run], path: pathlib.Path, chosen: argparse.Namespace) -> None:
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    # One refresh a second: the progress bar must not take part in what is measured.
    with Progress(*columns, console=console, refresh_per_second=1) as progress:
        bar = progress.add_task("", total=len(runs))
        for run in runs:
            names = ", ".join(case.name for case in run.cases)
            progress.update(bar, description=f"{names}: {run.entry.name}")
            records = harness.perform(run, quick=chosen.quick, limit_s=chosen.limit)
            with path.open("a") as file:
                file.writelines(json.dumps(record) + "\n" for record in records)
            for line in report.remarks(records):
                progress.print(line, style="yellow", markup=False)
            progress.advance(bar)


def _report(folder: pathlib.Path) -> int:
    """Tables and plots of what the folder holds. Gives 1 if a measurement failed."""
    lines = (folder / _FILE).read_text().splitlines()
    records = [json.loads(line) for line in lines]
    console.print(report.summary(records))
    report.write(records, folder)
    console.print(f"Results: {folder}", soft_wrap=True)
    return 1 if any("failed" in record for record in records) else 0


def _list() -> None:
    for title, rows in (
        ("cases", [(case.name, case.about) for case in CASES.values()]),
        ("systems", [(entry.name, entry.missing() or entry.about) for entry in SYSTEMS.values()]),
    ):
        table = Table(title=title, title_justify="left", show_header=False)
        for row in rows:
            table.add_row(*row)
        console.print(table)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", action="append", choices=CASES, metavar="NAME", help="this case; repeatable")
    parser.add_argument("--system", action="append", choices=SYSTEMS, metavar="NAME", help="this system; repeatable")
    parser.add_argument("--quick", action="store_true", help="one run of each, fewer and shorter bursts")
    parser.add_argument("--repeat", type=int, metavar="N", help="runs of each system")
    parser.add_argument("--limit", type=float, metavar="S", help="time that one run may take, whatever the case [s]")
    parser.add_argument("--output", type=pathlib.Path, metavar="DIR", help="folder of the results")
    parser.add_argument("--add", action="store_true", help="keep what the folder holds of other cases")
    parser.add_argument(
        "--report", type=pathlib.Path, metavar="DIR", help="measure nothing, show what the folder holds"
    )
    parser.add_argument("--list", action="store_true", help="name cases and systems")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
