"""Memory in large pages, so that forking this process is cheap: a fork copies an entry of the page table for each page.

With pages of 4 KiB a context of 200 MB costs each fork, and each end of a child, some milliseconds; with pages of 2 MiB
it costs nothing that can be measured. Python's objects lie in small ones unless the kernel is asked for others. What a
child writes to is copied in small ones all the same.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

logger = logging.getLogger(f"parsl.{__name__}")

_HUGE_BYTES = 1 << 21  # of a large page on x86-64, and on AArch64 with small ones of 4 KiB
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_ENTRIES = _HUGE_BYTES // _PAGE_BYTES
_MADV_COLLAPSE = 25  # <linux/mman.h>, since Linux 6.1
_ENTRY_BYTES = 8  # of /proc/PID/pagemap, whose highest byte holds what is asked here
_PRESENT_HERE_ALONE = 0x81
# Where fewer small pages are there, gathering them would take more memory than it is worth.
_FEWEST = _ENTRIES // 2
_libc = ctypes.CDLL(None, use_errno=True)


def gather(timeout_s: float) -> int:
    """Have large pages hold the memory that this process has alone, as far as the kernel can. Gives their number.

    Parameters
    ----------
    timeout_s
        Time that this may take. [s]

    Notes
    -----
    It copies memory, but none that this process shares with another, as with the one that it was forked from. The
    kernel may refuse, by its settings or for want of memory; nothing is lost by that.
    """
    if _ENTRIES < 2:
        return 0
    gathered, deadline = 0, time.monotonic() + timeout_s
    with contextlib.suppress(OSError), Path("/proc/self/pagemap").open("rb", buffering=0) as pagemap:
        for start in _filled(pagemap):
            gathered += _libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(_HUGE_BYTES), _MADV_COLLAPSE) == 0
            if time.monotonic() > deadline:
                logger.info("Memory is gathered into large pages in part: it takes more than %.1f s", timeout_s)
                break
    return gathered


def _filled(pagemap: BinaryIO) -> Iterator[int]:
    """Where large pages would lie that hold mostly memory which this process has alone."""
    for first, end in list(_writable()):
        start = -(-first // _HUGE_BYTES) * _HUGE_BYTES
        count = max(0, end // _HUGE_BYTES - start // _HUGE_BYTES)
        for place in range(count):
            address = start + place * _HUGE_BYTES
            pagemap.seek(address // _PAGE_BYTES * _ENTRY_BYTES)
            flags = pagemap.read(_ENTRIES * _ENTRY_BYTES)[_ENTRY_BYTES - 1 :: _ENTRY_BYTES]
            if flags.count(_PRESENT_HERE_ALONE) >= _FEWEST:
                yield address


def _writable() -> Iterator[tuple[int, int]]:
    """Memory that is no file's and that this process may write to: from where, to where."""
    with Path("/proc/self/maps").open() as maps:
        for line in maps:
            span, mode, _, _, inode, *_ = line.split()
            if mode == "rw-p" and inode == "0" and "[stack]" not in line:
                first, _, end = span.partition("-")
                yield int(first, 16), int(end, 16)
