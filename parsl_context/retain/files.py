"""Files among the arguments of a context, brought to this node before its function runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from parsl_context.retain.arguments import NodeFile, map_leaves
from parsl_context.retain.instances import Instance

if TYPE_CHECKING:  # workers whose contexts have no files do without
    from parsl.data_provider.files import File

    from parsl_context.distribute.node import NodeStore


class BuildFiles:
    """The files of one build. They stay as long as its instance.

    Parameters
    ----------
    store
        Where copies are kept; the one of this node if not given.
    """

    def __init__(self, store: NodeStore | None = None) -> None:
        self._store = store
        self._holds = contextlib.ExitStack()
        self._fetched: dict[tuple[str, bool], str] = {}

    def fill_in(self, value: Any) -> Any:
        """`value` with a `File` that has a local path for each `NodeFile` in it.

        Raises
        ------
        FileFetchError
            If one cannot be had.
        """
        return map_leaves(value, lambda leaf: self._local(leaf) if isinstance(leaf, NodeFile) else leaf)

    def release_after(self, instance: Instance) -> None:
        """Let go of the files when the instance has been cleaned up."""
        if self._fetched:
            instance.cleanup = _releasing(instance.cleanup, self._holds)

    def release(self) -> None:
        """Let go of the files now."""
        self._holds.close()

    def _local(self, wanted: NodeFile) -> File:
        from parsl.data_provider.files import File

        key = wanted.url, wanted.is_kept
        if key not in self._fetched:
            self._fetched[key] = self._path(wanted)
        file = File(wanted.url)
        file.local_path = self._fetched[key]
        return file

    def _path(self, wanted: NodeFile) -> str:
        from parsl_context.distribute import origins
        from parsl_context.distribute.node import store_of_this_node

        if not wanted.is_kept and origins.is_here(wanted.url):
            origins.version(wanted.url)  # a file that is missing is reported in the same words at all levels
            return origins.local_path(wanted.url)
        self._store = self._store or store_of_this_node()
        fetch = self._store.fetch if wanted.is_kept else self._store.fetch_privately
        return str(fetch(wanted.url, self._holds))


def _releasing(cleanup: Iterator[Any] | None, holds: contextlib.ExitStack) -> Iterator[Any]:
    with holds:
        yield from cleanup or ()
