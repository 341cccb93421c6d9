"""The worlds that policies are compared in. All are drawn from a seed; `scale` makes them smaller for a quick look."""

from __future__ import annotations

import bisect
import itertools
import math
import random
from collections.abc import Callable

from parsl_context.wire.messages import Digest, ManagerId
from tests.simulation.world import Call, Content, Delays, Member, World

GB = 10**9
Make = Callable[[float], World]

# Of the public log of an opportunistic run (183 workers, 366 contexts sent in five minutes): a context starts within
# 105 s on average, and more than half of them died before they were ready.
_LOG_WORKERS = 183
_LOG_START_S = 105.0


def nodes(count: int, slots: int) -> list[Member]:
    """Managers that are there from the beginning to the end."""
    return [Member(ManagerId(f"m{i:05}"), slots) for i in range(max(1, count))]


def one_short(scale: float = 1.0, link_s: float = 0.001, name: str = "one context, short calls") -> World:
    """(a) 1,024 workers, a build of 5 s, 150,000 calls of 50 ms."""
    calls = [Call((Digest("net"),), 0.05, code=Digest("f"))] * round(150_000 * scale)
    return World(
        name, [Content(Digest("net"), 5.0, GB)], calls, nodes(round(16 * scale), 64), delays=Delays(link_s=link_s)
    )


def one_short_far(scale: float = 1.0) -> World:
    """(a) again, 25 ms away."""
    return one_short(scale, 0.025, "the same, 25 ms away")


def one_heavy(scale: float = 1.0) -> World:
    """(b) 256 workers, a build of 20 s, 50,000 calls, lognormal (sigma 1.5, mean 1.5 s, at most 20 s)."""
    rng = random.Random(2)
    runs = [min(20.0, rng.lognormvariate(math.log(0.5), 1.5)) for _ in range(round(50_000 * scale))]
    calls = [Call((Digest("net"),), run, code=Digest("f")) for run in runs]
    return World("one context, heavy tail", [Content(Digest("net"), 20.0, GB)], calls, nodes(round(16 * scale), 16))


def zipf(scale: float = 1.0) -> World:
    """(c) 512 workers, a hundred contexts of 5 s with Zipf popularity, 60,000 calls of 1 s on average; all fit."""
    rng = random.Random(3)
    pick = _zipf(100, 1.1, rng)
    calls = [_call(pick(), rng.uniform(0.5, 1.5)) for _ in range(round(60_000 * scale))]
    contents = [Content(_context(i), 5.0, GB) for i in range(100)]
    return World("a hundred contexts, Zipf", contents, calls, nodes(round(16 * scale), 32))


def crowded(scale: float = 1.0) -> World:
    """(d) 64 workers with room for 80 of 200 contexts; 20,000 calls of 2 s on average, as they come; builds of 10 s."""
    rng = random.Random(4)
    pick = _zipf(200, 0.8, rng)
    arrivals = _poisson(20_000 * scale, 28 * scale, rng)
    calls = [_call(pick(), rng.uniform(1.0, 3.0), at) for at in arrivals]
    contents = [Content(_context(i), 10.0, 2 * GB) for i in range(200)]
    members = nodes(round(4 * scale) or 1, 16)
    return World("more contexts than memory", contents, calls, members, memory_bytes=40 * GB)


def churn(scale: float = 1.0) -> World:
    """(e) 183 nodes of 2 workers that come and go, half of them within minutes; builds of 105 s, 50,000 calls."""
    rng = random.Random(5)
    calls = [_call(0, rng.uniform(2.5, 7.5)) for _ in range(round(50_000 * scale))]
    build = Content(_context(0), 60.0, GB, spread=_LOG_START_S - 60.0)
    members = _comers_and_goers(round(_LOG_WORKERS * scale), 2, 12_000.0, rng)
    return World("workers that come and go", [build], calls, members)


def mixed(scale: float = 1.0) -> World:
    """(f) 512 workers, five contexts of 10 s, 60,000 calls as they come, half of them ordinary tasks."""
    rng = random.Random(6)
    pick = _zipf(5, 1.0, rng)
    arrivals = _poisson(60_000 * scale, 450 * scale, rng)
    calls = [
        _call(pick(), rng.uniform(0.5, 1.5), at)
        if rng.random() < 0.5
        else Call((), rng.uniform(0.5, 1.5), at, code=Digest("plain"))
        for at in arrivals
    ]
    contents = [Content(_context(i), 10.0, GB) for i in range(5)]
    return World("mixed with ordinary tasks", contents, calls, nodes(round(16 * scale), 32))


