"""Blocks that fail as they start: whether to give up, what nodes have said, and what to do about it.

    sbatch refuses ──────────────┐                        no ┌▶ others are on their way: they are waited for
    the job ends, nobody joined ─┴─ has a block ever joined? ┴▶ `BlockStartError` for all calls

Parsl's own rule waits until every block has failed, those included that are still in the queue, and those that it
asks for meanwhile: where blocks start one after the other, that never comes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from parsl.jobs.states import JobState, JobStatus

# States in which a job has, or may have, processes that are on their way to join.
_UNDER_WAY = (JobState.RUNNING, JobState.HELD, JobState.UNKNOWN)
_FAILED = (JobState.FAILED, JobState.MISSING)
_LINES = 20


@dataclass(frozen=True)
class FailedStarts:
    """Blocks that have failed, in the order of their launch: those whose job has ended, and those that were refused."""

    died: list[str]
    refused: list[str]

    @property
    def first(self) -> str:
        """The block to tell of."""
        return (self.died or self.refused)[0]


def failed_starts(status: Mapping[str, JobStatus], refused: Collection[str]) -> FailedStarts | None:
    """Blocks because of which an executor is to be given up if none has ever joined; None: there is no reason.

    Assumes that all blocks are launched alike. One that has started and died is enough, whoever waits in the queue;
    but of blocks that start together one may have met a bad node, so more must have died than are on their way to join.
    A refusal may be of the one block alone, as by a limit on the number of jobs: it counts where no other is left.

    Parameters
    ----------
    refused
        Blocks that the scheduler did not take.
    """
    failed = [block for block, job in status.items() if job.state in _FAILED]
    died = [block for block in failed if block not in refused]
    turned_away = [block for block in failed if block in refused]
    others = [job.state for job in status.values() if not job.terminal]
    under_way = sum(state in _UNDER_WAY for state in others)
    if len(died) > under_way or (turned_away and not others):
        return FailedStarts(died, turned_away)
    return None


_HERE = "Have worker_init make the environment active that this script runs in"

# What nodes and schedulers say, and what to do about it. The first that fits is given.
_ADVICE = [
    (
        r"No module named '?parsl_context\b",
        f"The Python that nodes find has no parsl-context. {_HERE}, or install the same version there.",
    ),
    (
        r"No module named '?(?P<name>[\w.]+)",
        f"The Python that nodes find lacks {{name}}. {_HERE}, or install it there.",
    ),
    (
        r"No interchange answered",
        'address=address_by_interface("ib0") names one by its network; `ip address` lists what this host has, and '
        "`parsl-context check --submit` says which of them nodes reach.",
    ),
    (r"speaks protocol", "The Python that nodes find has another parsl-context. Install the same version there."),
    (
        r"(?P<name>python3?): (?:command )?not found",
        f"Nodes find no {{name}}. {_HERE}.",
    ),
    (
        r"(?P<name>[\w./-]+): (?:command )?not found",
        "Nodes do not know the command {name}, which worker_init, or the launcher, calls.",
    ),
    (
        r"(?P<name>/[\w./+-]+): No such file or directory",
        "Nodes do not see {name}: it must be on a file system that they share with this host.",
    ),
    (
        r"(?i)invalid account",
        "Set account= of the provider to one of yours: `sacctmgr show assoc user=$USER` lists them.",
    ),
    (r"(?i)invalid partition", "Set partition= of the provider to one that there is: `sinfo -s` lists them."),
    (r"(?i)invalid qos", "Set qos= of the provider to one of yours: `sacctmgr show assoc user=$USER` lists them."),
    (r"(?i)unknown queue", "Set queue= of the provider to one that there is: `qstat -Q` lists them."),
    (
        r"(?i)time limit",
        "The walltime= of the provider is longer than the queue allows, or too short for a block to start in.",
    ),
    (r"(?i)out.of.memory|oom.kill", "The job is given too little memory: set mem_per_node of the provider."),
]


def advice(said: str) -> str:
    """What to do about a block that failed, from what was said of it."""
    for pattern, text in _ADVICE:
        if found := re.search(pattern, said):
            return text.format(**found.groupdict())
    return "`parsl-context check`, with --script, shows what blocks run, and with --submit what nodes are like."


def last_lines(text: str) -> str:
    """The end of what a job has written, without empty lines."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-_LINES:])


def what_was_refused(message: str) -> str:
    """What a scheduler said, of the text of a provider's exception."""
    _, mark, said = message.partition("stderr=")
    return last_lines(said if mark and said.strip() else message)
