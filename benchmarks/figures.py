"""Medians and spread of what was measured. Pure.

A run gives each metric a list of values, one per burst. The figure of a system is the median over runs of the medians
of its bursts, so that a run counts once however many bursts it made; the spread is the smallest and the largest burst.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Spread:
    """Median, smallest and largest of what was measured, and in how many runs."""

    median: float
    low: float
    high: float
    runs: int


def spread(runs: Sequence[Sequence[float]]) -> Spread:
    """The figure of the bursts of some runs.

    Raises
    ------
    ValueError
        If there is no burst.
    """
    medians = [statistics.median(bursts) for bursts in runs if bursts]
    if not medians:
        raise ValueError("nothing was measured")
    every = [value for bursts in runs for value in bursts]
    return Spread(statistics.median(medians), min(every), max(every), len(medians))


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least so many percent of all do not exceed.

    Raises
    ------
    ValueError
        If there is no value.
    """
    if not values:
        raise ValueError("no values")
    rank = math.ceil(len(values) * percent / 100)
    return sorted(values)[max(rank, 1) - 1]


Figures = dict[tuple[str, str, str], Spread]
"""Figures by case, system and metric."""


def figures(records: Iterable[dict[str, Any]]) -> Figures:
    """The figures of the records of a session; runs that were skipped or failed have none."""
    gathered: dict[tuple[str, str, str], list[list[float]]] = {}
    for record in records:
        for metric, bursts in record.get("metrics", {}).items():
            gathered.setdefault((record["case"], record["system"], metric), []).append(bursts)
    return {key: spread(runs) for key, runs in gathered.items() if any(runs)}
