"""What a log tells of a run, and why calls wait in it."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from parsl_context.report import records as r
from parsl_context.report.explain import explain_all, explain_call, explain_context, find_context
from parsl_context.report.ranges import Ranges
from parsl_context.report.story import Story, seconds_left
from parsl_context.wire.messages import WorkerId
from tests.unit.report import samples as s


def told(*records: r.Record | list[r.Record]) -> Story:
    """The story of these, after what every run has."""
    flat = [each for record in records for each in (record if isinstance(record, list) else [record])]
    return Story().take_all([s.began(), s.known(), s.work(), *flat])


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 6))))
def test_ranges_hold_what_was_put_in(parts: list[tuple[int, int]]) -> None:
    ranges, plain = Ranges(), set[int]()
    for first, more in parts:
        ranges.add(first, first + more)
        plain |= set(range(first, first + more + 1))
    assert len(ranges) == len(plain)
    assert all((number in ranges) == (number in plain) for number in range(70))
    assert ranges.count_within(5, 40) == len(plain & set(range(5, 41)))
    found = list(ranges)
    assert all(last + 1 < first for (_, last), (first, _) in itertools.pairwise(found))


def test_a_story_counts_calls_builds_and_where_they_are() -> None:
    story = told(s.joined(), *s.built(2.0), s.ended([(3.0, 1, 0.5), (3.5, 2, 0.5)]), s.held(3))
    context = story.contexts[s.MODEL]
    assert (story.tasks, story.kinds[1].mean_s, list(story.held)) == (2, 0.5, [3])
    assert (context.usual_s, story.managers[1].holds(s.MODEL)) == (1.0, 1)


def test_a_build_where_a_context_was_before_has_a_cause() -> None:
    drop = r.Dropped(at=3.0, manager=1, context=s.MODEL, worker=WorkerId(0), was_evicted=True)
    story = told(s.joined(), *s.built(2.0), drop, *s.built(5.0), *s.built(5.5, worker=1))
    assert [build.cause for build in story.contexts[s.MODEL].builds] == ["", "given up to make room, or unused", ""]


def test_what_workers_share_is_given_up_or_lost_once_with_its_template() -> None:
    """Not once more for each worker that had it from there; and the build that follows says why."""
    inherited = [r.Held(at=2.0, manager=1, context=s.MODEL, worker=WorkerId(worker)) for worker in (0, 1)]
    dropped = [
        r.Dropped(at=4.0, manager=1, context=s.MODEL, worker=WorkerId(worker), was_evicted=True) for worker in (0, 1)
    ]

    def shared(was_evicted: bool) -> list[r.Record]:
        gone = r.TemplateHeld(at=3.0, manager=1, contexts=(s.MODEL,), is_gone=True, was_evicted=was_evicted)
        there = r.TemplateHeld(at=2.0, manager=1, contexts=(s.MODEL,))
        return [*s.built(2.0, worker=None), there, *inherited, gone, *dropped]

    context = told(s.joined(), *shared(True), *shared(False), *s.built(9.0, worker=None)).contexts[s.MODEL]
    assert (context.evictions, context.losses) == (1, 1)
    causes = ["", "given up to make room, or unused", "the process that workers share it from ended"]
    assert [build.cause for build in context.builds] == causes


def test_time_left_is_what_is_outstanding_at_the_speed_of_late() -> None:
    calls = [(1.0 + number / 10, number, 0.1) for number in range(1, 51)]
    story = told(s.joined(), s.ended(calls), s.pulse(6.0, (1, 100, 51, 0.0)))
    left_s = seconds_left(story)
    assert left_s is not None
    assert 9.0 < left_s < 11.0


# --- why a call waits


def test_there_is_no_block() -> None:
    story = told(s.waits(1))
    assert "no block was asked for" in explain_call(story, 1, 2.0)
    story.take(r.BlockSeen(at=1.0, block="0", state="PENDING", job="123", text="Priority"))
    assert "no block yet: job 123 of block 0 is pending for 4 s (Priority)" in explain_call(story, 1, 5.0)
    story.take(r.BlockSeen(at=6.0, block="0", state="RUNNING"))
    assert "runs for 3 s, and no manager has joined" in explain_call(story, 1, 9.0)
    story.take(r.BlockSeen(at=9.0, block="0", state="FAILED", text="exit 1"))
    assert "the last, 0, is over (failed, exit 1)" in explain_call(story, 1, 9.0)


def test_its_context_is_being_built() -> None:
    story = told(s.waits(1), s.joined(), *s.built(10.0, worker=1, load_s=8.0)[:2])
    story.take(r.BuildBegan(at=20.0, manager=1, context=s.MODEL, worker=WorkerId(0)))
    assert "building on n1, worker 0 (6 s of about 8 s)" in explain_call(story, 1, 26.0)
    assert "building on n1" in explain_context(story, s.MODEL, 26.0)


def test_what_its_context_requires_is_being_built() -> None:
    needs = s.known(requires=(s.WORDS,))
    story = told(needs, s.known(s.WORDS, "words()"), s.waits(1), s.joined())
    story.take(r.BuildBegan(at=2.0, manager=1, context=s.WORDS, worker=None))
    assert "building words(), which it requires, on n1, for all workers (3 s)" in explain_call(story, 1, 5.0)


def test_its_context_is_barred_after_failures() -> None:
    broke = r.BuildBroke(at=5.0, manager=1, context=s.MODEL, reason="OSError: gone", failures=2, barred_s=60.0)
    story = told(s.waits(1), s.joined(), broke)
    sentence = explain_call(story, 1, 6.0)
    assert "could not be built on n1, 2 times in a row: OSError: gone; it is barred until" in sentence
    story.take_all(s.built(7.0))
    assert "could not be built" not in explain_call(story, 1, 8.0)


def test_a_file_comes_first() -> None:
    ordered = r.BuildOrdered(at=2.0, manager=1, order=0, contexts=(s.MODEL,))
    story = told(s.waits(1), s.joined(), ordered, r.FileSought(at=3.0, manager=1, url="file:///a.pt"))
    assert "n1 fetches file:///a.pt first, for 4 s" in explain_call(story, 1, 7.0)
    story.take(r.FileCame(at=8.0, manager=1, url="file:///a.pt", took_s=5.0))
    assert "n1 is to build its context, for 7 s" in explain_call(story, 1, 9.0)


def test_no_memory_is_left() -> None:
    other = s.built(2.0, context=s.WORDS, size_bytes=9 * 10**9)
    using = [s.work(2, "caption", (s.WORDS,)), s.held(2, what=2)]
    story = told(s.known(s.WORDS, "words()"), s.known(memory_bytes=2 * 10**9), s.waits(1), s.joined(), *other, using)
    sentence = explain_call(story, 1, 3.0)
    assert "no memory: model('a.pt') takes 2.0 GB, and of the 10.0 GB" in sentence
    assert "calls use words() (9.0 GB)" in sentence
    story.take(s.ended([(4.0, 2, 1.0)], what=2))
    assert "no memory" not in explain_call(story, 1, 5.0)


def test_calls_of_higher_priority_come_first() -> None:
    story = told(
        s.work(2, "urgent"), s.waits(1), s.joined(), *s.built(2.0), s.pulse(3.0, (2, 200, 10, 1.0), priority=1)
    )
    assert "behind 200 calls of higher priority, on 2 workers" in explain_call(story, 1, 3.0)


def test_calls_that_came_before_come_first() -> None:
    story = told(s.waits(1, 50), s.joined(), *s.built(2.0), s.ended([(3.0, 1, 0.5)]), s.pulse(3.0, (1, 49, 2, 0.0)))
    assert "38 calls of its kind came before; 1 worker has its context and is busy" in explain_call(story, 40, 3.0)


def test_it_waits_for_others_to_run_with() -> None:
    story = told(
        s.work(2, "together", batch=32, batch_wait_s=5.0), s.waits(1, what=2, at=1.0), s.joined(), *s.built(2.0)
    )
    assert "it waits up to 5 s for others to run with" in explain_call(story, 1, 3.0)
    assert "to run with" not in explain_call(story, 1, 7.0)


def test_the_block_ends_too_soon() -> None:
    story = told(s.waits(2), s.joined(ends_in_s=60.0), *s.built(2.0), s.ended([(45.0, 1, 30.0)]))
    assert "the block ends in 11 s, and such a call takes about 30 s" in explain_call(story, 2, 50.0)


def test_its_contexts_fit_on_no_node() -> None:
    refused = r.Refused(at=2.0, manager=1, contexts=(s.MODEL,), reason="it takes 12.0 GB of 10.0 GB")
    assert "can be held on none of the nodes" in explain_call(told(s.waits(1), s.joined(), refused), 1, 3.0)


def test_all_nodes_take_no_more() -> None:
    story = told(s.waits(1), s.joined(), r.ManagerClosed(at=2.0, manager=1, drains=True))
    assert "n1 take no more calls, their block ends" in explain_call(story, 1, 3.0)


def test_a_call_that_runs_has_ended_failed_or_is_unknown() -> None:
    story = told(s.joined(), s.held(1), s.held(2, sent_at=1.1), s.held(3, sent_at=1.2), s.ended([(2.0, 4, 0.1)]))
    story.take(r.CallsCancelled(at=3.0, tasks=s.tasks(5)))
    story.take(r.CallsFailed(at=3.0, tasks=s.tasks(6), reason="manager m1 is gone: no heartbeat"))
    assert "runs on n1 since about 3 s" in explain_call(story, 1, 4.0)
    assert "waits there behind 1 other." in explain_call(story, 3, 4.0)
    assert explain_call(story, 4, 4.0) == "Call 4 has ended."
    assert "was cancelled" in explain_call(story, 5, 4.0)
    assert "failed: manager m1 is gone" in explain_call(story, 6, 4.0)
    raised = s.ended([(4.0, 9, 0.5)]).rows
    flagged = r.ended_row.pack(*r.ended_row.unpack(raised)[:5], r.Flag.RAISED, *r.ended_row.unpack(raised)[6:])
    story.take(r.CallsEnded(rows=flagged))
    assert explain_call(story, 9, 4.0) == "Call 9 has ended with an error."
    assert "has not seen a call 7" in explain_call(story, 7, 4.0)


def test_each_kind_that_waits_is_explained() -> None:
    story = told(s.work(2, "embed", ()), s.pulse(3.0, (1, 5, 1, 0.0), (2, 1, 9, 1.0)))
    sentences = list(explain_all(story, 4.0))
    assert [sentence.split(":")[0] for sentence in sentences] == ["Call 1 of classify and 4 more", "Call 9 of embed"]
    assert find_context(story, "model") == [s.MODEL]


def test_a_call_that_waits_for_its_environment_is_explained() -> None:
    began = r.EnvironmentBegan(at=3.0, manager=1, environment="e", source="env.tar.zst")
    records = [s.began(), s.joined(), s.known(environment="e"), s.work(), s.waits(1, at=2.0), began]
    story = Story().take_all([*records, s.pulse(4.0, (1, 1, 1, 2.0))])
    assert explain_call(story, 1, 5.0).endswith("starting environment env.tar.zst on n1 (2 s).")
    story.take(r.EnvironmentEnded(at=6.0, manager=1, environment="e", start_s=3.0))
    assert "starting environment" not in explain_call(story, 1, 6.0)
    story.take(r.EnvironmentEnded(at=6.0, manager=1, environment="e"))
    story.take(began)
    assert "starting environment env.tar.zst on n1 (4 s of about 3 s)" in explain_call(story, 1, 7.0)


def test_an_ordinary_call_that_waits_for_the_environment_of_the_executor_is_explained() -> None:
    began = r.EnvironmentBegan(at=3.0, manager=1, environment="e", source="env.tar.zst")
    records = [s.began(environment="e"), s.joined(), s.work(contexts=()), s.waits(1, at=2.0), began]
    story = Story().take_all([*records, s.pulse(4.0, (1, 1, 1, 2.0))])
    assert "starting environment env.tar.zst on n1" in explain_call(story, 1, 5.0)
    story.take(s.held(1, sent_at=4.5))
    sentence = explain_call(story, 1, 5.5)
    assert "was sent to n1 1 s ago, which is starting environment env.tar.zst on n1 (2.5 s)" in sentence
