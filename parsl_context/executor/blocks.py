"""Blocks of nodes, where the executor treats them otherwise than Parsl does."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any


class BlocksAhead:
    """Blocks that were launched before Parsl's scaling asked for them.

    Parameters
    ----------
    launch
        Launches so many blocks. Gives the ids of those that were launched.
    """

    def __init__(self, launch: Callable[[int], list[str]]) -> None:
        self._launch = launch
        self._ids: deque[str | None] = deque()  # None for one that could not be launched

    def launch(self, wanted: int) -> None:
        """Launch blocks that will be asked for."""
        launched = self._launch(wanted)
        self._ids.extend([*launched, *[None] * (wanted - len(launched))])

    def take(self, wanted: int) -> list[str]:
        """Give blocks that are asked for, launched now if not before: the ids of those that were launched."""
        ahead = [self._ids.popleft() for _ in range(min(wanted, len(self._ids)))]
        launched = self._launch(wanted - len(ahead)) if wanted > len(ahead) else []
        return [*[block for block in ahead if block is not None], *launched]


def walltime_s(provider: Any) -> float | None:
    """How long a block of a provider lives, from its `walltime` ("[[DD-]HH:]MM:SS"); None if it does not tell. [s]"""
    walltime = getattr(provider, "walltime", None)
    if not isinstance(walltime, str):
        return None
    days, _, clock = walltime.rpartition("-")
    try:
        parts = [int(part) for part in clock.split(":")]
        seconds = sum(part * 60**power for power, part in enumerate(reversed(parts)))
        return float(seconds + 86_400 * int(days or 0))
    except ValueError:
        return None
