"""The same, of code that libraries look at closely: scikit-learn, PyTorch, pydantic, RDKit and pandas."""

from __future__ import annotations

import pytest

from tests.process.faithful.rows import Outcomes, check, rows, ways
from tests.process.faithful.ways import LIBRARY_PROJECT

project = LIBRARY_PROJECT
# The first row of each way waits for them all.
pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize(("way", "level", "probe"), rows(project))
def test_the_value_is_that_of_plain_python(outcomes: Outcomes, way: str, level: str, probe: str) -> None:
    check(outcomes(project, way), level, probe)


@pytest.mark.parametrize("way", ways(project))
def test_no_process_is_left(outcomes: Outcomes, way: str) -> None:
    assert outcomes(project, way).left == []
