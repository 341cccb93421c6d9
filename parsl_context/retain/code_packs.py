"""Modules of the user's that come to this node as parts of one file (`executor.code_packs`)."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from parsl_context.distribute import code_files
from parsl_context.errors import CarriedCodeError, FileFetchError
from parsl_context.wire.codec import Buffer
from parsl_context.wire.messages import Digest, Stretch

if TYPE_CHECKING:  # workers whose modules are small do without
    from parsl_context.distribute.node import NodeStore

logger = logging.getLogger(f"parsl.{__name__}")


class CodePacks:
    """What is known to be in such files.

    Parameters
    ----------
    store
        Gives the store of this node.
    folder
        Of the run on this node.
    """

    def __init__(self, store: Callable[[], NodeStore], folder: Path) -> None:
        self._store = store
        self._folder = folder
        self._stretches: dict[Digest, Stretch] = {}
        self._unreachable: set[str] = set()

    def __contains__(self, digest: Digest) -> bool:
        return digest in self._stretches

    def expect(self, digest: Digest, stretch: Stretch) -> None:
        """A file of a module is there."""
        self._stretches[digest] = stretch

    def forget(self, digests: Sequence[Digest]) -> None:
        """Nobody names them any more."""
        for digest in digests:
            self._stretches.pop(digest, None)

    def read(self, digest: Digest) -> Buffer:
        """A file of a module; all that come with it are written for the workers of this node.

        Raises
        ------
        OSError
            If there is no room.
        CarriedCodeError
            If it is not to be had.
        """
        url = self._stretches[digest].url
        if url not in self._unreachable:
            try:
                self._unpack(url)
                return code_files.path_of(self._folder, digest).read_bytes()
            except (FileFetchError, CarriedCodeError) as error:
                self._unreachable.add(url)
                logger.warning("Modules of the user's are asked of the interchange, one by one: %s", error)
        return self._ask(digest)

    def _unpack(self, url: str) -> None:
        from parsl_context.distribute.asking import Desk

        with contextlib.ExitStack() as holds:
            path = self._store().fetch(url, holds, Desk(self._folder))
            with open(path, "rb") as file:
                for digest, stretch in self._stretches.items():
                    if stretch.url == url and not code_files.path_of(self._folder, digest).exists():
                        file.seek(stretch.offset)
                        code_files.write(self._folder, digest, file.read(stretch.size))

    def _ask(self, digest: Digest) -> Buffer:
        from parsl_context.distribute.asking import Desk

        content = Desk(self._folder).content(digest)
        if content is None:
            raise CarriedCodeError(
                "A file of the user's modules did not come: its manager or the interchange has ended."
            )
        return content
