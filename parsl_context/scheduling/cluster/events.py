"""What happens in a pool of managers, and what the interchange can be told to do: events and actions of `state`.

Those on the way of each call are structs, which are made in a fraction of the time of a dataclass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TypeAlias

from msgspec import Struct

from parsl_context.scheduling.lines import Lane
from parsl_context.wire.messages import (
    ContextOptions,
    Digest,
    EnvironmentName,
    ManagerId,
    News,
    OrderId,
    TaskId,
    WorkerId,
)

# --- events -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ContextDeclared:
    """Calls may name this context from now on."""

    context: Digest
    options: ContextOptions


class TaskSubmitted(Struct, frozen=True, kw_only=True, gc=False):
    """A call came from the executor."""

    task: TaskId
    lane: Lane
    code: Digest | None = None
    priority: float = math.inf


@dataclass(frozen=True, kw_only=True)
class BatchesDue:
    """Those calls have come that came together: the ones among them that may run in batches can be placed."""


@dataclass(frozen=True, kw_only=True)
class TaskCancelled:
    """Nobody waits for this call. Answered by `ConfirmCancelled` or `RefuseCancel`, if it has no outcome before."""

    task: TaskId
    only_waiting: bool = False  # it goes on if it has started, rather than be ended where that can be


class TaskEnded(Struct, frozen=True, kw_only=True, gc=False):
    """A manager delivered the outcome of a call."""

    manager: ManagerId
    task: TaskId
    run_s: float
    calls: int = 1  # of the body, within this one


@dataclass(frozen=True, kw_only=True)
class TaskLost:
    """The worker of a call died while it ran the call, or its batch; the manager stays."""

    manager: ManagerId
    task: TaskId


@dataclass(frozen=True, kw_only=True)
class TasksReturned:
    """A manager gave back calls that it had not started."""

    manager: ManagerId
    tasks: list[TaskId]
    were_ended: bool = False  # they had started, and nobody waited for them


@dataclass(frozen=True, kw_only=True)
class TasksKept:
    """A manager does not give back these calls, which nobody waits for: they have started there."""

    manager: ManagerId
    tasks: list[TaskId]


@dataclass(frozen=True, kw_only=True)
class ManagerJoined:
    """A manager may be sent calls."""

    manager: ManagerId
    node: str
    block: str
    slots: int
    prefetch: int | None = None  # calls held beyond the slots; None: computed
    drain_in_s: float | None = None  # time until it takes no more calls; None: never. [s]
    ends_in_s: float | None = None  # time until its block ends with all that runs there; None: unknown. [s]
    walltime_s: float | None = None  # of its block, from beginning to end. [s]
    up_s: float = 0.0  # time since its process began. [s]
    memory_bytes: int | None = None  # that contexts may take there; None: unknown. [bytes]
    contexts_per_worker: int | None = None  # that one worker keeps there; None: any number
    held: dict[WorkerId, list[Digest]] = field(default_factory=dict)  # contexts that workers kept from before
    templates: list[tuple[Digest, ...]] = field(default_factory=list)  # and those that workers can be forked with


class ManagerContact(Struct, frozen=True, kw_only=True, gc=False):
    """Something arrived from a manager."""

    manager: ManagerId


@dataclass(frozen=True, kw_only=True)
class ManagerHeld:
    """The executor wants this manager to get no more calls."""

    manager: ManagerId


@dataclass(frozen=True, kw_only=True)
class ManagerLeaving:
    """The manager finishes what runs and takes no more."""

    manager: ManagerId


@dataclass(frozen=True, kw_only=True)
class ManagerLeft:
    """The manager ended, or its link did."""

    manager: ManagerId
    reason: str


@dataclass(frozen=True, kw_only=True)
class BlockEnded:
    """The job of this block is over, as the provider says; what is left of it ought not to be there."""

    block: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class BlockLaunched:
    """The executor has asked its provider for a block."""

    block: str


@dataclass(frozen=True, kw_only=True)
class ManagerEnded:
    """A manager that was told to end has run its clean-ups, or is gone."""

    manager: ManagerId


@dataclass(frozen=True, kw_only=True)
class BuildBegan:
    """A context is being built on a node, by a worker or for all of them."""

    manager: ManagerId
    context: Digest


@dataclass(frozen=True, kw_only=True)
class BuildEnded:
    """A context was built on a node."""

    manager: ManagerId
    context: Digest
    load_s: float
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class ContextHeld:
    """A worker holds a context."""

    manager: ManagerId
    worker: WorkerId
    context: Digest


@dataclass(frozen=True, kw_only=True)
class TemplateHeld:
    """Any worker of a node can be forked from a process that holds these contexts."""

    manager: ManagerId
    contexts: tuple[Digest, ...]


@dataclass(frozen=True, kw_only=True)
class TemplateGone:
    """That process is there no longer."""

    manager: ManagerId
    contexts: tuple[Digest, ...]
    was_evicted: bool = False  # rather than lost with its process


@dataclass(frozen=True, kw_only=True)
class ContextNoted:
    """There is something that users should know of a context on a node."""

    manager: ManagerId
    context: Digest
    note: str
    is_shared: bool = True  # by the workers there, if it should be


@dataclass(frozen=True, kw_only=True)
class BuildBroke:
    """A worker could not build a context; calls that waited for it came back."""

    manager: ManagerId
    context: Digest
    tasks: list[TaskId]
    kinds: tuple[str, ...] = ()  # Python's own classes that the error belongs to; none if it was no error


@dataclass(frozen=True, kw_only=True)
class BuildSettled:
    """An order to build ended: its worker holds the contexts, or will not."""

    manager: ManagerId
    order: OrderId
    contexts: tuple[Digest, ...]


@dataclass(frozen=True, kw_only=True)
class BuildRefused:
    """These contexts can never be held together on this manager's node."""

    manager: ManagerId
    contexts: tuple[Digest, ...]
    reason: str


