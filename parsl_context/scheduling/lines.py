"""Calls that wait in line, and who could serve them: the books that node and cluster keep in the same way.

A *line* holds the waiting calls of one lane. Its *holders* (workers on a node, managers in the cluster) have what its
calls need. Two questions are asked for each call: which holder of this line is idle, and which of its lines should
this holder serve next. Neither may cost more where there are more holders or more lines. So what a holder would have to
tell all its lines, and a line all its holders, is told late: a line finds out that a holder is busy when it asks, and
then owes it to the holder to be told when it is idle again (`Holder.demoted`); a holder finds out that a line is
empty when it looks, and is owed a word when calls wait again (`Line.unaware`). Each debt was made by one question, so
paying it costs no more than that.

Several lines compete for a holder by how late their calls would be; at most `CHOICES` of them are looked at, in turn.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

from parsl_context.scheduling.node_events import Lane

CHOICES = 4


class Queueable(Protocol):
    """A call that can wait."""

    priority: float  # lower runs first
    waits: bool  # False once it was cancelled: its place in the queue is skipped


Call = TypeVar("Call", bound=Queueable)


class Queue(Generic[Call]):
    """Calls by priority, then in order. Each operation takes the same time however long the queue is."""

    __slots__ = ("_calls", "_order", "_others", "_priority")

    def __init__(self) -> None:
        self._priority = 0.0
        self._calls: deque[Call] = deque()  # of this priority; those of all others come later
        self._others: dict[float, deque[Call]] = {}
        self._order: list[float] = []  # heap of the other priorities

    def append(self, call: Call) -> None:
        """Wait behind all calls of this priority."""
        self._level(call.priority).append(call)

    def put_back(self, call: Call) -> None:
        """Wait before all calls of this priority, for one that has waited before."""
        self._level(call.priority).appendleft(call)

    def first(self) -> Call | None:
        """The call whose turn it is."""
        while True:
            calls = self._calls
            while calls:
                if calls[0].waits:
                    return calls[0]
                calls.popleft()
            if not self._order:
                return None
            self._priority = heapq.heappop(self._order)
            self._calls = self._others.pop(self._priority)

    def pop(self) -> Call:
        """Take the call whose turn it is. There must be one."""
        call = self.first()
        assert call is not None
        return self._calls.popleft()

    def __iter__(self) -> Iterator[Call]:
        levels = [self._calls, *(self._others[priority] for priority in sorted(self._others))]
        yield from (call for level in levels for call in level if call.waits)

    def _level(self, priority: float) -> deque[Call]:
        if priority == self._priority:
            return self._calls
        level = self._others.get(priority)
        if level is None:
            level = deque()
            if not self._calls and not self._order:
                self._priority, self._calls = priority, level
            elif priority < self._priority:
                self._others[self._priority] = self._calls
                heapq.heappush(self._order, self._priority)
                self._priority, self._calls = priority, level
            else:
                self._others[priority] = level
                heapq.heappush(self._order, priority)
        return level


class Line(Generic[Call]):
    """The waiting calls of one lane, and their holders."""

    __slots__ = ("holders", "idle", "lane", "queue", "unaware", "waiting")

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.queue: Queue[Call] = Queue()
        self.waiting = 0
        self.idle: OrderedDict[Holder, None] = OrderedDict()  # holders that may be idle
        self.unaware: dict[Holder, None] = {}  # holders to be told when calls wait
        self.holders = 0

    def append(self, call: Call) -> None:
        """A call waits from now on."""
        self.queue.append(call)
        self._grew()

    def put_back(self, call: Call) -> None:
        """A call that was taken waits again, before the others."""
        self.queue.put_back(call)
        self._grew()

    def take(self) -> Call:
        """The call whose turn it is no longer waits."""
        self.waiting -= 1
        return self.queue.pop()

    def forget(self, call: Call) -> None:
        """A waiting call was cancelled."""
        call.waits = False
        self.waiting -= 1

    def take_all(self) -> list[Call]:
        """No call waits any more. Gives those that did, in order."""
        calls = list(self.queue)
        self.queue = Queue()
        self.waiting = 0
        return calls

    def admit(self, holder: Holder) -> None:
        """This one can serve the line from now on."""
        if self in holder.lines:
            return
        self.holders += 1
        holder.lines[self] = None
        self.idle[holder] = None
        if self.waiting:
            holder.ring[self] = None
        else:
            self.unaware[holder] = None

    def dismiss(self, holder: Holder) -> None:
        """This one cannot serve the line any more."""
        if self not in holder.lines:
            return
        self.holders -= 1
        del holder.lines[self]
        holder.ring.pop(self, None)
        holder.aside.pop(self, None)
        self.idle.pop(holder, None)
        self.unaware.pop(holder, None)

    def find_idle(self, is_idle: Callable[[Holder], bool]) -> Holder | None:
        """A holder that is idle, in turn; those that turn out not to be are asked no more until they are promoted."""
        while self.idle:
            holder = next(iter(self.idle))
            if is_idle(holder):
                self.idle.move_to_end(holder)
                return holder
            del self.idle[holder]
            holder.demoted.append(self)
        return None

    def _grew(self) -> None:
        self.waiting += 1
        if self.unaware:
            for holder in self.unaware:
                holder.ring[self] = None
            self.unaware.clear()


class Holder:
    """One that serves lines."""

    __slots__ = ("aside", "demoted", "lines", "paused", "ring")

    def __init__(self) -> None:
        self.lines: dict[Line[Any], None] = {}  # that it can serve
        self.ring: OrderedDict[Line[Any], None] = OrderedDict()  # of those, some that have waiting calls, in turn
        self.aside: dict[Line[Any], None] = {}  # of those, some that it has no room for, whatever else it has room for
        self.demoted: list[Line[Any]] = []  # of those, some that take it to be busy
        self.paused: OrderedDict[Line[Any], None] = OrderedDict()  # of those, some that wait until something ends there

    def promote(self) -> None:
        """It is idle: let its lines know."""
        for line in self.demoted:
            if line in self.lines:
                line.idle[self] = None
        self.demoted.clear()

    def waiting_lines(self) -> list[Line[Any]]:
        """Some lines that have calls for it, at most `CHOICES`, those that were passed over longest first."""
        ring = self.ring
        if not ring:
            return []
        found: list[Line[Any]] = []
        for line in [next(iter(ring))] if len(ring) == 1 else list(islice(ring, CHOICES)):
            if line.waiting:
                found.append(line)
            else:
                del self.ring[line]
                line.unaware[self] = None
        return found

    def served(self, line: Line[Any]) -> None:
        """It took a call of this line; the others come first next time they compete."""
        if len(self.ring) > 1 and line in self.ring:
            self.ring.move_to_end(line)

    def set_aside(self, line: Line[Any]) -> None:
        """It has no room for more of this line, until it is brought back."""
        del self.ring[line]
        self.aside[line] = None

    def bring_back(self, line: Line[Any]) -> None:
        """It may have room for this line again."""
        if line in self.aside:
            del self.aside[line]
            if line.waiting:
                self.ring[line] = None
            else:
                line.unaware[self] = None

    def pause(self, line: Line[Any]) -> None:
        """What it has for this line is busy with others, until something ends."""
        if line in self.lines:
            self.ring.pop(line, None)
            line.unaware.pop(self, None)
            line.idle.pop(self, None)
            self.aside[line] = None
            self.paused[line] = None

    def resume(self, most: int) -> None:
        """Something has ended there: so many lines, paused longest, may be in luck."""
        while self.paused and most > 0:
            line, _ = self.paused.popitem(last=False)
            if line in self.aside:
                self.bring_back(line)
                line.idle[self] = None
                most -= 1

    def leave(self) -> None:
        """It serves nobody any more."""
        for line in list(self.lines):
            line.dismiss(self)
        self.demoted.clear()
        self.paused.clear()
