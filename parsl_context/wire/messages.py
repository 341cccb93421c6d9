"""Every message that crosses a process boundary, one class each.

Four links, one tagged union per direction::

    executor ──ToInterchange──▶ interchange ──ToManager──▶ manager ──ToWorker──▶ worker
             ◀─FromInterchange─             ◀─FromManager─         ◀─FromWorker─

A message is a small typed header. User data (arguments, results, functions, contexts) follows in frames of its own
that stay opaque until the process that runs it: a `Payload` or a `Blob` in a header says how many frames belong to it.
`codec.py` turns messages into frames and back; nothing else knows the wire format.

Between hosts only durations travel, never instants: clocks of two machines are not comparable.

Parts of which a process may hold very many are no business of Python's garbage collector (`gc=False`): they hold
numbers, texts and bytes, so no cycle can go through them, and collections would take longer than the calls.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal, TypeAlias

from msgspec import Struct

from parsl_context.wire.bulk import BulkClosed as BulkClosed
from parsl_context.wire.bulk import BulkOpen as BulkOpen
from parsl_context.wire.bulk import BulkRoad as BulkRoad
from parsl_context.wire.ids import Digest as Digest
from parsl_context.wire.ids import EnvironmentName as EnvironmentName
from parsl_context.wire.ids import ManagerId as ManagerId
from parsl_context.wire.ids import OrderId as OrderId
from parsl_context.wire.ids import RequestId as RequestId
from parsl_context.wire.ids import TaskId as TaskId
from parsl_context.wire.ids import WorkerId as WorkerId
from parsl_context.wire.rows import ContextRow, FileOrigin
from parsl_context.wire.transfers import ChunkCame as ChunkCame
from parsl_context.wire.transfers import ChunkMissed as ChunkMissed
from parsl_context.wire.transfers import ContentGone as ContentGone
from parsl_context.wire.transfers import ContentWanted as ContentWanted
from parsl_context.wire.transfers import FileArrived as FileArrived
from parsl_context.wire.transfers import FileDropped as FileDropped
from parsl_context.wire.transfers import FileFound as FileFound
from parsl_context.wire.transfers import FileServing as FileServing
from parsl_context.wire.transfers import FileSought as FileSought
from parsl_context.wire.transfers import FileStranded as FileStranded
from parsl_context.wire.transfers import FileWanted as FileWanted
from parsl_context.wire.transfers import GetChunk as GetChunk
from parsl_context.wire.transfers import WithdrawChunk as WithdrawChunk

PROTOCOL_VERSION = 10


# --- parts of messages ------------------------------------------------------------------------------------------------


class Segment(Struct, frozen=True, array_like=True, gc=False):
    """A file in memory that the processes of a host share; it holds a stream and its buffers, see `segments.py`."""

    name: str
    sizes: tuple[int, ...]  # of the stream and its buffers, in order. [bytes]


class Shared(Struct, frozen=True, array_like=True, gc=False):
    """Buffers of a payload in a segment of their own, which other calls may name too."""

    segment: Segment
    places: tuple[int, ...]  # of its buffers among the stream and the buffers of the payload
    recurs: bool  # calls before this one had the same bytes


class Payload(Struct, frozen=True, array_like=True, gc=False):
    """A pickle stream with its out-of-band buffers.

    A short stream travels inside the header; otherwise `inline` is empty and the stream is the first frame. Within a
    host all of a large payload is in a `segment`, and no frame belongs to it. Buffers of arguments that are large, and
    so may be those of other calls, are left out of both and come back in from `shared`.
    """

    inline: bytes
    frames: int  # frames of the message that belong to this payload, in order
    segment: Segment | None = None
    shared: tuple[Shared, ...] = ()

    @property
    def segments(self) -> list[Segment]:
        """All that it names."""
        found = [shared.segment for shared in self.shared]
        return found if self.segment is None else [self.segment, *found]


AUTO_BATCH = 256  # calls in a batch at the most whose size is chosen


class Batch(Struct, frozen=True, array_like=True, gc=False):
    """A call may run together with others of its code and its contexts."""

    size: int | None  # calls at the most; None: chosen from what was measured
    wait_s: float = 0.0  # time that a call may wait for others while a worker is idle. [s]


class Task(Struct, frozen=True, array_like=True, gc=False):
    """One call, as the executor submits it."""

    id: TaskId
    code: Digest | None  # what to call; None when the payload carries its own code (`submit_payload`)
    contexts: tuple[Digest, ...]  # contexts that must be warm before the call
    payload: Payload
    fresh: bool = False  # run in a process of its own (reuse levels "none" and "disk")
    priority: float = float("inf")  # lower runs first, as in HTEX
    resources: dict[str, int | float | str] | None = None
    calls: int = 1  # of the body; more in a chunk of a map
    needs: tuple[Digest, ...] = ()  # headers of what its arguments are made of, where its code does not need it anyway
    batch: Batch | None = None


class Result(Struct, frozen=True, array_like=True, gc=False):
    """Outcome of a call that ran: what it returned or, with `ok` false, what it raised."""

    id: TaskId
    ok: bool
    payload: Payload
    run_s: float  # wall time of the body on the worker; of a batch, all of it is its first call's. [s]
    worker: WorkerId | None = None  # that ran it; None: it does not say


class Stretch(Struct, frozen=True, array_like=True, gc=False):
    """Part of a file that the script has."""

    url: str
    offset: int  # [bytes]
    size: int  # [bytes]


class Blob(Struct, frozen=True, array_like=True, gc=False):
    """Content sent once and named by its digest afterwards; one frame follows."""

    digest: Digest
    label: str  # name for people
    needs: tuple[Digest, ...] = ()  # content that it cannot be read without
    is_file: bool = False  # one of the user's modules; workers find it on the node's disk
    stretch: Stretch | None = None  # where it is as well; on other hosts than the script's the frame is empty then


class Environment(Struct, frozen=True, kw_only=True):
    """The software that a context is built with, where that is not the manager's own."""

    digest: Digest  # of its content; of a folder: of its path and state
    source: str  # path or address
    form: Literal["pack", "archive", "folder"]  # of `parsl-context pack`, of another program, or used where it is
    is_kept: bool  # once per node; else fetched and unpacked for every call

    @property
    def name(self) -> EnvironmentName:
        """By which the scheduler of a node knows it."""
        return EnvironmentName(self.digest if self.is_kept else f"{self.digest} for each call")


