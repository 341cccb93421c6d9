"""Managers and lines as the interchange sees them, and which managers have a free slot."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from parsl_context.scheduling.batching import Batches
from parsl_context.scheduling.lines import CHOICES, Holder, Lane, Line, Pair
from parsl_context.scheduling.placement import RUN_PRIOR_S, Ceiling, Estimate, Floor
from parsl_context.wire.messages import Digest, ManagerId, TaskId, WorkerId


class Phase(Enum):
    """What a manager may be sent. A manager only ever moves down this list."""

    OPEN = auto()  # takes calls
    HELD = auto()  # takes no more; the executor is about to end its block
    DRAINING = auto()  # takes no more; ends when it holds none


@dataclass(eq=False, slots=True)
class Call:
    """A call that waits or runs."""

    id: TaskId
    line: ClusterLine
    code: Digest | None
    priority: float
    since: float
    waits: bool = True
    pair: ClusterPair | None = None  # with the manager that holds it
    sent_at: float = 0.0
    ahead: bool = False  # sent to wait there
    reclaimed: bool = False
    unwanted: bool = False  # nobody waits for it; its manager was asked to give it back
    mates: list[Call] | tuple[()] = ()  # that run with it, as a batch, and have not ended
    leader: Call | None = None  # whose mate it is
    size: int = 1  # calls in its batch
    losses: int = 0  # managers that were lost with it

    @property
    def batch(self) -> list[Call]:
        """It and its mates."""
        return [self, *self.mates]


class ClusterPair(Pair):
    """A line and a manager.

    Attributes
    ----------
    warm : int
        Workers that hold all contexts of the lane.
    templates : int
        Processes that hold all of them and that any worker there can be forked from.
    capacity : int
        Calls of the line that can run there at a time: none unless the manager is open.
    held : int
        Calls of the line that are in its hands.
    surplus : int
        How many more these are than can run there at a time.
    calls : int
        Calls of the line that ended there.
    used_at : float, optional
        When the last of them did. [s]
    quiet_since : float
        When the last of them did, or the manager was sent one while it held none. [s]
    """

    __slots__ = ("calls", "capacity", "held", "quiet_since", "surplus", "templates", "used_at", "warm")

    line: ClusterLine
    holder: Manager

    def __init__(self, line: ClusterLine, holder: Manager) -> None:
        super().__init__(line, holder)
        self.warm = self.templates = self.capacity = self.held = self.surplus = self.calls = 0
        self.used_at: float | None = None
        self.quiet_since = 0.0

    @property
    def is_full(self) -> bool:
        """Whether all that the manager has for the line is taken."""
        return self.held >= self.capacity

    @property
    def needs_fork(self) -> bool:
        """Whether one more call would have a worker forked, which loses what it holds."""
        return self.templates > 0 and self.held >= self.warm


class ClusterLine(Line[Call]):
    """The waiting calls of a lane, with what managers hold of it.

    Attributes
    ----------
    surplus : OrderedDict
        Managers that were sent more than can run there at a time.
    building : int
        Calls that can run where builds are going on, once these have ended.
    run : Estimate
        Run time of its calls, whatever their code.
    shortest : Floor
        The shortest of these times.
    longest : Ceiling
        The longest time for which they, or batches of them, have taken a worker.
    batches : Batches or None
        How its calls run together, if they may.
    quiet_since : float or None
        Since when calls run that take much longer than `run`; None: none do. [s]
    """

    __slots__ = (
        "_rank", "batches", "building", "enough", "is_watched", "longest", "progress_at", "quiet_since", "refused",
        "run", "shortest", "surplus", "total_capacity", "total_surplus", "wanting", "work_s",
    )  # fmt: skip

    pairs: dict[Manager, ClusterPair]  # type: ignore[assignment]

    def __init__(self, lane: Lane) -> None:
        super().__init__(lane)
        self.batches = None if lane.joint is None else Batches(lane.joint)
        self.surplus: OrderedDict[ClusterPair, None] = OrderedDict()
        self.total_capacity = 0
        self.total_surplus = 0
        self.building = 0
        self.run = Estimate()
        self.shortest = Floor()
        self.longest = Ceiling()
        self.progress_at = 0.0  # when a call of it ended last
        self.quiet_since: float | None = None
        self.refused: dict[ManagerId, str] = {}  # where its contexts cannot be held together, and why
        self.enough = 0  # backlog that was worth a build when that was last considered
        self.wanting: float | None = None  # how late its calls are, as the list of lines that want a build has it
        self.is_watched = False  # a tick will look at it
        self.work_s = 0.0  # run time of its backlog, as last reckoned
        self._rank: tuple[float, float] | None = None  # if it was asked for since it changed

    @property
    def serving(self) -> int:
        """Calls that can run at a time, builds that are going on included."""
        return self.total_capacity + self.building

    @property
    def backlog(self) -> int:
        """Calls that wait here, or at managers for others to end."""
        return self.waiting + self.total_surplus

    @property
    def is_anywhere(self) -> bool:
        """Whether its calls need no context that is kept."""
        return self.lane.is_anywhere

    @property
    def run_together_s(self) -> float:
        """Run time of what a worker runs at a time: a call, or a batch. [s]"""
        calls = 1.0 if self.batches is None else self.batches.mean or 1.0
        return calls * self.run.or_prior(RUN_PRIOR_S)

    @property
    def rank(self) -> tuple[float, float]:
        """Lines in this order are served: by the priority of the first call, then the latest first.

        Kept, because each call that ends compares several lines and changes one.
        """
        if self._rank is None:
            first = self.queue.first()
            self._rank = (math.inf, 0.0) if first is None else (first.priority, -self.lateness())
        return self._rank

    def lateness(self, *, more: int = 0) -> float:
        """How late the last of its calls will be, up to a constant, with so many more to serve it.

        The time that its first call has waited, and what the backlog takes those who serve it. Lines that are equally
        late are served in proportion to their work, and no line starves, because age counts.
        """
        first = self.queue.first()
        if first is None:
            return math.inf if self.lane.in_order else self._spread(more)
        return (0.0 if self.lane.in_order else self._spread(more)) - first.since

    def reckon(self) -> float:
        """Its backlog, or the run time of its calls, is another. Gives the change of work that waits. [s]"""
        before = self.work_s
        run_s = self.run.mean_s
        self.work_s = (self.waiting + self.total_surplus) * (RUN_PRIOR_S if run_s is None else run_s)
        self._rank = None
        return self.work_s - before

    def change_building(self, change: int) -> None:
        """So many more calls, or fewer, can run once builds have ended."""
        self.building += change
        self._serve_otherwise()

    def set_capacity(self, manager: Manager, capacity: int) -> None:
        """So many calls can run there at a time; none: it is no holder."""
        pair = self.pair(manager)
        before, pair.capacity = pair.capacity, capacity
        self.total_capacity += capacity - before
        if capacity:
            self.admit(manager)
        else:
            self.dismiss(manager)
        if capacity > before:
            pair.bring_back()
        self._weigh(pair)
        self._serve_otherwise()

    def change_held(self, pair: ClusterPair, change: int) -> None:
        """The manager was sent a call of this line, or is rid of it."""
        pair.held += change
        if change < 0:
            pair.bring_back()
        if pair.held > pair.capacity or pair.surplus:
            self._weigh(pair)

    def part(self, holder: Holder[Any]) -> None:
        pair = self.pair(holder)
        self.total_capacity -= pair.capacity
        pair.capacity = pair.held = 0
        self._weigh(pair)
        self._serve_otherwise()
        super().part(holder)

    def _serve_otherwise(self) -> None:
        """What was found of its backlog counts no more: other calls can run at a time than then."""
        self.enough = 0
        self._rank = None

    def pair(self, holder: Holder[Any]) -> ClusterPair:
        """The line and a manager."""
        pair = super().pair(holder)
        assert isinstance(pair, ClusterPair)
        return pair

    def _pair(self, holder: Holder[Any]) -> ClusterPair:
        assert isinstance(holder, Manager)
        return ClusterPair(self, holder)

    def _spread(self, more: int) -> float:
        return self.backlog * self.run.or_prior(RUN_PRIOR_S) / max(1, self.serving + more)

    def _weigh(self, pair: ClusterPair) -> None:
        before, pair.surplus = pair.surplus, max(0, pair.held - pair.capacity)
        if pair.surplus == before:
            return
        self.total_surplus += pair.surplus - before
        if not pair.surplus:
            del self.surplus[pair]
        elif not before:
            self.surplus[pair] = None
        self._rank = None


class Manager(Holder[ClusterPair]):
    """A manager."""

    __slots__ = (
        "block", "building", "contact_at", "contexts_per_worker", "crowds", "drain_at", "ends_at", "free", "gains",
        "has_served", "held", "id", "idle_since", "is_spent", "listed", "memory_bytes", "node", "ordered", "orders",
        "phase", "prefetch", "resident", "slotless", "slots", "stopping", "taken", "templates", "transit",
        "walltime_s", "workers",
    )  # fmt: skip

    def __init__(
        self,
        id: ManagerId,
        *,
        node: str,
        block: str,
        slots: int,
        prefetch: int | None,
        drain_at: float,
        ends_at: float,
        walltime_s: float,
        memory_bytes: int | None,
        contexts_per_worker: int | None,
        now: float,
    ) -> None:
        super().__init__()
        self.id = id
        self.node = node
        self.block = block
        self.slots = slots
        self.prefetch = prefetch
        self.drain_at = drain_at
        self.ends_at = ends_at
        self.walltime_s = walltime_s
        self.memory_bytes = memory_bytes
        self.contexts_per_worker = contexts_per_worker
        self.contact_at = now
        self.idle_since: float | None = now
        self.phase = Phase.OPEN
        self.held: dict[TaskId, Call] = {}
        self.workers: dict[WorkerId, set[Digest]] = {}  # what each worker holds
        self.crowds: Counter[int] = Counter()  # workers that hold so many contexts, but those that hold none
        self.resident: Counter[Digest] = Counter()  # workers that hold it
        self.templates: dict[tuple[Digest, ...], None] = {}  # what workers can be forked from holds these
        self.building: dict[Digest, list[float]] = {}  # when the builds began that are going on. [s]
        self.orders: Counter[ClusterLine] = Counter()  # builds asked for and not settled
        self.ordered = 0  # of all lines
        self.free = slots  # slots for which it has neither a call nor a build that takes a worker
        self.gains: dict[ClusterLine, int] = {}  # calls that can run at a time after one of them
        self.slotless: Counter[ClusterLine] = Counter()  # of the orders, those that take no worker (yet)
        self.transit = Floor()  # from here to a worker and back
        self.stopping = False
        self.has_served = False  # a call has ended there
        self.is_spent = False  # nothing that waits could end before its block does
        self.listed: int | None = None  # as having so many free slots, in `FreeSlots`
        self.taken: tuple[int, int] | None = None  # memory of what is resident, and which sizes that was reckoned with

    def hold(self, worker: WorkerId, context: Digest) -> set[Digest] | None:
        """A worker holds a context. Gives all that it holds; None if it held that before."""
        held = self.workers.setdefault(worker, set())
        if context in held:
            return None
        self._crowd(len(held), len(held) + 1)
        held.add(context)
        self.resident[context] += 1
        self.taken = None
        return held

    def drop(self, worker: WorkerId, context: Digest) -> None:
        """A worker no longer holds a context that it held."""
        held = self.workers[worker]
        self._crowd(len(held), len(held) - 1)
        held.discard(context)
        self.resident[context] -= 1
        if not self.resident[context]:
            del self.resident[context]
        self.taken = None

    def roomy(self, contexts: int) -> int:
        """Workers that hold no more than so many contexts."""
        if contexts < 0:
            return 0
        return self.slots - sum(workers for held, workers in self.crowds.items() if held > contexts)

    def holds(self, context: Digest) -> bool:
        """Whether a worker or a template there holds a context."""
        return context in self.resident or any(context in key for key in self.templates)

    def _crowd(self, before: int, after: int) -> None:
        if before:
            self.crowds[before] -= 1
            if not self.crowds[before]:
                del self.crowds[before]
        if after:
            self.crowds[after] += 1

    def take(self, call: Call) -> None:
        """It was sent a call."""
        self.held[call.id] = call
        self.free -= 1

    def release(self, call: Call) -> None:
        """It no longer holds a call."""
        del self.held[call.id]
        self.free += 1

    def add_order(self, line: ClusterLine, *, is_slotless: bool) -> None:
        """A build was asked for. It takes a worker, unless a template does it or comes first."""
        self.orders[line] += 1
        self.ordered += 1
        if is_slotless:
            self.slotless[line] += 1
        else:
            self.free -= 1

    def end_order(self, line: ClusterLine) -> None:
        """A build has ended."""
        self.orders[line] -= 1
        self.ordered -= 1
        if self.slotless[line]:
            self.slotless[line] -= 1
        else:
            self.free += 1

    def take_slots(self, line: ClusterLine) -> None:
        """All builds for the line take a worker each from now on."""
        self.free -= self.slotless.pop(line, 0)

    def has_time_for(self, duration_s: float, now: float) -> bool:
        """Whether that much work can end before its block does; what fits into no block at all may be tried in any."""
        left_s = self.ends_at - now
        return duration_s <= left_s or left_s >= 0.9 * self.walltime_s


class FreeSlots:
    """Open managers by the number of their free slots. Constant time."""

    def __init__(self) -> None:
        self._buckets: list[OrderedDict[Manager, None]] = []
        self._top = 0
        self._managers = 0
        self.slots = 0  # of all of them, free or not

    def __len__(self) -> int:
        return self._managers

    def update(self, manager: Manager) -> None:
        """The manager has as many as it says."""
        free = max(0, manager.free)
        before = manager.listed
        if free == before:
            return
        if before is None:
            self._managers += 1
            self.slots += manager.slots
        else:
            del self._buckets[before][manager]
        while len(self._buckets) <= free:
            self._buckets.append(OrderedDict())
        self._buckets[free][manager] = None
        manager.listed = free
        self._top = max(self._top, free)

    def remove(self, manager: Manager) -> None:
        """The manager takes no more."""
        if manager.listed is not None:
            del self._buckets[manager.listed][manager]
            self._managers -= 1
            self.slots -= manager.slots
            manager.listed = None

    def any(self) -> bool:
        """Whether any manager has one."""
        while self._top and not self._buckets[self._top]:
            self._top -= 1
        return self._top > 0

    def most(self) -> Iterator[Manager]:
        """Managers with free slots, those with the most first, at most `CHOICES`; others at the next call."""
        if not self.any():
            return
        left = CHOICES
        for free in range(self._top, 0, -1):
            bucket = self._buckets[free]
            for _ in range(min(left, len(bucket))):
                manager = next(iter(bucket))
                bucket.move_to_end(manager)
                left -= 1
                yield manager
            if not left:
                return
