"""Whether there is an interchange to come back to, once a link broke. Decides; `InterchangeLink` looks and joins.

    link broke ──▶ Look ──▶ accepted ──▶ Join ──▶ welcome: the search is over
                    ▲ └▶ refused, silent, unreachable ──┐ └▶ dropped, silent
                    └───────────────────────────────────┴──────┘ until GiveUp

An interchange that died and a link that was cut must not be taken for each other. Where its host answers that nobody
listens, the run is over, and no process may outlive it. Where nobody answers, the link may come back, and the contexts
of this node are worth waiting for.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

# Who says no for so long is believed: a host that restarts its firewall says it for a moment, too. [s]
GONE_AFTER_S = 5.0
# Between two looks. [s]
LOOK_EVERY_S = 0.5
# A connection that was accepted has so long to become a session before another is tried: TCP takes long to go on after
# a cut that came in between, as it doubles its pauses. An interchange that is only busy says welcome earlier. [s]
WELCOME_WITHIN_S = 15.0


class Found(Enum):
    """What came of a look, or of the session that it led to."""

    ACCEPTED = "somebody accepts connections"  # the system does so even for an interchange that is stopped
    REFUSED = "nobody listens there"
    DROPPED = "no interchange of this run answers there"  # a connection failed or ended before the welcome
    SILENT = "nobody answered there"
    UNREACHABLE = "there was no way there"


@dataclass(frozen=True, kw_only=True)
class Look:
    """See who is at the address, after a while."""

    after_s: float


@dataclass(frozen=True, kw_only=True)
class Join:
    """Begin a session; if it is not welcome in time, it was SILENT."""

    within_s: float


@dataclass(frozen=True, kw_only=True)
class GiveUp:
    """There is no interchange any more."""

    reason: str


Next: TypeAlias = Look | Join | GiveUp


class Search:
    """Goes on while the interchange may be there.

    Assumes that only a host which is reached refuses. Whoever was refused, or let in and dropped, for `GONE_AFTER_S`
    with no silence in between gives up; whoever meets silence gives up when the search has lasted `limit_s`.

    Parameters
    ----------
    limit_s
        How long an interchange may be unheard of before it counts as lost. [s]
    now
        When the search begins. [s]
    """

    def __init__(self, limit_s: float, now: float) -> None:
        self._limit_s = limit_s
        self._until = now + limit_s
        self._denied_since: float | None = None

    def handle(self, found: Found, now: float) -> Next:
        """What to do next."""
        left_s = self._until - now
        if found is Found.ACCEPTED:
            return Join(within_s=max(0.0, min(WELCOME_WITHIN_S, left_s)))
        if found in (Found.REFUSED, Found.DROPPED):
            self._denied_since = now if self._denied_since is None else self._denied_since
            if now - self._denied_since >= GONE_AFTER_S:
                return GiveUp(reason=f"{found.value}, for {GONE_AFTER_S:g} s")
        else:
            self._denied_since = None
        if left_s <= 0:
            return GiveUp(reason=f"nothing was heard of the interchange for {self._limit_s:g} s, at last {found.value}")
        return Look(after_s=min(LOOK_EVERY_S, left_s))