class ContextOptions(Struct, frozen=True, kw_only=True):
    """What the scheduler must know of a context; the context itself stays opaque."""

    name: str
    reuse: str  # level of reuse, see DESIGN section "Levels of reuse"
    requires: tuple[Digest, ...] = ()  # contexts that are arguments of this one
    memory_gb: float | None = None  # declared size of one instance. [GB]
    pinned: bool = False  # given up only when the user asks for it
    max_age_s: float | None = None  # time after which an instance that workers share is built anew. [s]
    build_timeout_s: float | None = None  # time that a build may take; None: what the executor says. [s]
    isolated: bool = False  # calls run in forks of the process that holds it
    environment: Environment | None = None  # whose interpreter builds it and runs its calls; None: the manager's


# --- what ended a call other than its body ----------------------------------------------------------------------------


class WorkerDied(Struct, frozen=True, kw_only=True, tag=True):
    """The process that ran the call, or built its context, died."""

    manager: ManagerId
    host: str
    block: str
    worker: WorkerId
    pid: int
    exit_code: int | None  # exit status, or None when a signal ended it
    signal: int | None


class ManagerGone(Struct, frozen=True, kw_only=True, tag=True):
    """The manager left or can no longer be reached."""

    manager: ManagerId
    host: str
    block: str
    reason: str


class Overdue(Struct, frozen=True, kw_only=True):
    """A build that took longer than it may: of the context in question, or of one that it requires."""

    name: str  # of the context
    timeout_s: float  # [s]


class BuildFailed(Struct, frozen=True, kw_only=True, tag=True):
    """A context could not be built: its function raised (`error`, one payload), its worker died (`died`), or it took
    longer than it may (`overdue`)."""

    context: Digest
    name: str
    manager: ManagerId
    host: str
    block: str
    attempts: int
    died: WorkerDied | None
    error: Payload | None
    overdue: Overdue | None = None


