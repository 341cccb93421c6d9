"""Futures get the outcomes that are reported for their calls, once, and the segments of ended calls go."""

import os
import pickle

import pytest
from parsl.serialize.errors import DeserializationError

from parsl_context.content.serialization import pack_value
from parsl_context.errors import PayloadLostError, UnservableTaskError
from parsl_context.executor.outcomes import CallFuture, Outcomes
from parsl_context.wire import messages as m
from parsl_context.wire.segments import SEGMENT_BYTES, create_segments
from tests.unit.builders import payload, result

LARGE = bytes(2 * SEGMENT_BYTES)


@pytest.fixture
def segments(tmp_path):
    made = create_segments([str(tmp_path)])
    yield made
    made.close()


class Calls:
    """Calls of which some have large arguments, and their outcomes."""

    def __init__(self, segments):
        self.segments = segments
        self.open = {}
        self.outcomes = Outcomes(self.open, segments)

    def submit(self, number, arguments=b""):
        packed, _ = self.segments.make_payload(*pack_value(arguments))
        future = self.open[number] = CallFuture(number, (), packed if packed.segment is not None else None)
        return future

    def report(self, number, value, **changes):
        packed, frames = self.segments.make_payload(*pack_value(value), number)
        self.outcomes.result(result(number, payload=packed, **changes), frames)

    @property
    def files(self):
        return set(os.listdir(self.segments.path)) - {"token"}


@pytest.fixture
def calls(segments):
    return Calls(segments)


@pytest.mark.parametrize("value", ["small", LARGE])
def test_a_result_settles_its_future_and_nothing_of_the_call_is_left(calls, value):
    future = calls.submit(1, LARGE)
    calls.report(1, value)
    assert future.result() == value
    assert (calls.open, calls.files) == ({}, set())


def test_what_a_body_raised_is_raised(calls):
    future = calls.submit(1)
    calls.report(1, KeyError("x"), ok=False)
    assert isinstance(future.exception(), KeyError)


def test_a_result_that_nobody_waits_for_leaves_no_segment(calls):
    calls.report(7, LARGE)
    assert calls.files == set()


def test_a_result_that_cannot_be_read_fails_its_call_alone(calls):
    bad, gone, good = (calls.submit(number) for number in (1, 2, 3))
    calls.outcomes.result(result(1, payload=payload(b"\x80no pickle")), ())
    lost, _ = calls.segments.make_payload(*pack_value(LARGE), 2)
    calls.segments.drop(lost)
    calls.outcomes.result(result(2, payload=lost), ())
    calls.outcomes.result(result(3, payload=payload(pickle.dumps("value"))), ())
    assert isinstance(bad.exception(), DeserializationError)
    assert isinstance(gone.exception(), PayloadLostError)
    assert good.result() == "value"


def test_calls_that_failed_together_get_an_exception_each_and_leave_no_segment(calls):
    futures = [calls.submit(number, LARGE) for number in (1, 2)]
    waiting = calls.submit(3)
    calls.segments.make_payload(*pack_value(LARGE), 1)  # a result that was on its way when its manager died
    calls.outcomes.failed(m.TasksFailed(tasks=[1, 2], cause=m.Unservable(reason="no node is large enough")), ())
    first, second = (future.exception() for future in futures)
    assert isinstance(first, UnservableTaskError)
    assert first is not second
    assert (list(calls.open), calls.files) == ([3], set())
    assert not waiting.done()


def test_at_the_end_all_calls_fail_but_those_that_were_cancelled(calls):
    cancelled, waiting = calls.submit(1), calls.submit(2, LARGE)
    assert cancelled.cancel()
    error = RuntimeError("closed")
    calls.outcomes.fail_all(error)
    assert cancelled.cancelled()
    assert waiting.exception() is error
    assert (calls.open, calls.files) == ({}, set())