@dataclass(frozen=True, kw_only=True)
class EnvironmentBegan:
    """A manager fetches and unpacks an environment, and starts its interpreter."""

    manager: ManagerId
    environment: EnvironmentName
    source: str  # path or address


@dataclass(frozen=True, kw_only=True)
class EnvironmentReady:
    """Processes are started in an environment at once there, from now on."""

    manager: ManagerId
    environment: EnvironmentName
    start_s: float


@dataclass(frozen=True, kw_only=True)
class EnvironmentGone:
    """An environment could not be started there, or would have to be started anew."""

    manager: ManagerId
    environment: EnvironmentName


@dataclass(frozen=True, kw_only=True)
class OrdinaryRefused:
    """Calls without contexts cannot run on this manager now; those that waited there come back unstarted."""

    manager: ManagerId
    tasks: list[TaskId]
    reason: str


@dataclass(frozen=True, kw_only=True)
class ContextGone:
    """A worker no longer holds a context."""

    manager: ManagerId
    worker: WorkerId
    context: Digest
    was_evicted: bool = False  # rather than lost with its process


@dataclass(frozen=True, kw_only=True)
class ContextWanted:
    """Build this context everywhere, ahead of calls."""

    context: Digest


@dataclass(frozen=True, kw_only=True)
class EvictionWanted:
    """Give up all instances of this context, and build it ahead of calls no more."""

    context: Digest


@dataclass(frozen=True, kw_only=True)
class BlobForgotten:
    """Nobody will name this code or context again."""

    digest: Digest


@dataclass(frozen=True, kw_only=True)
class Tick:
    """The time that `next_deadline` gave has come."""


