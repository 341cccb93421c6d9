"""A class, function or module of the user's is one object, whichever way it came: values are those of plain Python."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.process.faithful.known_failures import known_failures
from tests.process.faithful.ways import LEVELS, LIBRARIES, WAYS, Outcome, probes, run

Outcomes = Callable[[str], Outcome]


@pytest.fixture(scope="session")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """What all probes gave in a way of running, which is run once."""
    found: dict[str, Outcome] = {}

    def outcome(way: str) -> Outcome:
        if way not in found:
            found[way] = run(way, tmp_path_factory.mktemp(way))
        return found[way]

    return outcome


def rows() -> list[object]:
    known = known_failures()
    found: list[object] = []
    for way in WAYS:
        for level in LEVELS:
            for probe in probes(way):
                marks = [pytest.mark.library(*LIBRARIES[way])] if way in LIBRARIES else []
                if (way, level, probe) in known:
                    marks.append(pytest.mark.xfail(reason=known[way, level, probe], strict=True))
                found.append(pytest.param(way, level, probe, marks=marks, id=f"{way}-{level}-{probe}"))
    return found


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.timeout(600)  # the first row of each way runs them all
@pytest.mark.parametrize(("way", "level", "probe"), rows())
def test_the_value_is_that_of_plain_python(outcomes: Outcomes, way: str, level: str, probe: str) -> None:
    outcome = outcomes(way)
    assert outcome.seen(level, probe) == outcome.wanted(probe)
