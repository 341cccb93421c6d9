"""What the event log of a run holds, one class for each kind of record.

Times are seconds since the interchange began, by its monotonic clock; `Began` has the wall time of that moment. Of a
call the interchange knows when it was submitted, when it sent it to its manager, when it heard that the call has ended,
and how long it ran. When it started is reconstructed: its run time before it was heard of, or before the next call of
its worker started if that is earlier, since results travel together. It cannot have started earlier than it was sent,
so the error of its start is at most `held_s - run_s`; its place among the calls of its worker is exact.

Calls are many, so their records are rows of fixed width in one record, see `EndedRow` and `PendingRow`. A call that has
ended is written once. One that waits or runs as the log is written is written as that, too: so the log says at any time
what every call was doing, and a call that is short costs one row.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntFlag
from typing import NamedTuple, TypeAlias

from msgspec import Struct

from parsl_context.wire.ids import Digest, ManagerId, TaskId, WorkerId

LOG_VERSION = 1
NO_WORKER = 0xFFFF  # in rows: it is not known which

ended_row = struct.Struct("<dIIIHBIfff")
pending_row = struct.Struct("<IIIIddd")


class Flag(IntFlag):
    """What there is to say of a call that has ended."""

    RAISED = 1
    FRESH = 2  # in a process of its own, so that contexts were built for it
    FAILED = 4  # without an outcome of its own: its worker, manager or context was lost


class EndedRow(NamedTuple):
    """A call that has ended; 39 bytes, little-endian: `ended_row`."""

    ended_at: float  # when it was heard of. [s]
    task: int
    what: int  # `Work.number`
    manager: int  # `ManagerJoined.number`
    worker: int  # on that node; `NO_WORKER`: unknown
    flags: int
    calls: int  # of the body: more than 1 in a chunk of a map
    run_s: float  # [s]
    held_s: float  # from when it was sent to a manager; of that, `run_s` on the worker. [s]
    since_s: float  # from when it was submitted. [s]


class PendingRow(NamedTuple):
    """Calls that wait, or one that a manager holds; 40 bytes, little-endian: `pending_row`."""

    task: int  # the first
    size: int  # so many of consecutive numbers, all alike
    what: int
    manager: int  # 0: they wait
    submitted_at: float  # [s]
    sent_at: float  # to the manager. [s]
    priority: float  # lower runs first; infinity: the user gave none


class Began(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """First record of each segment of the log."""

    version: int
    label: str  # of the executor
    wall_s: float  # wall time at which its clock was 0, since 1970. [s]
    pid: int
    host: str
    run_id: str | None = None
    every_s: float = 0.5  # time between two writes. [s]
    software: dict[str, str] = {}
    reuse: str = "memory"  # of contexts that do not say it themselves
    max_blocks: float | None = None
    requeue_lost: int = 0
    memory_bytes: int | None = None  # that contexts may take on a node, as the user says. [bytes]
    contexts_per_worker: int | None = None
    walltime_s: float | None = None  # of a block. [s]
    environment: str = ""  # of calls without contexts; nothing: the managers' own


class Work(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """What calls do, by a number: their code, and the contexts that they need."""

    number: int
    name: str
    contexts: tuple[Digest, ...] = ()
    fresh: bool = False
    batch: int | None = None  # calls that may run together; 0: the size is chosen
    batch_wait_s: float = 0.0  # time that they may wait for others. [s]
    code_bytes: int = 0  # of what was sent of it, captured values included. [bytes]


class ContextKnown(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """A context that calls may need from now on."""

    at: float
    context: Digest
    name: str
    reuse: str
    requires: tuple[Digest, ...] = ()
    memory_bytes: int | None = None  # as declared. [bytes]
    pinned: bool = False
    code_bytes: int = 0  # of what was sent to make it, captured values included. [bytes]
    environment: str = ""  # name of the one that it is built in; nothing: the managers' own


class BlockSeen(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """What the provider says of a block."""

    at: float
    block: str
    state: str  # a name of Parsl's `JobState`
    job: str = ""  # the provider's name of it
    text: str = ""  # why it waits or ended, if it is known


class ManagerJoined(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """A manager may be sent calls."""

    at: float
    number: int
    manager: ManagerId
    block: str
    host: str
    slots: int
    memory_bytes: int | None = None  # that contexts may take there. [bytes]
    up_s: float = 0.0  # since its process began. [s]
    ends_in_s: float | None = None  # time that its block has left. [s]
    held: dict[WorkerId, list[Digest]] = {}


class ManagerClosed(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """A manager takes no more calls: it is held for the end of its block, or drains."""

    at: float
    manager: int
    drains: bool = False


class ManagerLeft(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """A manager is gone."""

    at: float
    manager: int
    reason: str


class BuildOrdered(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """A manager was told to have one more worker hold these contexts."""

    at: float
    manager: int
    order: int
    contexts: tuple[Digest, ...]


class OrderEnded(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """That manager does no more about an order."""

    at: float
    manager: int
    order: int


class BuildBegan(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """A worker, or a process that workers are forked from, builds a context."""

    at: float
    manager: int
    context: Digest
    worker: WorkerId | None = None  # None: a process that workers are forked from


class BuildEnded(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """A context was built."""

    at: float
    manager: int
    context: Digest
    load_s: float  # [s]
    size_bytes: int = 0
    worker: WorkerId | None = None


class BuildBroke(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """A context could not be built."""

    at: float
    manager: int
    context: Digest
    reason: str
    failures: int  # in a row
    barred_s: float  # time until it may be tried again. [s]
    given_up: bool = False  # calls fail at once until then


class Held(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """A worker holds a context."""

    at: float
    manager: int
    context: Digest
    worker: WorkerId


class Dropped(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """A worker no longer holds a context."""

    at: float
    manager: int
    context: Digest
    worker: WorkerId
    was_evicted: bool = False  # rather than lost with its process


class TemplateHeld(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Workers of a node can be forked from a process that holds these contexts, or no longer."""

    at: float
    manager: int
    contexts: tuple[Digest, ...]
    is_gone: bool = False
    was_evicted: bool = False  # rather than lost with its process


