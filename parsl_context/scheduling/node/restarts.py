"""When a process of a node that did not start, or died at once, is started again, and when the node is given up. Pure.

A node may be short of descriptors, memory or processes for a while. So starts are tried again, after pauses that grow.
A node of which no process has been of use for `PATIENCE_S`, although it tried, is given up.
"""

from __future__ import annotations

PATIENCE_S = 60.0
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0


class Restarts:
    """Counts what failed since a process of the node was of use last."""

    def __init__(self) -> None:
        self._since: float | None = None  # when something failed first since then
        self._pause_s = _FIRST_PAUSE_S

    @property
    def is_first(self) -> bool:
        """Whether nothing has failed since a process was of use."""
        return self._since is None

    def came_up(self) -> None:
        """A process of the node has been of use."""
        self._since = None
        self._pause_s = _FIRST_PAUSE_S

    def failed(self, now: float) -> float | None:
        """A process could not be started, or died before it came up.

        Returns
        -------
        float or None
            Time until it should be tried again; None if the node should be given up. [s]
        """
        if self._since is None:
            self._since = now
        if now - self._since >= PATIENCE_S:
            return None
        pause_s, self._pause_s = self._pause_s, min(_LONGEST_PAUSE_S, 2 * self._pause_s)
        return pause_s