class Unservable(Struct, frozen=True, kw_only=True, tag=True):
    """The call asks for something that no worker of this executor can give."""

    reason: str


Cause: TypeAlias = WorkerDied | ManagerGone | BuildFailed | Unservable


# --- executor -> interchange ------------------------------------------------------------------------------------------


class StoreBlobs(Struct, frozen=True, kw_only=True, tag=True):
    """Content that later messages name by digest. Always sent before its first use on a link; one frame per blob."""

    blobs: list[Blob]


class DeclareContext(Struct, frozen=True, kw_only=True, tag=True):
    """A context that calls may name from now on. Its blob was stored before."""

    context: Digest
    options: ContextOptions
    size_bytes: int | None = None  # of one instance, as it was measured on another node. [bytes]


class SubmitTasks(Struct, frozen=True, kw_only=True, tag=True):
    """Calls to queue, in order."""

    tasks: list[Task]


class ForgetBlobs(Struct, frozen=True, kw_only=True, tag=True):
    """No later message names these; drop them, and evict those that are contexts."""

    digests: list[Digest]


class CancelTasks(Struct, frozen=True, kw_only=True, tag=True):
    """Nobody waits for these calls any more: drop those that have not started, wherever they are.

    Unless `only_waiting`, those that run in a process of their own (`isolation="call"`) are ended, too.

    Answered by `TasksCancelled` and `CancelsRefused`, not necessarily at once, for each that has no outcome before.
    """

    tasks: list[TaskId]
    only_waiting: bool = False


class WantContext(Struct, frozen=True, kw_only=True, tag=True):
    """Build this context on every worker, now and when managers join."""

    context: Digest


class ListManagers(Struct, frozen=True, kw_only=True, tag=True):
    """Ask for a `ManagerList`."""

    request: RequestId


class ListPackages(Struct, frozen=True, kw_only=True, tag=True):
    """Ask for a `PackageList`."""

    request: RequestId


class ListBlocks(Struct, frozen=True, kw_only=True, tag=True):
    """Ask for a `BlockList`."""

    request: RequestId


class ListContexts(Struct, frozen=True, kw_only=True, tag=True):
    """Ask for a `ContextList`."""

    request: RequestId


class GiveUpContext(Struct, frozen=True, kw_only=True, tag=True):
    """Give up all instances of this context everywhere, and build it ahead of calls no more. Answered by `Done`."""

    request: RequestId
    context: Digest


class HoldManager(Struct, frozen=True, kw_only=True, tag=True):
    """Send this manager no more tasks. Answered by `Done`."""

    request: RequestId
    manager: ManagerId


class BlocksEnded(Struct, frozen=True, kw_only=True, tag=True):
    """The jobs of these blocks are over, as the provider says: no manager of theirs is to go on."""

    blocks: dict[str, str]  # and what it says of them


class BlockLaunched(Struct, frozen=True, kw_only=True, tag=True):
    """The provider was asked for this block."""

    block: str
    job: str = ""  # its name of it


class BlocksSeen(Struct, frozen=True, kw_only=True, tag=True):
    """What the provider says of blocks, where it is new."""

    blocks: dict[str, tuple[str, str]]  # state, and why it waits or has ended


class CountUseful(Struct, frozen=True, kw_only=True, tag=True):
    """Of so many more blocks, how many would find calls to run? Answered by `Useful`."""

    request: RequestId
    blocks: int


class Quit(Struct, frozen=True, kw_only=True, tag=True):
    """The executor shuts down: tell the managers to leave, then end."""


ToInterchange: TypeAlias = (
    StoreBlobs
    | DeclareContext
    | SubmitTasks
    | ForgetBlobs
    | CancelTasks
    | WantContext
    | ListManagers
    | ListPackages
    | ListBlocks
    | ListContexts
    | GiveUpContext
    | HoldManager
    | BlocksEnded
    | BlockLaunched
    | BlocksSeen
    | CountUseful
    | FileFound
    | Quit
)


# --- interchange -> executor ------------------------------------------------------------------------------------------


class InterchangeReady(Struct, frozen=True, kw_only=True, tag=True):
    """First message of the interchange: it listens for managers."""

    worker_port: int
    segments: str | None = None  # proof that it shares the executor's segments


