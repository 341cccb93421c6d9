"""Makes the report of a run from its event log on disk."""

from __future__ import annotations

from pathlib import Path

from parsl_context.report.advice import advise
from parsl_context.report.analysis import analyse
from parsl_context.report.figures import Report
from parsl_context.report.page import page
from parsl_context.report.reading import LogReader


def make_report(folder: Path) -> Report:
    """The report of the log in a folder, with advice."""
    report, story = analyse(LogReader(folder).read())
    report.advice = advise(report, story)
    return report


def write_page(report: Report, path: Path) -> None:
    """Write the page, whole or not at all."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(page(report), "utf-8")
    beside.replace(path)
