"""The same, of code that libraries look at closely: scikit-learn, PyTorch, pydantic, RDKit and pandas."""

from __future__ import annotations

import pytest

from tests.process.faithful.rows import Outcomes, check, rows, ways
from tests.process.faithful.ways import LIBRARY_PROJECT

# The first row of each way runs them all.
pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize(("way", "level", "probe"), rows(LIBRARY_PROJECT))
def test_the_value_is_that_of_plain_python(outcomes: Outcomes, way: str, level: str, probe: str) -> None:
    check(outcomes(LIBRARY_PROJECT, way), level, probe)


@pytest.mark.parametrize("way", ways(LIBRARY_PROJECT))
def test_no_process_is_left(outcomes: Outcomes, way: str) -> None:
    assert outcomes(LIBRARY_PROJECT, way).left == []