class Results(Struct, frozen=True, kw_only=True, tag=True):
    """Outcomes of calls that ran."""

    results: list[Result]


class TasksFailed(Struct, frozen=True, kw_only=True, tag=True):
    """Calls that ended without an outcome of their own."""

    tasks: list[TaskId]
    cause: Cause


class TasksCancelled(Struct, frozen=True, kw_only=True, tag=True):
    """Calls that nobody waits for, and that will not run."""

    tasks: list[TaskId]


class CancelsRefused(Struct, frozen=True, kw_only=True, tag=True):
    """Calls that were to be cancelled and have started, or even ended."""

    tasks: list[TaskId]


class ManagerRow(Struct, frozen=True, kw_only=True):
    """One manager, with the fields that HTEX gives in `connected_managers`."""

    manager: ManagerId
    block_id: str
    worker_count: int
    tasks: int
    idle_duration: float  # [s]
    active: bool
    draining: bool
    parsl_version: str
    python_version: str
    hostname: str
    rebuild_s: float  # time to build again what its workers hold. [s]


class ManagerList(Struct, frozen=True, kw_only=True, tag=True):
    """Answer to `ListManagers`."""

    request: RequestId
    managers: list[ManagerRow]


class PackageList(Struct, frozen=True, kw_only=True, tag=True):
    """Answer to `ListPackages`: distribution and version, by manager."""

    request: RequestId
    packages: dict[str, dict[str, str]]


class BlockList(Struct, frozen=True, kw_only=True, tag=True):
    """Answer to `ListBlocks`: every block that ever connected, in order."""

    request: RequestId
    blocks: list[str]


class ContextList(Struct, frozen=True, kw_only=True, tag=True):
    """Answer to `ListContexts`."""

    request: RequestId
    contexts: list[ContextRow]
    files: dict[ManagerId, list[FileOrigin]] = {}  # that came to each manager with the help of others


class Useful(Struct, frozen=True, kw_only=True, tag=True):
    """So many of the blocks that were asked about. Answer to `CountUseful`."""

    request: RequestId
    blocks: int


class News(Enum):
    """What the executor is told of a block."""

    SERVED = "served"  # a call has ended there
    OVER = "over"  # all its managers have ended because its time was over
    SUCCESSOR = "successor"  # another is wanted that takes its place


class BlockNews(Struct, frozen=True, kw_only=True, tag=True):
    """Something became of a block, or is to be done."""

    block: str
    news: News


class Done(Struct, frozen=True, kw_only=True, tag=True):
    """Answer to a request that has no other."""

    request: RequestId


class Notice(Struct, frozen=True, kw_only=True, tag=True):
    """Something that the user should know, for the executor's log."""

    text: str


class Said(Struct, frozen=True, kw_only=True, tag=True):
    """Lines that workers have printed, for the script. A packet in each frame, opaque on the way."""

    manager: ManagerId
    host: str
    lines: int  # in these packets
    dropped: int  # that were printed before, and for which there was no room


class VersionsDiffer(Struct, frozen=True, kw_only=True, tag=True):
    """A manager of other versions tried to join; the executor cannot go on."""

    interchange: str
    manager: str
    host: str
    block: str


FromInterchange: TypeAlias = (
    InterchangeReady
    | Results
    | TasksFailed
    | TasksCancelled
    | CancelsRefused
    | ManagerList
    | PackageList
    | BlockList
    | ContextList
    | Useful
    | Done
    | BlockNews
    | VersionsDiffer
    | Notice
    | Said
    | FileSought
)
Answer: TypeAlias = ManagerList | PackageList | BlockList | ContextList | Useful | Done


# --- interchange -> manager -------------------------------------------------------------------------------------------


class Limits(Struct, frozen=True, kw_only=True):
    """What contexts may take of a node."""

    memory_bytes: int | None = None  # of all instances together; None: a share of the node's memory
    contexts_per_worker: int | None = None
    idle_s: float | None = None  # time without calls after which an instance is given up. [s]
    cleanup_s: float = 5.0  # time that clean-ups have before their process is killed. [s]
    build_s: float | None = None  # time that builds may take before their process is killed; None: any. [s]


