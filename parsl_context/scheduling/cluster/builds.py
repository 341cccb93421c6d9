"""Where one more instance of a context pays, and for which line first. The rules of `state`, on its books."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter
from collections.abc import Mapping

from parsl_context.scheduling.cluster.environments import Environments
from parsl_context.scheduling.cluster.events import OrderBuild
from parsl_context.scheduling.cluster.managers import ClusterLine, FreeSlots, Manager
from parsl_context.scheduling.cluster.registry import Record
from parsl_context.scheduling.lines import CHOICES
from parsl_context.scheduling.placement import BUILD_PRIOR_S, RUN_PRIOR_S, Estimate, worth_a_build
from parsl_context.wire.messages import Digest, EnvironmentName, OrderId

# Where a build makes no room without giving up contexts that calls wait for, its calls must have waited this many
# builds longer than those: or two contexts that do not fit together would take turns and do nothing but load.
_SWAP_PATIENCE = 10.0
# A line that wants a build is ranked anew when its calls are later by this share of a build.
_RANK_STEP = 0.25
_RANKS_KEPT = 256


class Builds:
    """Decides on builds.

    A line *wants* a build while its backlog is worth one. Lines that want one where no slot is free wait in a heap,
    the latest first; ranks there are renewed when they are looked at.

    Parameters
    ----------
    records
        The contexts that were declared.
    environments
        What managers have started.
    """

    def __init__(self, records: Mapping[Digest, Record], environments: Environments) -> None:
        self._records = records
        self._environments = environments
        self.free = FreeSlots()
        self._wanting: list[tuple[float, int, ClusterLine]] = []
        self._order = itertools.count()
        self._numbers = itertools.count()
        self._ordered: dict[OrderId, tuple[ClusterLine, Manager]] = {}  # orders that have not ended
        self._most = _RANKS_KEPT  # entries before those of ranks that are no more are removed
        self._work_s = 0.0  # run time of all calls that wait
        self._sizes = 0  # how often sizes of contexts have changed

    # --- rules

    def pays(self, line: ClusterLine, now: float) -> bool:
        """Whether the line's backlog is worth one more instance.

        It is if the last of its calls would wait for at least as long as a build takes, or the first has waited that
        long already: those that should serve it are stuck, or busy with others. It is not if all slots have them.
        """
        if line.is_anywhere or line.backlog <= line.building:
            return False
        if line.serving and line.serving >= self.free.slots:
            return False
        if self._is_barred(line, now):
            return False
        build = self.build(line)
        if _is_worth(line, build, now):
            return True
        line.enough = math.floor(
            line.serving * build.or_prior(BUILD_PRIOR_S) / max(1e-6, line.run.or_prior(RUN_PRIOR_S))
        )
        return _is_overdue(line, build.or_prior(BUILD_PRIOR_S), now)

    def start_s(self, line: ClusterLine, manager: Manager, now: float) -> float:
        """Time that a worker there waits for the environment of the line's contexts, before it builds them. [s]"""
        return self._environments.left_s(self._environment(line), manager, now)

    def usual_start_s(self, line: ClusterLine) -> float:
        """Time that a node which is new takes to start the environment of the line's contexts. [s]"""
        return self._environments.usual_s(self._environment(line))

    def build(self, line: ClusterLine) -> Estimate:
        """Time that a worker without any of the line's contexts takes to build them."""
        estimates = [self._records[context].build for context in line.lane.contexts]
        if any(estimate.mean_s is None for estimate in estimates):
            return Estimate()
        return Estimate(sum(estimate.mean_s or 0.0 for estimate in estimates))

    def may_build(self, line: ClusterLine, manager: Manager, now: float) -> bool:
        """Whether the line's contexts may be built there now."""
        if manager.id in line.refused or manager.ordered >= manager.slots:
            return False
        coming = _coming(line, manager)
        if self.is_shared(line, manager):
            if _templates(line, manager) + manager.orders.get(line, 0):
                return False  # all its workers have them, or will
            coming = 0
        if coming >= manager.slots:
            return False
        if coming and manager.memory_bytes is not None and (coming + 1) * self._size(line) > manager.memory_bytes:
            return False  # one more could only take the place of another
        start_s = self.start_s(line, manager, now)
        if not manager.has_time_for(start_s + self.build(line).or_prior(0.0) + line.longest.or_prior(0.0), now):
            return False
        if start_s:
            build = Estimate(start_s + self.build(line).or_prior(BUILD_PRIOR_S))
            if not _is_worth(line, build, now) and not _is_overdue(line, build.or_prior(0.0), now):
                return False
        return self.may_try(line, manager, now)

    def may_try(self, line: ClusterLine, manager: Manager, now: float) -> bool:
        """Whether builds of its contexts that failed leave this manager to be tried now; others come first."""
        return not any(
            record.failures
            and (now < record.pause_until or (manager.id in record.avoid and len(record.avoid) < len(self.free)))
            for record in map(self._records.__getitem__, line.lane.contexts)
        )

    def displaces(self, cold: ClusterLine, warm: ClusterLine, manager: Manager, now: float) -> bool:
        """Whether the manager should build for one line rather than go on with another that waits."""
        first, other = cold.queue.first(), warm.queue.first()
        if first is None or other is None:
            return other is None
        if first.priority != other.priority:
            return first.priority < other.priority
        build_s = self.start_s(cold, manager, now) + self.build(cold).or_prior(BUILD_PRIOR_S)
        if self._fits(cold, manager):
            return self._cannot_keep_up(cold, warm, build_s)
        if cold.lateness(more=1) - build_s <= warm.lateness():
            return False
        swap_s = _SWAP_PATIENCE * (build_s + self.build(warm).or_prior(BUILD_PRIOR_S))
        return other.since - first.since > swap_s

    def reckon(self, line: ClusterLine) -> None:
        """The line's backlog, or the run time of its calls, is another."""
        self._work_s += line.reckon()

    def resize(self) -> None:
        """Contexts take another amount of memory than before, or are shared no more."""
        self._sizes += 1

    def is_shared(self, line: ClusterLine, manager: Manager) -> bool:
        """Whether the workers of the manager share all contexts of the line."""
        contexts = line.lane.contexts
        return bool(contexts) and all(self._records[context].is_shared(manager.id) for context in contexts)

    def _shared(self, line: ClusterLine, manager: Manager) -> set[Digest]:
        return {context for context in line.lane.contexts if self._records[context].is_shared(manager.id)}

    def _begins_with_template(self, line: ClusterLine, manager: Manager) -> bool:
        """Whether builds for the line take no worker yet: a template is built first, or it is all there is to build."""
        shared = self._shared(line, manager)
        return bool(shared) and (
            len(shared) == len(line.lane.contexts) or not any(shared.issubset(key) for key in manager.templates)
        )

    # --- choices

    def site(self, line: ClusterLine, now: float) -> Manager | None:
        """A manager with a free slot where the line's contexts should be built.

        One that need not give up others; of these one that has started their environment, or has soonest.
        """
        best: Manager | None = None
        least = (True, math.inf)
        for manager in itertools.chain(self._environments.with_slots(self._environment(line)), self.free.most()):
            if self.may_build(line, manager, now):
                cost = (not self._fits(line, manager), self.start_s(line, manager, now))
                if cost == (False, 0.0):
                    return manager
                if cost < least:
                    best, least = manager, cost
        return best

    def want(self, line: ClusterLine) -> None:
        """The line wants a build as soon as a slot is free."""
        late = line.lateness(more=1)
        step = _RANK_STEP * self.build(line).or_prior(BUILD_PRIOR_S)
        if line.wanting is None or late > line.wanting + step:
            line.wanting = late
            line.enough = line.backlog + line.backlog // 4
            heapq.heappush(self._wanting, (-late, next(self._order), line))
            if len(self._wanting) > self._most:
                self._wanting = [entry for entry in self._wanting if entry[2].wanting == -entry[0]]
                heapq.heapify(self._wanting)
                self._most = 2 * len(self._wanting) + _RANKS_KEPT

    def latest(self, manager: Manager, now: float) -> ClusterLine | None:
        """Of the lines that want a build and may have it there, the latest."""
        passed: list[tuple[float, int, ClusterLine]] = []
        found: ClusterLine | None = None
        if not self._wanting or (len(self._wanting) == 1 and _coming(self._wanting[0][2], manager) >= manager.slots):
            return None
        while found is None and len(passed) < CHOICES and (line := self._first_wanting(now)) is not None:
            if self.may_build(line, manager, now):
                found = line
            else:
                passed.append(heapq.heappop(self._wanting))
        for entry in passed:
            heapq.heappush(self._wanting, entry)
        return found

    def order(self, line: ClusterLine, manager: Manager) -> OrderBuild:
        """Have one more instance built there."""
        manager.add_order(line, is_slotless=self._begins_with_template(line, manager))
        line.change_building(self._gain(line, manager))
        self.free.update(manager)
        number = OrderId(next(self._numbers))
        self._ordered[number] = line, manager
        return OrderBuild(order=number, contexts=line.lane.contexts, manager=manager.id)

    def end(self, order: OrderId) -> ClusterLine | None:
        """An order is no more. Gives the line that it was for, unless its manager was given up before."""
        line, _ = self._ordered.pop(order, (None, None))
        return line

    def drop_orders(self, manager: Manager) -> None:
        """A manager takes no more: what was ordered there is not waited for."""
        self._ordered = {number: entry for number, entry in self._ordered.items() if entry[1] is not manager}

    def settle(self, line: ClusterLine, manager: Manager) -> None:
        """An order has ended."""
        if manager.orders[line]:
            manager.end_order(line)
            line.change_building(-manager.gains[line])
        if not manager.orders[line]:
            del manager.orders[line]
            manager.gains.pop(line, None)
            del manager.slotless[line]

    def unshare(self, line: ClusterLine, manager: Manager) -> None:
        """Builds that are going on serve one worker each, as it turns out."""
        if orders := manager.orders.get(line, 0):
            line.change_building(-orders * (manager.gains[line] - 1))
            manager.gains[line] = 1
            manager.take_slots(line)
            self.free.update(manager)

    def follow_template(self, contexts: tuple[Digest, ...], manager: Manager) -> None:
        """A template is there: what more is to be built for a line takes a worker each."""
        for line in list(manager.slotless):
            if set(contexts) >= self._shared(line, manager) and not self.is_shared(line, manager):
                manager.take_slots(line)
                self.free.update(manager)

    # --- helpers

    def _environment(self, line: ClusterLine) -> EnvironmentName | None:
        """Of contexts which go together, and so have the same."""
        named = (self._records[context].environment for context in line.lane.contexts)
        return next((name for name in named if name is not None), None)

    def _cannot_keep_up(self, cold: ClusterLine, warm: ClusterLine, build_s: float) -> bool:
        """Whether a line would be served later than others by more than a build, even if it had its holders to itself.

        While all workers have warm work, a build takes their time away from it, and gains nothing unless the line's
        holders cannot do their part by the time at which all waiting work would be done if it were spread evenly.
        """
        first, other = cold.queue.first(), warm.queue.first()
        if not cold.serving or first is None or other is None:
            return True
        alone_s = cold.backlog * cold.run.or_prior(RUN_PRIOR_S) / cold.serving
        even_s = 0.0 if warm.lane.in_order else max(0.0, self._work_s) / max(1, self.free.slots)
        return alone_s - first.since - build_s > even_s - other.since

    def _first_wanting(self, now: float) -> ClusterLine | None:
        """The latest line that wants a build, with its rank renewed."""
        while self._wanting:
            rank, _, line = self._wanting[0]
            if line.wanting != -rank:
                heapq.heappop(self._wanting)  # it was ranked anew since
            elif not self.pays(line, now):
                heapq.heappop(self._wanting)
                line.wanting = None
            elif (late := line.lateness(more=1)) < -rank - 1e-9:
                line.wanting = late
                heapq.heapreplace(self._wanting, (-late, next(self._order), line))
            else:
                return line
        return None

    def _gain(self, line: ClusterLine, manager: Manager) -> int:
        """Calls that can run there at a time when one more build has ended."""
        if line not in manager.gains:
            manager.gains[line] = manager.slots if self.is_shared(line, manager) else 1
        return manager.gains[line]

    def _is_barred(self, line: ClusterLine, now: float) -> bool:
        """Whether builds are paused after one that failed."""
        return any(now < self._records[context].pause_until for context in line.lane.contexts)

    def _fits(self, line: ClusterLine, manager: Manager) -> bool:
        """Whether the node has a place and memory for one more instance without giving up another."""
        if not self._has_place(line, manager):
            return False
        if manager.memory_bytes is None:
            return True
        ordered = sum(self._size(other) * orders for other, orders in manager.orders.items())
        return self._taken(manager) + ordered + self._size(line) <= manager.memory_bytes

    def _has_place(self, line: ClusterLine, manager: Manager) -> bool:
        """Whether a worker can hold the line's contexts, beside those that others are ordered to, and give up none.

        A worker that is forked loses all that it held, so that only one that holds nothing has a place for contexts of
        which some are shared. If all are, no worker is needed for the build: workers are forked when calls come.
        """
        shared = sum(1 for context in line.lane.contexts if self._records[context].is_shared(manager.id))
        if shared == len(line.lane.contexts):
            return True
        limit = manager.contexts_per_worker
        if not shared and limit is None:
            return True
        return manager.roomy(0 if shared or limit is None else limit - len(line.lane.contexts)) > manager.ordered

    def _taken(self, manager: Manager) -> int:
        """Memory of what is resident there; kept, because it is asked for with each call. [bytes]"""
        if manager.taken is not None and manager.taken[1] == self._sizes:
            return manager.taken[0]
        in_templates = Counter(context for key in manager.templates for context in key)
        taken = sum(self._records[c].size_bytes * count for c, count in in_templates.items() if c in self._records)
        for context, workers in manager.resident.items():
            record = self._records.get(context)
            if record is not None and not (context in in_templates and record.is_shared(manager.id)):
                taken += record.size_bytes * (1 if record.is_shared(manager.id) else workers)
        manager.taken = taken, self._sizes
        return taken

    def _size(self, line: ClusterLine) -> int:
        return sum(self._records[context].size_bytes for context in line.lane.contexts)


def _is_worth(line: ClusterLine, build: Estimate, now: float) -> bool:
    """Whether the last of a line's calls would wait for at least as long as one more instance takes."""
    run = line.run
    if line.quiet_since is not None:  # it takes at least as long as those have that run
        run = Estimate(max(run.or_prior(0.0), now - line.quiet_since))
    return worth_a_build(waiting=line.backlog, holders=line.serving, run=run, build=build)


def _is_overdue(line: ClusterLine, build_s: float, now: float) -> bool:
    """Whether a line's first call has waited that long already, and nothing is built for it."""
    if line.building:
        return False
    first = line.queue.first()
    return (first is not None and now - first.since >= build_s) or (
        line.total_surplus > 0 and now - line.progress_at >= build_s + line.run.or_prior(RUN_PRIOR_S)
    )


def _coming(line: ClusterLine, manager: Manager) -> int:
    """Workers of a manager that hold the line's contexts, or are about to."""
    pair = line.pairs.get(manager)
    return (0 if pair is None else pair.warm) + manager.orders.get(line, 0)


def _templates(line: ClusterLine, manager: Manager) -> int:
    """What workers of a manager can be forked from that holds the line's contexts."""
    pair = line.pairs.get(manager)
    return 0 if pair is None else pair.templates
