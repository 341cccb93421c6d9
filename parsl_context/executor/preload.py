"""``executor.preload``: contexts that are built ahead of calls."""

from __future__ import annotations

from collections.abc import Callable

from parsl_context.apps.context import Context, ContextFunction, as_context


class Preload:
    """``executor.preload(context)``: build a context on every worker, now and when nodes join, ahead of any call.

    Also the value of the argument of that name, which Parsl wants to find as an attribute.

    Attributes
    ----------
    contexts : list of Context
        What the executor was given to build when it starts.
    """

    def __init__(self, build: Callable[[Context], None], contexts: list[Context]) -> None:
        self._build = build
        self.contexts = contexts

    def __call__(self, context: Context | ContextFunction) -> None:
        """Build a context ahead of calls.

        Raises
        ------
        ConfigurationError
            If its level of reuse keeps nothing between calls.
        """
        self._build(as_context(context))

    def __repr__(self) -> str:
        return repr(self.contexts)
