"""The figures of a report: one class for each table, and all of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from parsl_context.report.records import NO_WORKER
from parsl_context.wire.messages import Digest

SHARED = "shared"  # the process that workers of a node are forked from and share contexts with
UNKNOWN = "unknown"


def worker_word(number: int | None) -> int | str:
    """Of a build: the number of its worker, or that workers share it."""
    return SHARED if number is None or number == NO_WORKER else number


@dataclass
class ContextFigures:
    """A context, over the whole run."""

    name: str
    digest: Digest
    builds: int
    reloads: int  # builds where it was before
    build_s: float  # total. [s]
    mean_build_s: float | None  # [s]
    size_bytes: int
    evictions: int
    losses: int
    failures: int
    tasks: int
    calls: int
    run_s: float  # total, of its calls. [s]
    hit_rate: float | None  # share of tasks for which nothing was built
    saved_s: float  # time of workers, against a build for each task. [s]
    note: str = ""


@dataclass
class KindFigures:
    """Calls that do the same."""

    name: str
    contexts: str
    tasks: int
    calls: int
    raised: int
    run_s: float  # total. [s]
    mean_s: float | None  # of a task. [s]
    longest_s: float
    mean_wait_s: float | None  # until it was sent to a node. [s]
    code_bytes: int


@dataclass
class NodeFigures:
    """A manager and its node."""

    manager: str
    host: str
    block: str
    workers: int
    joined_s: float
    left_s: float | None
    reason: str
    tasks: int
    busy_s: float
    build_s: float
    use: float | None  # share of its workers' time in calls


@dataclass
class WorkerFigures:
    """A worker."""

    host: str
    manager: str
    worker: int | str  # on its node; a word where it is not one worker, see `worker_word`
    calls: int
    busy_s: float
    builds: int
    build_s: float


@dataclass
class BlockFigures:
    """A block."""

    block: str
    job: str
    state: str
    asked_s: float
    queue_s: float | None  # until its first manager joined. [s]
    left_s: float | None
    text: str


@dataclass
class BuildFigures:
    """A build that ended well."""

    context: str
    host: str
    worker: int | str  # as above
    ended_s: float
    load_s: float
    size_bytes: int
    cause: str  # of a reload


@dataclass
class CallFigures:
    """One of the slowest calls."""

    task: int
    name: str
    host: str
    worker: int | str  # as above
    started_s: float
    run_s: float
    waited_s: float


@dataclass
class TransferFigures:
    """A file that came to a node."""

    url: str
    host: str
    ended_s: float
    took_s: float
    chunks: str


@dataclass
class Totals:
    """The run in numbers."""

    label: str
    began_wall_s: float
    duration_s: float  # from the first thing that happened to the last. [s]
    is_complete: bool  # the interchange ended by itself
    end: str
    blocks: int
    nodes: int
    most_workers: int  # at a time
    tasks: int
    calls: int
    raised: int
    failed: int
    cancelled: int
    requeued: int
    run_s: float  # time of workers in calls. [s]
    build_s: float  # in builds. [s]
    available_s: float  # that there was. [s]
    slot_use: float | None  # share of it in calls
    builds: int
    reloads: int
    evictions: int
    build_failures: int
    dead_workers: int
    saved_s: float  # time of workers, against a build for each task. [s]
    calls_per_s: float | None
    median_wait_s: float | None
    missing_bytes: int  # of the log


@dataclass
class Report:
    """All of it."""

    totals: Totals
    contexts: list[ContextFigures]
    kinds: list[KindFigures]
    nodes: list[NodeFigures]
    workers: list[WorkerFigures]
    blocks: list[BlockFigures]
    builds: list[BuildFigures]
    slowest: list[CallFigures]
    transfers: list[TransferFigures]
    lines: dict[str, list[float | None]] = field(default_factory=dict)
    timeline: dict[str, Any] = field(default_factory=dict)
    advice: list[str] = field(default_factory=list)

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """Its tables, by name: rows as dictionaries."""
        names = ("contexts", "kinds", "nodes", "workers", "blocks", "builds", "slowest", "transfers")
        return {
            "totals": [asdict(self.totals)],
            **{name: [asdict(row) for row in getattr(self, name)] for name in names},
        }
