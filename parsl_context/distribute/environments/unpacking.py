"""Unpacks an environment: shards in any order, as they come, several at once; each is verified before it is written."""

from __future__ import annotations

import bisect
import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from parsl_context.distribute.environments.index import Index, Packed
from parsl_context.distribute.environments.zstd import decompress

_THREADS = 8  # more wait for each other


class BrokenShardError(ValueError):
    """A shard is not what the index says. Says which, in a part of a sentence."""


class Unpacker:
    """Writes the files of shards into a folder. For several threads at once.

    Parameters
    ----------
    index
        What is in the shards.
    top
        An empty folder.
    on_written
        Called with the bytes of each shard that are about to be written.
    """

    def __init__(self, index: Index, top: Path, on_written: Callable[[int], None] = lambda _: None) -> None:
        self._index = index
        self._top = top
        self._on_written = on_written
        self._ends = [file.at + file.size_bytes for file in index.files]

    def prepare(self) -> None:
        """Make the folders, and the files that no shard has anything of."""
        folders = {os.path.dirname(file.path) for file in self._index.files}
        for folder in sorted(folders):
            os.makedirs(self._top / folder, mode=0o700, exist_ok=True)
        for file in self._index.files:
            if not file.size_bytes:
                os.close(self._open(file))

    def write(self, shard: int, data: bytes | memoryview) -> None:
        """Verify a shard as it is in the archive, and write what is in it.

        Raises
        ------
        BrokenShardError
        OSError
            If it cannot be written.
        """
        content = self._verified(shard, data)
        begin, end = self._index.span(shard)
        view = memoryview(content)
        at = bisect.bisect_right(self._ends, begin)
        while at < len(self._index.files) and (file := self._index.files[at]).at < end:
            first, last = max(file.at, begin), min(file.at + file.size_bytes, end)
            if first < last:
                self._write(file, first - file.at, view[first - begin : last - begin])
            at += 1

    def finish(self) -> None:
        """All shards have been written: nobody is to change anything any more."""
        for file in self._index.files:
            if not self._is_in_one(file):
                os.chmod(self._top / file.path, _mode(file))

    def _verified(self, shard: int, data: bytes | memoryview) -> bytes:
        known = self._index.shards[shard]
        of = f"shard {shard + 1} of {len(self._index.shards)}"
        if len(data) != known.size_bytes:
            raise BrokenShardError(f"{of} has {len(data)} bytes of {known.size_bytes}")
        if hashlib.sha256(data).hexdigest() != known.sha256:
            raise BrokenShardError(f"{of} has another content than the index says")
        begin, end = self._index.span(shard)
        content = decompress(data)
        if len(content) != end - begin:
            raise BrokenShardError(f"{of} has another size than the index says")
        self._on_written(len(content))
        return content

    def _write(self, file: Packed, at: int, piece: memoryview) -> None:
        fd = self._open(file)
        try:
            while piece:
                written = os.pwrite(fd, piece, at)
                at, piece = at + written, piece[written:]
        finally:
            os.close(fd)

    def _is_in_one(self, file: Packed) -> bool:
        """Whether one shard has all of a file, so that it is whole once it is written."""
        last = file.at + max(1, file.size_bytes) - 1
        return file.at // self._index.shard_bytes == last // self._index.shard_bytes

    def _open(self, file: Packed) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(f"{self._top}/{file.path}", flags, _mode(file) if self._is_in_one(file) else 0o600)


def unpack(
    unpacker: Unpacker, arrivals: Iterable[int], read: Callable[[int], bytes], threads: int | None = None
) -> None:
    """Write all shards as they come.

    Parameters
    ----------
    arrivals
        Numbers of shards that can be read now; waits for the next.
    read
        Gives a shard as it is in the archive. Called in several threads.

    Raises
    ------
    BrokenShardError, OSError
        Of the first that failed; the others are not begun.
    """
    unpacker.prepare()
    coming, lock, stop = iter(arrivals), threading.Lock(), threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for shard in _taken(coming, lock, stop):
                unpacker.write(shard, read(shard))
        except BaseException as error:
            failures.append(error)
            stop.set()

    count = threads or min(_THREADS, len(os.sched_getaffinity(0)))
    workers = [threading.Thread(target=work, name="unpack", daemon=True) for _ in range(count)]  # they keep no process
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        raise failures[0]
    unpacker.finish()


def _taken(coming: Iterator[int], lock: threading.Lock, stop: threading.Event) -> Iterator[int]:
    """What of it this thread is to do."""
    while not stop.is_set():
        with lock:
            shard = next(coming, None)
        if shard is None:
            return
        yield shard


def _mode(file: Packed) -> int:
    return 0o500 if file.is_program else 0o400
