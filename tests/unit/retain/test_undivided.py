"""Calls that are checked run both ways; a context that turns out to be wrong is given up."""

import logging

import pytest

from parsl_context import ConfigurationError, context_app
from parsl_context.retain.undivided import EitherWay


def whole(x):
    return [1, 2, x]


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.WARNING)
    return lambda: "".join(record.getMessage() for record in caplog.records)


def counted(function):
    def count(*args):
        count.calls += 1
        return function(*args)

    count.calls = 0
    count.__qualname__ = "whole"
    return count


def test_so_many_calls_run_both_ways(said):
    both = EitherWay(lambda made, x: [*made["rows"], x], undivided := counted(whole), check=2)
    assert [both({"rows": [1, 2]}, x) for x in range(5)] == [whole(x) for x in range(5)]
    assert undivided.calls == 2
    assert said() == ""


def test_where_results_differ_later_calls_run_undivided(said):
    both = EitherWay(lambda made, x: [*made["rows"], -x], whole, check=1)
    assert [both({"rows": [1, 2]}, x) for x in (3, 4)] == [whole(3), whole(4)]
    assert "gave something else than undivided" in said()


def test_errors_are_compared_and_are_those_of_the_function(said):
    def raises(x):
        raise KeyError(x)

    both = EitherWay(lambda made, x: raises(x), raises, check=1)
    with pytest.raises(KeyError):
        both({}, 3)
    assert said() == ""
    both = EitherWay(lambda made, x: x, raises, check=1)
    for _ in range(2):
        with pytest.raises(KeyError):
            both({}, 3)
    assert "not fit" in said()


def test_a_call_that_changes_the_context_is_noticed(said):
    def body(made, x):
        made["rows"].append(x)
        return [1, 2, x]

    both = EitherWay(body, whole, check=1)
    assert [both({"rows": [1, 2], "other": 3}, x) for x in (3, 4)] == [whole(3), whole(4)]
    assert "a call changed rows: 2 items became 3 items; rows[2] is new" in said()


def test_arguments_of_one_way_are_not_those_of_the_other(said):
    def appends(xs):
        xs.append(1)
        return len(xs)

    both = EitherWay(lambda made, xs: appends(xs), appends, check=1)
    given = []
    assert both({}, given) == 1
    assert given == [1]
    assert said() == ""


def test_what_cannot_be_copied_is_not_checked(said):
    both = EitherWay(lambda made, x: 1, lambda x: 1, check=1)
    assert both({}, (i for i in "a")) == 1
    assert "cannot be checked" in said()


@pytest.mark.parametrize("check", [-1, 1.5, True])
def test_a_number_of_calls_is_wanted(check):
    with pytest.raises(ConfigurationError, match="check="):
        context_app(discover=True, check=check)(whole)


def test_only_what_was_found_is_checked():
    with pytest.raises(ConfigurationError, match="discover=True"):
        context_app(context=lambda: 1, check=3)(whole)
