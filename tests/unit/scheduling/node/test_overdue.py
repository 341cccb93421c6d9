"""A build is worth a warning when it takes much longer than it used to."""

from __future__ import annotations

import pytest

from parsl_context.scheduling.node.overdue import warn_after_s


@pytest.mark.parametrize(
    ("usual_s", "after_s"), [(None, 60.0), (0.01, 5.0), (2.0, 20.0), (20.0, 60.0), (29.0, 60.0), (100.0, 200.0)]
)
def test_ten_times_as_long_or_a_minute_is_long(usual_s: float | None, after_s: float) -> None:
    assert warn_after_s(usual_s) == after_s
