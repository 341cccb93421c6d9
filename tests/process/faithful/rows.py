"""The rows of a project, for its tests: way of running, level and probe; those that fail today strictly so."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.process.faithful.known_failures import known_failures
from tests.process.faithful.ways import LEVELS, Outcome, Project, probes

Outcomes = Callable[[Project, str], Outcome]


def rows(project: Project) -> list[object]:
    """Parameters `way`, `level`, `probe`."""
    known, found = known_failures(project), list[object]()
    for way in project.ways:
        for level in LEVELS:
            for probe in probes(project, way, level):
                marks = [pytest.mark.library(*project.needs(way))]
                if (way, level, probe) in known:
                    marks.append(pytest.mark.xfail(reason=known[way, level, probe], strict=True))
                found.append(pytest.param(way, level, probe, marks=marks, id=f"{way}-{level}-{probe}"))
    return found


def ways(project: Project) -> list[object]:
    """Parameters `way`."""
    return [pytest.param(way, marks=pytest.mark.library(*project.needs(way))) for way in project.ways]


def check(outcome: Outcome, level: str, probe: str) -> None:
    """Compare the value of a probe with that of plain Python."""
    if not outcome.is_asked(probe):
        pytest.skip("plain Python cannot do it")
    assert outcome.seen(level, probe) == outcome.wanted(probe)
