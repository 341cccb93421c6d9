"""How much may pass in a time. Pure: told the time."""

from __future__ import annotations


class Allowance:
    """A budget that fills at a rate, up to a size; one may overdraw it once.

    Parameters
    ----------
    per_s
        Rate. [bytes/s]
    most
        Size; what it holds at first. [bytes]
    """

    def __init__(self, per_s: float, most: float) -> None:
        self._per_s = per_s
        self._most = most
        self._left = most
        self._seen_at: float | None = None

    def take(self, size: int, now: float) -> bool:
        """Whether so much may pass now; it counts as passed then. [bytes]"""
        if not self.has_some(now):
            return False
        self._left -= size
        return True

    def has_some(self, now: float) -> bool:
        """Whether anything may pass now."""
        if self._seen_at is not None:
            self._left = min(self._most, self._left + self._per_s * (now - self._seen_at))
        self._seen_at = now
        return self._left > 0
