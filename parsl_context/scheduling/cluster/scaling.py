"""Which blocks to give up when there are more than the work needs. Numbers in, choices out."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass
class Block:
    """A block that has been asked for and has not ended.

    Attributes
    ----------
    tasks : int
        Calls that its managers hold.
    idle_s : float
        Shortest time for which one of its managers has had none; infinity while none has connected. [s]
    rebuild_s : float
        Time that it would take to build what its workers hold again. [s]
    """

    id: str
    tasks: int = 0
    idle_s: float = math.inf
    rebuild_s: float = 0.0

    def add(self, *, tasks: int, idle_s: float, rebuild_s: float) -> None:
        """One of its managers."""
        self.tasks += tasks
        self.idle_s = min(self.idle_s, idle_s)
        self.rebuild_s += rebuild_s


def choose_blocks(blocks: Iterable[Block], count: int, max_idletime_s: float | None) -> list[str]:
    """The blocks to end, at most so many.

    Idle ones before busy ones, then those whose contexts are the cheapest to build again, then those that have been
    idle for longest; ties go by name. With a `max_idletime_s` only blocks that have been idle for longer than that.
    """
    allowed = [
        block for block in blocks if max_idletime_s is None or (block.tasks == 0 and block.idle_s > max_idletime_s)
    ]
    allowed.sort(key=lambda block: (block.tasks > 0, block.rebuild_s, -block.idle_s, block.id))
    return [block.id for block in allowed[:count]]