class Noted(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """There is something that users should know of a context on a node."""

    at: float
    manager: int
    context: Digest
    text: str


class Refused(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """These contexts can never be held together on a node."""

    at: float
    manager: int
    contexts: tuple[Digest, ...]
    reason: str


class EnvironmentBegan(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """A node fetches and unpacks an environment, and starts its interpreter."""

    at: float
    manager: int
    environment: str
    source: str  # path or address


class EnvironmentEnded(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """An environment was started on a node, or could not be, or has to be started anew."""

    at: float
    manager: int
    environment: str
    start_s: float | None = None  # None: it is not there. [s]


class WorkerDied(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """A worker died."""

    at: float
    manager: int
    worker: WorkerId
    reason: str


class FileCame(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """A file of a context is on the disk of a node."""

    at: float
    manager: int
    url: str
    took_s: float  # [s]
    chunks: dict[str, int] = {}  # by where they came from


class FileSought(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """A node wants a file of a context from others."""

    at: float
    manager: int
    url: str


class CallsEnded(Struct, frozen=True, kw_only=True, tag=True):
    """Calls that have ended: rows, see `EndedRow`."""

    rows: bytes

    def unpack(self) -> Iterator[EndedRow]:
        """Its rows."""
        return map(EndedRow._make, ended_row.iter_unpack(self.rows))


class CallsPending(Struct, frozen=True, kw_only=True, tag=True):
    """Calls that wait, or are in the hands of a manager: rows, see `PendingRow`."""

    at: float
    rows: bytes

    def unpack(self) -> Iterator[PendingRow]:
        """Its rows."""
        return map(PendingRow._make, pending_row.iter_unpack(self.rows))


class CallsReturned(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Calls that a manager held wait again."""

    at: float
    tasks: list[TaskId]
    reason: str = ""  # if they were lost with a manager, and may have run


class CallsCancelled(Struct, frozen=True, kw_only=True, tag=True):
    """Calls that nobody waits for, and that will not run."""

    at: float
    tasks: list[TaskId]


class CallsFailed(Struct, frozen=True, kw_only=True, tag=True):
    """Calls that have ended without an outcome of their own."""

    at: float
    tasks: list[TaskId]
    reason: str


class Bin(NamedTuple):
    """Calls that have ended in one interval, on one worker, and that do the same."""

    interval: int
    what: int
    manager: int
    worker: int
    tasks: int
    calls: int
    raised: int
    run_s: float  # total, of what lies in the interval or before. [s]
    held_s: float  # total. [s]
    since_s: float  # total. [s]
    longest_s: float  # run time. [s]


class CallsBinned(Struct, frozen=True, kw_only=True, tag=True):
    """What a segment has of calls that have ended, once it is shrunk."""

    from_at: float
    interval_s: float
    bins: list[Bin]
    tasks: list[tuple[int, int]]  # numbers of these calls, as ranges: first and last


class Waiting(NamedTuple):
    """Calls that wait and do the same, as they are at one time."""

    what: int
    size: int
    first: int  # whose turn comes next
    since: float  # it was submitted. [s]
    priority: float


class Pulse(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """How many calls wait and run. Written about once a second while there are any."""

    at: float
    waiting: int
    held: int
    lines: list[Waiting] = []  # the longest
    left: int = 0  # calls that the lines beyond those have


class Gap(Struct, frozen=True, kw_only=True, tag=True):
    """The disk was too slow: so many bytes of records are missing here."""

    at: float
    size_bytes: int


class Ended(Struct, frozen=True, kw_only=True, tag=True):
    """The interchange ended. Without this it was killed."""

    at: float
    reason: str


Record: TypeAlias = (
    Began
    | Work
    | ContextKnown
    | BlockSeen
    | ManagerJoined
    | ManagerClosed
    | ManagerLeft
    | BuildOrdered
    | OrderEnded
    | BuildBegan
    | BuildEnded
    | BuildBroke
    | Held
    | Dropped
    | TemplateHeld
    | Noted
    | Refused
    | EnvironmentBegan
    | EnvironmentEnded
    | WorkerDied
    | FileCame
    | FileSought
    | CallsEnded
    | CallsPending
    | CallsReturned
    | CallsCancelled
    | CallsFailed
    | CallsBinned
    | Pulse
    | Gap
    | Ended
)
