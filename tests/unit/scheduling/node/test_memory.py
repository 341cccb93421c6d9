"""What is given up when a node's memory for contexts is used up."""

from __future__ import annotations

import math

from parsl_context.scheduling.node.memory import Holding, Sizes, choose_victims, is_worth_a_process, least_valuable
from parsl_context.wire.messages import Digest, WorkerId

MB = 1 << 20
A, B, C = Digest("a"), Digest("b"), Digest("c")


def held(context: Digest, size: int = 10, idle_s: float = 1.0, build_s: float = 1.0, worker: int = 0) -> Holding:
    return Holding(context=context, worker=WorkerId(worker), size_bytes=size, idle_s=idle_s, build_s=build_s)


def test_the_least_recently_used_goes_first_and_no_more_than_needed() -> None:
    holdings = [held(A, idle_s=1), held(B, idle_s=5), held(C, idle_s=3)]
    assert [h.context for h in choose_victims(holdings, 15) or []] == [B, C]


def test_what_takes_long_to_build_may_lie_idle_for_longer() -> None:
    holdings = [held(A, idle_s=50, build_s=100), held(B, idle_s=5, build_s=1)]
    assert [h.context for h in choose_victims(holdings, 1) or []] == [B]
    assert least_valuable(holdings).context == B


def test_nothing_is_given_up_if_all_of_it_would_not_do() -> None:
    assert choose_victims([held(A), held(B)], 21) is None
    assert choose_victims([], 0) == []


def test_instances_without_size_are_left_alone() -> None:
    assert [h.context for h in choose_victims([held(A, size=0, idle_s=99), held(B)], 5) or []] == [B]


def test_a_process_is_replaced_for_much_memory_that_did_not_return() -> None:
    assert is_worth_a_process(100 * MB, 150 * MB, 0, math.inf)
    assert not is_worth_a_process(70 * MB, 150 * MB, 0, math.inf), "half of it returned"
    assert not is_worth_a_process(32 * MB, 33 * MB, 0, math.inf), "no more than allocators are used to keep"


def test_other_instances_of_a_process_are_worth_what_they_take_while_there_is_room() -> None:
    assert is_worth_a_process(100 * MB, 150 * MB, 99 * MB, math.inf)
    assert not is_worth_a_process(100 * MB, 150 * MB, 100 * MB, 100 * MB)
    assert is_worth_a_process(100 * MB, 150 * MB, 100 * MB, 99 * MB), "what stays has no room"


def test_a_measurement_counts_more_than_what_was_declared_and_the_largest_counts() -> None:
    sizes = Sizes()
    sizes.declare(A, 100)
    assert sizes.of(A) == 100
    sizes.measure(A, 40)
    sizes.measure(A, 5)
    assert sizes.of(A) == 40


def test_a_context_that_nothing_is_known_of_is_taken_to_be_as_large_as_the_largest() -> None:
    sizes = Sizes()
    assert sizes.of(A) == 0
    sizes.measure(B, 7)
    sizes.measure(C, 70)
    assert sizes.of(A) == 70
    sizes.forget(C)
    assert sizes.of(A) == 7
