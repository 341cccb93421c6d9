"""A makespan that no policy can go below, even one that knows everything beforehand.

Let calls of context c have run times that sum to S_c, let a build of c take at least b_c, and let worker w be there
from j_w to l_w. Suppose all calls have ended at time T. Then

1. a worker that serves c built it first, so of its time before T, t_w(T) = min(T, l_w) - j_w, it gave c's calls at most
   t_w(T) - b_c. With the workers that are there longest, the number k_c(T) of workers that held c is at least the
   smallest k for which the k largest (t_w(T) - b_c) sum to S_c; if all of them do not, T is impossible;
2. a worker does one thing at a time, so runs and builds fit into the time there was:
   sum_c (S_c + k_c(T) b_c) + S_plain <= sum_w t_w(T);
3. the calls made at or after r run after r: sum of their run times <= sum_w time of w between r and T;
4. one call made at r ends at max(r, b_c) + its run time at the earliest.

The bound is the smallest T that passes all four; each gets easier as T grows, so bisection finds it. Nothing in it is
lost work, memory, latency or unknown run times: a real policy cannot reach it with heavy tails, little memory or churn.
For one context and workers that are there from the beginning it is b + S / workers.

Builds of contexts that a template builds for all workers of a node take no worker's time: b_c is zero in 1 and 2.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable

from tests.simulation.world import World

_PRECISION = 1e-6  # of the bound, relative


def offline_bound(world: World) -> float:
    """The smallest makespan that passes all four tests. [s]"""
    possible = _tests(world)
    low, high = 0.0, 1.0
    while not possible(high):
        low, high = high, 2 * high
    while high - low > _PRECISION * high:
        middle = (low + high) / 2
        low, high = (low, middle) if possible(middle) else (middle, high)
    return low


def capacity(world: World, until: float, since: float = 0.0) -> float:
    """Time of all workers within an interval, together. [s]"""
    return sum(m.slots * max(0.0, min(until, m.leaves_s) - max(since, m.joins_s)) for m in world.members)


def _tests(world: World) -> Callable[[float], bool]:
    build_s = {content.digest: content.build_s for content in world.contents}
    work: dict[tuple[str, ...], float] = {}
    for call in world.calls:
        work[call.contexts] = work.get(call.contexts, 0.0) + call.run_s
    own_s = {content.digest: 0.0 if content.shared else content.build_s for content in world.contents}
    lanes = [(total, sum(own_s[c] for c in contexts)) for contexts, total in work.items()]
    shared = any(c in other for one, other in itertools.permutations(work, 2) for c in one)
    assert not shared, "the bound is for calls of one context, or of contexts that no other calls need"
    longest = max(max(c.at_s, sum(build_s[x] for x in c.contexts)) + c.run_s for c in world.calls)
    later = _work_made_later(world)

    def possible(until: float) -> bool:
        if until < longest or any(total > capacity(world, until, since) for since, total in later):
            return False
        needed = _time_needed(world, lanes, until)
        return needed is not None and needed <= capacity(world, until)

    return possible


def _work_made_later(world: World) -> list[tuple[float, float]]:
    """At up to a hundred times: run times of the calls made then or later, together."""
    calls = sorted(world.calls, key=lambda call: call.at_s)
    total = sum(call.run_s for call in calls)
    left = list(itertools.accumulate((call.run_s for call in calls), lambda rest, run: rest - run, initial=total))
    times = [call.at_s for call in calls]
    chosen = sorted({times[i * (len(times) - 1) // 100] for i in range(101)})
    return [(at, left[bisect.bisect_left(times, at)]) for at in chosen]


def _time_needed(world: World, lanes: list[tuple[float, float]], until: float) -> float | None:
    """Of workers, for runs and the fewest builds; None if they cannot do it."""
    presence = sorted(((min(until, m.leaves_s) - m.joins_s, m.slots) for m in world.members), reverse=True)
    needed = 0.0
    for total, build_s in lanes:
        holders = _fewest_holders(presence, total, build_s) if build_s else 0
        if holders is None:
            return None
        needed += total + holders * build_s
    return needed


def _fewest_holders(presence: list[tuple[float, int]], total: float, build_s: float) -> int | None:
    holders = 0
    for there_s, slots in presence:
        useful = there_s - build_s
        if useful <= 0:
            return None
        more = min(slots, math.ceil(total / useful))
        holders += more
        total -= more * useful
        if total <= 1e-9:
            return holders
    return None
