"""Statements of a function are timed in calls that are otherwise as ever."""

import inspect
import sys
import traceback

import pytest

from parsl_context.discover.sources import source_of
from parsl_context.discover.timing import TimedFunction


class Clock:
    """Goes on when it is told to, or by one with each look at it."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


CLOCK = Clock()
SEEN = []


def wait(time_s):
    CLOCK.now_s += time_s


def timing_of(function, *args, **kwargs):
    source = source_of(function)
    body = source.node.body[inspect.getdoc(function) is not None :]
    return TimedFunction(source, body, CLOCK).call(args, kwargs)


def plain(x):
    """Doc."""
    wait(1)
    for _ in range(3):
        wait(2)
    return wait(x)


def test_each_statement_has_its_time():
    timing = timing_of(plain, 5)
    assert timing.seconds == (1, 6, 5)
    assert timing.total_s == 12
    assert timing.error is None


def returning(x):
    wait(1)
    if x:
        for _ in range(2):
            wait(2)
            if x == 2:
                return 1
        try:
            return 2
        finally:
            wait(4)
    wait(8)
    return 3


@pytest.mark.parametrize(("x", "seconds"), [(0, (1, 0, 8, 0)), (1, (1, 8, None, None)), (2, (1, 2, None, None))])
def test_a_call_may_return_anywhere(x, seconds):
    assert timing_of(returning, x).seconds == seconds


def raising(x):
    wait(1)
    try:
        wait(2)
        x.gone()
    except AttributeError:
        wait(4)
        raise KeyError("no") from None
    wait(8)


def test_what_a_call_raises_is_noted_with_what_was_timed_until_then():
    timing = timing_of(raising, 1)
    assert timing.seconds == (1, 6, None)
    assert repr(timing.error) == "KeyError('no')"
    (frame,) = [each for each in traceback.extract_tb(timing.error.__traceback__) if each.name == "raising"]
    assert (frame.filename, frame.line) == (__file__, 'raise KeyError("no") from None')


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_what_would_end_the_command_is_noted_as_well(error):
    def stops(x):
        wait(1)
        raise x

    assert timing_of(stops, error).error is error


def test_arguments_are_those_of_the_function():
    def function(a, /, b=2, *rest, c, d=4, **others):
        SEEN.append((a, b, rest, c, d, others))

    SEEN.clear()
    assert timing_of(function, 1, c=3).error is None
    assert timing_of(function, 1, 5, 6, c=7, d=8, e=9).error is None
    assert SEEN == [(1, 2, (), 3, 4, {}), (1, 5, (6,), 7, 8, {"e": 9})]
    assert "missing 1 required keyword-only argument: 'c'" in str(timing_of(function, 1).error)


def test_globals_and_variables_of_functions_around_it_are_those_of_the_function():
    number = 0

    def function(x):
        global LAST
        nonlocal number
        number += x
        LAST = [number for _ in range(2)]

    assert timing_of(function, 3).error is None
    assert (number, LAST) == (3, [3, 3])


class Base:
    def named(self, x):
        return x


class Derived(Base):
    __hidden = 2

    def named(self, x):
        SEEN.append(super().named(x) + self.__hidden)
        return __class__


def test_a_method_knows_its_class():
    SEEN.clear()
    assert timing_of(Derived.named, Derived(), 1).error is None
    assert SEEN == [3]


def test_a_block_is_timed_by_what_is_in_it():
    def function(x):
        with CLOCKED:
            wait(1)
            wait(2)
        wait(4)

    source = source_of(function)
    block, last = source.node.body
    timing = TimedFunction(source, [*block.body, last], CLOCK).call((1,), {})
    assert timing.seconds == (1, 18, 4)  # what ends the block is of its last statement


class _Clocked:
    def __enter__(self):
        wait(8)

    def __exit__(self, *_):
        wait(16)


CLOCKED = _Clocked()


def test_debuggers_see_the_lines_of_the_function():
    lines = set()

    def trace(frame, *_):
        if frame.f_code.co_name == "plain":
            lines.add(frame.f_lineno)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        timing_of(plain, 5)
    finally:
        sys.settrace(before)
    first = plain.__code__.co_firstlineno
    assert lines == {first, *range(first + 2, first + 6)}
