"""The rate falls when packets wait in queues, and rises otherwise."""

from __future__ import annotations

import pytest

from parsl_context.distribute.peers.pace import next_rate
from parsl_context.distribute.peers.tuning import upload_rate
from parsl_context.errors import ConfigurationError


def test_a_queue_has_the_rate_fall_below_what_is_delivered() -> None:
    assert next_rate(20e6, 0.010, 0.001, 12e6) < 12e6
    assert next_rate(None, 0.010, 0.001, 12e6) < 12e6


def test_without_a_queue_the_rate_rises_but_not_far_beyond_what_is_delivered() -> None:
    assert 10e6 < next_rate(10e6, 0.001, 0.001, 10e6) < 20e6
    assert next_rate(100e6, 0.001, 0.001, 10e6) <= 20e6


def test_distant_hosts_may_have_a_longer_queue() -> None:
    assert next_rate(10e6, 0.110, 0.100, 10e6) > 10e6


def test_what_little_there_was_to_send_is_no_measure() -> None:
    assert next_rate(None, 0.001, 0.001, None) is None
    assert next_rate(None, 0.010, 0.001, None) is None
    assert next_rate(10e6, 0.001, 0.001, None) > 10e6
    assert 5e6 < next_rate(10e6, 0.010, 0.001, None) < 10e6


def test_the_rate_that_a_user_sets() -> None:
    assert upload_rate({}) is None
    assert upload_rate({"PARSL_CONTEXT_TRANSFER_MBIT": "80"}) == 10e6
    for wrong in ("fast", "0", "-1"):
        with pytest.raises(ConfigurationError):
            upload_rate({"PARSL_CONTEXT_TRANSFER_MBIT": wrong})
