"""Where calls go and builds are ordered: the rules of the interchange, on its books.

`state` changes the books as events come in and then asks here what follows: for a call or a line, who should serve it
(`place`); for a manager, what it should hold (`serve`); for a line that waits, whether a build pays (`consider`).
"""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable

from parsl_context.scheduling.batching import Batches, fair_share
from parsl_context.scheduling.cluster.books import ClusterBooks
from parsl_context.scheduling.cluster.builds import Builds
from parsl_context.scheduling.cluster.events import (
    Action,
    FailUnservable,
    SendTask,
    StopManager,
    TakeBack,
)
from parsl_context.scheduling.cluster.managers import Call, ClusterLine, ClusterPair, Manager, Phase
from parsl_context.scheduling.lines import CHOICES, Lane, Pair
from parsl_context.scheduling.placement import (
    FORK_PATIENCE_S,
    MANAGER_LOOKAHEAD_S,
    RUN_PRIOR_S,
    lookahead,
)
from parsl_context.wire.messages import TaskId

_LOOKED_AT = 64  # managers that may be idle, where a batch is shared out
# How often a line with calls behind slow ones is looked at, at the least. [s]
_WATCH_S = 0.05
# Calls wait at a manager no more where one has taken so many times the work that it may have ahead.
_SLOW = 10
# Work ahead of a manager's workers is made up for when this share of it is left, all at once: one message for many.
_REFILL = 0.5


