"""Looks after blocks that are jobs in a queue: whether they are over where Parsl's provider says so, and why they wait.

`BlockExecutor` calls it after each look of Parsl's at jobs. What reasons mean is in `waiting`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from parsl.jobs.states import JobState, JobStatus

from parsl_context.executor.slurm_queue import ask_queue, asks_accounting, take_for_queued
from parsl_context.executor.waiting import Outlook, Waits, meaning, told

logger = logging.getLogger(f"parsl.{__name__}")


class QueueWatch:
    """Asks Slurm's queue where that tells more; with other batch systems it asks nothing.

    Parameters
    ----------
    jobs
        The job of each block that was launched; grows.
    """

    def __init__(self, jobs: Mapping[str, Any]) -> None:
        self._jobs = jobs
        self._waits = Waits()
        self._gone: set[str] = set()  # blocks of which the queue has said that their job is over

    def not_over(self, provider: Any, status: Mapping[str, JobStatus]) -> dict[str, JobStatus]:
        """Blocks that are said to be over, and are not: Slurm's accounting has not heard of their job yet."""
        if not asks_accounting(provider):
            return {}
        ended = [block for block, job in status.items() if job.state is JobState.MISSING]
        doubted = {self._jobs[block]: block for block in ended if block in self._jobs and block not in self._gone}
        queued = ask_queue(provider, list(doubted))
        if queued is None:
            return {}
        found = {}
        for job, block in doubted.items():
            if job not in queued:
                self._gone.add(block)
                continue
            logger.info("Job %s of block %s is not over: Slurm's accounting has not heard of it yet", job, block)
            found[block] = JobStatus(JobState.PENDING if queued[job].state == "PD" else JobState.RUNNING)
            take_for_queued(provider, job, found[block])
        return found

    def ask(self, provider: Any, status: Mapping[str, JobStatus], *, anybody_waits: bool) -> None:
        """Ask why blocks wait, now and then, and log it: each reason once."""
        waiting = {self._jobs[block]: block for block in _pending(status) if block in self._jobs}
        if not self._waits.is_due(bool(waiting) and anybody_waits):
            return
        queued = ask_queue(provider, list(waiting)) or {}
        reasons = {waiting[job]: each.reason for job, each in queued.items() if job in waiting and each.state == "PD"}
        for block in self._waits.heard(reasons):
            level = logging.INFO if meaning(reasons[block]).outlook is Outlook.ITS_TURN else logging.WARNING
            logger.log(level, "%s", told(self._jobs[block], block, reasons[block]))

    def why(self, status: Mapping[str, JobStatus]) -> str | None:
        """Why no worker is there, as far as it was asked; None if not for want of a block that has started."""
        waiting = _pending(status)
        if len(waiting) < sum(not job.terminal for job in status.values()):
            return None
        if not waiting:
            return "There is no block, and none is asked for."
        known = {block: self._waits.reasons[block] for block in waiting if block in self._waits.reasons}
        if not known:
            return f"No block has started; in the queue: {len(waiting)}."
        block = max(known, key=lambda block: list(Outlook).index(meaning(known[block]).outlook))  # that may come first
        return told(self._jobs[block], block, known[block])


def _pending(status: Mapping[str, JobStatus]) -> list[str]:
    return [block for block, job in status.items() if job.state is JobState.PENDING]
