"""A folder as one file, so that nodes can give it to each other: what is in it, then one file after the other.

Where the folder is nothing is written: parts of the one file are read from the many when they are asked for.
"""

from __future__ import annotations

import bisect
import contextlib
import functools
import itertools
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from parsl_context.distribute import trees
from parsl_context.distribute.trees import Listing, Member
from parsl_context.errors import FileFetchError

_LENGTH = struct.Struct("!Q")
_MOST_HEADER_BYTES = 1 << 30
_Head = tuple[tuple[bytes, ...], tuple[tuple[bytes, int, int, bool], ...]]  # names are bytes: not all are texts


@dataclass(frozen=True)
class PathState:
    """A file or folder in the state that is wanted.

    Attributes
    ----------
    path : str
        Where it is.
    stamp : str
        Of the state, as of `trees.stamp_of`.
    size_bytes : int
        That it has as one file.
    is_folder : bool
    """

    path: str
    stamp: str
    size_bytes: int
    is_folder: bool


def state_of(path: str) -> PathState:
    """The state that a file or folder is in.

    Raises
    ------
    FileFetchError
        If it is not there, or cannot be read.
    """
    if os.path.isdir(path):
        found = trees.listing(path)
        return PathState(path, found.stamp, PackedFolder(found).size_bytes, is_folder=True)
    stamp = trees.stamp_of(path)
    return PathState(path, stamp, int(stamp.split()[0]), is_folder=False)


class PackedFolder:
    """A folder, read as one file.

    Parameters
    ----------
    found
        What is in it. Reading finds out whether that has changed since.

    Attributes
    ----------
    size_bytes : int
        Of the one file.
    """

    def __init__(self, found: Listing) -> None:
        self._found = found
        head = msgspec.msgpack.encode((tuple(map(os.fsencode, found.folders)), tuple(map(_as_tuple, found.files))))
        self._head = _LENGTH.pack(len(head)) + head
        sizes = (len(self._head), *(each.size_bytes for each in found.files))
        self._ends = tuple(itertools.accumulate(sizes))
        self.size_bytes = self._ends[-1]

    def read(self, start: int, size: int) -> bytes:
        """Some bytes of it; fewer at its end.

        Raises
        ------
        FileFetchError
            If they cannot be had, or a file is another by now.
        """
        parts = []
        end = min(start + size, self.size_bytes)
        for member, first, last in self._parts(start, end):
            parts.append(self._head[first:last] if member is None else self._member(member, first, last))
        return b"".join(parts)

    def _parts(self, start: int, end: int) -> Iterator[tuple[Member | None, int, int]]:
        """What a span is made of: a file, or the head, and from where to where in it."""
        place = bisect.bisect_right(self._ends, start)
        while start < end:
            begin, stop = self._ends[place - 1] if place else 0, min(end, self._ends[place])
            if start < stop:
                yield self._found.files[place - 1] if place else None, start - begin, stop - begin
            start, place = stop, place + 1

    def _member(self, member: Member, first: int, last: int) -> bytes:
        path = os.path.join(self._found.path, member.place)
        try:
            with open(path, "rb", buffering=0) as file:
                status = os.fstat(file.fileno())
                data = os.pread(file.fileno(), last - first, first)
        except OSError as error:
            reason = f"{member.place} in it cannot be read: {error.strerror}"
            raise FileFetchError(url=self._found.path, reason=reason) from error
        if (status.st_size, status.st_mtime_ns, len(data)) != (member.size_bytes, member.mtime_ns, last - first):
            raise FileFetchError(url=self._found.path, reason="it changed while it was copied; try again")
        return data


@functools.lru_cache(maxsize=4)
def packed_folder(path: str, stamp: str) -> PackedFolder:
    """A folder in this state, as one file.

    Raises
    ------
    FileFetchError
        If it is in another one.
    """
    found = trees.listing(path)
    if found.stamp != stamp:
        raise FileFetchError(url=path, reason="it changed while it was copied; try again when it is written")
    return PackedFolder(found)


def opened(
    file: Path, path: str, stamp: str
) -> tuple[Listing, Callable[[Member], contextlib.AbstractContextManager[BinaryIO]]]:
    """What is in a folder that has come as one file, and how to read each file in it.

    Parameters
    ----------
    path, stamp
        Of the folder, where it comes from.

    Raises
    ------
    FileFetchError
        If it is not such a file, or of another state.
    """
    try:
        with open(file, "rb") as stream:
            (length,) = _LENGTH.unpack(stream.read(_LENGTH.size))
            folders, members = msgspec.msgpack.decode(stream.read(min(length, _MOST_HEADER_BYTES)), type=_Head)
    except (struct.error, msgspec.MsgspecError) as error:
        raise FileFetchError(url=path, reason="what came is no folder; try again") from error
    found = Listing(
        path, tuple(map(os.fsdecode, folders)), tuple(Member(os.fsdecode(name), *rest) for name, *rest in members)
    )
    places = [*found.folders, *(each.place for each in found.files)]
    if found.stamp != stamp or not all(map(_is_inside, places)):
        raise FileFetchError(url=path, reason="what came is another folder; try again")
    starts = itertools.accumulate((each.size_bytes for each in found.files), initial=_LENGTH.size + length)
    start_of = dict(zip((each.place for each in found.files), starts, strict=False))

    @contextlib.contextmanager
    def member(wanted: Member) -> Iterator[BinaryIO]:
        with open(file, "rb") as stream:
            stream.seek(start_of[wanted.place])
            yield stream

    return found, member


def _is_inside(place: str) -> bool:
    return not os.path.isabs(place) and not {"", ".", ".."} & set(place.split("/"))


def _as_tuple(member: Member) -> tuple[bytes, int, int, bool]:
    return os.fsencode(member.place), member.size_bytes, member.mtime_ns, member.is_program