class ClusterPlacement:
    """What follows from the books: for a call or a line, who should serve it, and for a manager, what it should hold.

    Parameters
    ----------
    preference
        Puts managers into the order in which they are considered for calls without contexts; None: in turn.
    """

    def __init__(
        self,
        books: ClusterBooks,
        builds: Builds,
        preference: Callable[[list[Manager]], list[Manager]] | None = None,
    ) -> None:
        self._books = books
        self._builds = builds
        self._preference = preference
        self._fresh: OrderedDict[Manager, None] = OrderedDict()  # idle, which only those of their lines know that asked

    def release(self, call: Call, now: float) -> None:
        """Its manager no longer holds a call."""
        pair = call.pair
        assert pair is not None
        manager = pair.holder
        manager.release(call)
        call.pair = None
        call.line.change_held(pair, -1)
        if not manager.held:
            manager.idle_since = now

    def _send(self, pair: ClusterPair, now: float) -> Action:
        line, manager = pair.line, pair.holder
        call = line.take()
        call.ahead = pair.is_full or manager.free <= 0
        if line.batches is not None:
            self._join(line, line.batches, call)
        call.pair = pair
        call.sent_at = now
        manager.take(call)
        manager.idle_since = None
        if not pair.held:
            pair.quiet_since = now
        line.change_held(pair, 1)
        pair.was_served = True
        if manager.free + (manager.prefetch or 0) <= 0:
            self._fresh.pop(manager, None)
        self._builds.reckon(line)
        if not call.mates:
            return SendTask(task=call.id, manager=manager.id)
        return SendTask(task=call.id, manager=manager.id, mates=tuple(mate.id for mate in call.mates))

    def _join(self, line: ClusterLine, batches: Batches, call: Call) -> None:
        """Have calls that wait run with one that was taken: of an idle worker's share, or as many as may be."""
        size = batches.limit
        if not call.ahead and line.waiting:
            size = fair_share(1 + line.waiting, self._idle_workers(line, 1 + line.waiting), size)
        call.mates = line.take_more(call.priority, size - 1)
        call.size = 1 + len(call.mates)
        for mate in call.mates:
            mate.leader = call

    def _idle_workers(self, line: ClusterLine, most: int) -> int:
        """Workers that can run calls of a line at once; so many are enough."""
        fresh = [line.pairs.get(manager) for manager in self._fresh]
        told = itertools.islice(line.idle, _LOOKED_AT)
        found = 0
        for pair in dict.fromkeys([*fresh, *told]):
            if not isinstance(pair, ClusterPair) or not pair.serves:
                continue
            found += max(0, min(pair.capacity - pair.held, pair.holder.free))
            if found >= most:
                break
        return found

    def _is_due(self, line: ClusterLine, now: float, *, ahead: bool) -> bool:
        """Whether calls of a line may start now: those that run together may wait for others.

        Ahead of a worker, only as many as a batch may have: fewer may still become more. Where an idle worker has to
        wait, the line is looked at again when that has been long enough.
        """
        batches = line.batches
        first = line.queue.first() if batches is not None else None
        if batches is None or first is None:
            return True
        if ahead:
            return line.waiting >= batches.limit
        due = batches.due(line.waiting, first.since, now)
        if due > now and batches.wake_at != due:
            batches.wake_at = due
            self._books.at(due, lambda now: self.place_all(line, now))
        return due <= now

    def send_first(self, line: ClusterLine, manager: Manager, now: float) -> list[Action]:
        """Send a manager a call of a line that it was made ready for, whatever else waits."""
        pair = line.pairs.get(manager)
        if not line.waiting or pair is None or pair.is_full or not self._may_send(pair, now):
            return []
        if not self._is_due(line, now, ahead=False):
            return []
        return [self._send(pair, now)]

    def place(self, line: ClusterLine, now: float) -> list[Action]:
        """Send the newest call of a line where a worker is free for it, or see to it that one will be."""
        pair = self._find_idle(line, now)
        if pair is None:
            is_settled = line.is_watched and line.waiting < line.enough  # nothing has changed since it was considered
            return [] if is_settled else self.consider(line, now)
        action = self._send(pair, now)
        self._builds.free.update(pair.holder)
        return [action]

    def place_all(self, line: ClusterLine, now: float) -> list[Action]:
        actions: list[Action] = []
        while line.waiting and (pair := self._find_idle(line, now)) is not None:
            actions.append(self._send(pair, now))
            self._builds.free.update(pair.holder)
        return actions + self.consider(line, now)

    def _find_idle(self, line: ClusterLine, now: float) -> ClusterPair | None:
        if line.batches is not None and not self._is_due(line, now, ahead=False):
            return None
        if self._preference is not None and not line.lane.contexts:
            takes = self._books.environments.takes_ordinary
            candidates = [m for m in self._books.managers.values() if m.phase is Phase.OPEN and takes(m.id)]
            pairs = (line.pair(manager) for manager in self._preference(candidates))
            return next((pair for pair in pairs if self._is_idle(pair, now)), None)
        ahead: ClusterPair | None = None
        for manager in self._fresh:
            pair = line.pairs.get(manager)
            if pair is not None and pair.serves and not pair.is_paused and self._is_idle(pair, now):
                if manager.free > 0:
                    return pair
                ahead = ahead or pair  # to wait there, as the user wants it, unless a worker is free elsewhere
        if ahead is not None:
            return ahead
        found = line.find_idle(lambda pair: self._is_idle(pair, now))
        assert found is None or isinstance(found, ClusterPair)
        return found

    def _announce(self, manager: Manager) -> None:
        """A manager is idle. Its lines are told only if it stays so while others come to be: they may be many."""
        self._fresh[manager] = None
        self._fresh.move_to_end(manager)
        if len(self._fresh) > CHOICES:
            self._fresh.popitem(last=False)[0].promote()

    def _is_idle(self, pair: Pair, now: float) -> bool:
        """Whether a worker there can run a call of the line at once, or the user wants calls to wait there."""
        assert isinstance(pair, ClusterPair)
        if pair.holder.prefetch:
            return self._has_room(pair, now)
        return not pair.is_full and pair.holder.free > 0 and self._may_send(pair, now)

    def _may_send(self, pair: ClusterPair, now: float) -> bool:
        line, manager = pair.line, pair.holder
        if line.is_anywhere and line.lane.contexts and not self._builds.may_try(line, manager, now):
            return False
        return self._has_time(pair, now)

    def _has_time(self, pair: ClusterPair, now: float) -> bool:
        """Whether a call of the line could end there before the manager's block does."""
        return pair.holder.has_time_for(pair.line.longest.or_prior(0.0), now)

    def _has_room(self, pair: ClusterPair, now: float, level: float = 1.0) -> bool:
        """Whether the manager may be sent one more call of the line, to fill that share of what it may hold ahead."""
        line, manager = pair.line, pair.holder
        capacity, held, free = pair.capacity, pair.held, manager.free
        if line.batches is not None and not self._is_due(line, now, ahead=free <= 0 or held >= capacity):
            return False
        if manager.prefetch is not None:
            if free + manager.prefetch <= 0 or held >= capacity + manager.prefetch:
                return False
        elif free <= 0 or held >= capacity:
            first = line.queue.first()
            if first is None or line.lane.fresh or line.lane.in_order or line.quiet_since is not None:
                return False
            depth = math.ceil(level * lookahead(self._books.run_of(first.code), _horizon_s(manager)))
            if free + depth * manager.slots <= 0 or held >= capacity * (1 + depth):
                return False
        return self._may_send(pair, now)

    def serve(self, manager: Manager, now: float, ended: ClusterLine | None = None) -> list[Action]:
        """Give a manager what it should hold now: of the lines that it can serve the latest first, or a build.

        Parameters
        ----------
        ended
            The line that a call has just ended of.
        """
        actions: list[Action] = []
        if manager.phase is not Phase.OPEN:
            return self.stop_if_drained(manager)
        while True:
            warm = self._latest_warm(manager, now, 1.0 if actions else _REFILL, ended)
            cold = self._builds.latest(manager, now)
            if cold is not None and (
                manager.free > 0 if warm is None else self._builds.displaces(cold, warm.line, manager, now)
            ):
                actions.append(self._builds.order(cold, manager))
            elif warm is not None:
                actions.append(self._send(warm, now))
            else:
                break
        self._builds.free.update(manager)
        if manager.free + (manager.prefetch or 0) > 0:
            self._announce(manager)
            if ended is not None and not ended.waiting:
                actions += self._rebalance(ended, manager, now)
        return actions

    def _latest_warm(self, manager: Manager, now: float, level: float, ended: ClusterLine | None) -> ClusterPair | None:
        """Of the lines that wait and that the manager has room for, up to a level, the latest, with the manager."""
        last = None if ended is None else ended.pairs.get(manager)
        while True:
            horizon_s = math.inf if manager.free > 0 or manager.prefetch is not None else _horizon_s(manager)
            if manager.free + (manager.prefetch or 0) <= 0 and self._books.shortest.or_prior(math.inf) >= horizon_s:
                return None
            waiting = manager.waiting_lines()
            if last is not None and last.templates and last.serves and last.line.waiting and last not in waiting:
                waiting.append(last)  # its worker need not be forked
            if horizon_s < math.inf:
                waiting = [pair for pair in waiting if pair.line.shortest.or_prior(math.inf) < horizon_s]
            if len(waiting) > 1:
                waiting.sort(key=_rank)
            for pair in waiting:
                if self._has_room(pair, now, level):
                    return pair
            unfit = [pair for pair in waiting if pair.is_full or not self._has_time(pair, now)]
            if manager.free <= 0 or not unfit:
                return None
            for pair in unfit:  # others may have calls for its free slots
                pair.set_aside()

    def consider(self, line: ClusterLine, now: float) -> list[Action]:
        """Have contexts built for a line as long as that pays."""
        if line.refused and not line.serving and len(line.refused) >= len(self._builds.free):
            return self._fail_refused(line)
        if not line.lane.contexts and (reason := self._books.environments.refusal(len(self._builds.free))) is not None:
            return self._fail_all(line, reason)
        actions: list[Action] = []
        while self._builds.pays(line, now):
            site = self._builds.site(line, now)
            if site is None:
                self._builds.want(line)
                break
            actions.append(self._builds.order(line, site))
        if line.backlog and not line.is_watched:
            self._watch(line, now)
        return actions

    def _watch(self, line: ClusterLine, now: float) -> None:
        """Look at a line again when its calls have waited for as long as a build takes."""
        if line.is_anywhere and not line.total_surplus:
            return
        period_s = 0.0 if line.is_anywhere else self._builds.build(line).or_prior(1.0)
        if line.total_surplus:
            period_s = min(period_s or math.inf, 10 * line.run.or_prior(RUN_PRIOR_S))
        line.is_watched = True
        self._books.at(now + max(_WATCH_S, period_s), lambda now: self._look_at(line, now))

    def _look_at(self, line: ClusterLine, now: float) -> list[Action]:
        line.is_watched = False
        actions = self._relieve_quiet(line, now) + self.place_all(line, now)
        if line.total_surplus and not line.waiting:
            idle = self._find_idle(line, now)
            if idle is not None:
                actions += self._rebalance(line, idle.holder, now)
        return actions

    def _rebalance(self, line: ClusterLine, idle: Manager, now: float) -> list[Action]:
        """Take back calls that wait at another manager, for one that has nothing to do."""
        pair = next((pair for pair in line.surplus if pair.holder is not idle), None)
        if pair is None:
            return []
        line.surplus.move_to_end(pair)
        donor = pair.holder
        run_s = line.run_together_s
        transit_s = idle.transit.or_prior(0.0) + donor.transit.or_prior(0.0)
        wait_s = pair.surplus * run_s / max(1, pair.capacity)
        if wait_s < transit_s and now - line.progress_at < transit_s + run_s:
            return []  # they will have run before they could be brought here
        return _reclaim(pair, math.ceil(pair.surplus / 2))

    def relieve(self, pair: ClusterPair, run_s: float) -> list[Action]:
        """Take back what waits at a manager for a line whose calls turn out to be long: such are not sent ahead.

        They would wait behind one another, and be lost with the manager though they have not begun.
        """
        if not pair.surplus or pair.holder.prefetch is not None or run_s < _SLOW * _horizon_s(pair.holder):
            return []
        return _reclaim(pair, pair.surplus)

    def _relieve_quiet(self, line: ClusterLine, now: float) -> list[Action]:
        """Take back what waits at managers where nothing of the line has ended for much longer than it should have.

        The calls that run there are longer than those before, and what waits behind them counts against slots that are
        idle, where more instances could be built.
        """
        actions: list[Action] = []
        for pair in list(itertools.islice(line.surplus, CHOICES)):
            manager = pair.holder
            if manager.prefetch is None and now - pair.quiet_since >= _SLOW * _horizon_s(manager):
                line.quiet_since = min(pair.quiet_since, line.quiet_since or math.inf)
                line.surplus.move_to_end(pair)
                actions += _reclaim(pair, pair.surplus)
        return actions

    def open_line(self, lane: Lane) -> ClusterLine:
        line = self._books.lines[lane] = ClusterLine(lane)
        for context in lane.contexts:
            self._books.lines_of.setdefault(context, []).append(line)
        if (code := lane.runs) is not None:
            self._books.lines_of.setdefault(code, []).append(line)
        for manager in self._books.managers.values():
            if manager.phase is Phase.OPEN:
                self._enrol(line, manager)
        return line

    def _enrol(self, line: ClusterLine, manager: Manager) -> None:
        """Find out what the manager can do for a line."""
        if not line.is_anywhere:
            needed = line.lane.contexts
            warm = sum(1 for held in manager.workers.values() if held.issuperset(needed))
            templates = sum(1 for key in manager.templates if set(key).issuperset(needed))
            if not warm and not templates:
                return
            pair = line.pair(manager)
            pair.warm, pair.templates = warm, templates
        self.count(line, manager)

    def count(self, line: ClusterLine, manager: Manager) -> None:
        """Tell a line how many of its calls can run on a manager at a time."""
        takes = bool(line.lane.contexts) or self._books.environments.takes_ordinary(manager.id)
        if manager.phase is not Phase.OPEN or not takes:
            capacity = 0
        elif line.is_anywhere:
            capacity = manager.slots
        else:
            pair = line.pair(manager)
            capacity = manager.slots if pair.templates and self._builds.is_shared(line, manager) else pair.warm
        line.set_capacity(manager, capacity)

    def forget(self, manager: Manager) -> None:
        """A manager takes no more."""
        self._builds.free.remove(manager)
        self._books.environments.left(manager)
        self._fresh.pop(manager, None)

    def stop_if_drained(self, manager: Manager, reason: str = "it has drained") -> list[Action]:
        if manager.phase is Phase.DRAINING and not manager.held and not manager.stopping:
            manager.stopping = True
            return [StopManager(manager=manager.id, reason=reason)]
        return []

    def _fail_refused(self, line: ClusterLine) -> list[Action]:
        """No manager can ever hold the contexts of a line."""
        return self._fail_all(line, next(iter(line.refused.values())))

    def _fail_all(self, line: ClusterLine, reason: str) -> list[Action]:
        """The calls of a line that wait can run nowhere."""
        tasks = self.drop_waiting(line)
        return [FailUnservable(tasks=tasks, reason=reason)] if tasks else []

    def drop_waiting(self, line: ClusterLine) -> list[TaskId]:
        tasks = [call.id for call in line.take_all()]
        self._builds.reckon(line)
        for task in tasks:
            del self._books.calls[task]
        return tasks


def _reclaim(pair: ClusterPair, most: int) -> list[Action]:
    """Take back so many calls that wait at a manager."""
    calls = list(itertools.islice(_unclaimed(pair), most))
    for call in calls:
        call.reclaimed = True
    return [TakeBack(tasks=[call.id for call in calls], manager=pair.holder.id)] if calls else []


def _rank(pair: ClusterPair) -> tuple[float, float]:
    """Pairs in this order are served; one that needs a fork comes before others only if it is much later."""
    priority, late = pair.line.rank
    return (priority, late + FORK_PATIENCE_S) if pair.needs_fork else (priority, late)


def _unclaimed(pair: ClusterPair) -> Iterable[Call]:
    """Calls of a line that a manager was sent last and was not asked for yet, the newest first."""
    for call in itertools.islice(reversed(pair.holder.held.values()), 64):
        if call.line is pair.line and call.ahead and not call.reclaimed:
            yield call


def _horizon_s(manager: Manager) -> float:
    """How far ahead a manager should have work: what is left when more is sent must outlast the way there. [s]"""
    return max(MANAGER_LOOKAHEAD_S, 3 * manager.transit.or_prior(0.0))
