"""Targets are judged by the figures of a session, and by nothing else."""

from __future__ import annotations

import pytest

from benchmarks.cases import CASES
from benchmarks.figures import Spread
from benchmarks.systems import SYSTEMS
from benchmarks.targets import TARGETS, Figure, Target, Verdict

OURS, THEIRS = Figure("noop", "ours-submit", "rate"), Figure("noop", "htex-submit", "rate")


def figures(ours: float, theirs: float) -> dict[tuple[str, str, str], Spread]:
    return {
        (f.case, f.system, f.metric): Spread(value, value, value, 1) for f, value in ((OURS, ours), (THEIRS, theirs))
    }


@pytest.mark.parametrize(
    ("ours", "at_most", "verdict"),
    [
        (800, False, Verdict.MET),
        (799, False, Verdict.NOT_MET),
        (800, True, Verdict.MET),
        (801, True, Verdict.NOT_MET),
    ],
)
def test_a_ratio_is_compared_with_its_bound(ours: float, at_most: bool, verdict: Verdict) -> None:
    target = Target("faster", OURS, 8, THEIRS, at_most=at_most)
    assert target.value(figures(ours, 100)) == ours / 100
    assert target.verdict(figures(ours, 100)) is verdict


def test_a_figure_alone_is_compared_as_it_is() -> None:
    assert Target("quick", OURS, 0.8, at_most=True, unit="ms").verdict(figures(0.7, 1)) is Verdict.MET


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    alone = {key: value for key, value in figures(1, 1).items() if key[1] == "ours-submit"}
    assert Target("faster", OURS, 8, THEIRS).verdict(alone) is Verdict.UNKNOWN
    assert Target("faster", THEIRS, 8).verdict(alone) is Verdict.UNKNOWN


def test_targets_name_systems_and_cases_that_are_measured() -> None:
    for target in TARGETS:
        for figure in target.figures:
            assert figure.system in CASES[figure.case].systems
            assert figure.metric in {shown.metric for shown in CASES[figure.case].shown}


def test_cases_name_systems_and_jobs_that_exist() -> None:
    for case in CASES.values():
        assert set(case.systems) <= set(SYSTEMS)
        assert len(set(case.systems)) == len(case.systems)
