"""The books of the interchange: managers, lines, calls and contexts. Rules read them, events change them.

`placement` decides on them, `state` keeps them as events come in. Nothing is decided here.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable

from parsl_context.scheduling.cluster.environments import Environments
from parsl_context.scheduling.cluster.events import Action
from parsl_context.scheduling.cluster.managers import Call, ClusterLine, Manager
from parsl_context.scheduling.cluster.registry import Record
from parsl_context.scheduling.lines import Lane
from parsl_context.scheduling.placement import Estimate, Floor
from parsl_context.wire.messages import Digest, EnvironmentName, ManagerId, TaskId


class ClusterBooks:
    """Who has what, where each call is, and what is due when.

    Parameters
    ----------
    home
        Environment of calls without contexts; None: the managers' own.
    begins_at_home
        Whether managers start that as they join, rather than for the first of these calls.
    """

    def __init__(self, home: EnvironmentName | None = None, *, begins_at_home: bool = True) -> None:
        self.managers: dict[ManagerId, Manager] = {}
        self.blocks: list[str] = []  # every block that connected, in order
        self.nodes: dict[str, Manager] = {}  # the session of each manager process
        self.calls: dict[TaskId, Call] = {}
        self.lines: dict[Lane, ClusterLine] = {}
        self.lines_of: dict[Digest, list[ClusterLine]] = {}  # that need a context
        self.records: dict[Digest, Record] = {}
        self.run: dict[Digest | None, Estimate] = {}
        self.environments = Environments(home, begins_at_home=begins_at_home)
        self.shortest = Floor()  # run time of any call, lately
        self.deadlines: list[tuple[float, int, Callable[[float], list[Action]]]] = []
        self.order = itertools.count()

    def next_deadline(self) -> float:
        """When `Tick` is due next; infinity if never."""
        return self.deadlines[0][0] if self.deadlines else math.inf

    @property
    def waiting(self) -> int:
        """Calls that no manager holds."""
        return sum(line.waiting for line in self.lines.values())

    def held_by(self, task: TaskId, manager: ManagerId) -> Call | None:
        """A call, if the manager holds it."""
        call = self.calls.get(task)
        return call if call is not None and call.pair is not None and call.pair.holder.id == manager else None

    def run_of(self, code: Digest | None) -> Estimate:
        """Run time of calls of one code."""
        estimate = self.run.get(code)
        if estimate is None:
            estimate = self.run[code] = Estimate()
        return estimate

    def at(self, time: float, call: Callable[[float], list[Action]]) -> None:
        """Have something decided at a time."""
        heapq.heappush(self.deadlines, (time, next(self.order), call))
