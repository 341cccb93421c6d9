"""What happens on a node, and what its manager can be told to do: events and actions of `state`.

Those on the way of each call are structs, which are made in a fraction of the time of a dataclass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from msgspec import Struct

from parsl_context.scheduling.lines import Lane
from parsl_context.wire.messages import Digest, EnvironmentName, OrderId, TaskId, WorkerId

# Contexts that a template builds, sorted: what names it.
TemplateKey: TypeAlias = tuple[Digest, ...]

MANAGERS_OWN = EnvironmentName("")


# --- events -----------------------------------------------------------------------------------------------------------


class NodeTask(Struct, frozen=True, kw_only=True, gc=False):
    """A call as the node sees it."""

    id: TaskId
    lane: Lane
    code: Digest | None  # calls of one code are expected to take the same time
    nodes: int = 0  # nodes of the block that the call needs for itself (MPI)


class TasksArrived(Struct, frozen=True, kw_only=True, gc=False):
    """Calls to run, in order."""

    tasks: list[NodeTask]


@dataclass(frozen=True, kw_only=True)
class ContextDeclared:
    """Calls may name this context from now on."""

    context: Digest
    is_shared: bool = False  # by the workers of the node, where that is possible
    size_bytes: int | None = None  # of one instance, as the user declared it
    is_pinned: bool = False  # given up only when the user asks for it
    is_isolated: bool = False  # calls run in forks of the process that holds it, and can be ended
    environment: EnvironmentName = MANAGERS_OWN  # in which alone it can be built
    is_environment_kept: bool = True  # else a process of it is made for each call


@dataclass(frozen=True, kw_only=True)
class LimitsSet:
    """What contexts may take of this node."""

    memory_bytes: int | None = None
    contexts_per_worker: int | None = None
    idle_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class WorkerReady:
    """A new process serves this worker; it holds what it has from the template it was forked from."""

    worker: WorkerId
    inherited: frozenset[Digest] = frozenset()
    environment: EnvironmentName = MANAGERS_OWN


@dataclass(frozen=True, kw_only=True)
class TemplateReady:
    """Workers can be forked from this template."""

    template: TemplateKey
    was_kept: bool = False  # from the session before: nobody has asked for it in this one


@dataclass(frozen=True, kw_only=True)
class TemplateLoaded:
    """A template built a context."""

    context: Digest
    load_s: float
    size_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class TemplateBroke:
    """A template could not build a context, and has ended."""

    template: TemplateKey
    context: Digest


@dataclass(frozen=True, kw_only=True)
class TemplateUnsafe:
    """A template must not be forked from since it built this context."""

    template: TemplateKey
    context: Digest


@dataclass(frozen=True, kw_only=True)
class TemplateEnded:
    """The process of a template that was ready has ended."""

    template: TemplateKey


class TaskEnded(Struct, frozen=True, kw_only=True, gc=False):
    """The oldest call of a worker has ended, well or not."""

    worker: WorkerId
    task: TaskId
    run_s: float


@dataclass(frozen=True, kw_only=True)
class LoadBegan:
    """A worker builds a context."""

    worker: WorkerId
    context: Digest


@dataclass(frozen=True, kw_only=True)
class LoadEnded:
    """A worker holds a context from now on."""

    worker: WorkerId
    context: Digest
    load_s: float | None  # None: it was told to build what it held already
    size_bytes: int = 0
    device_bytes: int = 0  # of the worker's accelerators
    device_limit_bytes: int | None = None  # that its contexts may take of them; None: none is in use


@dataclass(frozen=True, kw_only=True)
class LoadBroke:
    """A context function raised; `task`, the call that needed it, has left the worker."""

    worker: WorkerId
    context: Digest
    task: TaskId | None


@dataclass(frozen=True, kw_only=True)
class ContextsWorn:
    """A worker gives up what it has of a template's when its oldest call has ended; `ContextGone` follows for each."""

    worker: WorkerId
    contexts: list[Digest]


@dataclass(frozen=True, kw_only=True)
class ContextGone:
    """A worker no longer holds a context."""

    worker: WorkerId
    context: Digest
    kept_bytes: int = 0  # of its memory that did not return to the system


@dataclass(frozen=True, kw_only=True)
class WorkerEnded:
    """The process of a worker ended. Another will be announced by `WorkerReady`."""

    worker: WorkerId


@dataclass(frozen=True, kw_only=True)
class EnvironmentBegan:
    """An environment is fetched and unpacked, and its interpreter starts."""

    environment: EnvironmentName


@dataclass(frozen=True, kw_only=True)
class EnvironmentReady:
    """Processes are started in an environment at once from now on."""

    environment: EnvironmentName
    start_s: float


@dataclass(frozen=True, kw_only=True)
class EnvironmentGone:
    """An environment has to be started anew when it is needed."""

    environment: EnvironmentName


@dataclass(frozen=True, kw_only=True)
class EnvironmentBroke:
    """No process can be started in an environment now. Workers that were to have one get others."""

    environment: EnvironmentName


@dataclass(frozen=True, kw_only=True)
class TaskSkipped:
    """A worker came to a call that was taken back from it, and went on to the next."""

    worker: WorkerId
    task: TaskId


@dataclass(frozen=True, kw_only=True)
class TasksRevoked:
    """The worker will skip this many of its newest calls, which have not started (answer to `Revoke`)."""

    worker: WorkerId
    count: int


