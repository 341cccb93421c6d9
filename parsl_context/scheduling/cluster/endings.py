"""When a block that ends soon is of no more use, so that it had better end now and make room for another. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

from parsl_context.scheduling.cluster.builds import Builds
from parsl_context.scheduling.cluster.managers import ClusterLine, Manager

_LOOKED_AT = 256  # lines: where there are more, one of them will fit
_LOOKS = 20  # in what is left of a block, and
_LOOK_S = 1.0  # no more often. [s]


def is_spent(manager: Manager, lines: Iterable[ClusterLine], builds: Builds, now: float) -> bool:
    """Whether calls wait, and none of them could end on this manager before its block does, by measured times."""
    if manager.held or manager.ordered or not math.isfinite(manager.ends_at):
        return False
    waiting = list(itertools.islice((line for line in lines if line.waiting), _LOOKED_AT + 1))
    return 0 < len(waiting) <= _LOOKED_AT and not any(_fits(line, manager, builds, now) for line in waiting)


def look_again_at(manager: Manager, now: float) -> float:
    """When a manager is to be looked at again whose block ends."""
    return now + max(_LOOK_S, (manager.ends_at - now) / _LOOKS)


def _fits(line: ClusterLine, manager: Manager, builds: Builds, now: float) -> bool:
    pair = line.pairs.get(manager)
    is_warm = line.is_anywhere or (pair is not None and pair.serves)
    build_s = 0.0 if is_warm else builds.start_s(line, manager, now) + builds.build(line).or_prior(0.0)
    return manager.has_time_for(build_s + line.longest.or_prior(0.0), now)
