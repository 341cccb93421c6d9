"""How many calls run together."""

from __future__ import annotations

import random

import pytest

from parsl_context.scheduling.batching import BatchCost, Batches, Joint, fair_share
from parsl_context.wire.messages import AUTO_BATCH, Digest


def joint(size: int | None = None, wait_s: float = 0.0) -> Joint:
    return Joint(Digest("code"), "", size, wait_s)


def measured(fixed_s: float, each_s: float, noise: float = 0.0, batches: int = 40) -> Batches:
    """What is known after batches of the sizes that were allowed."""
    random_ = random.Random(3)
    found = Batches(joint())
    for _ in range(batches):
        size = found.limit
        found.ended(size, (fixed_s + size * each_s) * random_.uniform(1 - noise, 1 + noise))
    return found


def test_a_share_is_fair_and_within_the_limit() -> None:
    assert fair_share(10, 4, 32) == 3
    assert fair_share(10, 1, 32) == 10
    assert fair_share(100, 1, 32) == 32
    assert fair_share(1, 8, 32) == 1
    assert fair_share(5, 0, 32) == 5


def test_the_cost_is_fixed_and_for_each_call() -> None:
    cost = BatchCost()
    assert cost.known is None
    cost.add(1, 0.0051)
    assert cost.known is None
    for size in (2, 4, 8, 8):
        cost.add(size, 0.005 + 0.0001 * size)
    assert cost.known == pytest.approx((0.005, 0.0001))


@pytest.mark.parametrize("times", [(2.0, 1.0), (1.0, 30.0)])
def test_neither_part_of_the_cost_is_negative(times: tuple[float, float]) -> None:
    cost = BatchCost()
    cost.add(1, times[0])
    cost.add(9, times[1])
    found = cost.known
    assert found is not None
    assert min(found) == 0.0
    assert max(found) > 0.0


def test_a_size_is_found_at_which_the_fixed_time_is_a_tenth() -> None:
    assert measured(0.005, 0.0005).limit == pytest.approx(90, abs=1)
    assert measured(0.001, 0.001).limit == pytest.approx(9, abs=1)
    assert measured(0.0, 0.001).limit <= 2


def test_a_size_grows_at_most_twofold() -> None:
    found = Batches(joint())
    sizes = []
    for _ in range(10):
        sizes.append(found.limit)
        found.ended(found.limit, 0.1)
    assert sizes == [1, 2, 4, 8, 16, 32, 64, 128, AUTO_BATCH, AUTO_BATCH]


def test_a_batch_of_a_size_that_was_found_takes_no_longer_than_a_second() -> None:
    assert measured(0.5, 0.1).limit in (4, 5)
    assert measured(3.0, 1.0).limit == 1


def test_a_size_is_found_in_spite_of_noise() -> None:
    assert 60 <= measured(0.005, 0.0005, noise=0.1, batches=200).limit <= 130


def test_batches_of_one_size_tell_nothing_new() -> None:
    found = measured(0.005, 0.0005, batches=20)
    random_ = random.Random(5)
    for _ in range(1000):
        found.ended(90, 0.05 * random_.uniform(0.7, 1.3))
    assert 60 <= found.limit <= 130


def test_what_a_body_takes_now_counts_more_than_what_it_took() -> None:
    found = measured(0.005, 0.0005)
    for _ in range(200):
        found.ended(found.limit, 0.001 * found.limit + 0.001)
        found.ended(1, 0.002)
    assert found.limit == pytest.approx(9, abs=2)


def test_a_call_waits_for_others_only_while_the_batch_is_not_full() -> None:
    found = Batches(joint(4, 0.5))
    assert found.due(3, 10.0, 10.1) == 10.5
    assert found.due(3, 10.0, 10.7) == 10.7
    assert found.due(4, 10.0, 10.1) == 10.1
    assert Batches(joint(4)).due(1, 10.0, 10.1) == 10.1
