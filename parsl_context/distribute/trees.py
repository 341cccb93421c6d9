"""Files and folders of the user's, given by path: what is in them, what tells one state from another, and copies."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from parsl_context.content.digests import digest_bytes
from parsl_context.errors import FileFetchError


@dataclass(frozen=True)
class Member:
    """A regular file in a folder.

    Attributes
    ----------
    place : str
        Path relative to the folder.
    size_bytes, mtime_ns : int
    is_program : bool
        Whether its owner may run it.
    """

    place: str
    size_bytes: int
    mtime_ns: int
    is_program: bool


@dataclass(frozen=True)
class Listing:
    """What a folder holds now, in order of the paths. Symbolic links are followed."""

    path: str
    folders: tuple[str, ...]
    files: tuple[Member, ...]

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(file.size_bytes for file in self.files)

    @property
    def stamp(self) -> str:
        """Two states of a folder that have it in common are taken for the same."""
        listed = repr((self.folders, self.files)).encode("utf-8", "surrogateescape")
        return digest_bytes(listed)


def stamp_of(path: str) -> str:
    """What tells one state of a file or folder from another: sizes and times of modification.

    Raises
    ------
    FileFetchError
        If it is not there, or neither file nor folder.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise FileFetchError(url=path, reason=_reason(error)) from error
    if stat.S_ISDIR(status.st_mode):
        return listing(path).stamp
    if not stat.S_ISREG(status.st_mode):
        raise FileFetchError(url=path, reason="it is neither a file nor a folder")
    return f"{status.st_size} {status.st_mtime_ns}"


def check(path: str, stamp: str) -> None:
    """Make sure that a file or folder is in the state that is wanted.

    Raises
    ------
    FileFetchError
    """
    if stamp_of(path) != stamp:
        raise other_state(path)


def other_state(path: str) -> FileFetchError:
    """What to say of a file or folder that is not in the state that is wanted."""
    return FileFetchError(
        url=path,
        reason="it is not what it was when the call was made: it has changed since, or this node sees another "
        "state of it. Make the context anew; what is another file on each node is to be given as a Parsl File",
    )


def listing(path: str) -> Listing:
    """What a folder holds.

    Raises
    ------
    FileFetchError
        If something in it cannot be read, is no file or folder, or a symbolic link in it leads around in a circle.
    """
    folders: list[str] = []
    files: list[Member] = []
    try:
        for place, status in _walk(path, "", ()):
            if stat.S_ISDIR(status.st_mode):
                folders.append(place)
            elif stat.S_ISREG(status.st_mode):
                is_program = bool(status.st_mode & stat.S_IXUSR)
                files.append(Member(place, status.st_size, status.st_mtime_ns, is_program))
            else:
                raise FileFetchError(url=path, reason=f"{place} in it is neither a file nor a folder")
    except OSError as error:
        raise FileFetchError(url=path, reason=_reason(error)) from error
    return Listing(path, tuple(folders), tuple(files))


def _walk(root: str, inside: str, above: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, os.stat_result]]:
    folder = os.path.join(root, inside)
    here = os.stat(folder)
    if (here.st_dev, here.st_ino) in above:
        raise FileFetchError(url=root, reason=f"{inside} in it is a symbolic link to a folder that it is in")
    for name in sorted(os.listdir(folder)):
        place = os.path.join(inside, name)
        status = os.stat(os.path.join(root, place))
        yield place, status
        if stat.S_ISDIR(status.st_mode):
            yield from _walk(root, place, (*above, (here.st_dev, here.st_ino)))


def _reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"there is no {error.filename} here; give a path that all nodes see"
    return f"{error.filename} cannot be read: {error.strerror}"
