"""Blocks of a batch system that end at their walltime, with calls of several lengths: simulated, hours in a moment."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl_context.scheduling.cluster import events as cluster
from parsl_context.scheduling.cluster.limits import BlockLimits
from parsl_context.scheduling.cluster.state import ClusterState
from parsl_context.scheduling.lines import Lane
from parsl_context.wire.messages import Digest, ManagerId, News, TaskId

STRATEGY_S = 5.0  # between two looks of Parsl
ENDS_S = 0.5  # from a manager's end to its job's
MOST_CALLS = 1500
POLL_S = 60.0  # until Parsl sees that a job is over


@dataclass(frozen=True)
class Site:
    """A batch system, and what the user asks of it."""

    walltime_s: float = 600.0
    queue_s: float = 60.0  # at least, and up to twice that
    start_s: float = 5.0
    slots: int = 2
    most: int = 1
    overlap: int = 0
    lengths_s: tuple[float, ...] = (0.2, 2.0, 20.0)


@dataclass
class Job:
    ends_at: float
    running: dict[TaskId, float] = field(default_factory=dict)  # when each began
    is_over: bool = False
    began_at: float = math.inf


class Run:
    """Parsl, a batch system and its nodes around a `ClusterState`."""

    def __init__(self, site: Site, calls: int, seed: int) -> None:
        self.site = site
        self.random = random.Random(seed)
        limits = BlockLimits(site.most, site.overlap)
        self.state = ClusterState(heartbeat_threshold_s=1e12, limits=limits)
        self.now = 0.0
        self.later: list[tuple[float, int, Callable[[], None]]] = []
        self.order = itertools.count()
        self.jobs: dict[str, Job] = {}
        self.known_over: set[str] = set()  # to Parsl
        self.lengths = [self.random.choice(site.lengths_s) for _ in range(calls)]
        self.left = set(range(calls))
        self.lost = 0
        self.most_active = 0
        self.spans: list[tuple[float, float]] = []  # in which calls ran
        self.idle: list[tuple[float, float]] = []  # of a slot before its job's end, and of its job

    def run(self) -> None:
        self.launch()
        for number, length in enumerate(self.lengths):
            code = Digest(str(length))
            self.tell(cluster.TaskSubmitted(task=TaskId(number), lane=Lane((), False, code=code), code=code))
        self.at(STRATEGY_S, self.strategy)
        while self.left:
            due = min(self.later[0][0], self.state.next_deadline())
            assert due < 1e7, "nothing goes on"
            self.now = max(self.now, due)
            if self.later[0][0] <= self.now:
                heapq.heappop(self.later)[2]()
            else:
                self.tell(cluster.Tick())

    def at(self, time: float, do: Callable[[], None]) -> None:
        heapq.heappush(self.later, (time, next(self.order), do))

    @property
    def active(self) -> int:
        return sum(name not in self.known_over for name in self.jobs)

    def strategy(self) -> None:
        """Parsl sees what is missing, of what it knows."""
        wanted = min(self.site.most - self.active, math.ceil(len(self.left) / self.site.slots) - self.active)
        for _ in range(self.state.useful_blocks(wanted, self.now) if wanted > 0 else 0):
            self.launch()
        self.at(self.now + STRATEGY_S, self.strategy)

    def launch(self) -> None:
        name = str(len(self.jobs))
        self.jobs[name] = job = Job(math.inf)
        self.tell(cluster.BlockLaunched(block=name))
        self.most_active = max(self.most_active, sum(not job.is_over for job in self.jobs.values()))
        waits_s = self.site.queue_s * (1 + self.random.random())

        def begin() -> None:
            job.began_at, job.ends_at = self.now, self.now + self.site.walltime_s
            self.at(self.now + self.site.start_s, lambda: self.join(name, job))

        self.at(self.now + waits_s, begin)

    def join(self, name: str, job: Job) -> None:
        self.at(job.ends_at, lambda: self.kill(name))
        left_s = job.ends_at - self.now - min(2.0, 0.02 * self.site.walltime_s)  # as the interchange counts upon
        manager = ManagerId(name)
        fields = {"node": name, "block": name, "slots": self.site.slots, "prefetch": 0}
        walltime_s = self.site.walltime_s
        self.tell(cluster.ManagerJoined(manager=manager, ends_in_s=left_s, walltime_s=walltime_s, **fields))

    def kill(self, name: str) -> None:
        job = self.jobs[name]
        if not job.is_over:
            self.lost += len(job.running)
            self.left -= set(job.running)
            self.tell(cluster.ManagerLeft(manager=ManagerId(name), reason="walltime"))
            self.tell(cluster.ManagerEnded(manager=ManagerId(name)))
            self.end(name)

    def end(self, name: str) -> None:
        job = self.jobs[name]

        def over() -> None:
            job.is_over = True

        self.at(self.now + ENDS_S, over)
        self.at(self.now + POLL_S, lambda: self.known_over.add(name))

    def tell(self, event: cluster.Event) -> None:
        for action in self.state.handle(event, now=self.now):
            match action:
                case cluster.SendTask():
                    self.begin_call(action)
                case cluster.StopManager():
                    self.stop(str(action.manager))
                case cluster.BlockNews(news=News.OVER):
                    self.known_over.add(action.block)
                case cluster.BlockNews(news=News.SUCCESSOR):
                    if self.active < self.site.most + self.site.overlap:
                        self.launch()
                case cluster.BlockNews() | cluster.FailTasks():
                    pass
                case _:
                    raise AssertionError(f"nothing here asks for {action}")

    def stop(self, name: str) -> None:
        job = self.jobs[name]
        assert not job.running
        self.tell(cluster.ManagerLeft(manager=ManagerId(name), reason="told"))
        self.tell(cluster.ManagerEnded(manager=ManagerId(name)))
        self.end(name)

    def begin_call(self, action: cluster.SendTask) -> None:
        job, length = self.jobs[str(action.manager)], self.lengths[action.task]
        job.running[action.task] = self.now

        def end() -> None:
            if action.task in job.running and action.manager in self.state.managers:
                self.spans.append((job.running.pop(action.task), self.now))
                self.left.discard(action.task)
                self.tell(cluster.TaskEnded(manager=action.manager, task=action.task, run_s=length))

        self.at(self.now + length, end)

    def hole_share(self) -> float:
        """Of the time in which calls ran at all, what no call ran in."""
        hole_s, covered = 0.0, min(self.spans)[0]
        for begin, end in sorted(self.spans):
            hole_s += max(0.0, begin - covered)
            covered = max(covered, end)
        return hole_s / (covered - min(self.spans)[0])


def simulated(site: Site, *, hours: float = 1.0, seed: int = 1) -> Run:
    mean_s = sum(site.lengths_s) / len(site.lengths_s)
    run = Run(site, min(MOST_CALLS, int(3600 * hours * site.slots * site.most / mean_s)), seed)
    run.run()
    return run


@pytest.mark.parametrize("lengths_s", [(0.2, 2.0, 20.0), (20.0,), (90.0, 100.0), (1.0, 250.0)])
def test_with_overlap_hardly_any_time_passes_between_blocks(lengths_s: tuple[float, ...]) -> None:
    without, overlapping = (simulated(Site(lengths_s=lengths_s, overlap=overlap)) for overlap in (0, 1))
    assert without.lost == overlapping.lost == 0
    assert without.most_active == 1
    assert overlapping.most_active == 2
    assert without.hole_share() > 0.08
    assert overlapping.hole_share() < 0.05


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    walltime_s=st.sampled_from([60.0, 300.0, 3600.0]),
    queue_s=st.sampled_from([0.0, 10.0, 1000.0, 7200.0]),
    slots=st.integers(1, 4),
    most=st.integers(1, 4),
    overlap=st.integers(0, 2),
    lengths_s=st.sets(st.sampled_from([0.5, 3.0, 20.0, 45.0]), min_size=1, max_size=3),
    seed=st.integers(0, 1000),
)
def test_nothing_is_lost_and_no_block_is_too_many(
    walltime_s: float, queue_s: float, slots: int, most: int, overlap: int, lengths_s: set[float], seed: int
) -> None:
    site = Site(walltime_s, queue_s, 3.0, slots, most, overlap, tuple(sorted(lengths_s)))
    run = simulated(site, hours=min(1.0, 4 * walltime_s / 3600), seed=seed)
    assert run.most_active <= most + overlap
    assert run.lost <= slots * most * len(lengths_s), "only what ran when nothing was known of its length"
