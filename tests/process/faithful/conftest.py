"""Runs a project in a way once, for all rows that ask for it."""

from __future__ import annotations

import pytest

from tests.process.faithful.rows import Outcomes
from tests.process.faithful.ways import Outcome, Project, run


@pytest.fixture(scope="session")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """What all probes of a project gave in a way of running."""
    found: dict[tuple[Project, str], Outcome] = {}

    def outcome(project: Project, way: str) -> Outcome:
        if (project, way) not in found:
            found[project, way] = run(project, way, tmp_path_factory.mktemp(way))
        return found[project, way]

    return outcome
