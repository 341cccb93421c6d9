"""How many calls of a map travel as one task. Pure: told what was measured, it says how many; `mapping.py` measures.

A task costs the script and the interchange some tenths of a millisecond, whatever it holds, so short calls travel
together. Two things limit how many: calls of one task run one after the other, on one worker; and how long calls take
is known from those that have ended alone, which may be few, or of an earlier map.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

TARGET_S = 0.05  # time that a task should take: a hundred times what it costs. [s]
LIMIT = 4096  # calls of a task
# So long a task may take for what is not its calls: a round trip, a script that is busy. [s]
OVERHEAD_S = 0.005
# Tasks of one worker, if it gets its share of the items: where calls differ, or take longer than was measured before,
# no worker has to do more than a quarter of its share while others have ended.
TASKS_PER_WORKER = 4
UNKNOWN_WORKERS = 16
# Calls of a task as long as none of this map has ended, and so nothing tells that they are as short as they were.
UNSEEN = 32
# What a task of so many calls has shown holds for one of so many times more.
GROWTH = 8
# A worker that runs one task and has the next at hand need not wait for the script.
TASKS_TO_LEARN_FROM = 2


class SentTask(NamedTuple):
    """A task on its way.

    Attributes
    ----------
    calls
        That it holds.
    at
        When it was sent. [s]
    tasks, all_calls
        On their way when it had been sent, it included: as long as it is on its way, the workers do no others.
    """

    calls: int
    at: float
    tasks: int
    all_calls: int


class ChunkSizes:
    """How many calls one task of a map should hold.

    Never more than make it `TARGET_S` long by what is known, than `LIMIT`, than give each worker `TASKS_PER_WORKER` of
    them (if the length of the map is known), than `GROWTH` times those of a task that has ended, and, as long as none
    has, than `UNSEEN`, or one if nothing was measured before or they are late.

    So where calls take much longer than they did, the tasks that were sent before that was seen have no more than
    `UNSEEN` calls and a quarter of a worker's share; those after them are as small as they must be.

    Parameters
    ----------
    fixed
        What the user has chosen, if anything.
    items
        How many calls the map makes, if that is known.
    workers
        How many there are, if that is known.
    call_s
        Time of a call in earlier maps, if there were any. [s]
    """

    def __init__(
        self,
        fixed: int | None = None,
        *,
        items: int | None = None,
        workers: int | None = None,
        call_s: float | None = None,
    ) -> None:
        self._fixed = fixed
        self._workers = workers or None  # none may have come yet
        self.call_s = call_s
        self._tasks = 0  # on their way
        self._calls = 0  # in these
        self._last_end = -math.inf
        self._most = LIMIT if items is None else _share(items, workers or UNKNOWN_WORKERS)
        self._reach = 1 if call_s is None else UNSEEN

    @property
    def size(self) -> int:
        """Calls of the next task."""
        return self._fixed or max(1, min(self._wanted, self._most, self._reach))

    @property
    def enough(self) -> float:
        """Tasks on their way that keep the workers busy, so that one had better end before more are sent.

        Infinite if those that follow would be no larger, or it is not known how many workers there are.
        """
        if self._fixed is not None or self._workers is None:
            return math.inf
        may_grow = self._reach < min(LIMIT if self.call_s is None else self._wanted, self._most)
        return TASKS_TO_LEARN_FROM * self._workers if may_grow else math.inf

    @property
    def _wanted(self) -> int:
        """Calls that make a task long enough, by what is known."""
        return 1 if self.call_s is None else int(TARGET_S / max(self.call_s, TARGET_S / LIMIT))

    def sent(self, calls: int, now: float) -> SentTask:
        """A task of so many calls was sent."""
        self._tasks += 1
        self._calls += calls
        return SentTask(calls, now, self._tasks, self._calls)

    def are_late(self) -> None:
        """Nothing has ended for longer than short calls take. What was measured before is doubtful if none has yet."""
        if self._last_end == -math.inf:
            self._reach = 1

    def ended(self, task: SentTask, now: float, *, has_run: bool = True, run_s: float | None = None) -> None:
        """A task has ended.

        Parameters
        ----------
        has_run
            All its calls; else it says nothing of the time that they take.
        run_s
            Time that it took on its worker, if the executor tells. [s]

        Notes
        -----
        What values take on their way counts as well. Tasks are on their way side by side, so two times are looked at:
        since another one ended, and since it was sent, in which all calls can have been made that were on their way
        then. The longer one says what a call takes at most and, as far as it is more than tasks take anyway, at least:
        what is known is changed no more than it has to be.
        """
        self._tasks -= 1
        self._calls -= task.calls
        alone_s, with_all_s = now - max(task.at, self._last_end), now - task.at
        self._last_end = now
        if not has_run:
            return
        most_s = max(alone_s / task.calls, with_all_s / task.all_calls)
        least_s = max((alone_s - OVERHEAD_S) / task.calls, (with_all_s - task.tasks * OVERHEAD_S) / task.all_calls)
        if run_s is not None:
            least_s = max(least_s, run_s / task.calls)
            most_s = max(most_s, least_s)
        self.call_s = most_s if self.call_s is None else min(max(self.call_s, least_s), most_s)
        self._reach = max(self._reach, GROWTH * task.calls)


class CallTimes:
    """What calls of an app took in its maps, by executor."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def note(self, executor: str, call_s: float) -> None:
        """A map has found this, for calls on an executor. [s]"""
        self._seconds[executor] = call_s

    def expected(self, executors: Iterable[str]) -> float | None:
        """What calls on any of these take; where it differs, on the slowest. None if none is known. [s]"""
        return max((self._seconds[label] for label in executors if label in self._seconds), default=None)


def _share(items: int, workers: int) -> int:
    return min(LIMIT, math.ceil(items / (TASKS_PER_WORKER * workers)))