Event: TypeAlias = (
    ContextDeclared
    | TaskSubmitted
    | BatchesDue
    | TaskCancelled
    | TaskEnded
    | TaskLost
    | TasksReturned
    | TasksKept
    | ManagerJoined
    | ManagerContact
    | ManagerHeld
    | ManagerLeaving
    | ManagerLeft
    | BlockEnded
    | BlockLaunched
    | ManagerEnded
    | BuildBegan
    | BuildEnded
    | ContextHeld
    | TemplateHeld
    | TemplateGone
    | ContextNoted
    | BuildBroke
    | BuildSettled
    | BuildRefused
    | EnvironmentBegan
    | EnvironmentReady
    | EnvironmentGone
    | OrdinaryRefused
    | ContextGone
    | ContextWanted
    | EvictionWanted
    | BlobForgotten
    | Tick
)


# --- actions ----------------------------------------------------------------------------------------------------------


class SendTask(Struct, frozen=True, kw_only=True, gc=False):
    """Send the call to the manager, with those that run with it as a batch."""

    task: TaskId
    manager: ManagerId
    mates: tuple[TaskId, ...] = ()


@dataclass(frozen=True, kw_only=True)
class OrderBuild:
    """Have one more worker of the manager build these contexts; answered by `BuildSettled`."""

    order: OrderId
    contexts: tuple[Digest, ...]
    manager: ManagerId


@dataclass(frozen=True, kw_only=True)
class ReleaseBuild:
    """Tell the manager that what it built for an order has been sent its first call, or that none waits for it."""

    order: OrderId
    manager: ManagerId


@dataclass(frozen=True, kw_only=True)
class TakeBack:
    """Have the manager return those of these calls that have not started, and if `answers` name the others."""

    tasks: list[TaskId]
    manager: ManagerId
    answers: bool = False
    ends: bool = False  # those that run in processes of their own are ended and returned, too


@dataclass(frozen=True, kw_only=True)
class ConfirmCancelled:
    """These calls will not run, or were ended."""

    tasks: list[TaskId]


@dataclass(frozen=True, kw_only=True)
class RefuseCancel:
    """These calls have started, or even ended."""

    tasks: list[TaskId]


@dataclass(frozen=True, kw_only=True)
class SendBuild:
    """Tell the manager to build the context on its workers."""

    context: Digest
    manager: ManagerId


@dataclass(frozen=True, kw_only=True)
class SendEviction:
    """Tell the manager to give up all instances of the context."""

    context: Digest
    manager: ManagerId


@dataclass(frozen=True, kw_only=True)
class DrainManager:
    """Have the manager return what has not started, let what runs finish for a while, and end."""

    manager: ManagerId
    reason: str


@dataclass(frozen=True, kw_only=True)
class StopManager:
    """Tell the manager to end; it holds no calls."""

    manager: ManagerId
    reason: str


@dataclass(frozen=True, kw_only=True)
class NoteRequeued:
    """These calls may have run on a manager that is gone, and wait again: the user allows it."""

    tasks: list[TaskId]
    manager: ManagerId
    reason: str


@dataclass(frozen=True, kw_only=True)
class FailTasks:
    """These calls may have run on a manager that is gone."""

    tasks: list[TaskId]
    manager: ManagerId
    reason: str


@dataclass(frozen=True, kw_only=True)
class FailBuild:
    """These calls cannot run: their context was tried `attempts` times."""

    tasks: list[TaskId]
    context: Digest
    attempts: int


@dataclass(frozen=True, kw_only=True)
class FailUnservable:
    """These calls ask for what no manager can give."""

    tasks: list[TaskId]
    reason: str


@dataclass(frozen=True, kw_only=True)
class BlockNews:
    """Tell the executor of a block."""

    block: str
    news: News


Action: TypeAlias = (
    SendTask
    | OrderBuild
    | ReleaseBuild
    | TakeBack
    | ConfirmCancelled
    | RefuseCancel
    | SendBuild
    | SendEviction
    | DrainManager
    | StopManager
    | NoteRequeued
    | FailTasks
    | FailBuild
    | FailUnservable
    | BlockNews
)