class Welcome(Struct, frozen=True, kw_only=True, tag=True):
    """The manager was accepted."""

    limits: Limits


class Refuse(Struct, frozen=True, kw_only=True, tag=True):
    """The manager was not accepted and must end."""

    reason: str


class Rejoin(Struct, frozen=True, kw_only=True, tag=True):
    """This manager was given up (its calls have failed); it may join anew under another identity."""


class ProbeReply(Struct, frozen=True, kw_only=True, tag=True):
    """Answer to `Probe`."""

    segments: str | None = None  # directory of the run's segments on the interchange's host
    echo: bool = False  # all that workers print goes to the script
    local: str | None = None  # name under which it listens there
    environment: Environment | None = None  # of calls without contexts; None: the manager's own
    begins_in_environment: bool = True  # workers begin in that


class Ping(Struct, frozen=True, kw_only=True, tag=True):
    """Sent to learn whether the link still stands; needs no answer."""


class HeartbeatReply(Struct, frozen=True, kw_only=True, tag=True):
    """Answer to `Heartbeat`."""


class RunTasks(Struct, frozen=True, kw_only=True, tag=True):
    """Calls to run on this node."""

    tasks: list[Task]
    mates: dict[TaskId, int] = {}  # so many of the calls that follow this one run with it, as a batch


class BuildContext(Struct, frozen=True, kw_only=True, tag=True):
    """Build this context on each worker as soon as it is idle."""

    context: Digest


class BuildInstance(Struct, frozen=True, kw_only=True, tag=True):
    """Have one more worker hold these contexts together; answered by `InstanceSettled`."""

    order: OrderId
    contexts: tuple[Digest, ...]


class ReleaseInstance(Struct, frozen=True, kw_only=True, tag=True):
    """Answer to `InstanceSettled`: the first of the calls that the instance was built for was sent, or none waits."""

    order: OrderId


class ReturnTasks(Struct, frozen=True, kw_only=True, tag=True):
    """Give back those of these calls that have not started: a worker elsewhere has nothing to do, or nobody waits."""

    tasks: list[TaskId]
    answers: bool = False  # name the others, too: `TasksKept`
    ends: bool = False  # nobody waits for them: end those that run in processes of their own, and give them back


class EvictContext(Struct, frozen=True, kw_only=True, tag=True):
    """Give up all instances of this context on this node; a call may build it again."""

    context: Digest


class Drain(Struct, frozen=True, kw_only=True, tag=True):
    """End as on SIGTERM: give back what has not started, let running calls finish for some seconds, clean up."""

    reason: str


class Shutdown(Struct, frozen=True, kw_only=True, tag=True):
    """End the workers, run clean-ups, leave."""

    reason: str


ToManager: TypeAlias = (
    Welcome
    | Refuse
    | Rejoin
    | ProbeReply
    | Ping
    | HeartbeatReply
    | StoreBlobs
    | DeclareContext
    | ForgetBlobs
    | RunTasks
    | ReturnTasks
    | BuildContext
    | BuildInstance
    | ReleaseInstance
    | EvictContext
    | FileFound
    | GetChunk
    | WithdrawChunk
    | FileStranded
    | ContentGone
    | BulkRoad
    | Drain
    | Shutdown
)


# --- manager -> interchange -------------------------------------------------------------------------------------------


class Probe(Struct, frozen=True, kw_only=True, tag=True):
    """Is an interchange at this address?"""


class Joined(Struct, frozen=True, kw_only=True, tag=True):
    """A manager joined and may be sent tasks. First message of every manager."""

    manager: ManagerId
    node: str  # the same through every rejoin of one manager process
    protocol: int
    block: str
    host: str
    slots: int  # workers that can each run one task
    prefetch: int | None  # tasks held beyond the slots; None: computed from the tasks' run time
    drain_in_s: float | None  # time until the manager wants to drain. [s]
    up_s: float  # time since the manager process started. [s]
    job_up_s: float  # and since its job did, as far as it can know. [s]
    pid: int
    python_version: str
    parsl_version: str
    packages: dict[str, str]
    os: str
    dir: str
    cpu_count: int
    total_memory: int  # [bytes]
    context_memory: int  # that contexts may take of it if the user does not say. [bytes]
    segments: str | None = None  # proof that it shares the run's segments; without one it is sent frames
    held: dict[WorkerId, list[Digest]] = {}  # contexts that workers kept from the session before
    templates: list[tuple[Digest, ...]] = []  # and those of the processes that workers can be forked from


