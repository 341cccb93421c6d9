"""Software environments, as a manager's decisions see them: a process runs in one, and a context is built in one alone.

A worker changes to another environment as it changes to another template: by another process, with the loss of what it
holds. So it is reckoned with in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable

from parsl_context.scheduling.node.events import MANAGERS_OWN
from parsl_context.wire.messages import Digest, EnvironmentName


class Environments:
    """Which context needs which environment.

    Parameters
    ----------
    home
        That of calls without contexts, in which workers begin.
    """

    def __init__(self, home: EnvironmentName = MANAGERS_OWN) -> None:
        self.home = home
        self._of: dict[Digest, EnvironmentName] = {}
        self._private: set[EnvironmentName] = set()

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

    def after_call(self, environment: EnvironmentName) -> EnvironmentName:
        """In which a worker is to have its next process, when the one that a call had for itself has ended."""
        return self.home if environment in self._private else environment
