"""Where the `data` of a context lies on this node, while its function runs."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

from parsl_context.errors import ConfigurationError

_builds: list[tuple[int, dict[str, str]]] = []
"""Builds that are going on: the thread that runs each, and the place here of each path as the user knows it."""


def local_path(path: str | os.PathLike[str]) -> str:
    """Path on this node of a file or folder that a context names as its `data`, or of something in such a folder.

    To be called while the context is built, in any thread: ``torch.load(local_path("weights.pt"))``. Hand the path on
    with the context if bodies need it. Elsewhere, as in a test of the plain function, it gives the path as it is.

    Raises
    ------
    ConfigurationError
        If a context is being built of whose `data` this is no part.
    """
    wanted = os.fspath(path)
    if not _builds:
        return wanted
    places = _places_here()
    above = inside = os.path.normpath(wanted)
    while above not in places:
        above, last = os.path.dirname(above), above
        if above == last:
            raise ConfigurationError(_unknown(wanted, places))
    return os.path.normpath(os.path.join(places[above], os.path.relpath(inside, above)))


@contextlib.contextmanager
def placing() -> Iterator[dict[str, str]]:
    """A context is being built. What is put into the dictionary says where its data is."""
    build = (threading.get_ident(), dict[str, str]())
    _builds.append(build)
    try:
        yield build[1]
    finally:
        _builds[:] = [each for each in _builds if each is not build]


def _places_here() -> dict[str, str]:
    """Of the build of this thread; in a thread that a context function has started, of the latest."""
    builds = list(_builds)
    own = [places for thread, places in builds if thread == threading.get_ident()]
    return own[-1] if own else builds[-1][1] if builds else {}


def _unknown(path: str, places: dict[str, str]) -> str:
    named = ", ".join(map(repr, places))
    return (
        f"local_path({path!r}): the context that is being built names as its data {named or 'nothing'}. Add it there."
    )
