"""What will have been run by when, and how long a block will have something to do, by measured times. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

from parsl_context.scheduling.cluster.managers import ClusterLine, Manager, Phase

_LOOKED_AT = 4096  # running calls: where there are more, there is work


def rest_s(lines: Iterable[ClusterLine], managers: Sequence[Manager], then: float, now: float) -> float:
    """Run time of what the managers will not have run by then; infinite if that is unknown. [s]"""
    lines = list(lines)
    if any(line.backlog and line.run.mean_s is None for line in lines):
        return math.inf
    if sum(len(manager.held) for manager in managers) > _LOOKED_AT:
        return math.inf
    work_s = sum(line.work_s for line in lines)
    for manager in managers:
        work_s += sum(left_s for left_s in _left_s(manager, now)) - manager.slots * _within_s(manager, then, now)
    return work_s


def done_at(lines: Iterable[ClusterLine], managers: Sequence[Manager], ends_at: float, now: float) -> float:
    """When the last call of a block will have ended, if its workers run what fits into its time.

    Long calls leave room at the end, which shorter ones fill as far as they last.

    Parameters
    ----------
    managers
        Of the block.
    ends_at
        When its time is over.
    """
    free_at = [now + left_s for manager in managers for left_s in _slots_left_s(manager, now)]
    waiting = [line for line in lines if line.waiting and line.longest.most_s is not None]
    waiting.sort(key=lambda line: -line.longest.or_prior(0.0))
    ends = [min(at, ends_at) for at in free_at]
    for number, line in enumerate(waiting):
        call_s = max(1e-3, line.longest.or_prior(0.0))
        ends = [at + max(0, math.floor((ends_at - at) / call_s)) * call_s for at in free_at]
        shorter_s = sum(other.work_s for other in waiting[number + 1 :])
        if shorter_s < sum(ends_at - end for end in ends):
            return min(ends_at, max(ends, default=ends_at) + shorter_s / max(1, len(ends)))
    return min(ends_at, max(ends, default=ends_at)) if waiting else ends_at


def _slots_left_s(manager: Manager, now: float) -> Iterator[float]:
    """When each of a manager's slots is free. [s]"""
    left_s = list(_left_s(manager, now))
    yield from left_s
    yield from itertools.repeat(0.0, manager.slots - len(left_s))


def _left_s(manager: Manager, now: float) -> Iterator[float]:
    """What is left of each call that runs there. One that lasts longer than others will do so for as long again. [s]"""
    for call in itertools.islice(manager.held.values(), manager.slots):
        since_s = now - call.sent_at
        usual_s = call.line.run_together_s
        yield usual_s - since_s if since_s < usual_s else since_s


def _within_s(manager: Manager, then: float, now: float) -> float:
    """Time for which a manager takes calls until then. [s]"""
    if manager.phase is not Phase.OPEN:
        return 0.0
    return max(0.0, min(then, manager.ends_at, manager.drain_at) - now)
