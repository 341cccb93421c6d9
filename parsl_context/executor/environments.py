"""Which environment a context runs in, as the executor's workers are told."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import msgspec

from parsl_context.apps.context import Context
from parsl_context.errors import ConfigurationError
from parsl_context.wire.messages import Environment


class ContextEnvironments:
    """Environments of the contexts of one executor.

    Parameters
    ----------
    default
        Environment of contexts that do not choose one: a path or an address.
    reuse
        Level of contexts that do not choose one.
    """

    def __init__(self, default: str | None = None, reuse: str = "memory") -> None:
        self._default = default
        self._reuse = reuse

    @functools.cached_property
    def default(self) -> Environment | None:
        """Environment of contexts that do not choose one.

        Raises
        ------
        ConfigurationError
            If it cannot be read here.
        """
        if self._default is None:
            return None
        from parsl_context.distribute.environments import naming

        return naming.describe(self._default)

    def of(self, context: Context) -> Environment | None:
        """That of a context; None: the managers' own.

        Raises
        ------
        ConfigurationError
            If it cannot be read here.
        """
        found = context.environment or self.default
        if found is None or (context.options.reuse or self._reuse) != "none":
            return found
        return msgspec.structs.replace(found, is_kept=False)

    def check(self, contexts: Iterable[Context]) -> None:
        """Refuse contexts of one call, with those that they require, that name different environments.

        Raises
        ------
        ConfigurationError
        """
        first: tuple[Context, Environment | None] | None = None
        for context in contexts:
            found = context.environment or self.default
            if first is None:
                first = context, found
            elif (found and found.digest) != (first[1] and first[1].digest):
                raise ConfigurationError(
                    f"Contexts {first[0].name} and {context.name} are needed in one process, and {_told(first[1])} is "
                    f"not {_told(found)}: give both the same environment=."
                )


def _told(environment: Environment | None) -> str:
    return "the environment of the manager" if environment is None else f"environment {environment.source}"
