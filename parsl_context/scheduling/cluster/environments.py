"""The environments of managers, as the interchange knows them: which has started which, and what a start takes.

A worker that changes to an environment which its node has not started waits for that: it is fetched, unpacked, and its
interpreter starts. That is reckoned with as a build is, before every build of its contexts.

Calls without contexts have an environment, too (`home`), if the user says so. A manager is sent them once it has
started that. One that cannot is sent none for a while, longer each time, and others are; if there are no others, calls
fail at once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from parsl_context.scheduling.cluster.managers import Manager
from parsl_context.scheduling.lines import CHOICES
from parsl_context.scheduling.start_times import StartTimes
from parsl_context.wire.messages import EnvironmentName, ManagerId

_FIRST_PAUSE_S = 1.0  # before calls without contexts are sent again to a manager that refused them; doubles each time
_LONGEST_PAUSE_S = 60.0


class Environments:
    """Books of what managers have started, and of who takes calls without contexts.

    Parameters
    ----------
    home
        Environment of calls without contexts; None: the managers' own.
    begins_at_home
        Whether managers start that as they join, rather than for the first of these calls.
    """

    def __init__(self, home: EnvironmentName | None = None, *, begins_at_home: bool = True) -> None:
        self._home = home
        self._begins_at_home = begins_at_home
        self._starts = StartTimes()
        self._ready: dict[EnvironmentName, OrderedDict[Manager, None]] = {}
        self._began: dict[tuple[EnvironmentName, ManagerId], float] = {}  # starts that are going on
        self._expected: set[ManagerId] = set()  # managers that are about to start the home
        self._refusals: dict[ManagerId, str] = {}  # open managers that cannot use it now, and why
        self._counts: dict[ManagerId, int] = {}  # how often in a row

    # --- what is asked

    def usual_s(self, environment: EnvironmentName | None) -> float:
        """Time that a node takes to start an environment. [s]"""
        return 0.0 if environment is None else self._starts.usual_s(environment)

    def left_s(self, environment: EnvironmentName | None, manager: Manager, now: float) -> float:
        """Time until processes can be started in an environment there, if it is wanted now. [s]"""
        if environment is None or manager in self._ready.get(environment, ()):
            return 0.0
        return self._starts.left_s(environment, now - self._began.get((environment, manager.id), now))

    def with_slots(self, environment: EnvironmentName | None) -> Iterator[Manager]:
        """Managers that have started an environment and have a free slot, a few; others at the next call."""
        ready = self._ready.get(environment) if environment is not None else None
        for _ in range(min(CHOICES, len(ready or ()))):
            assert ready is not None
            manager = next(iter(ready))
            ready.move_to_end(manager)
            if manager.free > 0 and manager.listed is not None:
                yield manager

    def takes_ordinary(self, manager: ManagerId) -> bool:
        """Whether a manager is to be sent calls without contexts."""
        return manager not in self._expected and manager not in self._refusals

    def refusal(self, managers: int) -> str | None:
        """Why none of so many open managers can run calls without contexts, if that is so."""
        return next(iter(self._refusals.values())) if 0 < managers <= len(self._refusals) else None

    # --- what happens

    def joined(self, manager: Manager) -> None:
        """A manager joined."""
        if self._home is not None and self._begins_at_home:
            self._expected.add(manager.id)
            manager.idle_since = None  # it is busy with that

    def began(self, manager: Manager, environment: EnvironmentName, now: float) -> None:
        """A manager starts an environment."""
        self._began[environment, manager.id] = now

    def ready(self, manager: Manager, environment: EnvironmentName, start_s: float) -> None:
        """A manager has started an environment."""
        self._began.pop((environment, manager.id), None)
        self._starts.add(environment, start_s)
        self._ready.setdefault(environment, OrderedDict())[manager] = None
        if environment == self._home:
            self._forget_refusals(manager.id)

    def gone(self, manager: Manager, environment: EnvironmentName) -> None:
        """A manager would have to start an environment anew, or could not start it."""
        self._began.pop((environment, manager.id), None)
        if (ready := self._ready.get(environment)) is not None:
            ready.pop(manager, None)
            if not ready:
                del self._ready[environment]

    def refuse(self, manager: ManagerId, reason: str) -> float:
        """A manager cannot use the home. Gives for how long it is sent no calls without contexts. [s]"""
        self._expected.discard(manager)
        self._refusals[manager] = reason
        count = self._counts[manager] = self._counts.get(manager, 0) + 1
        return min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** (count - 1))

    def end_pause(self, manager: ManagerId) -> None:
        """A manager that refused calls may be sent some again."""
        self._refusals.pop(manager, None)

    def left(self, manager: Manager) -> None:
        """A manager takes no calls any more."""
        self._forget_refusals(manager.id)
        for environment in [name for name, ready in self._ready.items() if manager in ready]:
            self.gone(manager, environment)
        for key in [key for key in self._began if key[1] == manager.id]:
            del self._began[key]

    def _forget_refusals(self, manager: ManagerId) -> None:
        self._expected.discard(manager)
        self._refusals.pop(manager, None)
        self._counts.pop(manager, None)