class Heartbeat(Struct, frozen=True, kw_only=True, tag=True):
    """The manager lives."""


class ContextUp(Struct, frozen=True, kw_only=True, tag=True):
    """A worker holds a context."""

    context: Digest
    worker: WorkerId


class ContextLoaded(Struct, frozen=True, kw_only=True, tag=True):
    """A context was built on this node, by a worker or for all of them."""

    context: Digest
    load_s: float  # [s]
    size_bytes: int
    worker: WorkerId | None = None  # None: a process that workers are forked from


class ContextUnshareable(Struct, frozen=True, kw_only=True, tag=True):
    """A context that should be shared by the workers of this node cannot be; each builds its own."""

    context: Digest
    reason: str


class ContextDown(Struct, frozen=True, kw_only=True, tag=True):
    """A worker no longer holds a context."""

    context: Digest
    worker: WorkerId
    was_evicted: bool  # rather than lost with its process


class TemplateUp(Struct, frozen=True, kw_only=True, tag=True):
    """Any worker of this node can be forked from a process that holds these contexts."""

    contexts: tuple[Digest, ...]


class TemplateDown(Struct, frozen=True, kw_only=True, tag=True):
    """That process is there no longer."""

    contexts: tuple[Digest, ...]
    was_evicted: bool = False  # rather than lost with its process


class ContextBuilding(Struct, frozen=True, kw_only=True, tag=True):
    """A context is being built on this node."""

    context: Digest
    worker: WorkerId | None = None  # None: a process that workers are forked from


class ContextBroken(Struct, frozen=True, kw_only=True, tag=True):
    """A context could not be built; calls of this node that waited for it come back unstarted."""

    context: Digest
    returned: list[TaskId]
    died: WorkerDied | None
    error: Payload | None
    kinds: tuple[str, ...] = ()  # Python's own classes that the error belongs to, the narrowest first
    overdue: Overdue | None = None
    text: str = ""  # of the error, in a line


class BuildSlow(Struct, frozen=True, kw_only=True, tag=True):
    """A build takes much longer than it used to. Said once for each build."""

    context: Digest
    since_s: float  # [s]
    usual_s: float | None  # mean of the builds before; None: there was none. [s]
    timeout_s: float | None  # that it may take; None: any. [s]


class InstanceSettled(Struct, frozen=True, kw_only=True, tag=True):
    """What `BuildInstance` asked for is there, or will not be: this node does no more about it.

    What was built is given to no other order until `ReleaseInstance` comes.
    """

    order: OrderId
    contexts: tuple[Digest, ...]


class InstanceRefused(Struct, frozen=True, kw_only=True, tag=True):
    """These contexts can never be held together on this node."""

    contexts: tuple[Digest, ...]
    reason: str


class TasksReturned(Struct, frozen=True, kw_only=True, tag=True):
    """Calls that were not started here and will not be."""

    tasks: list[TaskId]
    were_ended: bool = False  # they had started, nobody waited for them, and they must run nowhere else


class TasksKept(Struct, frozen=True, kw_only=True, tag=True):
    """Of the calls that were to be given back: those that have started. All others follow or precede this."""

    tasks: list[TaskId]


class TaskRefused(Struct, frozen=True, kw_only=True, tag=True):
    """A call asks for more than this node can ever give."""

    task: TaskId
    reason: str


class EnvironmentStarting(Struct, frozen=True, kw_only=True, tag=True):
    """An environment is fetched and unpacked on this node, and its interpreter starts. Said again in a new session."""

    environment: EnvironmentName
    source: str  # path or address


class EnvironmentStarted(Struct, frozen=True, kw_only=True, tag=True):
    """Workers can be started in an environment at once from now on. Said again in a new session."""

    environment: EnvironmentName
    start_s: float  # time that it took. [s]


class EnvironmentGone(Struct, frozen=True, kw_only=True, tag=True):
    """An environment could not be started, or its zygote has died: it is started anew when it is needed."""

    environment: EnvironmentName


