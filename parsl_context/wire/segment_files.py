"""Files of segments: where their buffers lie, and how they are written so that none is ever there in part."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

from parsl_context.wire.messages import Segment

_ALIGNMENT = 64  # of buffers in a segment: a cache line


class Arrival:
    """A segment that comes in pieces, from its beginning to its end. It gets its name with the last one."""

    def __init__(self, directory: str, name: str, size: int) -> None:
        self._left = size
        self._place = 0
        self._made = contextlib.ExitStack()
        self._file = self._made.enter_context(new_file(directory, name))

    def write(self, piece: memoryview) -> bool:
        """Write the next piece. Whether it was the last one.

        Raises
        ------
        OSError
            If there is no room for it, or it is more than was to come.
        """
        if len(piece) > self._left:
            raise OSError("more came than was announced")
        write_at(self._file, piece, self._place)
        self._place += len(piece)
        self._left -= len(piece)
        if self._left:
            return False
        with contextlib.suppress(FileExistsError):  # it came twice: a call was sent here again
            self._made.close()
        return True

    def give_up(self) -> None:
        """The rest will not come: nothing is left of it."""
        error = ConnectionError()
        self._made.__exit__(type(error), error, None)


def end_of(segment: Segment) -> int:
    """Size of a segment's file. [bytes]"""
    return places_of(segment.sizes)[-1][1]


@contextlib.contextmanager
def new_file(directory: str, name: str) -> Iterator[int]:
    """A file that gets its name when it is complete, so that a process that dies meanwhile leaves nothing."""
    path = f"{directory}/{name}"
    flags = os.O_WRONLY | os.O_CLOEXEC
    try:
        file = os.open(directory, flags | os.O_TMPFILE, 0o600)
        is_nameless = True
    except OSError:  # this file system cannot, or is full: then the other way fails, too
        file = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
        is_nameless = False
    try:
        yield file
        if is_nameless:
            # Python calls linkat(2), which alone can do this, if it is given a directory; absolute paths ignore it.
            os.link(f"/proc/self/fd/{file}", path, src_dir_fd=file, follow_symlinks=True)
    except BaseException:
        if not is_nameless:
            os.unlink(path)
        raise
    finally:
        os.close(file)


def places_of(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Where each buffer of a segment starts and ends."""
    places = []
    start = 0
    for size in sizes:
        places.append((start, start + size))
        start += size + -size % _ALIGNMENT
    return places


def write_at(file: int, data: memoryview, start: int) -> None:
    while data.nbytes:  # one call writes 2 GiB at most
        written = os.pwrite(file, data, start)
        data, start = data[written:], start + written
