"""What contexts take of a node's memory, and which to give up when room is needed. Numbers in, choices out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from parsl_context.scheduling.node.events import TemplateKey
from parsl_context.wire.messages import Digest, WorkerId

_LEAST_BUILD_S = 0.01  # no context is cheaper to build again than this. [s]


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
