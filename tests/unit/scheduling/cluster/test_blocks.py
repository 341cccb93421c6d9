"""Blocks that are asked for because others end, and those that are not, because nothing is left for them."""

from __future__ import annotations

import math

import pytest

from parsl_context.scheduling.cluster import events as cluster
from parsl_context.scheduling.cluster.events import Action, BlockNews, SendTask, StopManager
from parsl_context.scheduling.cluster.limits import BlockLimits
from parsl_context.scheduling.cluster.state import ClusterState
from parsl_context.wire.messages import ContextOptions, ManagerId, News, TaskId
from tests.unit.scheduling.cluster.test_state import M1, M2, A, end, joined, submit

START_S = 10.0  # from the launch of a block until its manager joins
WALLTIME_S = 100.0
RUN_S = 5.0


class Run:
    """A cluster whose blocks have one manager each, and the news that the executor got of them."""

    def __init__(self, *, most: float = 1, overlap: int = 0, nodes: int = 1) -> None:
        self.state = ClusterState(heartbeat_threshold_s=1e9, limits=BlockLimits(most, overlap, nodes))
        self.now = 0.0
        self.news: list[tuple[float, str, News]] = []
        self.calls = 0
        self.works = True
        self._running: list[tuple[float, ManagerId, TaskId]] = []

    def handle(self, event: cluster.Event, *, now: float | None = None) -> list[Action]:
        self.now = self.now if now is None else now
        return self.note(self.state.handle(event, now=self.now))

    def note(self, actions: list[Action]) -> list[Action]:
        told = [action for action in actions if isinstance(action, BlockNews)]
        self.news += [(self.now, action.block, action.news) for action in told]
        sent = [action for action in actions if isinstance(action, SendTask)]
        self._running += [(self.now + RUN_S, action.manager, action.task) for action in sent]
        return [action for action in actions if not isinstance(action, BlockNews)]

    def launch(self, block: str) -> None:
        self.handle(cluster.BlockLaunched(block=block))

    def join(self, manager: ManagerId = M1, block: str = "0", slots: int = 1, left_s: float = WALLTIME_S) -> None:
        self.handle(joined(manager, slots, block=block, ends_in_s=left_s, walltime_s=WALLTIME_S))

    def begin(self, manager: ManagerId = M1, *, slots: int = 1, run_s: float = RUN_S) -> None:
        """A first block, which took START_S and has run a call."""
        self.launch("0")
        self.until(self.now + START_S)
        self.join(manager, slots=slots)
        self.submit(1)
        self._running.clear()
        self.note(end(self.state, manager, self.calls, run_s=run_s, now=self.now))

    def submit(self, calls: int) -> None:
        for _ in range(calls):
            self.calls += 1
            self.note(submit(self.state, self.calls, now=self.now))

    def until(self, then: float) -> None:
        """Time passes."""
        while (due := self._next()) <= then:
            self.now = max(due, self.now)
            self.handle(cluster.Tick())
            over = [entry for entry in self._running if self.works and entry[0] <= due]
            self._running = [entry for entry in self._running if entry not in over]
            for _, manager, task in over:
                if manager in self.state.managers:
                    self.handle(cluster.TaskEnded(manager=manager, task=task, run_s=RUN_S))
        self.now = then

    def _next(self) -> float:
        ends = [at for at, _, _ in self._running] if self.works else []
        return min([self.state.next_deadline(), *ends])

    def leave(self, manager: ManagerId = M1) -> None:
        """A manager drains, runs its clean-ups and ends."""
        self.handle(cluster.ManagerLeaving(manager=manager))
        self.handle(cluster.ManagerLeft(manager=manager, reason="drained"))
        self.handle(cluster.ManagerEnded(manager=manager))

    def successors(self) -> list[float]:
        return [at for at, _, news in self.news if news is News.SUCCESSOR]


def test_the_next_block_is_asked_for_so_early_that_it_is_ready_when_one_ends() -> None:
    run = Run(overlap=1)
    run.begin()
    run.submit(100)
    ends_at = run.now + WALLTIME_S
    run.until(ends_at - START_S - 4)
    assert run.successors() == []
    run.until(ends_at - START_S)
    (asked_at,) = run.successors()
    assert ends_at - START_S - 2 <= asked_at <= ends_at - START_S
    run.launch("1")
    run.until(ends_at - 1)
    assert len(run.successors()) == 1, "one for each block that ends"


def test_without_overlap_or_work_that_is_left_there_is_no_next_block() -> None:
    without, idle, done = Run(), Run(overlap=1), Run(overlap=1)
    for run, calls in ((without, 100), (idle, 0), (done, int(WALLTIME_S / RUN_S) - 2)):
        run.begin()
        run.submit(calls)
        run.until(START_S + WALLTIME_S - 0.1)
        assert run.successors() == []


def test_a_block_that_long_calls_leave_early_is_followed_early() -> None:
    """Two calls of 40 s fit into 100 s, and what is shorter is soon used up."""
    run = Run(overlap=1)
    run.begin(run_s=40.0)
    begun_at = run.now
    run.works = False
    for number in range(901, 910):
        run.note(submit(run.state, number, now=run.now))
    for number in (901, 902):
        run.until(run.now + 40)
        run.note(end(run.state, M1, number, run_s=40.0, now=run.now))
    assert run.successors() == [pytest.approx(begun_at + 80 - START_S, abs=3)]


