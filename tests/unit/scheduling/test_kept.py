"""Values that calls have in common stay while calls name them, and for a bounded while if several did."""

import hypothesis.strategies as st
from hypothesis import given

from parsl_context.scheduling.kept import KEPT_S, Kept

MOST = 100


def test_a_value_of_one_call_goes_with_it():
    kept = Kept(MOST)
    assert not kept.use("a", 10, 1)
    assert kept.release(["a"], 1, 5.0) == ["a"]
    assert "a" not in kept
    assert kept.next_deadline() is None


def test_a_value_stays_while_a_call_names_it_however_often_another_ends():
    kept = Kept(MOST)
    kept.use("a", 10, 1)
    assert kept.use("a", 10, 2)
    assert [kept.release(["a"], 1, 5.0) for _ in range(3)] == [[], [], []]
    assert kept.expire(1e9) == []
    assert kept.give_up() == []
    assert "a" in kept


def test_a_value_that_several_named_stays_for_a_while():
    kept = Kept(MOST)
    for task in (1, 2):
        kept.use("a", 10, task)
        assert kept.release(["a"], task, 5.0) == (["a"] if task == 1 else [])
        if task == 1:
            kept.use("a", 10, task, recurs=True)
    kept.release(["a"], 1, 5.0)
    assert kept.next_deadline() == 5.0 + KEPT_S
    assert kept.expire(5.0 + KEPT_S / 2) == []
    assert kept.use("a", 10, 3), "it is there for the next"
    assert kept.expire(1e9) == []
    kept.release(["a"], 3, 20.0)
    assert kept.expire(20.0 + KEPT_S) == ["a"]


def test_what_no_more_calls_will_name_goes_at_once_or_with_its_calls():
    kept = Kept(MOST)
    kept.use("idle", 10, 1, recurs=True)
    kept.release(["idle"], 1, 5.0)
    kept.use("used", 10, 2, recurs=True)
    assert kept.lose(["idle", "used", "unknown"]) == ["idle"]
    assert kept.release(["used"], 2, 6.0) == ["used"]
    assert kept.next_deadline() is None


def test_what_nobody_names_goes_oldest_first_beyond_its_bound():
    kept = Kept(MOST)
    for number, name in enumerate("abc"):
        kept.use(name, 40, number, recurs=True)
    assert [kept.release([name], number, float(number)) for number, name in enumerate("abc")] == [[], [], ["a"]]
    kept.use("d", MOST + 1, 9, recurs=True)
    assert kept.release(["d"], 9, 9.0) == ["d"]
    assert kept.give_up() == ["b", "c"]


@given(st.lists(st.tuples(st.sampled_from(["use", "release", "expire", "room"]), st.integers(0, 4), st.integers(0, 3))))
def test_nothing_goes_that_is_named_and_no_more_stays_than_may(steps):
    kept, users, here = Kept(MOST), {}, set()
    for now, (what, value, task) in enumerate(steps):
        name, gone = f"v{value}", []
        if what == "use":
            kept.use(name, 30 + value, task)
            users.setdefault(name, set()).add(task)
            here.add(name)
        elif what == "release":
            gone = kept.release([name], task, float(now))
            users.get(name, set()).discard(task)
        else:
            gone = kept.expire(float(now)) if what == "expire" else kept.give_up()
        assert set(gone) <= here
        here -= set(gone)
        assert not any(users.get(each) for each in gone)
        assert sum(30 + int(each[1]) for each in here if not users[each]) <= MOST
        assert all((each in kept) == (each in here) for each in users)
    assert sorted(kept.forget()) == sorted(here)
