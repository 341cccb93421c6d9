"""How many blocks an executor may have. Apart from what decides on them: the user's script waits for its imports."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class BlockLimits:
    """What the user allows.

    Attributes
    ----------
    most : float
        Blocks at a time.
    overlap : int
        And so many more while others end.
    nodes : int
        Managers of a block.
    """

    most: float = math.inf
    overlap: int = 0
    nodes: int = 1
