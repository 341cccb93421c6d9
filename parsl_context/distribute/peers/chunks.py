"""A file that arrives in chunks: at its full size on the disk from the start, with notes of what has come.

Chunks may come in any order and be read again as soon as they are there. Written by threads that check them first.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

CHUNK_BYTES = 1 << 20
_MOST_CHUNKS = 1 << 16  # of one file; those of larger files are larger


def chunk_bytes_of(size: int) -> int:
    """Size of the chunks of a file, the same wherever it is asked. [bytes]"""
    chunk = CHUNK_BYTES
    while chunk * _MOST_CHUNKS < size:
        chunk *= 2
    return chunk


def count_of(size: int) -> int:
    """Number of chunks that a file has."""
    return max(1, -(-size // chunk_bytes_of(size)))


def digest_of(data: bytes) -> bytes:
    """What a chunk is known by."""
    return hashlib.sha256(data).digest()


class ChunkedFile:
    """A file on this disk, whole or not. Used by one thread at a time, but for `write`.

    Parameters
    ----------
    path
        Where it is.
    size
        Of the whole file. [bytes]
    fd
        Of the file, if more is to come, taken over; None: it is whole.

    Attributes
    ----------
    digests : dict
        Of the chunks that were written, by their numbers.
    """

    def __init__(self, path: Path, size: int, fd: int | None = None) -> None:
        self._path = path
        self._fd = fd
        self._was_whole = fd is None
        self.size = size
        self.chunk_bytes = chunk_bytes_of(size)
        self.chunks = count_of(size)
        self.digests: dict[int, bytes] = {}

    @property
    def is_whole(self) -> bool:
        """Whether nothing lacks."""
        return self._was_whole or len(self.digests) == self.chunks

    def has(self, chunk: int) -> bool:
        """Whether a chunk can be read."""
        return chunk in self.digests or (self._was_whole and 0 <= chunk < self.chunks)

    def span(self, chunk: int) -> tuple[int, int]:
        """Where a chunk begins, and its size. [bytes]"""
        start = chunk * self.chunk_bytes
        return start, min(self.chunk_bytes, self.size - start)

    def write(self, chunk: int, data: bytes) -> None:
        """Write a chunk that was checked. `note` makes it count.

        Raises
        ------
        OSError
            If the disk takes no more.
        """
        start, size = self.span(chunk)
        assert len(data) == size, "its size was checked"
        assert self._fd is not None, "more is to come"
        view = memoryview(data)
        while view:
            written = os.pwrite(self._fd, view, start)
            view, start = view[written:], start + written

    def note(self, chunk: int, digest: bytes) -> None:
        """A chunk was written."""
        self.digests[chunk] = digest

    def read(self, chunk: int) -> bytes:
        """The bytes of a chunk that is there.

        Raises
        ------
        FileNotFoundError
            If the file was given up.
        OSError
            If they cannot be read.
        """
        start, size = self.span(chunk)
        if self._fd is not None:
            data = os.pread(self._fd, size, start)
        else:
            with open(self._path, "rb", buffering=0) as file:
                data = os.pread(file.fileno(), size, start)
        if len(data) != size:
            raise OSError(f"chunk {chunk} has {len(data)} bytes instead of {size}")
        return data

    def move(self, path: Path) -> None:
        """It is whole, and is somewhere else now. It is opened for each read, so that others may give it up."""
        self._path = path
        self.close()

    def close(self) -> None:
        """Release the descriptor."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)