def test_builds_of_what_waits_count_for_how_early() -> None:
    run = Run(overlap=1)
    options = ContextOptions(name="a()", reuse="memory")
    run.handle(cluster.ContextDeclared(context=A, options=options))
    run.begin()
    run.handle(cluster.BuildEnded(manager=M1, context=A, load_s=30.0, size_bytes=1))
    for number in range(100, 200):
        run.note(submit(run.state, number, A, now=run.now))
    run.until(START_S + WALLTIME_S - 1)
    (asked_at,) = run.successors()
    assert START_S + WALLTIME_S - asked_at == pytest.approx(START_S + 30.0, abs=5)


def test_no_more_blocks_than_one_beyond_the_limit() -> None:
    run = Run(most=2, overlap=1)
    run.begin()
    run.launch("1")
    run.join(M2, "1")
    run.submit(200)
    run.until(START_S + WALLTIME_S - START_S)
    assert len(run.successors()) == 1
    run.launch("2")
    run.until(START_S + WALLTIME_S - 1)
    assert len(run.successors()) == 1, "both end, and one more is there already"


def test_another_block_is_asked_for_when_one_has_ended_because_its_time_was_over() -> None:
    run = Run()
    run.begin()
    run.submit(100)
    run.until(START_S + WALLTIME_S - 2)
    run.leave()
    run.until(run.now + 1.5)
    assert [news for _, _, news in run.news] == [News.SERVED, News.OVER, News.SUCCESSOR]


def test_one_that_ends_itself_because_nothing_fits_is_followed_when_its_clean_ups_have_run() -> None:
    run = Run()
    run.begin()
    run.submit(1)
    run.note(end(run.state, M1, run.calls, run_s=60.0, now=run.now))
    run.until(START_S + 50)
    run.submit(2)
    stopped: list[Action] = []
    while not stopped:
        due = run.state.next_deadline()
        stopped = [a for a in run.handle(cluster.Tick(), now=due) if isinstance(a, StopManager)]
    run.handle(cluster.ManagerLeft(manager=M1, reason="spent"))
    run.until(run.now + 3)
    assert run.successors() == [], "it cleans up"
    run.handle(cluster.ManagerEnded(manager=M1))
    run.until(run.now + 1.5)
    assert len(run.successors()) == 1


@pytest.mark.parametrize("what", ["early", "dies", "scaled in", "half", "nothing to do", "told by the provider"])
def test_one_that_ended_otherwise_is_left_to_parsl(what: str) -> None:
    run = Run(nodes=2 if what == "half" else 1)
    run.begin()
    if what != "nothing to do":
        run.submit(100)
    run.until(START_S + (20 if what == "early" else WALLTIME_S - 2))
    if what == "scaled in":
        run.handle(cluster.ManagerHeld(manager=M1))
    if what == "told by the provider":
        run.handle(cluster.BlockEnded(block="0", reason="it is over"))
    if what == "dies":
        run.handle(cluster.ManagerLeft(manager=M1, reason="its link broke"))
        run.handle(cluster.ManagerEnded(manager=M1))
    else:
        run.leave()
    run.until(run.now + 5)
    assert run.successors() == []


def test_a_job_that_is_queued_again_is_the_same_block_and_not_replaced() -> None:
    run = Run()
    run.begin()
    run.submit(100)
    run.until(START_S + 20)
    run.leave()
    run.until(run.now + 5)
    run.join(M2)
    assert run.successors() == []
    run.until(run.now + WALLTIME_S - 2)
    run.leave(M2)
    run.until(run.now + 2)
    assert len(run.successors()) == 1


def useful(run: Run, wanted: int) -> int:
    return run.state.useful_blocks(wanted, run.now)


def test_no_block_is_of_use_for_calls_that_will_have_run_when_it_starts() -> None:
    run = Run(most=10)
    assert useful(run, 3) == 0, "no calls"
    run.submit(4)
    assert useful(run, 3) == 3, "nothing is known"
    run = Run(most=10)
    run.begin(slots=2)
    run.submit(2 + int(2 * START_S / RUN_S) - 2)  # the last of them start before a block would
    assert useful(run, 3) == 0
    run.submit(3)
    assert useful(run, 3) == 2, "blocks of two slots, three calls"
    run.submit(100)
    assert useful(run, 3) == 3


def test_blocks_that_were_asked_for_count_as_soon_as_they_would_start() -> None:
    run = Run(most=10)
    run.begin(slots=2)
    run.submit(2 + int(2 * START_S / RUN_S) + 1)
    assert useful(run, 3) > 0
    run.launch("1")
    run.until(run.now + 0.9 * START_S)
    assert useful(run, 3) == 0


def test_calls_that_last_longer_than_others_keep_their_workers_for_as_long_again() -> None:
    run = Run(most=10)
    run.begin(slots=2)
    run.works = False
    run.submit(3)
    assert useful(run, 1) == 0
    run.until(run.now + 60)
    assert useful(run, 1) == 1


def test_a_block_ends_at_the_earlier_of_its_walltime_and_its_drain_period() -> None:
    run = Run(overlap=1)
    run.launch("0")
    run.until(START_S)
    run.handle(joined(M1, 1, ends_in_s=math.inf, drain_in_s=50.0))
    run.submit(1)
    run.note(end(run.state, M1, 1, run_s=RUN_S, now=run.now))
    run.submit(100)
    run.until(START_S + 45)
    assert len(run.successors()) == 1


def test_one_whose_successor_is_there_is_not_replaced_once_more() -> None:
    run = Run(overlap=1)
    run.begin()
    run.submit(100)
    run.until(START_S + WALLTIME_S - 2)
    run.launch("1")
    run.join(M2, "1")
    run.leave()
    run.until(run.now + 5)
    assert len(run.successors()) == 1
