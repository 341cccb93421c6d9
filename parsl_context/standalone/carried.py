"""The user's modules that a function carries, whole and with what they import."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable

from parsl_context.content.modules import lie_in_libraries
from parsl_context.discover.project import Place, Project

Unit = tuple[str, str, dict[str, bytes], str]


def units_of(wanted: Iterable[str]) -> list[Unit]:
    """The user's modules and packages among these, with what they import: name, digest, files and folder of each.

    Raises
    ------
    CarriedCodeError
        If one was changed on disk since it was loaded.
    """
    project = Project(is_carried=_is_carried)
    tree, content, reached = project.tree(wanted)
    if tree is None:
        return []
    files: dict[str, dict[str, bytes]] = {top: {} for top in tree.origins}
    for path, digest in tree.files.items():
        files[path.partition("/")[0].removesuffix(".py")][path] = content[digest]
    found: list[Unit] = []
    for top, origin in sorted(tree.origins.items()):
        # A module that imports another one is not the same when that has changed.
        within, _, _ = Project(is_carried=_is_carried).tree([each for each in reached if each.partition(".")[0] == top])
        known = sorted(within.files.items()) if within is not None else []
        digest_of_all = short_digest(*(f"{path} {digest}".encode() for path, digest in known))
        found.append((top, digest_of_all, files[top], origin))
    return found


def _is_carried(top: str, place: Place) -> bool:
    """Whether an endpoint cannot be expected to have a module: PYTHONPATH and editable folders are of this machine."""
    is_known = top in sys.stdlib_module_names or top in ("parsl_context", "parsl")
    return not is_known and not lie_in_libraries(place.locations)


def short_digest(*parts: bytes) -> str:
    """Digest of what a program is made of."""
    return hashlib.sha256(b"\n".join(parts)).hexdigest()[:32]
