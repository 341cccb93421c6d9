"""A core is yielded only where that is short."""

from parsl_context.wire.giving_way import GivingWay

SHORT_S, LONG_S = 0.0002, 0.003


class Core:
    """Others take it for so long when it is yielded. [s]"""

    def __init__(self):
        self.now = 100.0
        self.takes_s = SHORT_S
        self.yielded = 0
        self.give_way = GivingWay(self.give, lambda: self.now)

    def give(self):
        self.yielded += 1
        self.now += self.takes_s

    def often(self, seconds):
        """Once a millisecond; gives how often it was yielded."""
        before, end = self.yielded, self.now + seconds
        while self.now < end:
            self.give_way()
            self.now += 0.001
        return self.yielded - before


def test_it_is_yielded_each_time_as_long_as_that_is_short():
    assert Core().often(1.0) > 800


def test_one_that_took_long_is_followed_by_a_short_pause():
    core = Core()
    core.takes_s = LONG_S
    core.give_way()
    core.takes_s = SHORT_S
    assert core.often(0.009) == 0
    assert core.often(0.1) > 70


def test_where_others_want_the_core_it_is_yielded_once_a_second_at_last():
    core = Core()
    core.takes_s = LONG_S
    core.often(5.0)
    assert core.often(10.0) in (9, 10)


def test_pauses_are_short_again_after_a_short_one():
    core = Core()
    core.takes_s = LONG_S
    core.often(5.0)
    core.takes_s = SHORT_S
    core.often(1.5)
    core.takes_s = LONG_S
    assert core.often(0.1) >= 3
