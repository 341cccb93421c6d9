"""Calls of a run that have ended, in columns, and when each ran on its worker: what the report counts. Pure."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeAlias

from parsl_context.report.records import CallsBinned, EndedRow

Place: TypeAlias = tuple[int, int]  # manager and worker, by their numbers

_SLOWEST = 100


class Box(NamedTuple):
    """What a worker did for a while: a call, or several of a kind."""

    start: float  # [s]
    end: float  # [s]
    what: int  # `Work.number`
    calls: int
    busy_s: float  # of that time. [s]


class Columns:
    """The calls of one worker, in the order in which they were heard of."""

    __slots__ = ("counts", "ends", "held", "runs", "since", "tasks", "whats")

    def __init__(self) -> None:
        self.ends = array("d")
        self.runs = array("d")
        self.held = array("d")
        self.since = array("d")
        self.whats = array("L")
        self.tasks = array("L")
        self.counts = array("L")

    def add(self, row: EndedRow) -> None:
        """One more."""
        ended_at, task, what, _, _, _, calls, run_s, held_s, since_s = row
        self.ends.append(ended_at)
        self.runs.append(run_s)
        self.held.append(held_s)
        self.since.append(since_s)
        self.whats.append(what)
        self.tasks.append(task)
        self.counts.append(calls)

    def boxes(self) -> list[Box]:
        """When each call ran: none overlaps another, see `records`. Mates of a batch count with the first of it."""
        found: list[Box] = []
        until = float("inf")
        mates = 0
        for at in range(len(self.ends) - 1, -1, -1):
            run_s = self.runs[at]
            if run_s == 0.0 and found:
                mates += self.counts[at]
                continue
            end = min(self.ends[at], until)
            until = end - run_s
            found.append(Box(until, end, self.whats[at], self.counts[at], run_s))
            if mates and len(found) > 1:
                found[-2] = found[-2]._replace(calls=found[-2].calls + mates)
                mates = 0
        if mates:
            found[-1] = found[-1]._replace(calls=found[-1].calls + mates)
        found.reverse()
        return found


class Slow(NamedTuple):
    """One of the calls that took longest."""

    run_s: float
    task: int
    what: int
    manager: int
    worker: int
    started_at: float
    waited_s: float


class Calls:
    """Takes the rows of a run."""

    def __init__(self) -> None:
        self.places: dict[Place, Columns] = {}
        self.waited_s: dict[int, float] = {}  # total, by kind: from when they were submitted to when they were sent
        self._slowest: list[Slow] = []
        self.overhead_s = 0.0  # total, of what calls that were not sent ahead spent on their way

    def take(self, rows: Iterable[EndedRow]) -> None:
        """Some more that have ended."""
        places, waited, slowest = self.places, self.waited_s, self._slowest
        for row in rows:
            place = row[3], row[4]
            columns = places.get(place)
            if columns is None:
                columns = places[place] = Columns()
            columns.add(row)
            waited_s = row[9] - row[8]
            waited[row[2]] = waited.get(row[2], 0.0) + waited_s
            if len(slowest) < _SLOWEST or row[7] > slowest[0][0]:
                slow = Slow(row[7], row[1], row[2], row[3], row[4], row[0] - row[7], waited_s)
                if len(slowest) < _SLOWEST:
                    heapq.heappush(slowest, slow)
                else:
                    heapq.heapreplace(slowest, slow)

    @property
    def slowest(self) -> list[Slow]:
        """Those that took longest, the longest first."""
        return sorted(self._slowest, reverse=True)

    def boxes(self, bins: Iterable[CallsBinned]) -> dict[Place, list[Box]]:
        """What each worker did, in order; of segments that were shrunk as much as is known."""
        found = {place: columns.boxes() for place, columns in self.places.items()}
        for record in bins:
            for each in record.bins:
                start = record.from_at + each.interval * record.interval_s
                box = Box(start, start + record.interval_s, each.what, each.calls, each.run_s)
                found.setdefault((each.manager, each.worker), []).append(box)
        for boxes in found.values():
            boxes.sort()
        return found


def merged(boxes: Iterable[Box], span_s: float) -> Iterator[Box]:
    """Boxes that follow each other become one, or one of each kind, while they span no more than that time. [s]"""
    group: list[Box] = []
    for box in boxes:
        if group and box.end - group[0].start > span_s:
            yield from _together(group)
            group = []
        group.append(box)
    yield from _together(group)


def _together(group: list[Box]) -> Iterator[Box]:
    """One box for each kind, one after the other; each has its calls' part of the run time of all."""
    if len(group) < 2:
        yield from group
        return
    counts: dict[int, tuple[int, float]] = {}
    for box in group:
        calls, busy_s = counts.get(box.what, (0, 0.0))
        counts[box.what] = calls + box.calls, busy_s + box.busy_s
    start, end = group[0].start, max(box.end for box in group)
    total_s = sum(busy_s for _, busy_s in counts.values())
    for what, (calls, busy_s) in counts.items():
        share = busy_s / total_s if total_s else 1 / len(counts)
        until = start + share * (end - group[0].start)
        yield Box(start, until, what, calls, busy_s)
        start = until