def blocks(scale: float = 1.0) -> World:
    """(g) 32 blocks of 8 workers, each 30 minutes long with a minute between; builds of 10 minutes, calls of 30 s."""
    rng = random.Random(7)
    calls = [_call(0, rng.uniform(15.0, 45.0)) for _ in range(round(30_000 * scale))]
    members = []
    for place in range(round(32 * scale)):
        begins = place * 60.0
        for turn in range(40):
            ends = begins + 1800.0
            members.append(Member(ManagerId(f"b{place:03}-{turn:02}"), 8, begins, ends, knows_end=True))
            begins = ends + 60.0
    return World("ten-minute builds, half-hour blocks", [Content(_context(0), 600.0, GB)], calls, members)


def wide(scale: float = 1.0) -> World:
    """10,240 workers, a build of 20 s, 60,000 calls of 10 s on average."""
    rng = random.Random(8)
    calls = [_call(0, rng.uniform(5.0, 15.0)) for _ in range(round(60_000 * scale))]
    return World("ten thousand workers", [Content(_context(0), 20.0, GB)], calls, nodes(round(160 * scale), 64))


def shared_crowd(scale: float = 1.0) -> World:
    """(h) forty shared contexts of 5 s on 8 workers of one node; 6,000 calls of 0.4 s on average, as they come."""
    rng = random.Random(9)
    pick = _zipf(40, 1.0, rng)
    arrivals = _poisson(6_000 * scale, 16, rng)
    calls = [_call(pick(), rng.uniform(0.2, 0.6), at) for at in arrivals]
    contents = [Content(_context(i), 5.0, GB, shared=True) for i in range(40)]
    return World("forty shared contexts, eight workers", contents, calls, nodes(1, 8))


def few_kept(scale: float = 1.0, limit: int = 1, name: str = "forty contexts, a worker keeps one") -> World:
    """(i) 32 workers that keep one of forty contexts of 5 s; 10,000 calls of 1 s on average, as they come."""
    rng = random.Random(10)
    pick = _zipf(40, 1.0, rng)
    arrivals = _poisson(10_000 * scale, 22, rng)
    calls = [_call(pick(), rng.uniform(0.5, 1.5), at) for at in arrivals]
    contents = [Content(_context(i), 5.0, GB) for i in range(40)]
    return World(name, contents, calls, nodes(4, 8), contexts_per_worker=limit)


def two_kept(scale: float = 1.0) -> World:
    """(j) the same, where a worker keeps two."""
    return few_kept(scale, 2, "the same, a worker keeps two")


# In the order in which they are shown, with the letters of their plots.
ALL: dict[str, Make] = {
    "a": one_short,
    "a25": one_short_far,
    "b": one_heavy,
    "c": zipf,
    "d": crowded,
    "e": churn,
    "f": mixed,
    "g": blocks,
    "w": wide,
    "h": shared_crowd,
    "i": few_kept,
    "j": two_kept,
}


def _context(number: int) -> Digest:
    return Digest(f"c{number:03}")


def _call(number: int, run_s: float, at_s: float = 0.0) -> Call:
    return Call((_context(number),), run_s, at_s, code=Digest(f"f{number:03}"))


def _zipf(count: int, exponent: float, rng: random.Random) -> Callable[[], int]:
    """Draws [0, count), the first most often."""
    sums = list(itertools.accumulate((i + 1) ** -exponent for i in range(count)))
    return lambda: min(count - 1, bisect.bisect_left(sums, rng.random() * sums[-1]))


def _poisson(count: float, per_s: float, rng: random.Random) -> list[float]:
    gaps = (rng.expovariate(per_s) for _ in range(round(count)))
    return list(itertools.accumulate(gaps))


def _comers_and_goers(places: int, slots: int, horizon_s: float, rng: random.Random) -> list[Member]:
    """In each place one node after another: half of them live for a minute on average, the others for half an hour."""
    members = []
    for place in range(places):
        begins = rng.uniform(0.0, 60.0)
        for turn in itertools.count():
            ends = begins + rng.expovariate(1 / (60.0 if rng.random() < 0.5 else 1800.0))
            members.append(Member(ManagerId(f"n{place:03}-{turn:03}"), slots, begins, ends))
            begins = ends + rng.expovariate(1 / 15.0)
            if begins > horizon_s:
                break
    return members
