"""What the interchange records is what its state knows."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from parsl_context.interchange.recording import LogRecorder
from parsl_context.report import records as r
from parsl_context.report.reading import LogReader
from parsl_context.report.segments import FOLDER
from parsl_context.report.story import Story
from parsl_context.scheduling.cluster import events as cluster
from parsl_context.scheduling.cluster.blocks import BlockLimits
from parsl_context.scheduling.cluster.state import ClusterState
from parsl_context.scheduling.lines import Lane
from parsl_context.wire import messages as m
from parsl_context.wire.eventloop import EventLoop
from parsl_context.wire.messages import Digest, ManagerId, TaskId, WorkerId

M1, CODE = ManagerId("m1"), Digest("code")


class Interchange:
    """A state and its recorder; what is decided is not carried out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = ClusterState(heartbeat_threshold_s=math.inf)
        self.loop = EventLoop()
        config: Any = SimpleNamespace(
            label="contexts", logdir=str(folder), run_id="run", reuse="memory", requeue_lost=0, walltime_s=None,
            environment=None, limits=m.Limits(), blocks=BlockLimits(),
        )  # fmt: skip
        self.recorder = LogRecorder(self.loop, self.state, config)
        self.recorder.named(CODE, "classify", 100)

    def submit(self, *numbers: int) -> None:
        for number in numbers:
            task = self.task(number)
            lane = Lane((), False)
            self.recorder.submitted(task)
            self.decide(cluster.TaskSubmitted(task=task.id, lane=lane, code=CODE))

    def task(self, number: int) -> m.Task:
        return m.Task(TaskId(number), CODE, (), m.Payload(b"", 0))

    def decide(self, event: cluster.Event) -> None:
        for action in self.state.handle(event, now=time.monotonic()):
            if isinstance(action, cluster.SendTask):
                self.recorder.sent(action.task)

    def join(self, slots: int = 2) -> None:
        joined = cluster.ManagerJoined(manager=M1, node="n1", block="0", slots=slots)
        self.recorder.joined(SimpleNamespace(host="n1"), joined)  # type: ignore[arg-type]
        self.decide(joined)

    def end(self, *numbers: int, ok: bool = True) -> None:
        for number in numbers:
            result = m.Result(TaskId(number), ok, m.Payload(b"", 0), 0.25, WorkerId(1))
            call = self.state.calls[result.id]
            self.recorder.ended(M1, result, self.task(number), call, time.monotonic())
            self.decide(cluster.TaskEnded(manager=M1, task=result.id, run_s=result.run_s))

    def story(self) -> Story:
        """What was written so far tells."""
        self.recorder.write()
        time.sleep(0.05)
        return Story().take_all(self.records())

    def records(self) -> Iterator[r.Record]:
        return LogReader(self.folder / FOLDER).read()


@pytest.fixture
def interchange(tmp_path: Path) -> Iterator[Interchange]:
    made = Interchange(tmp_path)
    yield made
    made.recorder.close("it is tested")
    made.loop.close()


def test_calls_that_wait_run_and_have_ended_are_known(interchange: Interchange) -> None:
    interchange.submit(*range(1, 11))
    story = interchange.story()
    assert (story.pulse.waiting if story.pulse else None, len(story.held), story.tasks) == (10, 0, 0)
    interchange.join()
    interchange.end(1)
    interchange.end(2, ok=False)
    story = interchange.story()
    assert (story.tasks, story.kinds[1].raised, story.kinds[1].work.name) == (2, 1, "classify")
    assert sorted(story.held) == sorted(number for number in interchange.state.managers[M1].held)
    assert list(story.done) == [(1, 2)]


def test_calls_that_follow_each_other_are_one_row(interchange: Interchange) -> None:
    interchange.submit(*range(1, 1001), 2000)
    interchange.story()
    rows = [row for record in interchange.records() if isinstance(record, r.CallsPending) for row in record.unpack()]
    assert [(row.task, row.size) for row in rows] == [(1, 1000), (2000, 1)]


def test_a_call_that_ends_before_it_is_written_is_one_row(interchange: Interchange) -> None:
    interchange.join()
    interchange.submit(1)
    interchange.end(1)
    interchange.story()
    found = list(interchange.records())
    assert not any(isinstance(record, r.CallsPending) for record in found)
    (row,) = [row for record in found if isinstance(record, r.CallsEnded) for row in record.unpack()]
    assert (row.task, row.worker, row.run_s) == (1, 1, 0.25)


def test_calls_that_come_back_wait_again(interchange: Interchange) -> None:
    interchange.join()
    interchange.submit(1, 2, 3)
    interchange.story()
    returned = cluster.TasksReturned(manager=M1, tasks=[TaskId(1)])
    interchange.recorder.event(returned)
    assert 1 not in interchange.story().held
    interchange.recorder.cancelled([TaskId(3)])
    interchange.recorder.failed([TaskId(2)], "its node burnt")
    assert interchange.story().outcomes == {3: "cancelled", 2: "its node burnt"}


def test_a_call_that_comes_back_before_it_is_written_waits(interchange: Interchange) -> None:
    interchange.join()
    interchange.submit(1)
    assert 1 in interchange.state.managers[M1].held
    interchange.recorder.event(cluster.TasksReturned(manager=M1, tasks=[TaskId(1)]))
    interchange.state.handle(cluster.TasksReturned(manager=M1, tasks=[TaskId(1)]), now=time.monotonic())
    story = interchange.story()
    assert 1 not in story.held
    assert 1 not in story.done


def test_a_manager_that_joins_anew_takes_the_place_of_itself(interchange: Interchange) -> None:
    interchange.join()
    again = cluster.ManagerJoined(manager=ManagerId("m2"), node="n1", block="0", slots=2)
    interchange.recorder.joined(SimpleNamespace(host="n1"), again)  # type: ignore[arg-type]
    assert [manager.is_there for manager in interchange.story().managers.values()] == [False, True]
    interchange.recorder.left(ManagerId("m2"), "its connection broke")
    interchange.recorder.left(ManagerId("m2"), "it was given up")
    assert [manager.left_reason for manager in interchange.story().managers.values()][1] == "its connection broke"


def test_any_priority_can_be_recorded(interchange: Interchange) -> None:
    interchange.recorder.submitted(m.Task(TaskId(1), CODE, (), m.Payload(b"", 0), False, 1e300))
    lane = Lane((), False)
    interchange.decide(cluster.TaskSubmitted(task=TaskId(1), lane=lane, code=CODE, priority=1e300))
    submission = interchange.story().submission(1)
    assert submission is not None
    assert submission.priority == 1e300


def test_nothing_is_written_where_nothing_happens(interchange: Interchange) -> None:
    interchange.join(slots=1)
    interchange.submit(1, 2)
    interchange.story()
    before = len(list(interchange.records()))
    for _ in range(5):
        interchange.recorder.write()
    time.sleep(0.05)
    assert len(list(interchange.records())) == before


def test_the_end_is_recorded(tmp_path: Path) -> None:
    made = Interchange(tmp_path)
    made.recorder.close("the executor quits")
    made.loop.close()
    story = Story().take_all(made.records())
    assert story.over is not None
    assert story.over.reason == "the executor quits"
