"""`parsl-context report`: the report of a run as a page, data, tables or a trace."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

from parsl_context.report import monitoring
from parsl_context.report.making import make_report, write_page
from parsl_context.report.plots import write_picture
from parsl_context.report.reading import LogReader, find_logs
from parsl_context.report.summary import summary
from parsl_context.report.trace import write_trace


def report(
    run_dir: str | None,
    *,
    output: str | None = None,
    as_json: bool = False,
    tables: str | None = None,
    trace: str | None = None,
    database: str | None = None,
    picture: str | None = None,
) -> int:
    """Write or print the report of each executor of a run. Gives the exit status."""
    folders = find_logs(run_dir)
    data = {}
    for folder in folders:
        label = folder.parent.name
        suffix = f"-{label}" if len(folders) > 1 else ""
        if trace is not None:
            path = _beside(Path(trace), suffix)
            write_trace(LogReader(folder).read(), path)
            print(f"{path}: open it at ui.perfetto.dev, or in chrome://tracing")
            continue
        if database is not None:
            calls, builds = monitoring.write_tables(folder, Path(database))
            print(f"{database}: {calls} calls in table context_call, {builds} builds in context_build")
            continue
        found = make_report(folder)
        if as_json:
            data[label] = {**found.tables(), "lines": found.lines, "advice": found.advice}
        elif tables is not None:
            write_tables(found.tables(), Path(tables + suffix))
        elif picture is not None:
            write_picture(found, path := _beside(Path(picture), suffix))
            print(path)
        else:
            path = _beside(Path(output), suffix) if output else folder.parent / "report.html"
            write_page(found, path)
            print(summary(found))
            print(f"\nThe report is {path}")
    if as_json:
        json.dump(data, sys.stdout, indent=1)
        print()
    return 0


def write_tables(tables: dict[str, list[dict[str, object]]], folder: Path) -> None:
    """A CSV file for each table."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        if rows:
            with (folder / f"{name}.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
    print(f"{folder}: {', '.join(sorted(f'{name}.csv' for name, rows in tables.items() if rows))}")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.stem}{suffix}{path.suffix}")
