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
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from msgspec.structs import replace

from parsl_context.errors import PayloadLostError
from parsl_context.wire.codec import Buffer, Frames, Item, make_payload, open_payload
from parsl_context.wire.messages import Payload, Result, Segment, TaskId
from parsl_context.wire.segment_files import Arrival, end_of, new_file, places_of, write_at

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
        parts = open_payload(payload, frames) if payload.segment is None else self._open(payload.segment)
        return self._with_shared(parts, payload) if payload.shared else parts

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

    def write(self, buffers: Sequence[Buffer]) -> Segment | None:
        """A segment of buffers that calls may have in common; None if there is no room, or they are small."""
        return None if self._directory is None else self._write(buffers, None)

    @contextlib.contextmanager
    def reading(self, segment: Segment) -> Iterator[Callable[[int, int], bytes]]:
        """Gives what reads bytes of a segment, from a place on and so many.

        Raises
        ------
        OSError
            If it is gone.
        """
        file = os.open(f"{self.path}/{segment.name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            yield lambda start, size: os.pread(file, size, start)
        finally:
            os.close(file)

    def has_room(self, size: int) -> bool:
        """Whether a segment can be written. [bytes]"""
        return self._directory is not None and self._free_share(size) >= _KEPT_FREE

    def spread(
        self, item: Item, frames: Sequence[Buffer] = (), *, keeps_shared: bool = False
    ) -> tuple[Item, Sequence[Buffer]]:
        """A call or an outcome with its segments in frames, uncopied, for who does not share the directory.

        Parameters
        ----------
        frames
            Those that it has already.
        keeps_shared
            Segments that calls have in common are named still.

        Raises
        ------
        PayloadLostError
            If a segment is gone.
        """
        payload = item.payload
        own = payload.segment
        parts = open_payload(payload, frames) if own is None else self._open(own, always_map=True)
        if not keeps_shared:
            parts = self._with_shared(parts, payload, always_map=True)
        shared = payload.shared if keeps_shared else ()
        return replace(item, payload=Payload(b"", len(parts), None, shared)), parts

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
        if not self.has_room(size):
            raise OSError(f"less than {_KEPT_FREE:.0%} of the space of {self.path} would be left")
        return Arrival(self.path, segment.name, size)

    def drop(self, payload: Payload) -> None:
        """Remove a payload's own segment, if it has one. Those who have opened it keep what they have."""
        if payload.segment is not None:
            self.remove(payload.segment.name)

    def remove(self, name: str) -> None:
        """Remove a segment."""
        if self._directory is not None and _NAME.fullmatch(name):
            with contextlib.suppress(OSError):
                os.unlink(f"{self.path}/{name}")

    def space_bytes(self) -> int:
        """Of the file system."""
        if self.path is None:
            return 0
        space = os.statvfs(self.path)
        return space.f_blocks * space.f_frsize

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
            if not self.has_room(sum(sizes)):
                raise OSError(f"less than {_KEPT_FREE:.0%} of its space would be left")
            with new_file(self.path, name) as file:
                for frame, (start, _) in zip(frames, places_of(sizes), strict=True):
                    write_at(file, memoryview(frame).cast("B"), start)
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
        places = places_of(segment.sizes)
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

    def _with_shared(self, parts: Frames, payload: Payload, *, always_map: bool = False) -> Frames:
        """The parts of a payload with those that it has in common with others, each at its place."""
        found: list[tuple[int, Buffer]] = []
        for shared in payload.shared:
            found += zip(shared.places, self._open(shared.segment, always_map=always_map), strict=True)
        for place, buffer in sorted(found, key=lambda each: each[0]):
            parts.insert(place, buffer)
        return parts

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
        with new_file(path, _TOKEN) as file:
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


def _boot_id() -> str:
    """Of the kernel: a file system may be shared with other hosts, memory is not."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return "unknown"
