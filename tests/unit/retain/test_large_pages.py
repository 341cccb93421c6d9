"""Memory of this process is gathered into large pages, where the kernel knows how."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest

from parsl_context.retain import large_pages

SIZE = 8 << 20


def large_kb() -> int:
    """Memory of this process in large pages. [kB]"""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("AnonHugePages:"))


def test_what_is_filled_is_gathered_and_what_is_not_is_left_alone() -> None:
    large_pages.gather(10.0)
    before = large_kb()
    memory = mmap.mmap(-1, 2 * SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for place in range(0, SIZE, mmap.PAGESIZE):
        memory[place] = 7
    for place in range(SIZE, 2 * SIZE, 16 * mmap.PAGESIZE):
        memory[place] = 7
    assert large_kb() < before + (SIZE >> 11)
    if not large_pages.gather(10.0):
        pytest.skip("this kernel does not gather")
    assert SIZE >> 11 <= large_kb() - before <= (SIZE >> 10) + 4096
    assert all(memory[place] == 7 for place in range(0, SIZE, mmap.PAGESIZE))
    assert memory[2 * SIZE - 1] == 0


def test_it_ends_in_time() -> None:
    assert large_pages.gather(0.0) <= 1
