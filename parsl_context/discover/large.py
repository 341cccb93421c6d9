"""Large values that travel with code: they are named in the log, once each, with what to do instead.

Asked when code is packed, if what was packed is large: so it costs calls nothing, and small code nothing either.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

logger = logging.getLogger(f"parsl.{__name__}")

LARGE_BYTES = 10_000_000  # for larger values Parsl warns, too, where they are arguments (parsl.serialize.facade)

_KINDS = {
    "global": "The global {name!r}",
    "closure": "The variable {name!r} that {owner} has captured",
    "default": "The default of parameter {name!r} of {owner}",
    "attribute": "The attribute {name!r} of {owner}",
}


class LargeValues:
    """Those that were named so far. Thread-safe."""

    def __init__(self) -> None:
        self._told: set[str] = set()
        self._lock = threading.Lock()

    def look_into(self, code: Any, *, with_globals: bool = True) -> None:
        """Name the large values that a function or a class knows.

        Parameters
        ----------
        with_globals
            Whether globals are among what travels.
        """
        from parsl_context.discover.needs import needs_of  # it takes its time to load, and is seldom needed

        for found in needs_of(code).captured:
            is_sent = found.kind in _KINDS and (with_globals or found.kind != "global")
            if is_sent and (found.size_bytes or 0) > LARGE_BYTES:
                self.tell(_KINDS[found.kind].format(name=found.name, owner=found.owner), found.type, found.size_bytes)

    def tell(self, what: str, kind: str, size_bytes: int | None) -> None:
        """Name a large value, as the beginning of a sentence, unless that was done before."""
        with self._lock:
            if what in self._told:
                return
            self._told.add(what)
        logger.warning(
            "%s (%s, %.0f MB) travels with the code that uses it, and each worker has a copy. Make it a context: a "
            "context function that loads or computes it runs where it is used, once per worker, or once per node with "
            '@context(share="node").',
            *(what, kind, (size_bytes or 0) / 1e6),
        )


large_values = LargeValues()
"""Those of this process."""
