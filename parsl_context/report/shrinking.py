"""Calls of an old segment of the event log become bins: counts and times by interval, worker and kind of call. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from parsl_context.report.records import (
    Bin,
    CallsBinned,
    CallsEnded,
    CallsPending,
    Flag,
    PendingRow,
    Pulse,
    Record,
    pending_row,
)

_ROWS_AT_A_TIME = 1000
_PULSES_KEPT = 8


def shrink(records: Iterable[Record], intervals: int) -> Iterator[list[Record] | None]:
    """Make the records of a segment fewer, in steps: None after each but the last, which gives them.

    Calls that have ended are counted by interval; calls that waited or ran and have ended within the segment are left
    out; of the pulses some are kept. All others stay.

    Parameters
    ----------
    intervals
        Into how many its time is divided.
    """
    kept: list[Record] = []
    ended: list[CallsEnded | CallsBinned] = []
    pending: list[CallsPending] = []
    pulses: list[Pulse] = []
    for record in records:
        if isinstance(record, CallsEnded | CallsBinned):
            ended.append(record)
        elif isinstance(record, CallsPending):
            pending.append(record)
        elif isinstance(record, Pulse):
            pulses.append(record)
        else:
            kept.append(record)
    yield None
    start, stop = _span(ended)
    bins = Bins(start, max(1e-3, (stop - start) / intervals))
    for each in ended:
        yield from bins.add(each)
    gone = bins.ranges()
    yield None
    if ended:
        kept.append(CallsBinned(from_at=start, interval_s=bins.interval_s, bins=bins.rows(), tasks=gone))
    for record in pending:
        rows = [row for row in record.unpack() if not _is_within(row, gone)]
        if rows:
            kept.append(CallsPending(at=record.at, rows=b"".join(pending_row.pack(*row) for row in rows)))
    kept += pulses[:: max(1, len(pulses) // _PULSES_KEPT)]
    yield kept


class Bins:
    """Counts calls."""

    def __init__(self, start: float, interval_s: float) -> None:
        self.start = start
        self.interval_s = interval_s
        self._bins: dict[tuple[int, int, int, int], list[float]] = {}
        self._tasks: list[int] = []
        self._ranges: list[tuple[int, int]] = []

    def add(self, record: CallsEnded | CallsBinned) -> Iterator[None]:
        """Count the calls of a record, with pauses."""
        if isinstance(record, CallsBinned):
            for each in record.bins:
                at = record.from_at + (each.interval + 0.5) * record.interval_s
                self._count(at, each[1:4], each[4:7], each[7:10], each.longest_s)
            self._ranges += record.tasks
            return
        for done, row in enumerate(record.unpack(), 1):
            raised = 1 if row.flags & Flag.RAISED else 0
            times = row.run_s, row.held_s, row.since_s
            self._count(row.ended_at, (row.what, row.manager, row.worker), (1, row.calls, raised), times, row.run_s)
            self._tasks.append(row.task)
            if not done % _ROWS_AT_A_TIME:
                yield None

    def rows(self) -> list[Bin]:
        """What was counted."""
        return [
            Bin(*key, int(tasks), int(calls), int(raised), *times)
            for key, (tasks, calls, raised, *times) in sorted(self._bins.items())
        ]

    def ranges(self) -> list[tuple[int, int]]:
        """The numbers of the calls that were counted, as ranges."""
        merged: list[tuple[int, int]] = []
        for first, last in sorted([*self._ranges, *((task, task) for task in self._tasks)]):
            if merged and first <= merged[-1][1] + 1:
                merged[-1] = merged[-1][0], max(last, merged[-1][1])
            else:
                merged.append((first, last))
        return merged

    def _count(
        self,
        at: float,
        place: tuple[int, ...],
        counts: tuple[int, ...],
        times: tuple[float, ...],
        longest_s: float,
    ) -> None:
        key = int((at - self.start) / self.interval_s), *place
        total = self._bins.get(key)  # type: ignore[arg-type]
        if total is None:
            self._bins[key] = [*counts, *times, longest_s]  # type: ignore[index]
            return
        for index, value in enumerate((*counts, *times)):
            total[index] += value
        total[6] = max(total[6], longest_s)


def _span(records: Iterable[CallsEnded | CallsBinned]) -> tuple[float, float]:
    start, stop = math.inf, -math.inf
    for record in records:
        if isinstance(record, CallsBinned):
            last = max((each.interval for each in record.bins), default=0)
            times = [record.from_at, record.from_at + (last + 1) * record.interval_s]
        else:
            times = [row.ended_at for row in record.unpack()]
        start, stop = min([start, *times]), max([stop, *times])
    return (start, stop) if start <= stop else (0.0, 0.0)


def _is_within(row: PendingRow, ranges: list[tuple[int, int]]) -> bool:
    return any(first <= row.task and row.task + row.size - 1 <= last for first, last in ranges)
