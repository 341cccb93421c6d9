"""Rules of placement."""

from __future__ import annotations

from parsl_context.scheduling.placement import Estimate, Floor, lookahead, worth_a_build


def test_an_estimate_takes_the_first_sample_in_full_and_moves_towards_later_ones() -> None:
    estimate = Estimate()
    assert estimate.or_prior(7.0) == 7.0
    estimate.add(2.0)
    assert estimate.mean_s == 2.0
    for _ in range(50):
        estimate.add(4.0)
    assert 3.9 < estimate.or_prior(7.0) < 4.0


def test_a_floor_is_the_least_sample_and_rises_slowly() -> None:
    floor = Floor()
    assert floor.or_prior(7.0) == 7.0
    floor.add(2.0)
    floor.add(9.0)
    assert 2.0 < floor.or_prior(7.0) < 2.1
    floor.add(1.0)
    assert floor.or_prior(7.0) == 1.0


def test_short_calls_are_held_ahead_and_long_or_unknown_ones_are_not() -> None:
    assert lookahead(Estimate(), 0.03) == 0
    assert lookahead(Estimate(1.0), 0.03) == 0
    assert lookahead(Estimate(0.01), 0.03) == 3
    assert lookahead(Estimate(0.0), 0.03) == 256


def test_a_build_pays_if_the_backlog_outlasts_it() -> None:
    build, run = Estimate(10.0), Estimate(1.0)
    assert not worth_a_build(waiting=0, holders=0, run=run, build=build)
    assert worth_a_build(waiting=1, holders=0, run=run, build=build)
    assert not worth_a_build(waiting=9, holders=1, run=run, build=build)
    assert worth_a_build(waiting=10, holders=1, run=run, build=build)
    assert not worth_a_build(waiting=10, holders=2, run=run, build=build)
