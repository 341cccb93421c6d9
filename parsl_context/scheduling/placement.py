"""The rules of placement that node and cluster share, as functions of numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

# Build and run times before anything was measured. The optimistic start replicates a context as soon as calls wait
# for it: a wrong guess costs one build, the opposite guess leaves workers idle for as long as the calls last.
BUILD_PRIOR_S = 1.0
RUN_PRIOR_S = 1.0

# Time from the decision to fork a worker from a template until it can run a call, measured. [s]
FORK_S = 0.02
# Calls of one template wait this much longer than those of another before a worker changes from the one to the other:
# ten times what it takes to change and back, so that forks take a tenth of the time at the most. [s]
FORK_PATIENCE_S = 10 * 2 * FORK_S

# A worker holds this much work beyond the call it runs, so that it need not wait for its manager, and a manager this
# much beyond its workers, so that they need not wait for the interchange. A round trip within a node takes about 0.2
# ms, one to the interchange about 1 ms on loopback and tens of ms on a wide-area link.
WORKER_LOOKAHEAD_S = 0.010
MANAGER_LOOKAHEAD_S = 0.030
_MAX_LOOKAHEAD = 256

_WEIGHT = 0.2  # of the newest sample in a moving average
_RISE = 1.01  # of a floor, at the most with each sample
_FALL = 0.998  # of a ceiling: half of it after 350 samples that are shorter


@dataclass(slots=True)
class Estimate:
    """Moving average of a duration. [s]"""

    mean_s: float | None = None

    def add(self, sample_s: float) -> None:
        """Take a new measurement into account. The first counts in full."""
        if self.mean_s is None:
            self.mean_s = sample_s
        else:
            self.mean_s += _WEIGHT * (sample_s - self.mean_s)

    def or_prior(self, prior_s: float) -> float:
        """The average, or the prior before the first measurement."""
        return prior_s if self.mean_s is None else self.mean_s


@dataclass(slots=True)
class Floor:
    """The shortest of a duration's samples, forgotten slowly: what it takes where nothing is in the way. [s]"""

    least_s: float | None = None

    def add(self, sample_s: float) -> None:
        """Take a new measurement into account."""
        self.least_s = sample_s if self.least_s is None else min(sample_s, _RISE * self.least_s)

    def or_prior(self, prior_s: float) -> float:
        """The floor, or the prior before the first measurement."""
        return prior_s if self.least_s is None else self.least_s


@dataclass(slots=True)
class Ceiling:
    """The longest of a duration's samples, forgotten slowly: what had better be reckoned with. [s]"""

    most_s: float | None = None

    def add(self, sample_s: float) -> None:
        """Take a new measurement into account."""
        self.most_s = sample_s if self.most_s is None else max(sample_s, _FALL * self.most_s)

    def or_prior(self, prior_s: float) -> float:
        """The ceiling, or the prior before the first measurement."""
        return prior_s if self.most_s is None else self.most_s


def lookahead(run: Estimate, horizon_s: float) -> int:
    """Calls to hold beyond the running one, so that `horizon_s` seconds of work are at hand; none while unknown."""
    mean_s = run.mean_s
    if mean_s is None or mean_s >= horizon_s:
        return 0
    if mean_s * _MAX_LOOKAHEAD <= horizon_s:
        return _MAX_LOOKAHEAD
    return math.ceil(horizon_s / mean_s)


def worth_a_build(*, waiting: int, holders: int, run: Estimate, build: Estimate) -> bool:
    """Whether one more instance of a context pays.

    It does if the last of the waiting calls would have to wait for the present holders for at least as long as a
    build takes. The holders are taken to have just begun a call each.

    Parameters
    ----------
    waiting
        Calls that wait for the context and that no idle holder can take.
    holders
        Workers that have or build it.
    """
    if waiting <= 0:
        return False
    if holders == 0:
        return True
    return math.ceil(waiting / holders) * run.or_prior(RUN_PRIOR_S) >= build.or_prior(BUILD_PRIOR_S)
