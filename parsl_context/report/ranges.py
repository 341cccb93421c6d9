"""Sets of numbers that mostly follow each other, as ranges."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator


class Ranges:
    """Whole numbers; those that follow each other take the place of two."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def add(self, first: int, last: int) -> None:
        """Put in all numbers from `first` to `last`."""
        left = bisect.bisect_left(self._lasts, first - 1)
        right = bisect.bisect_right(self._firsts, last + 1)
        if left < right:
            first, last = min(first, self._firsts[left]), max(last, self._lasts[right - 1])
        self._firsts[left:right] = [first]
        self._lasts[left:right] = [last]

    def add_all(self, numbers: Iterable[int]) -> None:
        """Put in these."""
        for first, last in runs_of(sorted(numbers)):
            self.add(first, last)

    def __contains__(self, number: int) -> bool:
        at = bisect.bisect_right(self._firsts, number) - 1
        return at >= 0 and number <= self._lasts[at]

    def count_within(self, first: int, last: int) -> int:
        """How many of the numbers from `first` to `last` are in it."""
        at = bisect.bisect_left(self._lasts, first)
        count = 0
        while at < len(self._firsts) and self._firsts[at] <= last:
            count += min(last, self._lasts[at]) - max(first, self._firsts[at]) + 1
            at += 1
        return count

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._firsts, self._lasts, strict=True)


def runs_of(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Ranges of sorted numbers."""
    first = last = None
    for number in numbers:
        if first is None or last is None:
            first = last = number
        elif number <= last + 1:
            last = number
        else:
            yield first, last
            first = last = number
    if first is not None and last is not None:
        yield first, last
