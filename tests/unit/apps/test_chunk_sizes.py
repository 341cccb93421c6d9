"""How many calls of a map travel as one task: what was measured says it, and a bound holds where that was wrong."""

import heapq
import itertools
import math

import pytest

from parsl_context.apps.chunk_sizes import (
    LIMIT,
    OVERHEAD_S,
    TARGET_S,
    TASKS_PER_WORKER,
    UNSEEN,
    CallTimes,
    ChunkSizes,
)

ROUND_TRIP_S = 0.001


def play(sizes, items, workers, call_s, *, max_pending=64):
    """Makespan of a map, and its tasks: workers take them in order; the script looks when one has ended."""
    free = [0.0] * workers
    left, now = items, 0.0
    running, tasks = [], []
    while left or running:
        while left and len(running) < min(max_pending, sizes.enough):
            calls = min(sizes.size, left)
            left -= calls
            end = max(heapq.heappop(free), now) + ROUND_TRIP_S + calls * call_s
            heapq.heappush(free, end)
            heapq.heappush(running, (end, sizes.sent(calls, now)))
            tasks.append(calls)
        now, task = heapq.heappop(running)
        sizes.ended(task, now, run_s=task.calls * call_s)
    return now, tasks


def run(sizes, calls, took_s, run_s=None, *, now=itertools.count(0, 1000)):  # noqa: B008
    """One task that is alone."""
    at = next(now)
    sizes.ended(sizes.sent(calls, at), at + took_s, run_s=run_s)


def test_the_first_task_of_an_app_has_one_call():
    assert ChunkSizes().size == 1
    assert ChunkSizes(items=10_000, workers=2).size == 1


def test_what_the_user_has_chosen_stays():
    sizes = ChunkSizes(7, items=3, workers=1, call_s=1.0)
    run(sizes, 7, 1e-6)
    assert (sizes.size, sizes.enough) == (7, math.inf)


def test_later_maps_start_from_what_was_measured():
    assert ChunkSizes(call_s=TARGET_S / 10).size == 10
    assert ChunkSizes(call_s=1.0).size == 1


def test_as_long_as_nothing_has_ended_a_task_has_few_calls_however_short_they_were():
    sizes = ChunkSizes(call_s=1e-7)
    assert sizes.size == UNSEEN
    run(sizes, UNSEEN, 1e-4)
    assert sizes.size > UNSEEN


@pytest.mark.parametrize("workers", [1, 2, 7, 64])
def test_each_worker_gets_several_tasks_of_a_map_whose_length_is_known(workers):
    items = 1000
    sizes = ChunkSizes(items=items, workers=workers, call_s=1e-7)
    for _ in range(10):
        run(sizes, sizes.size, 1e-4)
    assert math.ceil(items / sizes.size) >= min(TASKS_PER_WORKER * workers, items) * 0.9


def test_a_task_is_bounded_where_the_length_is_not_known():
    sizes = ChunkSizes()
    for _ in range(10):
        run(sizes, sizes.size, 1e-4)
    assert sizes.size == LIMIT


def test_a_map_of_short_calls_takes_few_tasks():
    _, first = play(ChunkSizes(items=2000, workers=2), 2000, 2, 1e-6)
    _, later = play(ChunkSizes(items=2000, workers=2, call_s=1e-6), 2000, 2, 1e-6)
    assert len(first) <= 20
    assert len(later) <= 12


def test_that_a_small_task_took_a_round_trip_says_nothing_against_short_calls():
    sizes = ChunkSizes(call_s=1e-6)
    run(sizes, 1000, 0.002)
    before = sizes.size
    run(sizes, 1, OVERHEAD_S)
    assert sizes.size == before


def test_tasks_that_end_side_by_side_do_not_make_calls_short():
    sizes = ChunkSizes()
    tasks = [sizes.sent(10, 0.0) for _ in range(4)]
    for task in tasks:
        sizes.ended(task, 10.0)
    assert sizes.call_s >= 10.0 / 40


