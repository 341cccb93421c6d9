"""Workers, their calls and the builds ordered of them, as a manager's decisions see them."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field

from parsl_context.scheduling.lines import Holder, Lane, Line, Pair
from parsl_context.scheduling.node.events import MANAGERS_OWN, NodeTask, TemplateKey
from parsl_context.wire.messages import Digest, EnvironmentName, OrderId, TaskId, WorkerId


@dataclass(eq=False, slots=True)
class NodeCall:
    """A call on this node."""

    task: NodeTask
    line: WorkerLine
    since: float
    ahead: bool = False  # sent to a worker behind others: may be taken back
    waits: bool = True
    priority: float = 0.0  # calls arrive in the order in which they are to run

    @property
    def id(self) -> TaskId:
        return self.task.id


class WorkerLine(Line[NodeCall]):
    """The waiting calls of a lane on this node."""

    __slots__ = ("ahead", "coming", "environment")

    def __init__(self, lane: Lane, environment: EnvironmentName = MANAGERS_OWN) -> None:
        super().__init__(lane)
        self.environment = environment  # in which its calls run
        self.coming = 0  # workers that are being made ready for it
        self.ahead: OrderedDict[Worker, int] = OrderedDict()  # its calls that wait at workers behind others

    @property
    def is_anywhere(self) -> bool:
        """Whether its calls need no context that is kept."""
        return self.lane.is_anywhere

    def change_ahead(self, worker: Worker, change: int) -> None:
        """A call of the line waits at a worker, or does so no more."""
        count = self.ahead.get(worker, 0) + change
        if count:
            self.ahead[worker] = count
        else:
            self.ahead.pop(worker, None)


@dataclass(eq=False)
class Order:
    """One more instance that is to be built."""

    contexts: tuple[Digest, ...]
    number: OrderId | None = None  # of the interchange's, which waits to hear of its end; None: nobody asked for it


@dataclass(eq=False)
class Template:
    """A process that workers are forked from.

    Attributes
    ----------
    is_ready : bool
        Workers can be forked from it.
    kept_for : set of OrderId
        The orders that it was built for, until the first of their calls has come, or none will.
    """

    is_ready: bool = False
    kept_for: set[OrderId] = field(default_factory=set)


class Worker(Holder[Pair]):
    """A worker and the process that serves it now."""

    __slots__ = (
        "building", "environment", "failed", "fed_at", "fork_for", "fork_of", "held", "id", "inherited", "is_released",
        "kept_for", "leaving", "order", "resident", "revoked", "up", "used", "used_at",
    )  # fmt: skip

    def __init__(
        self,
        id: WorkerId,
        *,
        up: bool = False,
        inherited: frozenset[Digest] = frozenset(),
        environment: EnvironmentName = MANAGERS_OWN,
    ) -> None:
        super().__init__()
        self.id = id
        self.environment = environment  # that its process runs in, or the next one will
        self.up = up
        self.used = False  # something ran in this process
        self.held: deque[NodeCall] = deque()  # sent, oldest first; the first may be running
        self.resident: set[Digest] = set(inherited)
        self.inherited = inherited  # of those, what belongs to a template
        self.used_at: dict[Digest, float] = {}  # when the last call with a context ended
        self.leaving: set[Digest] = set()  # contexts that it gives up
        self.building: Digest | None = None
        self.order: Order | None = None  # what it is made ready for
        self.fork_of: TemplateKey | None = None  # the template that the next process comes from
        self.fork_for: WorkerLine | None = None  # the line that it is made ready for
        self.failed: set[Digest] = set()  # contexts that could not be built ahead of calls
        self.kept_for: Order | None = None  # it was built, and a call that it was built for comes before other orders
        self.is_released = False  # the first of those calls has come, or none will
        self.revoked = 0  # calls that it will skip and has not yet
        self.fed_at = 0.0  # when it was last sent a call, or ended one

    @property
    def is_idle(self) -> bool:
        """Whether it can start something at once."""
        return self.up and not self.held and self.building is None and self.order is None

    @property
    def is_spare(self) -> bool:
        """Whether it may be made ready for something else at once."""
        return self.kept_for is None and self.is_idle

    @property
    def kept(self) -> set[Digest]:
        """Instances of its own."""
        return self.resident - self.inherited
