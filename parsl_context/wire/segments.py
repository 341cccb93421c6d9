"""Large payloads within a host: files in shared memory, named in messages instead of travelling in them.

    client ─writes─▶ a file ◀─maps─ worker            arguments; the client removes the file when the call has ended
    client ◀─reads─ a file ◀─writes─ worker           results; the client removes the file as soon as it has opened it

Interchange and managers forward the name. A manager that does not share the directory is sent frames over its
encrypted link, and sends frames. Sharing is proved, not guessed: the directory holds a random token, and who can read
it under the same kernel shares it. When the space is short or anything else fails, the payload travels in frames.

Every process that uses the directory holds a shared lock on it, which the kernel drops however the process ends.
Whoever leaves last removes the directory; what a whole run left because it was killed at once, the next one finds.
Its name only says where to look: what is removed belongs to this user, is locked by nobody and holds the token file
with our words in it, and of what lies in it only segments go.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import logging
import mmap
import os
import re
import secrets
import stat
import tempfile
import weakref
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from msgspec.structs import replace

from parsl_context.errors import PayloadLostError
from parsl_context.wire.codec import Buffer, Frames, Item, make_payload, open_payload
from parsl_context.wire.messages import Payload, Result, Segment, TaskId

logger = logging.getLogger(f"parsl.{__name__}")

# Below this a file gains nothing worth its system calls; of the right order, not the best of several. [bytes]
SEGMENT_BYTES = 32_768
# From this size on memory stays mapped rather than being copied. [bytes]
_MAP_BYTES = 1 << 18
_MAPS = 64  # at a time: each holds a descriptor
# Of the file system's space: what is left free, and what must be free for memory to stay mapped.
_KEPT_FREE = 0.1
_FREE_TO_MAP = 0.5
_SMALLEST_BYTES = 1 << 28  # of a file system worth using
_ALIGNMENT = 64  # of buffers in a segment: a cache line

_PREFIX = "parsl-context-segments-"
_TOKEN = "token"
_OURS = "Segments of a run of parsl-context, which removes this directory when it ends."  # first line of the token file
_TOKEN_BYTES = 200  # more than it has
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NAME = re.compile(r"(a|\d{1,20})-[0-9a-z]{1,32}-\d{1,20}", re.ASCII)


class Segments:
    """The segments of one run, as one process sees them. Without a directory, payloads travel in frames.

    Made by `create_segments` or `join_segments`. Its methods may be called from any thread.
    """

    def __init__(self, path: str | None = None, directory: int | None = None, token: str = "") -> None:
        self.path = path
        self.proof = f"{token} {_boot_id()}" if path is not None else None  # of sharing the directory
        self._directory = directory  # descriptor, which also holds the lock
        self._owner = os.getpid()
        self._tag = secrets.token_hex(6)
        self._numbers = itertools.count()
        self._maps: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
        self._is_short = False

    def make_payload(
        self, stream: bytes, buffers: Sequence[Buffer] = (), task: TaskId | None = None
    ) -> tuple[Payload, Sequence[Buffer]]:
        """A payload, and its frames if they are to travel with it.

        Parameters
        ----------
        task
            The call whose result this is; None for arguments.
        """
        if self._directory is None or (not buffers and len(stream) < SEGMENT_BYTES):
            return make_payload(stream, buffers)
        segment = self._write([stream, *buffers], task)
        return make_payload(stream, buffers) if segment is None else (Payload(b"", 0, segment), ())

    def open_payload(self, payload: Payload, frames: Sequence[Buffer]) -> Frames:
        """The stream and its buffers, which the caller may keep and change.

        Raises
        ------
        PayloadLostError
            If it is in a segment that is gone.
        """
        return open_payload(payload, frames) if payload.segment is None else self._open(payload.segment)

    def take_payload(self, payload: Payload, frames: Sequence[Buffer]) -> Frames:
        """As `open_payload`, by the last reader: the segment goes, the buffers stay."""
        if payload.segment is None:
            return open_payload(payload, frames)
        try:
            return self._open(payload.segment)
        finally:
            self.drop(payload)

    def gather(self, result: Result, frames: Sequence[Buffer]) -> tuple[Result, Sequence[Buffer]]:
        """A result that came in frames, put into a segment if it is large."""
        if self._directory is None:
            return result, frames
        parts = open_payload(result.payload, frames)
        segment = self._write(parts, result.id)
        if segment is None:
            return result, frames
        return replace(result, payload=Payload(b"", 0, segment)), ()

    def spread(self, item: Item) -> tuple[Item, Sequence[Buffer]]:
        """A call or an outcome with its segment in frames, uncopied, for who does not share the directory.

        Raises
        ------
        PayloadLostError
            If the segment is gone.
        """
        assert item.payload.segment is not None
        frames = self._open(item.payload.segment, always_map=True)
        return replace(item, payload=Payload(b"", len(frames))), frames

    def has(self, segment: Segment) -> bool:
        """Whether a segment is here."""
        return _NAME.fullmatch(segment.name) is not None and os.path.exists(f"{self.path}/{segment.name}")

    def departing(self, segment: Segment) -> memoryview:
        """A segment as the bytes that it consists of, for who takes them to another directory.

        Raises
        ------
        PayloadLostError
            If it is gone.
        """
        (whole,) = self._open(Segment(segment.name, (end_of(segment),)), always_map=True)
        return memoryview(whole).toreadonly()

    def arriving(self, segment: Segment) -> Arrival:
        """A segment that comes from another directory, to be written.

        Raises
        ------
        OSError
            If there is no room for it.
        PayloadLostError
            If it can be none of ours.
        """
        if self._directory is None or self.path is None:
            raise OSError("this process has no shared memory for large values")
        _check(segment)
        size = end_of(segment)
        if self._free_share(size) < _KEPT_FREE:
            raise OSError(f"less than {_KEPT_FREE:.0%} of the space of {self.path} would be left")
        return Arrival(self.path, segment.name, size)

    def drop(self, payload: Payload) -> None:
        """Remove a payload's segment, if it has one. Those who have opened it keep what they have."""
        if payload.segment is not None and self._directory is not None and _NAME.fullmatch(payload.segment.name):
            with contextlib.suppress(OSError):
                os.unlink(f"{self.path}/{payload.segment.name}")

    def drop_results(self, tasks: Collection[TaskId]) -> None:
        """Remove results of calls that have failed for another reason; nobody knows their names any more."""
        if self._directory is None:
            return
        assert self.path is not None
        for name in os.listdir(self.path):
            task = name.partition("-")[0]
            if task.isdigit() and int(task) in tasks:
                with contextlib.suppress(OSError):
                    os.unlink(f"{self.path}/{name}")

    def close(self) -> None:
        """Leave; the last one removes the directory. Payloads travel in frames from now on."""
        directory, self._directory = self._directory, None
        if directory is None or self._owner != os.getpid():
            return
        assert self.path is not None
        fcntl.flock(directory, fcntl.LOCK_UN)  # also where a child has the descriptor, too
        _remove_if_unused(self.path, directory)
        os.close(directory)

    # --- files

    def _write(self, frames: Sequence[Buffer], task: TaskId | None) -> Segment | None:
        """A segment of these frames; None if they are small or there is no room."""
        sizes = tuple([memoryview(frame).nbytes for frame in frames])
        if sum(sizes) < SEGMENT_BYTES:
            return None
        assert self.path is not None
        name = f"{'a' if task is None else task}-{self._tag}-{next(self._numbers)}"
        try:
            if self._free_share(sum(sizes)) < _KEPT_FREE:
                raise OSError(f"less than {_KEPT_FREE:.0%} of its space would be left")
            with _new_file(self.path, name) as file:
                for frame, (start, _) in zip(frames, _places(sizes), strict=True):
                    _write_at(file, memoryview(frame).cast("B"), start)
        except OSError as error:
            if not self._is_short:
                logger.warning("Large values travel through sockets: cannot write to %s: %s", self.path, error)
            self._is_short = True
            return None
        self._is_short = False
        return Segment(name, sizes)

    def _open(self, segment: Segment, *, always_map: bool = False) -> Frames:
        if self._directory is None:
            raise PayloadLostError(segment.name, f"this process does not share {self.path or 'its directory'}")
        _check(segment)
        places = _places(segment.sizes)
        end = places[-1][1]
        try:
            file = os.open(f"{self.path}/{segment.name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if os.fstat(file).st_size < end:
                    raise OSError(f"it has fewer than {end} bytes")
                keep = always_map or self._may_map(end)
                view = memoryview(self._map(file, end))
                buffers = [view[start:stop] for start, stop in places]
                return [*buffers] if keep else [bytearray(buffer) for buffer in buffers]
            finally:
                os.close(file)
        except OSError as error:
            raise PayloadLostError(segment.name, str(error)) from error

    def _may_map(self, size: int) -> bool:
        # What is mapped keeps its space in the file system for as long as the value lives.
        return size >= _MAP_BYTES and len(self._maps) < _MAPS and self._free_share(0) >= _FREE_TO_MAP

    def _map(self, file: int, size: int) -> mmap.mmap:
        mapped = mmap.mmap(file, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        self._maps.add(mapped)
        return mapped

    def _free_share(self, more: int) -> float:
        assert self.path is not None
        space = os.statvfs(self.path)
        return (space.f_bavail * space.f_frsize - more) / max(1, space.f_blocks * space.f_frsize)


class Arrival:
    """A segment that comes in pieces, from its beginning to its end. It gets its name with the last one."""

    def __init__(self, directory: str, name: str, size: int) -> None:
        self._left = size
        self._place = 0
        self._made = contextlib.ExitStack()
        self._file = self._made.enter_context(_new_file(directory, name))

    def write(self, piece: memoryview) -> bool:
        """Write the next piece. Whether it was the last one.

        Raises
        ------
        OSError
            If there is no room for it, or it is more than was to come.
        """
        if len(piece) > self._left:
            raise OSError("more came than was announced")
        _write_at(self._file, piece, self._place)
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
    return _places(segment.sizes)[-1][1]


def _check(segment: Segment) -> None:
    if not _NAME.fullmatch(segment.name) or not segment.sizes or min(segment.sizes) < 0:
        raise PayloadLostError(segment.name, "it is none of ours")


def create_segments(parents: Sequence[str] | None = None) -> Segments:
    """A directory for the segments of a new run, in the first of `parents` that is fit for it.

    Directories there of runs of this user that have ended are removed.
    """
    for parent in parents or ("/dev/shm", tempfile.gettempdir()):
        try:
            space = os.statvfs(parent)
            if space.f_blocks * space.f_frsize < _SMALLEST_BYTES:
                continue
            remove_stale(parent)
            return _create(parent)
        except OSError as error:
            logger.info("No segments in %s: %s", parent, error)
    return Segments()


def join_segments(path: str | None) -> Segments:
    """The segments of a run that another process has begun; without a directory if it is not shared with us."""
    if path is None:
        return Segments()
    try:
        directory = _enter(path)
    except OSError:
        return Segments()
    try:
        return Segments(path, directory, _read_token(directory))
    except OSError as error:
        logger.info("Segments in %s are not shared with this process: %s", path, error)
    os.close(directory)
    return Segments()


def remove_stale(parent: str) -> None:
    """Remove the directories of this user's runs of which no process is left."""
    with os.scandir(parent) as entries:
        found = [e.path for e in entries if e.name.startswith(_PREFIX) and e.is_dir(follow_symlinks=False)]
    for path in found:
        with contextlib.suppress(OSError):
            directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                _remove_if_unused(path, directory)
            finally:
                os.close(directory)


def _create(parent: str) -> Segments:
    path = tempfile.mkdtemp(prefix=_PREFIX, dir=parent)  # mode 0700
    token = secrets.token_hex(16)
    try:
        directory = _enter(path)  # nobody takes it for stale: it has no token yet
        with _new_file(path, _TOKEN) as file:
            os.write(file, f"{_OURS}\n{token}".encode())
    except BaseException:
        os.rmdir(path)
        raise
    return Segments(path, directory, token)


def _enter(path: str) -> int:
    """A descriptor of the directory with a shared lock: it will not be removed."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(directory, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if os.stat(path).st_ino != os.fstat(directory).st_ino:
            raise FileNotFoundError(path)
    except OSError:
        os.close(directory)
        raise
    return directory


def _read_token(directory: int) -> str:
    """The token of a directory that a run of this user has made.

    Raises
    ------
    OSError
        If it is none: only the words in the token file say that what is there is ours.
    """
    file = os.open(_TOKEN, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    try:
        status = os.fstat(file)
        ours, _, token = os.read(file, _TOKEN_BYTES).decode(errors="replace").partition("\n")
    finally:
        os.close(file)
    owners = {status.st_uid, os.fstat(directory).st_uid}
    if not stat.S_ISREG(status.st_mode) or owners != {os.getuid()} or ours != _OURS:
        raise FileNotFoundError(errno.ENOENT, "no directory of segments of this user")
    return token


def _remove_if_unused(path: str, directory: int) -> None:
    """Remove segments, and the directory if nothing else is in it; nothing if it is used, or none of this user's."""
    with contextlib.suppress(OSError):
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _read_token(directory)
        for name in os.listdir(directory):
            if _NAME.fullmatch(name):
                os.unlink(name, dir_fd=directory)
        if os.listdir(directory) == [_TOKEN]:
            os.unlink(_TOKEN, dir_fd=directory)
            os.rmdir(path)


@contextlib.contextmanager
def _new_file(directory: str, name: str) -> Iterator[int]:
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


def _places(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Where each buffer of a segment starts and ends."""
    places = []
    start = 0
    for size in sizes:
        places.append((start, start + size))
        start += size + -size % _ALIGNMENT
    return places


def _write_at(file: int, data: memoryview, start: int) -> None:
    while data.nbytes:  # one call writes 2 GiB at most
        written = os.pwrite(file, data, start)
        data, start = data[written:], start + written


def _boot_id() -> str:
    """Of the kernel: a file system may be shared with other hosts, memory is not."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return "unknown"