def test_what_a_worker_says_counts_however_many_there_are():
    sizes = ChunkSizes()
    tasks = [sizes.sent(10, 0.0) for _ in range(4)]
    for task in tasks:
        sizes.ended(task, 10.0, run_s=10.0)
    assert sizes.call_s == 1.0


def test_large_values_count_beside_what_a_worker_says():
    sizes = ChunkSizes()
    for _ in range(5):
        run(sizes, sizes.size, 0.024 * sizes.size, run_s=1e-6)
    assert sizes.size == 2


def test_a_task_that_did_not_run_says_nothing():
    sizes = ChunkSizes(call_s=1e-3)
    sizes.ended(sizes.sent(1, 0.0), 100.0, has_run=False)
    assert (sizes.call_s, sizes.size) == (1e-3, UNSEEN)


def test_calls_that_became_slower_are_seen_in_the_first_task_that_shows_it():
    sizes = ChunkSizes(items=10_000, workers=2, call_s=1e-6)
    run(sizes, UNSEEN, UNSEEN * 1.0)
    assert sizes.size == 1


def test_the_build_of_a_context_is_forgotten():
    """The first task waits for it."""
    sizes = ChunkSizes(items=10_000, workers=2)
    run(sizes, 1, 8.0)
    for _ in range(4):
        run(sizes, sizes.size, sizes.size * 1e-6 + ROUND_TRIP_S)
    assert sizes.size > 1000


@pytest.mark.parametrize("workers", [1, 2, 16, 64])
@pytest.mark.parametrize("items", [10, 64, 2000, 20_000])
@pytest.mark.parametrize("believed_s", [None, 1e-6, 1e-3])
def test_no_worker_is_late_by_more_than_the_bound_where_calls_take_much_longer_than_they_did(
    workers, items, believed_s
):
    """A second each: a worker may end later than others by a task, of `UNSEEN` calls or a quarter of its share."""
    took_s, tasks = play(ChunkSizes(items=items, workers=workers, call_s=believed_s), items, workers, 1.0)
    ideal_s = math.ceil(items / workers)
    late_s = min(UNSEEN, math.ceil(items / (TASKS_PER_WORKER * workers)))
    assert took_s <= ideal_s + late_s + ROUND_TRIP_S * len(tasks)
    assert max(tasks) <= late_s


def test_where_no_task_ends_soon_those_that_follow_have_one_call():
    sizes = ChunkSizes(items=2000, workers=2, call_s=1e-6)
    sizes.are_late()
    assert sizes.size == 1
    run(sizes, 32, 0.010)
    assert sizes.size == 250
    sizes.are_late()
    assert sizes.size == 250


def test_calls_that_became_slow_within_a_map_are_in_tasks_of_a_quarter_of_a_share_at_most():
    sizes = ChunkSizes(items=2000, workers=2, call_s=1e-6)
    for _ in range(5):
        run(sizes, sizes.size, 1e-3)
    assert sizes.size == 250
    run(sizes, 250, 250.0)
    assert sizes.size == 1


def test_few_tasks_are_sent_until_it_is_known_what_calls_take_and_many_then():
    sizes = ChunkSizes(items=2000, workers=2)
    assert sizes.enough == 4
    run(sizes, 1, 1.0)
    assert sizes.enough == math.inf


def test_where_the_number_of_workers_is_not_known_none_waits_for_others():
    assert ChunkSizes(items=2000, workers=0).enough == math.inf


def test_times_are_kept_by_executor_and_the_slowest_counts():
    times = CallTimes()
    assert times.expected(["a"]) is None
    for label, call_s in itertools.chain([("a", 1.0), ("b", 2.0), ("c", 9.0), ("a", 1.5)]):
        times.note(label, call_s)
    assert times.expected(["a"]) == 1.5
    assert times.expected(["a", "b", "unknown"]) == 2.0
