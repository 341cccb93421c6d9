"""What contexts take of a node's memory, and which to give up when room is needed. Numbers in, choices out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from parsl_context.scheduling.node.events import TemplateKey
from parsl_context.wire.messages import Digest, WorkerId

_LEAST_BUILD_S = 0.01  # no context is cheaper to build again than this. [s]
# So much a process may keep of what it freed. The allocator of glibc takes blocks up to this size from its heap, which
# shrinks only at its end: one of them that stays is usual, and the next build takes its place (mallopt(3),
# M_MMAP_THRESHOLD). The process that would come instead has the same to itself for its imports. [bytes]
_USUAL_BYTES = 32 << 20


@dataclass(frozen=True, kw_only=True)
class Holding:
    """An instance that could be given up: in a worker, or in a template (`worker` is None)."""

    context: Digest
    worker: WorkerId | None
    size_bytes: int
    idle_s: float  # since the last call that used it ended
    build_s: float  # time to build it again
    template: TemplateKey = ()  # that it is in


class Sizes:
    """How much memory one instance of each context takes, as measured, declared or guessed."""

    def __init__(self) -> None:
        self._measured: dict[Digest, int] = {}
        self._declared: dict[Digest, int] = {}

    def declare(self, context: Digest, size_bytes: int) -> None:
        """What the user said; counts until there is a measurement."""
        self._declared[context] = size_bytes

    def declared(self, context: Digest) -> int | None:
        """What the user said."""
        return self._declared.get(context)

    def measure(self, context: Digest, size_bytes: int) -> None:
        """What a build took. Of several builds the largest counts: what is loaded with the first looks free later."""
        self._measured[context] = max(size_bytes, self._measured.get(context, 0))

    def forget(self, context: Digest) -> None:
        """Nobody will name this context again."""
        self._measured.pop(context, None)
        self._declared.pop(context, None)

    def of(self, context: Digest) -> int:
        """Size to reckon with. A context that nothing is known of is taken to be as large as the largest known."""
        known = self._measured.get(context, self._declared.get(context))
        return max(self._measured.values(), default=0) if known is None else known


def is_worth_a_process(kept_bytes: int, size_bytes: int, others_bytes: int, spare_bytes: float) -> bool:
    """Whether a process that keeps memory of an instance it gave up should make way for another.

    Assumes that the other begins with nothing: what else this one holds would have to be built again. So it must keep
    more than is usual, and more than half of the instance; and more than its other instances take, or more than there
    is room for.

    Parameters
    ----------
    kept_bytes
        What did not return to the system.
    size_bytes
        What the instance took.
    others_bytes
        What the other instances take that the process holds.
    spare_bytes
        What is left of the node's budget, these included; infinity if there is none.
    """
    if kept_bytes <= max(_USUAL_BYTES, size_bytes // 2):
        return False
    return kept_bytes > others_bytes or kept_bytes > spare_bytes


def choose_victims(holdings: Iterable[Holding], needed_bytes: float) -> list[Holding] | None:
    """What to give up to gain this much; None if all of it would not do.

    Least recently used first, weighed by the time of a build: what takes ten times as long to build again may lie idle
    ten times as long. Ties go by context, then by worker.
    """
    ranked = sorted(
        holdings,
        key=lambda h: (-h.idle_s / max(h.build_s, _LEAST_BUILD_S), h.context, -1 if h.worker is None else h.worker),
    )
    chosen: list[Holding] = []
    gained = 0
    for holding in ranked:
        if gained >= needed_bytes:
            break
        if holding.size_bytes > 0:
            chosen.append(holding)
            gained += holding.size_bytes
    return chosen if gained >= needed_bytes else None


def least_valuable(holdings: Sequence[Holding]) -> Holding:
    """The first that `choose_victims` would take."""
    return min(holdings, key=lambda h: (-h.idle_s / max(h.build_s, _LEAST_BUILD_S), h.context))
