"""What is known of starts of environments."""

import pytest

from parsl_context.scheduling.start_times import PRIOR_S, StartTimes


def test_a_start_takes_what_others_took():
    times = StartTimes()
    assert times.usual_s("a") == times.left_s("a", 0.0) == PRIOR_S
    times.add("a", 8.0)
    assert (times.usual_s("a"), times.usual_s("b")) == (8.0, PRIOR_S)
    assert times.left_s("a", 6.0) == 2.0


@pytest.mark.parametrize("since_s", [8.0, 9.0, 100.0])
def test_one_that_takes_longer_is_expected_to_take_as_long_again(since_s):
    times = StartTimes()
    times.add("a", 8.0)
    assert times.left_s("a", since_s) == since_s
