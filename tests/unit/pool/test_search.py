"""An interchange that died, and a link that was cut: which is which, and how long a manager looks for it."""

from __future__ import annotations

import errno

import pytest

from parsl_context.pool.probe import found_by
from parsl_context.pool.search import GONE_AFTER_S, LOOK_EVERY_S, WELCOME_WITHIN_S, Found, GiveUp, Join, Look, Search

ACCEPTED, REFUSED, DROPPED, SILENT, UNREACHABLE = Found


def look_on(search: Search, found: Found, *, begin: float, end: float) -> float | None:
    """Meet the same again and again. Gives when the search gave up, if it did."""
    now = begin
    while now <= end:
        action = search.handle(found, now)
        if isinstance(action, GiveUp):
            return now
        assert isinstance(action, Look)
        now += max(0.001, action.after_s)
    return None


@pytest.mark.parametrize("found", [REFUSED, DROPPED])
def test_a_host_that_says_no_is_believed_after_five_seconds(found: Found) -> None:
    assert look_on(Search(120.0, 0.0), found, begin=0.0, end=200.0) == pytest.approx(GONE_AFTER_S, abs=LOOK_EVERY_S)


@pytest.mark.parametrize("found", [SILENT, UNREACHABLE])
def test_where_nobody_answers_the_search_lasts_as_long_as_an_interchange_may_be_silent(found: Found) -> None:
    assert look_on(Search(120.0, 10.0), found, begin=10.0, end=300.0) == pytest.approx(130.0, abs=0.01)


def test_a_threshold_below_five_seconds_holds_for_everything() -> None:
    for found in (REFUSED, DROPPED, SILENT, UNREACHABLE):
        assert look_on(Search(2.0, 0.0), found, begin=0.0, end=20.0) == pytest.approx(2.0, abs=0.01)


def test_silence_in_between_shows_that_it_was_the_network_that_said_no() -> None:
    search = Search(120.0, 0.0)
    assert look_on(search, REFUSED, begin=0.0, end=4.9) is None
    assert look_on(search, SILENT, begin=5.0, end=6.0) is None
    assert look_on(search, REFUSED, begin=6.5, end=11.0) is None
    assert look_on(search, REFUSED, begin=11.2, end=20.0) == pytest.approx(11.5, abs=LOOK_EVERY_S)


def test_whoever_is_let_in_joins_and_is_patient_but_not_beyond_the_end_of_the_search() -> None:
    search = Search(120.0, 0.0)
    assert search.handle(ACCEPTED, 1.0) == Join(within_s=WELCOME_WITHIN_S)
    assert search.handle(ACCEPTED, 119.0) == Join(within_s=1.0)


def test_another_program_at_the_port_that_drops_whoever_comes_is_no_interchange() -> None:
    search, now = Search(120.0, 0.0), 0.0
    while True:
        assert isinstance(search.handle(ACCEPTED, now), Join)
        if isinstance(search.handle(DROPPED, now + 0.1), GiveUp):
            break
        now += 0.6
    assert now == pytest.approx(GONE_AFTER_S, abs=1.0)


def test_an_interchange_that_is_stopped_accepts_and_says_nothing_until_the_search_ends() -> None:
    search, now = Search(60.0, 0.0), 0.0
    while isinstance(action := search.handle(ACCEPTED, now), Join):
        now += action.within_s
        if isinstance(search.handle(SILENT, now), GiveUp):
            break
    assert now == 60.0


def test_the_reason_says_what_was_met() -> None:
    search = Search(120.0, 0.0)
    search.handle(REFUSED, 0.0)
    assert search.handle(REFUSED, 5.0) == GiveUp(reason="nobody listens there, for 5 s")
    assert search.handle(UNREACHABLE, 120.0) == GiveUp(
        reason="nothing was heard of the interchange for 120 s, at last there was no way there"
    )


@pytest.mark.parametrize(
    ("number", "found"),
    [
        (0, ACCEPTED),
        (errno.ECONNREFUSED, REFUSED),
        (errno.ETIMEDOUT, SILENT),
        (errno.EHOSTUNREACH, UNREACHABLE),
        (errno.ENETUNREACH, UNREACHABLE),
        (errno.ENETDOWN, UNREACHABLE),
        (errno.EPERM, UNREACHABLE),  # a firewall of this host
        (errno.EADDRNOTAVAIL, UNREACHABLE),  # this host has lost its address
        (errno.EMFILE, UNREACHABLE),
    ],
)
def test_only_a_clear_no_is_taken_for_one(number: int, found: Found) -> None:
    assert found_by(number) is found
