"""Calls that wait in line, and who could serve them: the books that node and cluster keep in the same way.

A *line* holds the waiting calls of one lane. Its *holders* (workers on a node, managers in the cluster) have what its
calls need. Two questions are asked for each call: which holder of this line is idle, and which of its lines should
this holder serve next. Neither may cost more where there are more holders or more lines. So what a holder would have to
tell all its lines, and a line all its holders, is told late: a line finds out that a holder is busy when it asks, and
then owes it to the holder to be told when it is idle again (`Holder.demoted`); a holder finds out that a line is
empty when it looks, and is owed a word when calls wait again (`Line.unaware`). Each debt was made by one question, so
paying it costs no more than that. What a call's way touches of a line and one of its holders is in one object, their
`Pair`: with many of both, it is reading memory that costs.

Several lines compete for a holder by how late their calls would be; at most `CHOICES` of them are looked at, in turn.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from parsl_context.scheduling.batching import Joint
from parsl_context.wire.messages import Digest

CHOICES = 4
_SLACK = 16  # pairs that are not to be looked at any more may be kept in a list beyond half of it


class Lane(NamedTuple):
    """What a call needs of its worker. Calls of one lane can stand in for each other."""

    contexts: tuple[Digest, ...]
    fresh: bool  # a process in which nothing ran before
    in_order: bool = False  # its turn when it comes, and whatever contexts its worker lacks are built then (MPI)
    joint: Joint | None = None  # what calls have in common that may run together
    code: Digest | None = None  # where blocks end: what they run, so that the calls of a lane take about as long

    @property
    def is_anywhere(self) -> bool:
        """Whether any worker will do."""
        return self.fresh or self.in_order or not self.contexts

    @property
    def runs(self) -> Digest | None:
        """The code that all its calls run, if they have that in common."""
        return self.code if self.joint is None else self.joint.code


class Queueable(Protocol):
    """A call that can wait."""

    priority: float  # lower runs first
    waits: bool  # False once it was cancelled: its place in the queue is skipped


Call = TypeVar("Call", bound=Queueable)
AnyPair = TypeVar("AnyPair", bound="Pair")


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


class Pair:
    """A line and one that serves it, or did.

    Attributes
    ----------
    serves : bool
        The holder has what the line's calls need.
    in_ring, in_unaware, is_demoted : bool
        The pair stands in that list. Pairs leave a list only when it is looked through.
    is_aside : bool
        The holder has no room for the line, whatever else it has room for, until it is brought back.
    is_paused : bool
        What the holder has for the line is busy with others, until something ends there.
    was_served : bool
        The holder took a call of the line since it last had its turn in the ring.
    """

    __slots__ = (
        "holder", "in_ring", "in_unaware", "is_aside", "is_demoted", "is_paused", "line", "serves", "was_served",
    )  # fmt: skip

    def __init__(self, line: Line[Any], holder: Holder[Any]) -> None:
        self.line = line
        self.holder = holder
        self.serves = self.in_ring = self.in_unaware = False
        self.is_aside = self.is_demoted = self.is_paused = self.was_served = False

    def set_aside(self) -> None:
        """The holder has no room for more of the line, until it is brought back."""
        self.is_aside = True

    def bring_back(self) -> None:
        """The holder may have room for the line again."""
        if self.is_aside:
            self.is_aside = False
            self.take_turns()

    def pause(self) -> None:
        """What the holder has for the line is busy with others, until something ends."""
        if self.serves:
            self.is_aside = self.is_paused = True
            self.line.idle.pop(self, None)
            self.holder.paused[self] = None

    def take_turns(self) -> None:
        """The holder is to look at the line, once it has calls."""
        if self.in_ring or self.in_unaware:
            return
        if self.line.waiting:
            self.in_ring = True
            self.holder.ring.append(self)
        else:
            self.in_unaware = True
            self.line.unaware.append(self)


class Line(Generic[Call]):
    """The waiting calls of one lane, and their holders."""

    __slots__ = ("holders", "idle", "lane", "pairs", "queue", "unaware", "waiting")

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.queue: Queue[Call] = Queue()
        self.waiting = 0
        self.pairs: dict[Holder[Any], Pair] = {}  # with those that serve it, or did
        self.idle: OrderedDict[Pair, None] = OrderedDict()  # with holders that may be idle
        self.unaware: list[Pair] = []  # with holders to be told when calls wait
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

    def take_more(self, priority: float, most: int) -> list[Call]:
        """Calls of that priority whose turn comes next, at most so many, no longer wait."""
        taken: list[Call] = []
        while len(taken) < most and (first := self.queue.first()) is not None and first.priority == priority:
            taken.append(self.take())
        return taken

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

    def pair(self, holder: Holder[Any]) -> Pair:
        """The line and this one."""
        pair = self.pairs.get(holder)
        if pair is None:
            pair = self.pairs[holder] = holder.pairs[self] = self._pair(holder)
        return pair

    def admit(self, holder: Holder[Any]) -> None:
        """This one can serve the line from now on."""
        pair = self.pair(holder)
        if pair.serves:
            return
        pair.serves = True
        self.holders += 1
        self.idle[pair] = None
        pair.take_turns()
        if len(self.unaware) > 2 * self.holders + _SLACK:
            self.unaware = _in_service(self.unaware)
        holder.tidy()

    def dismiss(self, holder: Holder[Any]) -> None:
        """This one cannot serve the line any more."""
        pair = self.pairs.get(holder)
        if pair is None or not pair.serves:
            return
        pair.serves = pair.is_aside = pair.is_paused = False
        self.holders -= 1
        self.idle.pop(pair, None)
        holder.paused.pop(pair, None)

    def part(self, holder: Holder[Any]) -> None:
        """One of both is no more."""
        self.dismiss(holder)
        self.pairs.pop(holder, None)
        holder.pairs.pop(self, None)
        if not self.pairs:
            self.unaware.clear()  # a line and a pair that hold each other would stay until the next full collection

    def find_idle(self, is_idle: Callable[[Pair], bool]) -> Pair | None:
        """A holder that is idle, in turn; those that turn out not to be are asked no more until they are promoted."""
        while self.idle:
            pair = next(iter(self.idle))
            if is_idle(pair):
                self.idle.move_to_end(pair)
                return pair
            del self.idle[pair]
            if not pair.is_demoted:
                pair.is_demoted = True
                pair.holder.demoted.append(pair)
        return None

    def _pair(self, holder: Holder[Any]) -> Pair:
        return Pair(self, holder)

    def _grew(self) -> None:
        self.waiting += 1
        if self.unaware:
            unaware, self.unaware = self.unaware, []
            for pair in unaware:
                pair.in_unaware = False
                if pair.serves and not pair.is_aside:
                    pair.take_turns()


class Holder(Generic[AnyPair]):
    """One that serves lines."""

    __slots__ = ("demoted", "pairs", "paused", "ring")

    def __init__(self) -> None:
        self.pairs: dict[Line[Any], AnyPair] = {}  # with lines that it serves, or did
        self.ring: deque[AnyPair] = deque()  # with some that have waiting calls, in turn
        self.demoted: list[AnyPair] = []  # with some that take it to be busy
        self.paused: OrderedDict[AnyPair, None] = OrderedDict()  # with some that wait until something ends there

    def serves(self, line: Line[Any]) -> bool:
        """Whether it has what the line's calls need."""
        pair = self.pairs.get(line)
        return pair is not None and pair.serves

    def promote(self) -> None:
        """It is idle: let its lines know."""
        for pair in self.demoted:
            pair.is_demoted = False
            if pair.serves and not pair.is_paused:
                pair.line.idle[pair] = None
        self.demoted.clear()

    def waiting_lines(self, most: int = CHOICES) -> list[AnyPair]:
        """Some lines that have calls for it, those that were passed over longest first.

        At most so many are looked at, and more only as long as none of them has calls.
        """
        ring = self.ring
        if not ring:
            return []
        found: list[AnyPair] = []
        empty = 0
        while ring and len(found) + (empty if found else 0) < most:
            pair = ring.popleft()
            if not pair.serves or pair.is_aside:
                pair.in_ring = False
            elif not pair.line.waiting:
                pair.in_ring = False
                pair.take_turns()
                empty += 1
            elif pair.was_served:
                pair.was_served = False
                ring.append(pair)
            else:
                found.append(pair)
        ring.extendleft(reversed(found))
        return found

    def resume(self, most: int) -> None:
        """Something has ended there: so many lines, paused longest, may be in luck."""
        while self.paused and most > 0:
            pair, _ = self.paused.popitem(last=False)
            pair.is_paused = False
            pair.bring_back()
            pair.line.idle[pair] = None
            most -= 1

    def leave(self) -> None:
        """It serves nobody any more."""
        for line in list(self.pairs):
            line.part(self)
        self.ring.clear()
        self.demoted.clear()

    def tidy(self) -> None:
        """Drop what is not to be looked at any more, before it is more than the rest."""
        if len(self.ring) > 2 * len(self.pairs) + _SLACK:
            self.ring = deque(_in_service(self.ring))


def _in_service(pairs: Iterable[AnyPair]) -> list[AnyPair]:
    """Those of a list that are to be looked at; the others leave it."""
    kept = []
    for pair in pairs:
        if pair.serves:
            kept.append(pair)
        else:
            pair.in_ring = pair.in_unaware = False
    return kept
