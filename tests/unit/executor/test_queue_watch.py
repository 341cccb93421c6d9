"""What Slurm's queue is asked for, beside Parsl's provider, and what is made of its answers."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from parsl.jobs.states import JobState, JobStatus
from parsl.providers import LocalProvider, SlurmProvider

from parsl_context.executor.queue_watch import QueueWatch

JOBS = {"0": "17", "1": "18", "2": "19"}
P, R, M = JobState.PENDING, JobState.RUNNING, JobState.MISSING


class Slurm(SlurmProvider):
    """A provider whose `squeue` says this; notes what it was asked."""

    def __init__(self, said: str, *, code: int = 0, accounting: bool = True) -> None:
        self.asked: list[str] = []
        self._said, self._code = said, code
        super().__init__(clusters="north")
        self._cmd = "sacct -X" if accounting else "squeue"
        self.resources = {job: {"job_stdout_path": "o", "job_stderr_path": "e"} for job in JOBS.values()}
        self.asked.clear()

    def execute_wait(self, cmd: str, timeout: Any = None) -> tuple[int, str, str]:
        self.asked.append(cmd)
        return self._code, self._said, ""


def states(*each: JobState) -> dict[str, JobStatus]:
    return {str(block): JobStatus(state) for block, state in enumerate(each)}


def test_a_job_that_is_in_the_queue_is_not_over_and_is_asked_for_again() -> None:
    slurm, watch = Slurm("17|PD|Priority\n18|R|None\n"), QueueWatch(JOBS)
    found = watch.not_over(slurm, states(M, M, M))
    assert {block: job.state for block, job in found.items()} == {"0": P, "1": R}
    assert slurm.resources["17"]["status"].state is P
    assert slurm.resources["18"]["status"].stderr_path == "e"
    assert "--clusters=north" in slurm.asked[0]
    assert "--jobs=17,18,19" in slurm.asked[0]
    watch.not_over(slurm, states(R, R, M))
    assert len(slurm.asked) == 1, "what is gone is not asked for again"


@pytest.mark.parametrize(
    "provider", [Slurm("17|PD|Priority\n", accounting=False), Slurm("17|PD|Priority\n", code=1), LocalProvider()]
)
def test_where_nothing_more_is_to_be_learned_the_provider_is_believed(provider: Any) -> None:
    assert QueueWatch(JOBS).not_over(provider, states(M)) == {}


def test_reasons_are_logged_by_what_they_mean_and_each_once(caplog: pytest.LogCaptureFixture) -> None:
    slurm, watch = Slurm("17|PD|Priority\n18|PD|QOSGrpNodeLimit\n19|PD|Priority\n"), QueueWatch(JOBS)
    with caplog.at_level(logging.INFO, "parsl"):
        for _ in range(3):
            watch.ask(slurm, states(P, P, P), anybody_waits=True)
    levels = [(record.levelname, record.getMessage().partition(":")[0]) for record in caplog.records]
    assert levels == [
        ("INFO", "Job 17 of block 0 waits (Priority)"),
        ("WARNING", "Job 18 of block 1 waits (QOSGrpNodeLimit)"),
    ]
    assert len(slurm.asked) == 2, "at the first look, and at the third"
    assert "Job 17 of block 0 waits (Priority)" in str(watch.why(states(P, P, P)))
    assert "QOSGrpNodeLimit" in str(watch.why(states(M, P, M))), "of several, calls wait for that which may come first"


def test_nobody_asks_where_nobody_waits() -> None:
    slurm, watch = Slurm("17|PD|Priority\n"), QueueWatch(JOBS)
    watch.ask(slurm, states(P), anybody_waits=False)
    watch.ask(slurm, states(R), anybody_waits=True)
    assert slurm.asked == []


def test_why_there_is_no_worker() -> None:
    watch = QueueWatch(JOBS)
    assert watch.why({}) == "There is no block, and none is asked for."
    assert watch.why(states(P, P)) == "No block has started; in the queue: 2."
    assert watch.why(states(P, R)) is None
    assert watch.why(states(M, P)) == "No block has started; in the queue: 1."
