"""Blocks that wait in the queue: when to ask why, and what that means. Pure; `BlockExecutor` asks and tells.

Nothing is wrong with a block that waits for its turn. But some wait for what will never be, and nobody says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Outlook(Enum):
    """Whether a block that waits will come."""

    NEVER = "as it is, it will never start"
    PERHAPS = "it may wait for long"
    ITS_TURN = "it waits for its turn"


@dataclass(frozen=True)
class Meaning:
    """What a reason means, and what can be done."""

    outlook: Outlook
    advice: str = ""


# Between two questions for the reasons. [looks at jobs]
_LONGEST_PAUSE = 32

_LIMITS = "`sacctmgr show assoc user=$USER` and `sacctmgr show qos` list limits"

# https://slurm.schedmd.com/job_reason_codes.html. The first that fits is taken.
_REASONS = [
    (
        r"PartitionNodeLimit",
        Outlook.NEVER,
        "Its partition has fewer nodes, or gives fewer to a job: lower nodes_per_block.",
    ),
    (r"PartitionTimeLimit", Outlook.NEVER, "Its partition gives jobs less time (`sinfo -o '%P %l'`): lower walltime."),
    (r"Partition(Down|Inactive)", Outlook.PERHAPS, "Its partition takes no jobs now (`sinfo -s`): choose another."),
    (r"BadConstraints", Outlook.NEVER, "No node has what constraint= or scheduler_options ask for."),
    (r"DependencyNeverSatisfied", Outlook.NEVER, "It waits for a job that has failed: see scheduler_options."),
    (r"Invalid(Account|QOS)|AccountNotAllowed|QOSNotAllowed", Outlook.NEVER, "Set account= and qos= to your own."),
    (r"JobHeld|JobHold|launch failed requeued held", Outlook.NEVER, "It is held: `scontrol release` lets it go."),
    (
        r"(Assoc|QOS)Max\w*Per(Job|Node)|QOSMin\w+|(Assoc|QOS)MaxWall\w+",
        Outlook.NEVER,
        f"It asks for more than one job may have. {_LIMITS}.",
    ),
    (
        r"(Assoc|QOS|Assoc(iation)?)Grp\w+|(Assoc|QOS)Max\w+|MaxJobs\w*|MaxSubmit\w*",
        Outlook.PERHAPS,
        f"Your jobs, or those of your account, are at a limit. {_LIMITS}.",
    ),
    (
        r"ReqNodeNotAvail|NodeDown|are DOWN",
        Outlook.PERHAPS,
        "Nodes that it needs are down, drained or reserved (`sinfo -R`, `scontrol show res`).",
    ),
    (r"Licenses|Reservation", Outlook.PERHAPS, "It waits for a license or a reservation."),
]


def meaning(reason: str) -> Meaning:
    """What a reason of Slurm's means."""
    for pattern, outlook, advice in _REASONS:
        if re.search(pattern, reason, re.IGNORECASE):
            return Meaning(outlook, advice)
    return Meaning(Outlook.ITS_TURN)


def told(job: str, block: str, reason: str) -> str:
    """What is said of a block that waits."""
    means = meaning(reason)
    return f"Job {job} of block {block} waits ({reason}): {means.outlook.value}. {means.advice}".rstrip()


class Waits:
    """Why blocks wait, as far as it has been asked, and when to ask again: each time after twice as many looks."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}  # by block, of those that wait
        self._said: set[str] = set()  # reasons
        self._looks = 0  # since the last question
        self._pause = 1  # looks until the next

    def is_due(self, waiting: bool) -> bool:
        """Whether to ask, as jobs are looked at and some wait."""
        if not waiting:
            self.reasons, self._looks, self._pause = {}, 0, 1
            return False
        self._looks += 1
        if self._looks < self._pause:
            return False
        self._looks, self._pause = 0, min(2 * self._pause, _LONGEST_PAUSE)
        return True

    def heard(self, reasons: Mapping[str, str]) -> list[str]:
        """Take reasons, by block, into account. Gives blocks whose reason has not been said yet."""
        self.reasons = dict(reasons)
        news = {}
        for block, reason in reasons.items():
            kind = reason.partition(",")[0]  # names of nodes follow, which change
            if kind not in self._said:
                self._said.add(kind)
                news[kind] = block
        return list(news.values())