class OrdinaryRefused(Struct, frozen=True, kw_only=True, tag=True):
    """Calls without contexts cannot run on this node now, since their environment cannot be used; they come back."""

    returned: list[TaskId]
    reason: str  # a sentence


class WorkerFell(Struct, frozen=True, kw_only=True, tag=True):
    """A worker died; `task`, if any, may have run."""

    task: TaskId | None  # None: that it died; sent once, and first
    died: WorkerDied


class Monitoring(Struct, frozen=True, kw_only=True, tag=True):
    """A record for Parsl's monitoring, opaque; one frame."""


class Leaving(Struct, frozen=True, kw_only=True, tag=True):
    """The manager takes no more tasks; those sent all the same come back. `Shutdown` follows when it holds none."""

    reason: str


class Left(Struct, frozen=True, kw_only=True, tag=True):
    """The manager takes and answers nothing any more. Its workers clean up; then it says so, and ends."""

    reason: str


class CleanedUp(Struct, frozen=True, kw_only=True, tag=True):
    """Last message of a manager: the clean-ups of its contexts have ended, or have had their time."""


FromManager: TypeAlias = (
    Probe
    | Joined
    | Heartbeat
    | Results
    | ContextUp
    | ContextLoaded
    | ContextUnshareable
    | ContextDown
    | TemplateUp
    | TemplateDown
    | ContextBuilding
    | ContextBroken
    | BuildSlow
    | InstanceSettled
    | InstanceRefused
    | TasksReturned
    | TasksKept
    | TaskRefused
    | EnvironmentStarting
    | EnvironmentStarted
    | EnvironmentGone
    | OrdinaryRefused
    | WorkerFell
    | Monitoring
    | Said
    | FileServing
    | FileSought
    | FileWanted
    | ChunkCame
    | ChunkMissed
    | FileArrived
    | FileDropped
    | ContentWanted
    | BulkOpen
    | BulkClosed
    | Leaving
    | Left
    | CleanedUp
)


# --- manager <-> worker -----------------------------------------------------------------------------------------------


class RunTask(Struct, frozen=True, kw_only=True, tag=True):
    """One call to run, after those sent before; or a batch, whose first call it is."""

    task: Task
    mates: list[Task] = []  # the others
    nodes: tuple[str, ...] = ()  # nodes of the block that the call has for itself (MPI)
    is_ahead: bool = False  # may be taken back: the worker claims it before it starts it


class LoadContext(Struct, frozen=True, kw_only=True, tag=True):
    """Build this context now, ahead of any call. Answered by `Loaded`, `FoundLoaded` or `LoadFailed`."""

    context: Digest


class Exit(Struct, frozen=True, kw_only=True, tag=True):
    """Run clean-ups, then end."""


class DropContext(Struct, frozen=True, kw_only=True, tag=True):
    """End the instance of this context, after the calls sent before. Answered by `Unloaded`."""

    context: Digest


class StopTask(Struct, frozen=True, kw_only=True, tag=True):
    """Nobody waits for this call: end it if it runs in a fork, or is to. Answered by `TaskStopped`, or `TaskDone`."""

    task: TaskId


class GoOn(Struct, frozen=True, kw_only=True, tag=True):
    """Answer to `Unloading`: calls that are not to run there have been taken back."""


ToWorker: TypeAlias = StoreBlobs | ForgetBlobs | RunTask | LoadContext | DropContext | StopTask | GoOn | Exit


class WorkerUp(Struct, frozen=True, kw_only=True, tag=True):
    """A worker or a template is ready to be told what to do."""

    pid: int
    inherited: list[Digest]  # contexts that it has from the template it was forked from


class HookBegan(Struct, frozen=True, kw_only=True, tag=True):
    """First messages of a worker that is forked from a template: what is to run after a fork, for a context, runs."""

    pid: int
    context: Digest


class Unloading(Struct, frozen=True, kw_only=True, tag=True):
    """Said before `TaskDone`: the worker gives these contexts up as soon as that call has ended.

    It has them from a template, where others can have them. It claims no call until `GoOn` comes.
    """

    contexts: list[Digest]


