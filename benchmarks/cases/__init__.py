"""The registry of cases."""

from __future__ import annotations

from benchmarks.cases import arrays, calls, jobs, queue, start
from benchmarks.cases.base import Case

CASES: dict[str, Case] = {case.name: case for module in (calls, arrays, jobs, start, queue) for case in module.CASES}
