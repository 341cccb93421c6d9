"""Files that the host of the script has, for nodes that do not see them: those that contexts name, and no others."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from parsl_context.distribute import origins
from parsl_context.errors import ParslContextError
from parsl_context.wire.transfers import FileFound, FileSought, Serving

if TYPE_CHECKING:  # only scripts whose files no node sees need it
    from parsl_context.distribute.peers.mover import Mover

logger = logging.getLogger(f"parsl.{__name__}")


class ScriptFiles:
    """Says which version of a file there is, and serves it. `allow` may be used from any thread."""

    def __init__(self) -> None:
        self._allowed: dict[str, str] = {}  # where they are, by the addresses that contexts name
        self._mover: Mover | None = None
        self._lock = threading.Lock()
        self._is_closed = False

    def allow(self, urls: Iterable[str]) -> None:
        """Contexts have named these."""
        for url in urls:
            if origins.is_here(url):
                self._allowed.setdefault(url, url if origins.is_own(url) else origins.local_path(url))

    def find(self, sought: FileSought) -> FileFound:
        """What there is of a file."""
        url = sought.url
        if url not in self._allowed:
            return FileFound(url=url, identity=None, reason="no context of the script names it")
        try:
            return self._offer(url, self._allowed[url])
        except (ParslContextError, OSError) as error:
            return FileFound(url=url, identity=None, reason=str(error))

    def close(self) -> None:
        """Serve nothing any more."""
        with self._lock:
            self._is_closed = True
            mover, self._mover = self._mover, None
        if mover is not None:
            mover.close()

    def _offer(self, url: str, where: str) -> FileFound:
        from parsl_context.distribute.peers.origin import OriginFile, name_of_blob, shared_identity

        found = shared_identity(where)
        assert found is not None, "of a path there always is one"
        identity, size = found
        with self._lock:
            if self._is_closed:
                return FileFound(url=url, identity=None, reason="the executor shuts down")
            mover = self._mover = self._mover or _new_mover()
        mover.share(name_of_blob(url, identity, size), OriginFile(where, identity, size))
        logger.info("Nodes that do not see %s are served it from %s", url, os.path.abspath(origins.local_path(where)))
        serving = Serving(addresses=(), port=mover.port, secret=mover.secret)
        return FileFound(url=url, identity=identity, size=size, serving=serving)


def _new_mover() -> Mover:
    from parsl_context.distribute.peers.mover import Mover

    return Mover(
        lambda call: call(),
        on_chunk=lambda *_: None,
        on_fault=lambda *_: None,
        on_lost=lambda blob: logger.warning("A file that nodes were served is not there any more (%s)", blob),
    )
