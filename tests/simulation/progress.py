"""The bound on the time without progress, as `docs/explanation/scheduling.rst` states it, and whether it is kept.

    While calls wait or run and a worker is there that takes calls, one ends within
        R + 2 B + 4 F + 12 L
    where R is the longest run time of those calls, B the longest that all contexts of one call take to build, F the
    time of a fork, L the longest way of a message. Two builds: one may be going on that no call needs any more.

Nothing in it grows with calls, contexts or workers. It holds while nothing comes from outside that undoes work: a
manager or worker that dies, a call that is cancelled, a context that is evicted, cannot be built or turns out not to be
shareable. From each such event on it holds anew.
"""

from __future__ import annotations

from parsl_context.wire.messages import AUTO_BATCH
from tests.simulation.simulator import Simulation
from tests.simulation.world import Call


class Progress:
    """Looks at a simulation whenever a call ends, and when it is told to."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._since = 0.0  # the last progress, or the last event that undid any
        self._longest_run_s = 0.0
        self._longest_build_s = max(map(self._build_s, simulation.world.calls), default=0.0)
        self._worst = 0.0
        simulation.on_end = self._ended
        simulation.on_fresh_start = self.disturbed

    @property
    def worst(self) -> float:
        """The longest time without progress so far, as a share of the bound then."""
        return self._worst

    def disturbed(self) -> None:
        """Something happened that may have undone work."""
        self.check()
        self._restart()

    def made(self, call: Call) -> None:
        """A call is about to be made."""
        if not self._simulation.calls:
            self._since = self._simulation.clock.now
        self._longest_run_s = max(self._longest_run_s, _longest_s(call))
        self._longest_build_s = max(self._longest_build_s, self._build_s(call))

    def check(self) -> None:
        """Raise if a call should have ended by now."""
        simulation = self._simulation
        serves = any(manager.takes_calls for manager in simulation.managers.values())
        if not simulation.calls or not serves:
            self._restart()
            return
        waited_s = simulation.clock.now - self._since
        bound_s = self.bound_s
        self._worst = max(self._worst, waited_s / bound_s)
        assert waited_s <= bound_s, (
            f"no call has ended for {waited_s:.3f} s, and one should have within {bound_s:.3f} s"
        )

    @property
    def bound_s(self) -> float:
        """Time within which a call ends. [s]"""
        delays = self._simulation.world.delays
        way_s = max(delays.link_s, delays.worker_s)
        return self._longest_run_s + 2 * self._longest_build_s + 4 * delays.fork_s + 12 * way_s

    def _build_s(self, call: Call) -> float:
        return sum(content.build_s for content in self._simulation.world.contents if content.digest in call.contexts)

    def _ended(self) -> None:
        self.check()
        self._restart()

    def _restart(self) -> None:
        self._since = self._simulation.clock.now
        self._longest_run_s = max(map(_longest_s, self._simulation.calls.values()), default=0.0)


def _longest_s(call: Call) -> float:
    """Time that a call may take with those that run with it, and wait for them. [s]"""
    if call.joint is None:
        return call.run_s
    return call.fixed_s + (call.joint.size or AUTO_BATCH) * call.run_s + call.joint.wait_s
