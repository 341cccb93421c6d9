"""Large arguments that calls have in common are written once; bytes decide what is common."""

import os
import threading

import numpy as np
import pytest

from parsl_context.content.serialization import pack_value, unpack_value
from parsl_context.executor import arguments as module
from parsl_context.executor.arguments import Arguments
from parsl_context.scheduling.kept import KEPT_S
from parsl_context.wire.segments import create_segments
from tests.unit.builders import task as call

SIZE = 1_000_000


class Calls:
    """Calls whose arguments are in segments of one folder."""

    def __init__(self, segments):
        self.segments = segments
        self.now = 0.0
        self.arguments = Arguments(segments, lambda: self.now)
        self.open = {}

    def submit(self, *value):
        task = len(self.open) + 1
        self.open[task] = self.arguments.make_payload(task, *pack_value(value))
        return task

    def read(self, task):
        return unpack_value(self.segments.open_payload(*self.open[task]))

    def end(self, *tasks):
        for task in tasks:
            self.arguments.drop(task, self.open[task][0])

    @property
    def files(self):
        return sorted(set(os.listdir(self.segments.path)) - {"token"})


@pytest.fixture
def calls(tmp_path):
    segments = create_segments([str(tmp_path)])
    made = Calls(segments)
    yield made
    made.end(*made.open)
    made.now += KEPT_S
    made.arguments._expire()
    assert made.arguments._timer is None
    assert made.files == [], "nothing is left when no call is"
    made.arguments.close()
    segments.close()


def some(seed=1, size=SIZE):
    return np.random.default_rng(seed).integers(0, 255, size, np.uint8)


def test_one_value_of_many_calls_is_written_once(calls):
    big = some()
    tasks = [calls.submit(big, number) for number in range(20)]
    assert len(calls.files) == 1
    for number, task in enumerate(tasks):
        array, own = calls.read(task)
        assert np.array_equal(array, big)
        assert own == number
        array += 1  # no reader sees what another one writes
    calls.end(*tasks[:-1])
    assert np.array_equal(calls.read(tasks[-1])[0], big), "it stays for those that have not ended"


@pytest.mark.parametrize("place", [0, 1, SIZE // 2 + 1, SIZE - 1])
def test_a_value_that_was_changed_is_sent_anew(calls, place):
    big = some()
    first = calls.submit(big)
    big[place] += 1
    second = calls.submit(big)
    big[place] -= 1
    third = calls.submit(big)
    assert calls.read(second)[0][place] == big[place] + 1
    assert np.array_equal(calls.read(first)[0], big)
    assert np.array_equal(calls.read(third)[0], big)


def test_equal_bytes_elsewhere_in_memory_are_the_same(calls):
    calls.submit(some())
    calls.submit(some())
    assert len(calls.files) == 1


def test_what_differs_between_calls_goes_beside_it(calls):
    big, small = some(), some(2, 100_000)
    tasks = [calls.submit({"big": big, "own": some(number), "again": big.copy()}, small, b"x") for number in (3, 4)]
    for number, task in zip((3, 4), tasks, strict=True):
        names, between, last = calls.read(task)
        assert np.array_equal(between, small)
        assert np.array_equal(names["big"], big)
        assert np.array_equal(names["own"], some(number))
        assert np.array_equal(names["again"], big)
        assert last == b"x"
    assert len(calls.files) == 5, "the large one, and an own large and a rest of each"


def test_very_many_buffers_are_one_value(calls):
    arrays = [some(number, 300_000) for number in range(module._APART + 1)]
    tasks = [calls.submit(arrays, number) for number in range(3)]
    assert len(calls.files) == 1
    assert all(np.array_equal(a, b) for a, b in zip(calls.read(tasks[2])[0], arrays, strict=True))


def test_a_value_of_one_call_goes_with_it(calls):
    calls.end(calls.submit(some()))
    assert calls.files == []


def test_a_loop_that_waits_for_each_call_finds_its_value_there_for_a_while(calls):
    big = some()
    written = set()
    for number in range(5):
        task = calls.submit(big, number)
        written.add(*calls.files)
        calls.end(task)
        assert len(calls.files) == (number > 0)
    assert len(written) == 2, "at first nobody knows that it comes again"
    calls.now = KEPT_S
    calls.arguments._expire()
    assert calls.files == []


def test_a_call_that_ends_twice_takes_nothing_from_another(calls):
    first, second = calls.submit(some()), calls.submit(some())
    calls.end(first, first, first)
    assert np.array_equal(calls.read(second)[0], some())


def test_closing_leaves_nothing(calls):
    calls.end(calls.submit(some()), calls.submit(some()))
    calls.submit(some(2))
    assert len(calls.files) == 2
    timer = calls.arguments._timer
    assert timer is not None
    calls.arguments.close()
    assert not timer.is_alive()
    assert calls.files == []


def test_what_no_call_names_goes_when_room_is_short(calls, monkeypatch):
    calls.end(calls.submit(some()), calls.submit(some()))
    assert len(calls.files) == 1
    monkeypatch.setattr(calls.segments, "_free_share", lambda more: 0.5 if not calls.files else 0.01)
    task = calls.submit(some(2))
    assert len(calls.open[task][0].shared) == 1


def test_without_room_it_travels_with_the_call(calls, monkeypatch):
    monkeypatch.setattr(calls.segments, "_free_share", lambda more: 0.01)
    task = calls.submit(some(), 1)
    payload, frames = calls.open[task]
    assert (payload.shared, payload.segment, calls.files) == ((), None, [])
    assert frames
    assert np.array_equal(calls.read(task)[0], some())


def test_a_segment_that_somebody_removed_is_written_anew(calls):
    calls.submit(some())
    os.unlink(f"{calls.segments.path}/{calls.files[0]}")
    assert np.array_equal(calls.read(calls.submit(some()))[0], some())


def test_many_values_are_known_within_a_bound(calls, monkeypatch):
    monkeypatch.setattr(module, "_KNOWN", 4)
    calls.end(*[calls.submit(some(number)) for number in range(12)])
    assert len(calls.arguments._known) == 4
    assert calls.files == []
    for number in range(12):
        calls.end(calls.submit(some(number)), calls.submit(some(number)))
    assert len(calls.files) == 4, "what cannot be recognised any more is not kept"


def test_threads_that_submit_and_end_at_once_read_what_they_sent(calls):
    values = [some(number) for number in range(3)]
    wrong = []

    def work(start):
        for number in range(start, start + 30):
            payload = calls.arguments.make_payload(number, *pack_value(values[number % 3]))
            if not np.array_equal(unpack_value(calls.segments.open_payload(*payload)), values[number % 3]):
                wrong.append(number)
            calls.arguments.drop(number, payload[0])

    threads = [threading.Thread(target=work, args=(1000 * each,)) for each in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(calls.files) <= len(values), "what two threads wrote at once is not kept twice"


def test_in_frames_all_parts_are_at_their_places(calls):
    big, small = some(), some(2, 100_000)
    number = calls.submit(small, big, 3, some(4))
    payload, frames = calls.open[number]
    spread, parts = calls.segments.spread(call(number, payload=payload), frames)
    assert (spread.payload.shared, spread.payload.segment) == ((), None)
    assert [np.array_equal(a, b) for a, b in zip(unpack_value(parts), calls.read(number), strict=True)] == [True] * 4
    half, parts = calls.segments.spread(call(number, payload=payload), frames, keeps_shared=True)
    assert half.payload.shared == payload.shared
    assert unpack_value(calls.segments.open_payload(half.payload, parts))[2] == 3
