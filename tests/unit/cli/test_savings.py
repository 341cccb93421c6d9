"""What a context saves, from times of statements."""

import ast

import pytest

from parsl_context.cli.savings import leading, savings_of, seconds_text, sentences, summed, timed
from parsl_context.cli.splitting import Statement
from parsl_context.discover.timing import Timing


def statement(line, place, reason=""):
    return Statement(line, f"line {line}", place, reason)


STATEMENTS = [
    statement(2, "both"),
    statement(3, "context"),
    statement(4, "body", "it asks the clock"),
    statement(5, "body", "it gives the result"),
]


def call(*seconds):
    return Timing(seconds, sum(seconds))


TIMINGS = [call(5.0, 2.0, 0.5, 0.25), call(0.1, 1.5, 0.5, 0.25), call(0.1, 1.7, 0.7, 0.15)]


def found():
    statements = timed(STATEMENTS, [True, True, True, False], TIMINGS)
    return statements, summed(statements, TIMINGS)


def test_later_times_are_those_of_calls_after_the_first():
    statements, _ = found()
    assert [each.first_s for each in statements] == [5.0, 2.0, 0.5, 0.25]
    assert [each.later_s for each in statements] == pytest.approx([0.1, 1.6, 0.6, 0.2])


def test_what_the_context_does_is_saved_in_each_later_call():
    """The import costs 5 s the first time, and stays: it saves nothing."""
    _, savings = found()
    assert savings.first_s == 7.75
    assert savings.call_s == pytest.approx(2.5)
    assert savings.shared_s == pytest.approx(1.6)
    assert savings.divided_s == pytest.approx(0.9)
    assert savings.staying_s == pytest.approx(0.6)
    assert savings.many_s == pytest.approx(7.75 + 249 * 2.5)
    assert savings.many_divided_s == pytest.approx(7.75 + 249 * 0.9)


def test_the_worker_with_the_most_calls_counts():
    savings = savings_of(1.0, 0.5, 0.25, calls=9, workers=4)
    assert (savings.many_s, savings.many_divided_s) == (2.0, 1.5)


def test_it_is_told_in_sentences():
    statements, savings = found()
    assert list(sentences(savings, statements)) == [
        "A call takes 2.50 s; 1.60 s of it (64%) is set-up that may be shared: with a context, later calls take 0.90 "
        "s.",
        "1,000 calls on 4 workers: about 232 s in place of 630 s.",
        "0.60 s more (24%) stays, though it precedes the first use of an argument: line 4 (0.60 s): it asks the clock.",
    ]
    assert next(sentences(savings, is_split=True)) == (
        "A call takes 2.50 s undivided; 1.60 s of it (64%) is its context: later calls take 0.90 s."
    )


def test_where_nothing_may_be_shared_nothing_is_promised():
    statements = timed([statement(2, "body", "it prints"), statement(3, "body")], [True, False], [call(1.0, 1.0)] * 3)
    assert list(sentences(summed(statements, [call(1.0, 1.0)] * 3), statements)) == [
        "A call takes 2.00 s; nothing of it may become a context.",
        "1.00 s (50%) stays, though it precedes the first use of an argument: line 2 (1.00 s): it prints.",
    ]


def test_what_stays_and_costs_little_is_not_named():
    seconds = (0.5, 0.001, 0.4, 0.3, 0.2, 0.1)
    statements = timed(
        [statement(line, "body", f"reason {line}") for line in range(6)], [True] * 6, [call(*seconds)] * 3
    )
    told = list(sentences(summed(statements, [call(*seconds)] * 3), statements))[-1]
    assert told.endswith("line 0 (0.50 s): reason 0; line 2 (0.40 s): reason 2; line 3 (0.30 s): reason 3.")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = 1\nb = x\nc = 2", [True, False, False]),
        ("if x is None:\n    raise ValueError\nassert x\na = 1", [True, True, True]),
        ("if x:\n    a = 1\nb = 2", [False, False]),
        ("if x:\n    if x > 2:\n        return 1\n    else:\n        pass\nb = 2", [True, True]),
        ("a = [y for y in b]\nreturn a", [True, False]),
        ("f = lambda: x\na = 1", [False, False]),
    ],
)
def test_what_precedes_the_first_use_of_an_argument(text, expected):
    assert leading(ast.parse(text).body, {"x"}) == expected


@pytest.mark.parametrize(
    ("time_s", "text"),
    [
        (0.0, "0 µs"),
        (12e-6, "12 µs"),
        (0.001, "1.0 ms"),
        (0.0534, "53.4 ms"),
        (0.22, "0.22 s"),
        (1.934, "1.93 s"),
        (99.94, "99.94 s"),
        (1930.4, "1,930 s"),
    ],
)
def test_times_are_written_as_people_read_them(time_s, text):
    assert seconds_text(time_s) == text
