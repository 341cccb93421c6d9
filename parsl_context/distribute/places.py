"""Where the store of a node may lie: what the user says, or else what the node's environment tells. Pure.

The order is that of preference. A folder that is found is one of the node's own disks, never of a shared file system.

What sites say of their nodes: Slurm's and PBS's folder of a job (SLURM_TMPDIR as at the Digital Research Alliance of
Canada; PBS_JOBDIR, which is the home folder unless the job asks for a sandbox; TMPDIR), CSC's LOCAL_SCRATCH on nodes
with an NVMe disk, LOCALWORKDIR of the DoD's centers (policy FY20-01), /mnt/bb/USER of OLCF's Frontier (with -C nvme),
/local/scratch of ALCF's Polaris.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote

from parsl_context.errors import ConfigurationError

NodeStoreArgument = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None
"""What `ContextExecutor(node_store=...)` takes."""

_VARIABLES = ("SLURM_TMPDIR", "LOCAL_SCRATCH", "LOCALWORKDIR", "PBS_JOBDIR")
_FOLDERS = ("/mnt/bb/{user}", "/local/scratch")
_SHARED = re.compile(
    r"nfs\d?|lustre|gpfs|mmfs|beegfs\w*|fhgfs|ceph|cifs|smb\w*|afs|panfs|pvfs\d?|orangefs|glusterfs|wekafs|quobyte|dvs|9p"
    r"|fuse\.(?!fuse-overlayfs).*"
)


@dataclass(frozen=True)
class Place:
    """A folder that the store may use.

    Attributes
    ----------
    folder : str
    origin : str
        Who says so.
    problem : str or None
        Why it cannot be used, if that is known.
    """

    folder: str
    origin: str
    problem: str | None = None


def check_node_store(value: NodeStoreArgument) -> tuple[str, ...]:
    """Folders as the user writes them.

    Raises
    ------
    ConfigurationError
        If it is neither a path nor some.
    """
    try:
        values = [] if value is None else [value] if isinstance(value, str | os.PathLike) else list(value)
        texts = [str(os.fspath(each)) for each in values]
    except TypeError:
        texts = []
    if value is None or (texts and all(texts)):
        return tuple(texts)
    raise ConfigurationError(f"node_store={value!r} of the executor must be a path or a list of paths, or None.")


def to_option(text: str) -> str:
    """A folder as an option of a command line that passes through shells, none of which is to expand it."""
    return quote(text).replace("~", "%7E")


def from_option(text: str) -> str:
    """What `to_option` was given."""
    return unquote(text)


def given_places(texts: Sequence[str], origin: str, environment: Mapping[str, str]) -> list[Place]:
    """Folders that the user names, with variables of the node and a leading ``~`` expanded."""
    return [_expanded(text, origin, environment) for text in texts]


def found_places(
    environment: Mapping[str, str], *, user: str, uid: int, temporary: str, kind_of: Callable[[str], str | None]
) -> list[Place]:
    """Folders of our name on disks that the environment tells of.

    Parameters
    ----------
    temporary
        The folder for temporary files, which is the last resort.
    kind_of
        Kind of the file system that a folder is on, as the kernel names it; None if there is no such folder.
    """
    named = [(environment[name], name) for name in _VARIABLES if environment.get(name)]
    known = [(folder.format(user=user), folder.format(user=user)) for folder in _FOLDERS]
    last = [(environment["TMPDIR"], "TMPDIR")] if environment.get("TMPDIR") else []
    found: dict[str, Place] = {}
    for parent, origin in (*named, *known, *last):
        kind = kind_of(parent) if os.path.isabs(parent) else None
        if kind is not None and not _SHARED.fullmatch(kind):
            folder = _own(parent, uid)
            found.setdefault(folder, Place(folder, origin))
    folder = _own(temporary, uid)
    found.setdefault(folder, Place(folder, "the folder for temporary files"))
    return list(found.values())


def is_shared(kind: str | None) -> bool:
    """Whether a file system of this kind is, or may be, on other machines."""
    return kind is None or _SHARED.fullmatch(kind) is not None


def kind_of_file_system(folder: str, mounts: str) -> str | None:
    """Kind of the file system of a folder, from the text of /proc/self/mounts.

    Parameters
    ----------
    folder
        An absolute path without symbolic links.
    """
    best, kind = "", None
    for line in mounts.splitlines():
        _, point, found, *_ = line.split(" ")
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), point)
        if (folder == point or folder.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
            best, kind = point, found
    return kind


def _own(parent: str, uid: int) -> str:
    return os.path.join(os.path.normpath(parent), f"parsl-context-store-{uid}")


def _expanded(text: str, origin: str, environment: Mapping[str, str]) -> Place:
    missing: list[str] = []

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if not environment.get(name):
            missing.append(name)
        return environment.get(name, "")

    folder = re.sub(r"\$(?:(\w+)|\{(\w+)\})", value, text)
    if folder == "~" or folder.startswith("~/"):
        folder = environment.get("HOME", "~") + folder[1:]
    if missing:
        return Place(text, origin, f"{text} cannot be used: {missing[0]} is not set on this node")
    if not os.path.isabs(folder):
        return Place(text, origin, f"{folder} cannot be used: it is no absolute path")
    return Place(os.path.normpath(folder), origin)
