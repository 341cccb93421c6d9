"""When a block will have nothing more to do."""

from __future__ import annotations

import pytest

from parsl_context.scheduling.cluster.forecast import done_at
from parsl_context.scheduling.cluster.state import ClusterState
from tests.unit.scheduling.cluster.test_endings import by_code, known
from tests.unit.scheduling.cluster.test_state import M1

LEFT_S = 100.0


def done(state: ClusterState) -> float:
    return done_at(state.lines.values(), [state.managers[M1]], LEFT_S, 0.0)


@pytest.mark.parametrize(
    ("calls", "at"),
    [
        ({"long": 10}, 80.0),  # two of 40 s
        ({"long": 10, "short": 4}, 88.0),  # and what there is of 2 s
        ({"long": 10, "short": 50}, 98.0),  # or more of it than fits
        ({"short": 200}, 98.0),
        ({"over": 3}, 0.0),  # longer than the block has left
        ({}, 100.0),  # nobody knows what will come
    ],
)
def test_long_calls_leave_room_that_shorter_ones_fill_as_far_as_they_last(calls: dict[str, int], at: float) -> None:
    state = known({"long": 40.0, "short": 2.0, "over": 150.0, "first": 1e-6}, left_s=LEFT_S)
    by_code(state, 99, "first", now=0.0)  # runs, and is about to end
    number = 100
    for code, count in calls.items():
        for _ in range(count):
            by_code(state, number, code, now=0.0)
            number += 1
    assert done(state) == pytest.approx(at, abs=0.01)
