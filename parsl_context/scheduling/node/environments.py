"""Software environments, as a manager's decisions see them: a process runs in one, and a context is built in one alone.

A worker changes to another environment as it changes to another template: by another process, with the loss of what it
holds. So it is reckoned with in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable

from parsl_context.scheduling.node.events import MANAGERS_OWN, EnvironmentReady
from parsl_context.scheduling.start_times import StartTimes
from parsl_context.wire.messages import Digest, EnvironmentName


class Environments:
    """Which context needs which environment.

    Parameters
    ----------
    home
        That of calls without contexts.
    begins_at_home
        Whether workers begin in that, rather than in the manager's own.
    """

    def __init__(self, home: EnvironmentName = MANAGERS_OWN, *, begins_at_home: bool = True) -> None:
        self.home = home
        self.first = home if begins_at_home else MANAGERS_OWN  # in which workers begin
        self._of: dict[Digest, EnvironmentName] = {}
        self._private: set[EnvironmentName] = set()
        self._ready: set[EnvironmentName] = set()
        self._starts = StartTimes()
        self._began: dict[EnvironmentName, float] = {}  # starts that are going on

    @property
    def are_several(self) -> bool:
        """Whether there is any but the manager's own."""
        return bool(self._of) or self.home != MANAGERS_OWN

    def declare(self, context: Digest, environment: EnvironmentName, *, is_kept: bool) -> None:
        """A context needs an environment."""
        if environment != MANAGERS_OWN:
            self._of[context] = environment
        if not is_kept:
            self._private.add(environment)

    def forget(self, context: Digest) -> None:
        """Nobody will name a context again."""
        self._of.pop(context, None)

    def of(self, contexts: Iterable[Digest]) -> EnvironmentName:
        """That of contexts which go together, and so have the same; of calls without any if there are none."""
        needed = tuple(contexts)
        other = MANAGERS_OWN if needed else self.home
        return next((self._of[context] for context in needed if context in self._of), other)

    def contexts_of(self, environment: EnvironmentName) -> list[Digest]:
        """Contexts that need an environment, in the order in which they came."""
        return [context for context, name in self._of.items() if name == environment]

    def left_s(self, environment: EnvironmentName, now: float) -> float:
        """Time until processes can be started in an environment, if it is wanted now. [s]"""
        if environment == MANAGERS_OWN or environment in self._ready:
            return 0.0
        return self._starts.left_s(environment, now - self._began.get(environment, now))

    def began(self, environment: EnvironmentName, now: float) -> None:
        """An environment is being started."""
        self._began[environment] = now

    def ready(self, environment: EnvironmentName, start_s: float) -> None:
        """An environment was started."""
        self._began.pop(environment, None)
        self._starts.add(environment, start_s)
        self._ready.add(environment)

    def gone(self, environment: EnvironmentName) -> None:
        """An environment has to be started anew."""
        self._began.pop(environment, None)
        self._ready.discard(environment)

    def kept(self) -> list[EnvironmentReady]:
        """What another state has to be told of those that stay ready."""
        return [EnvironmentReady(environment=name, start_s=self._starts.usual_s(name)) for name in sorted(self._ready)]

    def after_call(self, environment: EnvironmentName) -> EnvironmentName:
        """In which a worker is to have its next process, when the one that a call had for itself has ended."""
        return self.first if environment in self._private else environment
