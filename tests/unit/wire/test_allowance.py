"""A budget of bytes in a time."""

from parsl_context.wire.allowance import Allowance


def test_it_lets_pass_what_it_holds_and_a_rate_after_that():
    allowance = Allowance(per_s=100, most=50)
    assert [allowance.take(20, now=0.0) for _ in range(4)] == [True, True, True, False]
    assert not allowance.take(1, now=0.05)
    assert allowance.take(20, now=0.2)


def test_it_never_holds_more_than_its_size():
    allowance = Allowance(per_s=100, most=50)
    allowance.take(1, now=0.0)
    assert [allowance.take(30, now=1000.0) for _ in range(3)] == [True, True, False]


def test_one_that_is_larger_than_all_passes_when_there_is_some():
    allowance = Allowance(per_s=100, most=50)
    assert allowance.take(1000, now=0.0)
    assert not allowance.has_some(now=9.0)
    assert allowance.has_some(now=10.0)
