"""Calls wait for exactly what was asked for, once, and not when nobody wants them here."""

from hypothesis import given
from hypothesis import strategies as st

from parsl_context.scheduling.node.arrivals import Arrivals


def test_a_call_is_ready_when_the_last_of_its_segments_is_here():
    arrivals = Arrivals()
    assert arrivals.add(1, ["a", "b"]) == ["a", "b"]
    assert arrivals.came("a") == []
    assert arrivals.came("b") == [1]
    assert arrivals.waiting == {}


def test_what_is_on_its_way_is_asked_for_once():
    arrivals = Arrivals()
    assert arrivals.add(1, ["a"]) == ["a"]
    assert arrivals.add(2, ["a", "b"]) == ["b"]
    assert arrivals.came("a") == [1]
    assert arrivals.came("b") == [2]
    assert arrivals.add(3, ["a"]) == ["a"], "it may be gone by then"


def test_a_segment_that_does_not_come_fails_the_calls_that_wait_for_it():
    arrivals = Arrivals()
    arrivals.add(1, ["a", "b"])
    arrivals.add(2, ["b"])
    assert arrivals.failed("a") == [1]
    assert arrivals.came("b") == [2]


def test_a_call_that_was_taken_back_is_never_ready():
    arrivals = Arrivals()
    arrivals.add(1, ["a"])
    assert arrivals.wanted("a")
    assert arrivals.take_back([1, 7]) == [1]
    assert not arrivals.wanted("a")
    assert arrivals.came("a") == []


@given(st.data())
def test_each_call_ends_in_one_way_and_nothing_is_kept(data):
    """Whatever happens in whatever order: a call is ready, failed or taken back, once."""
    names = "abcd"
    arrivals = Arrivals()
    open_calls, ended, on_way, tasks = {}, [], set(), iter(range(1000))
    for _ in range(data.draw(st.integers(1, 40))):
        what = data.draw(st.sampled_from(["add", "came", "failed", "take_back"]))
        if what == "add":
            task = next(tasks)
            wanted = data.draw(st.sets(st.sampled_from(names), min_size=1))
            new = arrivals.add(task, sorted(wanted))
            assert set(new) == wanted - on_way
            on_way |= wanted
            open_calls[task] = set(wanted)
        elif what == "take_back" and open_calls:
            task = data.draw(st.sampled_from(sorted(open_calls)))
            assert arrivals.take_back([task]) == [task]
            del open_calls[task]
            ended.append(task)
        elif on_way:
            name = data.draw(st.sampled_from(sorted(on_way)))
            on_way.discard(name)
            having = sorted(task for task, left in open_calls.items() if name in left)
            if what == "came":
                for task in having:
                    open_calls[task].discard(name)
                gone = [task for task in having if not open_calls[task]]
                assert sorted(arrivals.came(name)) == gone
            else:
                gone = having
                assert sorted(arrivals.failed(name)) == gone
            for task in gone:
                del open_calls[task]
                ended.append(task)
    assert len(ended) == len(set(ended))
    for name in sorted(on_way):
        arrivals.failed(name)
    assert arrivals.waiting == {}
    assert arrivals._by_name == {}
