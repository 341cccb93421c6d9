"""How many calls run together as a batch: from what is asked for, what waits, and what batches took before. Pure.

A batch takes a fixed time and a time for each call. Both are fitted to what was measured, so that `batch="auto"` can
choose a size at which the fixed part hardly counts, and go no further: a larger one only has its calls wait longer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from parsl_context.wire.messages import AUTO_BATCH, Digest

_FIXED_SHARE = 0.1  # of a batch's time that the fixed part may be where the size is chosen
_LONGEST_S = 1.0  # that such a batch may take, if it has several calls. [s]
_KEPT = 0.97  # weight of what was measured before, with each new measurement
_WEIGHT = 0.2  # of the newest batch in the mean size
_SPREAD = 0.25  # variance of sizes, by the square of their mean, below which noise would tell the time for each call


class Joint(NamedTuple):
    """What calls must have in common to run together, besides their contexts, and how they are gathered."""

    code: Digest
    resources: str  # what they ask for
    size: int | None  # calls in one batch at the most; None: chosen from what was measured
    wait_s: float  # time that a call may wait for others while a worker is idle. [s]


@dataclass(slots=True)
class BatchCost:
    """Time of a batch as fixed + calls x each: a least-squares fit in which old measurements fade."""

    weight: float = 0.0
    calls: float = 0.0
    calls2: float = 0.0
    time_s: float = 0.0
    product: float = 0.0
    largest: int = 0
    known: tuple[float, float] | None = None  # the fit when sizes last differed enough

    def add(self, calls: int, run_s: float) -> None:
        """A batch of so many calls has ended."""
        self.weight = _KEPT * self.weight + 1.0
        self.calls = _KEPT * self.calls + calls
        self.calls2 = _KEPT * self.calls2 + calls * calls
        self.time_s = _KEPT * self.time_s + run_s
        self.product = _KEPT * self.product + calls * run_s
        self.largest = max(self.largest, calls)
        self.known = self._fit() or self.known

    def _fit(self) -> tuple[float, float] | None:
        """The fixed time and the time for each call, neither below zero; None if sizes hardly differ. [s]"""
        spread = self.weight * self.calls2 - self.calls * self.calls
        if spread <= _SPREAD * self.calls * self.calls:
            return None
        each_s = (self.weight * self.product - self.calls * self.time_s) / spread
        fixed_s = (self.time_s - each_s * self.calls) / self.weight
        if each_s < 0.0:
            return self.time_s / self.weight, 0.0
        return (fixed_s, each_s) if fixed_s >= 0.0 else (0.0, self.product / self.calls2)

    @property
    def best(self) -> int:
        """Calls in a batch from which on the fixed time hardly counts; at most twice as many as were measured."""
        most = min(AUTO_BATCH, max(1, 2 * self.largest))
        if self.known is None:
            return most
        fixed_s, each_s = self.known
        if each_s <= 0.0:
            return most
        wanted = math.ceil(fixed_s * (1.0 - _FIXED_SHARE) / (_FIXED_SHARE * each_s))
        within = int((_LONGEST_S - fixed_s) / each_s)
        return max(1, min(most, wanted, within))


@dataclass(slots=True)
class Batches:
    """What is known of the batches of one line."""

    joint: Joint
    cost: BatchCost = field(default_factory=BatchCost)
    mean: float | None = None  # calls in a batch, lately
    wake_at: float = -math.inf  # when calls that wait for others are looked at. [s]

    @property
    def limit(self) -> int:
        """Calls in a batch at the most."""
        return self.cost.best if self.joint.size is None else self.joint.size

    def ended(self, calls: int, run_s: float) -> None:
        """A batch of so many calls has run."""
        self.cost.add(calls, run_s)
        self.mean = float(calls) if self.mean is None else self.mean + _WEIGHT * (calls - self.mean)

    def due(self, waiting: int, since: float, now: float) -> float:
        """When calls may start of which so many wait, the first since then: now, or later."""
        return now if waiting >= self.limit else max(now, since + self.joint.wait_s)


def fair_share(waiting: int, idle: int, limit: int) -> int:
    """Calls that one of the idle workers gets, so that all have about as many."""
    return max(1, min(limit, math.ceil(waiting / max(1, idle))))
