"""Files that a context needs, by its arguments or as its data, brought to this node before its function runs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from parsl_context.retain.arguments import NodeData, NodeFile, map_leaves
from parsl_context.retain.instances import Instance

if TYPE_CHECKING:  # workers whose contexts have no files do without
    from pathlib import Path

    from parsl.data_provider.files import File

    from parsl_context.distribute.asking import Desk
    from parsl_context.distribute.node import NodeStore


class BuildFiles:
    """The files of one build. They stay as long as its instance.

    Parameters
    ----------
    store
        Gives the store where copies are kept.
    folder
        Of the run on this node, whose manager may have files from other nodes; None: there is no manager.
    """

    def __init__(self, store: Callable[[], NodeStore], folder: Path | None = None) -> None:
        self._store = store
        self._folder = folder
        self._holds = contextlib.ExitStack()
        self._fetched: dict[tuple[str, bool], str] = {}
        self._is_holding = False

    def fill_in(self, value: Any) -> Any:
        """`value` with a `File` that has a local path for each `NodeFile` in it.

        Raises
        ------
        FileFetchError
            If one cannot be had.
        """
        return map_leaves(value, lambda leaf: self._local(leaf) if isinstance(leaf, NodeFile) else leaf)

    def places(self, data: Iterable[NodeData]) -> dict[str, str]:
        """Where data of the context is on this node: a path for each path as the user knows it.

        Raises
        ------
        FileFetchError
            If some cannot be had, or is in another state than it was when the context was made.
        """
        found = {}
        for each in data:
            found[each.given] = found[each.state.path] = self._place(each)
        return found

    def release_after(self, instance: Instance) -> None:
        """Let go of the files when the instance has been cleaned up."""
        if self._is_holding:
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

        self._is_holding = True
        if not wanted.is_kept and origins.is_here(wanted.url):
            origins.version(wanted.url)  # a file that is missing is reported in the same words at all levels
            return origins.local_path(wanted.url)
        if wanted.is_kept:
            return str(self._store().fetch(wanted.url, self._holds, self._peers()))
        return str(self._store().fetch_privately(wanted.url, self._holds))

    def _place(self, wanted: NodeData) -> str:
        if not wanted.is_kept:
            from parsl_context.distribute import trees

            trees.check(wanted.state.path, wanted.state.stamp)
            return wanted.state.path
        self._is_holding = True
        return str(self._store().fetch_path(wanted.state, self._holds, self._peers()))

    def _peers(self) -> Desk | None:
        from parsl_context.distribute.asking import Desk

        return None if self._folder is None else Desk(self._folder)


def store_at(where: Sequence[str]) -> NodeStore:
    """The store of this node."""
    from parsl_context.distribute.node import store_of_this_node

    return store_of_this_node(os.environ, where)


def _releasing(cleanup: Iterator[Any] | None, holds: contextlib.ExitStack) -> Iterator[Any]:
    with holds:
        yield from cleanup or ()