@dataclass(frozen=True, kw_only=True)
class TasksReclaimed:
    """The interchange wants these calls back, as far as they have not started."""

    tasks: list[TaskId]
    ends: bool = False  # or can be ended: nobody waits for them


@dataclass(frozen=True, kw_only=True)
class TaskStopped:
    """The oldest call of a worker was ended, or not begun, because nobody waits for it (answer to `Stop`)."""

    worker: WorkerId
    task: TaskId


@dataclass(frozen=True, kw_only=True)
class InstanceWanted:
    """Have one more worker hold these contexts together; answered by `SettleBuild`."""

    order: OrderId
    contexts: tuple[Digest, ...]


@dataclass(frozen=True, kw_only=True)
class OrderReleased:
    """The first of the calls that an order was made for has come, or none will (answer to `SettleBuild`)."""

    order: OrderId


@dataclass(frozen=True, kw_only=True)
class SharedExpired:
    """What templates hold of this context is too old; it is built anew when it is needed."""

    context: Digest


@dataclass(frozen=True, kw_only=True)
class BuildWanted:
    """Build this context on every worker, when it is idle."""

    context: Digest


@dataclass(frozen=True, kw_only=True)
class EvictionWanted:
    """Give up all instances of this context."""

    context: Digest


@dataclass(frozen=True, kw_only=True)
class Tick:
    """The time that `next_deadline` gave has come."""


@dataclass(frozen=True, kw_only=True)
class BlobForgotten:
    """Nobody will name this code or context again."""

    digest: Digest


@dataclass(frozen=True, kw_only=True)
class DrainBegan:
    """Take no more calls; give back those that have not started."""


Event: TypeAlias = (
    ContextDeclared
    | LimitsSet
    | EvictionWanted
    | Tick
    | TasksArrived
    | WorkerReady
    | TemplateReady
    | TemplateLoaded
    | TemplateBroke
    | TemplateUnsafe
    | TemplateEnded
    | TaskEnded
    | LoadBegan
    | LoadEnded
    | LoadBroke
    | ContextsWorn
    | ContextGone
    | WorkerEnded
    | EnvironmentBegan
    | EnvironmentReady
    | EnvironmentGone
    | EnvironmentBroke
    | TaskSkipped
    | TasksRevoked
    | TasksReclaimed
    | TaskStopped
    | InstanceWanted
    | OrderReleased
    | SharedExpired
    | BuildWanted
    | BlobForgotten
    | DrainBegan
)


# --- actions ----------------------------------------------------------------------------------------------------------


class Assign(Struct, frozen=True, kw_only=True, gc=False):
    """Send the call to the worker, after those sent before."""

    task: TaskId
    worker: WorkerId
    nodes: tuple[str, ...] = ()  # for this call alone
    is_ahead: bool = False  # behind calls that it holds already: it may be taken back


@dataclass(frozen=True, kw_only=True)
class Load:
    """Have the worker build the context."""

    worker: WorkerId
    context: Digest


@dataclass(frozen=True, kw_only=True)
class Replace:
    """End the process of the worker and start another, forked from a template if one is given."""

    worker: WorkerId
    template: TemplateKey | None = None
    environment: EnvironmentName = MANAGERS_OWN  # of the process, also if the template is gone


@dataclass(frozen=True, kw_only=True)
class Evict:
    """Have the worker end the instance of a context, after the calls it holds."""

    worker: WorkerId
    context: Digest


@dataclass(frozen=True, kw_only=True)
class StartTemplate:
    """Start a template and have it build these contexts."""

    template: TemplateKey
    environment: EnvironmentName = MANAGERS_OWN


@dataclass(frozen=True, kw_only=True)
class EndTemplate:
    """End the process of a template."""

    template: TemplateKey


@dataclass(frozen=True, kw_only=True)
class Revoke:
    """Take back up to this many of the calls that the worker holds and has not started, the newest first."""

    worker: WorkerId
    count: int


@dataclass(frozen=True, kw_only=True)
class Stop:
    """Have the worker end a call that runs in a fork, or is to, if it has not been taken back.

    Answered by `TaskStopped`, or by `TaskEnded` where the call has ended by then.
    """

    worker: WorkerId
    task: TaskId


@dataclass(frozen=True, kw_only=True)
class SettleBuild:
    """Tell the interchange that an order for one more instance ended, one way or another."""

    order: OrderId
    contexts: tuple[Digest, ...]


@dataclass(frozen=True, kw_only=True)
class RefuseBuild:
    """Tell the interchange that these contexts can never be held together here."""

    contexts: tuple[Digest, ...]
    reason: str


@dataclass(frozen=True, kw_only=True)
class RefuseOrdinary:
    """Tell the interchange that calls without contexts cannot run here now: their environment cannot be used.

    These, which waited for it, have not started.
    """

    tasks: list[TaskId]


@dataclass(frozen=True, kw_only=True)
class Lose:
    """The call may have run and has no outcome."""

    task: TaskId


@dataclass(frozen=True, kw_only=True)
class GiveBack:
    """These calls have not started and will not here. With `broken`: because that context could not be built."""

    tasks: list[TaskId]
    were_ended: bool = False  # they had started, and nobody waited for them
    broken: Digest | None = None


Action: TypeAlias = (
    Assign
    | Revoke
    | Stop
    | Load
    | Replace
    | Evict
    | StartTemplate
    | EndTemplate
    | SettleBuild
    | RefuseBuild
    | RefuseOrdinary
    | Lose
    | GiveBack
)
