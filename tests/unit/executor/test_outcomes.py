"""Futures get the outcomes that are reported for their calls, once, and the segments of ended calls go."""

import os
import pickle
from types import SimpleNamespace

import pytest
from parsl.app.errors import RemoteExceptionWrapper
from parsl.executors.errors import BadStateException
from parsl.serialize.errors import DeserializationError

from parsl_context.content.serialization import pack_value
from parsl_context.errors import PayloadLostError, UnservableTaskError
from parsl_context.executor.arguments import Arguments
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
        self.arguments = Arguments(segments)
        self.outcomes = Outcomes(self.open, segments, self.arguments)

    def submit(self, number, arguments=b""):
        packed, _ = self.arguments.make_payload(number, *pack_value(arguments))
        future = self.open[number] = CallFuture(number, (), packed if packed.segments else None)
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
    cancelled.end_cancelled()
    assert cancelled.cancel()
    error = RuntimeError("closed")
    calls.outcomes.fail_all(error)
    assert cancelled.cancelled()
    assert repr(waiting.exception()) == repr(error)
    assert (calls.open, calls.files) == ({}, set())


# --- whatever code of the user's raises where futures are settled


def leave(kind):
    raise kind("out of place")


class Leaves:
    """Raises when it is unpickled."""

    def __init__(self, kind):
        self.kind = kind

    def __reduce__(self):
        return leave, (self.kind,)


class NoException(Exception):
    def __reduce__(self):
        return str, ("not an exception at all",)


class NoTraceback(Exception):
    def with_traceback(self, tb):
        leave(SystemExit)


class Unprintable(Exception):
    def __repr__(self):
        leave(ValueError)

    __str__ = __repr__


LEAVING = [SystemExit, KeyboardInterrupt, GeneratorExit, RecursionError, MemoryError, ValueError]


@pytest.mark.parametrize("kind", LEAVING)
@pytest.mark.parametrize("ok", [True, False])
def test_what_raises_when_it_is_unpickled_fails_its_call(calls, kind, ok):
    future = calls.submit(1)
    calls.report(1, Leaves(kind), ok=ok)
    with pytest.raises(DeserializationError, match="out of place") as raised:
        future.result(timeout=0)
    assert type(raised.value.__cause__) is kind


@pytest.mark.parametrize("kind", LEAVING)
def test_a_callback_that_raises_stops_neither_others_nor_its_thread(calls, kind):
    future, seen = calls.submit(1), []
    future.add_done_callback(lambda _: leave(kind))
    future.add_done_callback(seen.append)
    calls.report(1, "value")
    assert seen == [future]
    assert future.result(timeout=0) == "value"


@pytest.mark.parametrize("error", [NoException(), NoTraceback(), Unprintable()])
def test_whatever_exception_a_body_raised_its_call_ends(calls, error):
    future = calls.submit(1)
    calls.report(1, RemoteExceptionWrapper(type(error), error, None), ok=False)
    assert future.exception(timeout=0) is not None
    traced = calls.submit(2)
    try:
        raise error
    except Exception as raised:
        traceback = raised.__traceback__
    calls.report(2, RemoteExceptionWrapper(type(error), error, traceback), ok=False)
    assert isinstance(traced.exception(timeout=0), DeserializationError | Unprintable)


@pytest.mark.parametrize(
    "error", [UnservableTaskError("why"), BadStateException(SimpleNamespace(label="x"), ValueError("why"))]
)
def test_calls_that_fail_together_do_not_share_their_exception(calls, error):
    error.__cause__ = ValueError("the cause")
    futures = [calls.submit(number) for number in range(3)]
    calls.outcomes.fail_all(error)
    errors = [future.exception(timeout=0) for future in futures]
    assert len({id(made) for made in [error, *errors]}) == 4
    assert {(type(made), str(made), made.__cause__) for made in errors} == {(type(error), str(error), error.__cause__)}


def test_an_exception_without_a_text_gets_one_and_keeps_its_type(calls):
    """The DataFlowKernel logs it before it passes it on."""
    future = calls.submit(1)
    calls.report(1, RemoteExceptionWrapper(Unprintable, Unprintable(), None), ok=False)
    error = future.exception(timeout=0)
    assert isinstance(error, Unprintable)
    assert "no text: ValueError" in str(error)
    assert repr(error).startswith("Unprintable(")


class NeedsTwo(Exception):
    """Cannot be made from its arguments alone, as many exceptions."""

    def __init__(self, one, two):
        super().__init__(one)
        self.two = two


def test_calls_fail_also_with_what_cannot_be_copied(calls):
    future = calls.submit(1)
    error = NeedsTwo("one", "two")
    calls.outcomes.fail_all(error)
    made = future.exception(timeout=0)
    assert made is not error
    assert (type(made), str(made)) == (type(error), str(error))
