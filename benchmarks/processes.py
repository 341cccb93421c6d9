"""CPU time of a run's processes: the one that measures, and all that it has started, wherever they went.

The harness is the parent of orphans (a subreaper), so whatever a run starts stays its descendant.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class CpuTime:
    """User and system time. [s]"""

    client: float
    others: float

    def __sub__(self, other: CpuTime) -> CpuTime:
        return CpuTime(self.client - other.client, self.others - other.others)


def cpu_s() -> CpuTime:
    """CPU time until now; of the others including that of children which ended and were waited for."""
    me = psutil.Process()
    own = me.cpu_times()
    others = own.children_user + own.children_system
    for process in psutil.Process(os.getppid()).children(recursive=True):
        if process.pid != me.pid:
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                others += times.user + times.system + times.children_user + times.children_system
    return CpuTime(own.user + own.system, others)
