"""Medians and spread: a run counts once, however many bursts it made."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.figures import Spread, figures, percentile, spread


def record(metrics: dict[str, list[float]], **others: object) -> dict[str, object]:
    return {"case": "noop", "system": "loky", "metrics": metrics, **others}


def test_the_figure_is_the_median_of_the_medians_of_runs() -> None:
    assert spread([[1, 2, 9], [5, 5, 5], [7, 8, 9]]) == Spread(median=5, low=1, high=9, runs=3)


def test_a_run_with_many_bursts_counts_once() -> None:
    assert spread([[1] * 100, [5], [6]]).median == 5


def test_nothing_measured_has_no_figure() -> None:
    with pytest.raises(ValueError, match="nothing"):
        spread([[]])


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.1, 100))
def test_so_many_percent_do_not_exceed_a_percentile(values: list[float], percent: float) -> None:
    found = percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) >= percent / 100 * len(values) - 1e-9
    below = [value for value in values if value < found]
    assert len(below) < percent / 100 * len(values)


def test_records_are_gathered_by_case_system_and_metric() -> None:
    found = figures([record({"rate": [1.0, 3.0]}), record({"rate": [4.0]}), record({"rate": [9.0]}, system="ray")])
    assert found == {
        ("noop", "loky", "rate"): Spread(3.0, 1.0, 4.0, 2),
        ("noop", "ray", "rate"): Spread(9.0, 9.0, 9.0, 1),
    }


def test_runs_that_were_skipped_or_failed_have_no_figure() -> None:
    assert figures([{"case": "noop", "system": "ray", "skipped": "ray is not installed"}]) == {}
