"""Tables and remarks are made of the records alone."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.cases import CASES
from benchmarks.figures import figures
from benchmarks.report import number, remarks, summary, write


def record(system: str, rate: float | None, **others: Any) -> dict[str, Any]:
    measured = {} if rate is None else {"metrics": {"calls_per_s": [rate, rate * 1.5, rate * 2]}}
    about = {
        "case": "noop",
        "system": system,
        "time": "2026-01-01T00:00:00+00:00",
        "load": [0.1, 0.1, 0.1],
        "machine": {"cpu": "A", "cores": 2, "memory_gb": 4.0, "linux": "6", "python": "3.11"},
        "versions": {"parsl": "1"},
    }
    return {**about, **measured, **others}


def shown(records: list[dict[str, Any]]) -> str:
    console = Console(width=200, file=io.StringIO())
    with console.capture() as capture:
        console.print(summary(records))
    return capture.get()


def test_the_summary_shows_medians_spread_and_verdicts() -> None:
    text = shown([record("ours-submit", 9000), record("htex-submit", 1000), record("loky", 20000)])
    assert "13,500 (9,000-18,000)" in text
    (against_htex,) = [line for line in text.splitlines() if "executor.submit: times HTEX" in line]
    assert "9" in against_htex
    assert "≥ 8" in against_htex
    assert "│ met" in against_htex
    (against_loky,) = [line for line in text.splitlines() if "executor.submit: times loky" in line]
    assert "0.45" in against_loky
    assert "not met" in against_loky


def test_what_was_skipped_failed_or_disturbed_is_said() -> None:
    records = [
        record("ray", None, skipped="ray is not installed"),
        record("loky", None, failed="Traceback\nOSError: no"),
        record("mpire", 1.0, others_cores=1.5, left_behind=2),
    ]
    assert remarks(records) == [
        "ray skipped: ray is not installed",
        "noop loky failed: OSError: no",
        "noop mpire left 2 processes behind",
        "noop mpire: other programs kept 1.5 cores busy",
    ]


def test_a_plot_is_drawn_for_each_case_that_was_measured(tmp_path: Path) -> None:
    efficiency = {"efficiency 0.001": [0.5], "efficiency 1": [0.9]}
    records = [record("ours-submit", 9000), {**record("ray", 1), "case": "efficiency", "metrics": efficiency}]
    write(records, tmp_path)
    drawn = {path.stem for path in tmp_path.glob("*.png")}
    assert drawn == {key[0] for key in figures(records)}
    assert drawn <= set(CASES)
    assert "Targets" in (tmp_path / "summary.txt").read_text()


def test_numbers_keep_three_digits_that_matter() -> None:
    assert [number(value) for value in (0.01234, 1.5, 99.4, 12345.6)] == ["0.0123", "1.5", "99.4", "12,346"]
