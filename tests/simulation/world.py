"""What a simulation is of: contexts, calls, managers that come and go, and how long things take."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from parsl_context.scheduling.batching import Joint
from parsl_context.scheduling.lines import Lane
from parsl_context.wire.messages import Digest, ManagerId


@dataclass(frozen=True)
class Content:
    """A context: what a build of it takes."""

    digest: Digest
    build_s: float  # the shortest that a build takes. [s]
    size_bytes: int = 0
    spread: float = 0.0  # each build takes `build_s` and an exponentially distributed time of this mean besides. [s]
    declared: bool = True  # whether the user said how large it is
    shared: bool = False  # built once per node by a template
    unsafe: bool = False  # a template that built it must not be forked from
    isolated: bool = False  # calls run in forks, and can be ended
    broken_builds: int = 0  # the first builds fail
    environment: str = ""  # that it is built in


@dataclass(frozen=True)
class Call:
    """One call of the user."""

    contexts: tuple[Digest, ...]
    run_s: float
    at_s: float = 0.0  # when it is made
    code: Digest | None = None
    fresh: bool = False
    priority: float = math.inf
    joint: Joint | None = None  # with what others it may run together, and
    fixed_s: float = 0.0  # the time that a batch takes besides that of its calls. [s]
    lane: Lane = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lane", Lane(tuple(sorted(self.contexts)), self.fresh, joint=self.joint))


@dataclass(frozen=True)
class Member:
    """A manager's life."""

    manager: ManagerId
    slots: int
    joins_s: float = 0.0
    leaves_s: float = math.inf  # when it is suddenly gone
    knows_end: bool = False  # it tells when it joins (a block's walltime)


@dataclass(frozen=True)
class Delays:
    """How long messages and processes take, one way. [s]"""

    link_s: float = 0.001  # between the interchange and a manager
    worker_s: float = 0.0001  # between a manager and a worker
    fork_s: float = 0.02  # until a worker's process is there


@dataclass(frozen=True)
class World:
    """Everything that a policy has no say in."""

    name: str
    contents: Sequence[Content]
    calls: Sequence[Call]
    members: Sequence[Member]
    memory_bytes: int | None = None  # that contexts may take of a node
    contexts_per_worker: int | None = None
    idle_s: float | None = None
    prefetch: int | None = None
    environments: Mapping[str, float] = field(default_factory=dict)  # what a node takes to start each. [s]
    home: str = ""  # environment of calls without contexts
    delays: Delays = field(default_factory=Delays)
    seed: int = 0

    @property
    def workers(self) -> int:
        """Workers of all managers that ever join."""
        return sum(member.slots for member in self.members)


class Builds:
    """Draws how long each build takes, and whether it fails; the same for every policy up to the order of builds."""

    def __init__(self, world: World) -> None:
        self.contents = {content.digest: content for content in world.contents}
        self._random = random.Random(world.seed)
        self._failed: dict[Digest, int] = {}

    def draw(self, context: Digest) -> tuple[float, bool]:
        """Time that a build takes, and whether there is an instance afterwards."""
        content = self.contents[context]
        seconds = content.build_s
        if content.spread:
            seconds += self._random.expovariate(1.0 / content.spread)
        failed = self._failed.get(context, 0)
        if failed < content.broken_builds:
            self._failed[context] = failed + 1
            return seconds, False
        return seconds, True

    def environment_of(self, contexts: Sequence[Digest]) -> str:
        """In which calls with these contexts run, if they need any."""
        return next((name for context in contexts if (name := self.contents[context].environment)), "")

    def size_of(self, context: Digest) -> int:
        """Memory that an instance takes."""
        return self.contents[context].size_bytes


Observer = Callable[[str, object], None]
