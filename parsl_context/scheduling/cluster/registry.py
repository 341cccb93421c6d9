"""What the interchange knows of each context: measured times and sizes, failed builds, what happened on which node."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from parsl_context.scheduling.cluster.retries import may_pass
from parsl_context.scheduling.placement import Estimate
from parsl_context.wire.messages import ContextOptions, EnvironmentName, ManagerId

BUILD_ATTEMPTS = 3  # builds of a context that may fail in a row before its calls fail
_FIRST_PAUSE_S = 0.2  # before the second attempt; doubles with each one
_LONGEST_PAUSE_S = 60.0


@dataclass(slots=True)
class OnNode:
    """What happened with a context on one manager."""

    loads: int = 0
    load_s: float = 0.0  # total
    size_bytes: int = 0
    evictions: int = 0
    calls: int = 0  # of lines that are no more; the others keep count themselves
    used_at: float | None = None  # by those
    built_at: float | None = None  # last
    note: str = ""


@dataclass(slots=True)
class Record:
    """A context in the registry."""

    options: ContextOptions
    build: Estimate = field(default_factory=Estimate)
    size_bytes: int = 0  # of one instance: the largest measured, or as declared
    failures: int = 0  # builds that failed since a worker last held what one made
    pause_until: float = -math.inf  # no build before this time
    given_up: bool = False  # calls fail at once until the pause is over
    wanted: bool = False
    environment: EnvironmentName | None = None  # it is built in, if nodes start one for it that they keep
    avoid: set[ManagerId] = field(default_factory=set)  # where the last builds failed
    unshared: set[ManagerId] = field(default_factory=set)  # where workers cannot share it
    nodes: dict[ManagerId, OnNode] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.declare(self.options)

    def declare(self, options: ContextOptions) -> None:
        """What the user says of it."""
        self.options = options
        named = options.environment
        self.environment = named.name if named is not None and named.is_kept else None
        if options.memory_gb is not None and not self.build.mean_s:
            self.size_bytes = int(options.memory_gb * 1e9)

    def on(self, manager: ManagerId) -> OnNode:
        """What happened on a manager."""
        node = self.nodes.get(manager)
        if node is None:
            node = self.nodes[manager] = OnNode()
        return node

    def is_shared(self, manager: ManagerId) -> bool:
        """Whether the workers of a manager share one instance."""
        return self.options.reuse == "node" and manager not in self.unshared

    def succeed(self, manager: ManagerId, load_s: float, size_bytes: int, now: float) -> None:
        """A build ended well; for workers that share it, it is yet to be seen whether it outlives a fork."""
        self.build.add(load_s)
        if not self.is_shared(manager):
            self.prove(manager)
        # Of several builds the largest counts: what is loaded with the first looks free to the next.
        measured = any(node.loads for node in self.nodes.values())
        self.size_bytes = max(size_bytes, self.size_bytes) if measured else size_bytes
        node = self.on(manager)
        node.loads += 1
        node.load_s += load_s
        node.size_bytes = size_bytes
        node.built_at = now

    def prove(self, manager: ManagerId) -> None:
        """A worker holds what was built."""
        if self.failures:
            self.failures = 0
            self.pause_until = -math.inf
            self.avoid.discard(manager)

    def fail(self, manager: ManagerId, now: float, kinds: tuple[str, ...] = ()) -> None:
        """A build failed; the next waits, longer each time. There is none for these calls if it would fail as well."""
        self.failures += 1
        self.avoid.add(manager)
        self.given_up = self.failures >= BUILD_ATTEMPTS or not (self._was_built or may_pass(kinds))
        counted = max(self.failures, BUILD_ATTEMPTS) if self.given_up else self.failures
        self.pause_until = now + min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** (counted - 1))

    @property
    def _was_built(self) -> bool:
        """Whether a build has ended well, so that the code is not what fails."""
        return self.build.mean_s is not None

    def end_pause(self) -> None:
        """Builds may be tried again."""
        self.pause_until = -math.inf
        if self.given_up:
            self.given_up = False
            self.failures = 0
            self.avoid.clear()

    def keep(self, manager: ManagerId, calls: int, used_at: float | None) -> None:
        """A line that needed the context is no more: it served so many calls there, the last at this time."""
        if used_at is not None:
            node = self.on(manager)
            node.calls += calls
            node.used_at = max(used_at, -math.inf if node.used_at is None else node.used_at)

    def lose(self, manager: ManagerId) -> None:
        """A manager is gone."""
        self.nodes.pop(manager, None)
        self.avoid.discard(manager)
        self.unshared.discard(manager)
