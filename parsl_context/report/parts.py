"""What a run consists of, as a story tells it: blocks, managers, contexts and their builds, kinds of calls."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from parsl_context.report import records as r
from parsl_context.wire.messages import Digest, WorkerId

ENDED_STATES = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "MISSING"}  # of blocks: names of Parsl's `JobState`


@dataclass
class Block:
    """A block, as the provider and its managers tell."""

    id: str
    asked_at: float
    job: str = ""
    state: str = "PENDING"
    text: str = ""
    state_at: float = 0.0
    joined_at: float | None = None  # its first manager
    left_at: float | None = None  # its last manager


@dataclass
class Manager:
    """A manager and what its node has."""

    joined: r.ManagerJoined
    is_open: bool = True
    drains: bool = False
    left_at: float | None = None
    left_reason: str = ""
    held: dict[WorkerId, set[Digest]] = field(default_factory=dict)  # contexts, by worker
    templates: set[tuple[Digest, ...]] = field(default_factory=set)
    building: dict[tuple[Digest, WorkerId | None], float] = field(default_factory=dict)  # since when
    orders: dict[int, tuple[tuple[Digest, ...], float]] = field(default_factory=dict)  # builds, since when
    fetching: dict[str, float] = field(default_factory=dict)  # files, since when
    starting: dict[str, float] = field(default_factory=dict)  # environments, since when
    environments: set[str] = field(default_factory=set)  # that have been started
    calls: int = 0  # tasks that ended there
    busy_s: float = 0.0
    last_ended_at: float = 0.0

    @property
    def is_there(self) -> bool:
        """Whether it has not left."""
        return self.left_at is None

    @property
    def name(self) -> str:
        """Its host, for people."""
        return self.joined.host

    def warm(self, contexts: Iterable[Digest]) -> int:
        """Workers that hold all of these."""
        wanted = set(contexts)
        return sum(1 for held in self.held.values() if wanted <= held)

    def can_fork(self, contexts: Iterable[Digest]) -> bool:
        """Whether workers can be forked that have all of these."""
        wanted = set(contexts)
        return any(wanted <= set(key) for key in self.templates)

    def holds(self, context: Digest) -> int:
        """Instances of a context there: one if workers share it."""
        if any(context in key for key in self.templates):
            return 1
        return sum(1 for held in self.held.values() if context in held)


@dataclass
class Environment:
    """An environment, and what nodes took to start it."""

    source: str
    starts: int = 0
    start_s: float = 0.0  # total

    @property
    def usual_s(self) -> float | None:
        """What a start takes, as a mean. [s]"""
        return self.start_s / self.starts if self.starts else None


@dataclass
class Build:
    """A build that has ended."""

    at: float
    manager: int
    worker: WorkerId | None
    load_s: float
    size_bytes: int
    cause: str = ""  # why it had to be built again; nothing: it was the first there


@dataclass
class Context:
    """A context and what happened with it."""

    known: r.ContextKnown
    builds: list[Build] = field(default_factory=list)
    broken: r.BuildBroke | None = None  # the last failure, unless a build ended well since
    failures: int = 0
    evictions: int = 0
    losses: int = 0
    tasks: int = 0
    calls: int = 0
    run_s: float = 0.0
    notes: list[tuple[float, str]] = field(default_factory=list)
    dropped: dict[tuple[int, WorkerId | None], str] = field(default_factory=dict)  # where it was once, and why not now
    since: dict[tuple[int, WorkerId | None], float] = field(default_factory=dict)  # where it was built and is. [s]
    spans: list[tuple[float, float]] = field(default_factory=list)  # from when to when other instances were there. [s]

    _load_s: float = 0.0  # total
    _largest_bytes: int = 0

    def add(self, build: Build) -> None:
        """One more build has ended well."""
        self.builds.append(build)
        self._load_s += build.load_s
        self._largest_bytes = max(self._largest_bytes, build.size_bytes)

    def count_end(self, was_evicted: bool) -> None:
        """One instance was given up, or lost with its process."""
        if was_evicted:
            self.evictions += 1
        else:
            self.losses += 1

    @property
    def usual_s(self) -> float | None:
        """What a build takes, as a mean. [s]"""
        return self._load_s / len(self.builds) if self.builds else None

    @property
    def size_bytes(self) -> int:
        """Of one instance: the largest measured, or as declared."""
        return self._largest_bytes or self.known.memory_bytes or 0


@dataclass
class Kind:
    """Calls that do the same."""

    work: r.Work
    tasks: int = 0  # that ended
    calls: int = 0
    raised: int = 0
    run_s: float = 0.0
    longest_s: float = 0.0

    @property
    def mean_s(self) -> float | None:
        """Run time of a task. [s]"""
        return self.run_s / self.tasks if self.tasks else None