class TaskDone(Struct, frozen=True, kw_only=True, tag=True):
    """The oldest call that this worker holds has ended."""

    result: Result


class BatchDone(Struct, frozen=True, kw_only=True, tag=True):
    """The oldest batch that this worker holds has ended: the outcomes of its calls, that of its first call last."""

    results: list[Result]


class TaskSkipped(Struct, frozen=True, kw_only=True, tag=True):
    """The worker came to a call that was taken back, and went on to the next."""

    task: TaskId


class TaskStopped(Struct, frozen=True, kw_only=True, tag=True):
    """The oldest call that this worker holds was ended, or not begun, because nobody waits for it."""

    task: TaskId


class LoadStarted(Struct, frozen=True, kw_only=True, tag=True):
    """The worker builds a context from now on; said again when what it requires has been built on the way."""

    context: Digest


class Loaded(Struct, frozen=True, kw_only=True, tag=True):
    """The worker built a context."""

    context: Digest
    load_s: float  # [s]
    size_bytes: int
    has_clean_up: bool = False  # there is something to do when it ends
    device_bytes: int = 0  # that it takes of the worker's accelerators, where that is known
    devices_total_bytes: int = 0  # that these have; 0: none is in use


class FoundLoaded(Struct, frozen=True, kw_only=True, tag=True):
    """The worker was told to build a context that it has built by then, on the way to another or for a call."""

    context: Digest


class LoadFailed(Struct, frozen=True, kw_only=True, tag=True):
    """A context function raised; `task`, the call that needed it, has not run. Or a hook did, before `WorkerUp`."""

    context: Digest
    task: TaskId | None
    error: Payload
    kinds: tuple[str, ...]  # Python's own classes that it belongs to, the narrowest first
    text: str = ""  # in a line


class NotForked(Struct, frozen=True, kw_only=True, tag=True):
    """The template could not fork this worker: the system has no room for a process now. Nothing else follows."""

    reason: str
    error: Payload
    kinds: tuple[str, ...]  # as in LoadFailed


class CleanUpBegan(Struct, frozen=True, kw_only=True, tag=True):
    """An instance of a context ends from now on: its clean-up runs, then its value goes."""

    context: Digest


class Unfit(Struct, frozen=True, kw_only=True, tag=True):
    """The worker cannot run its oldest call, another process could. It has started none of its calls, and will not."""

    reason: str


class Unloaded(Struct, frozen=True, kw_only=True, tag=True):
    """The worker no longer holds a context."""

    context: Digest
    kept_bytes: int  # memory of the instance that did not return to the system. [bytes]


class Freeze(Struct, frozen=True, kw_only=True, tag=True):
    """To a template: all is built, get ready to fork. Answered by `Frozen`."""


class Frozen(Struct, frozen=True, kw_only=True, tag=True):
    """A template can be forked from."""


class Unshareable(Struct, frozen=True, kw_only=True, tag=True):
    """A template built a context and must not be forked from since."""

    context: Digest
    reason: str


FromWorker: TypeAlias = (
    WorkerUp
    | HookBegan
    | Unloading
    | TaskDone
    | BatchDone
    | TaskSkipped
    | TaskStopped
    | LoadStarted
    | Loaded
    | FoundLoaded
    | LoadFailed
    | NotForked
    | CleanUpBegan
    | Unloaded
    | Unfit
    | Frozen
    | Unshareable
)
ToTemplate: TypeAlias = StoreBlobs | LoadContext | Freeze | Exit


# --- manager -> zygote, manager -> template ---------------------------------------------------------------------------


class ForkWorker(Struct, frozen=True, kw_only=True, tag=True):
    """Fork a worker; its ends of two socket pairs, for messages and for claims, come with this message."""

    worker: WorkerId
    environment: dict[str, str]
    cores: list[int] | None  # processor cores to run on
    segments: str | None = None  # directory for large results, if the interchange shares it
    echo: bool = False  # all that it prints goes to the script


class ForkTemplate(Struct, frozen=True, kw_only=True, tag=True):
    """Fork a template; its ends of two socket pairs, for messages and for requests to fork, come with this message."""

    echo: bool = False  # all that it prints goes to the script


ToZygote: TypeAlias = ForkWorker | ForkTemplate
