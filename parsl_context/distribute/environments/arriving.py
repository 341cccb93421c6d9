"""An archive that is read while it comes: shards are unpacked as soon as their bytes are there, in whatever order.

What comes is written elsewhere (`pool.files`), which tells of each chunk. If it comes in another way, as from its
origin at once, it is all there in the end, and is read from where it is then.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from parsl_context.errors import FileFetchError


class Archive(Protocol):
    """An archive on this node, or on its way here. Calls wait for what they need of it."""

    @property
    def size_bytes(self) -> int:
        """Of the whole."""

    def read(self, begin: int, end: int) -> bytes:
        """This range of it; less where it ends before.

        Raises
        ------
        FileFetchError
            If it will not come.
        OSError
        """

    def ready(self, spans: Iterable[tuple[int, int]]) -> Iterator[int]:
        """Places in the list of ranges that have come, each once, as they come.

        Raises
        ------
        FileFetchError
            If one will not.
        """

    def whole(self) -> Path:
        """Where it is, when all of it has come.

        Raises
        ------
        FileFetchError
            If it will not.
        """


class Whole:
    """An archive that is here."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.size_bytes = path.stat().st_size

    def read(self, begin: int, end: int) -> bytes:
        """As `Archive` says."""
        with self._path.open("rb", buffering=0) as stream:
            return os.pread(stream.fileno(), end - begin, begin)

    def ready(self, spans: Iterable[tuple[int, int]]) -> Iterator[int]:
        """As `Archive` says."""
        return iter(range(len(list(spans))))

    def whole(self) -> Path:
        """As `Archive` says."""
        return self._path


class Arriving:
    """An archive that comes in chunks. Told of them by one thread, read by others."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._fd: int | None = None  # of the file that is written as chunks come
        self._size = 0
        self._chunk_bytes = 1
        self._chunks: set[int] = set()
        self._whole: Whole | None = None
        self._error: Exception | None = None
        self._is_closed = False

    # --- from those who bring it

    def begin(self, path: Path, size: int, chunk_bytes: int) -> None:
        """Chunks are written to this file from now on."""
        with self._changed:
            if self._fd is None and not self._is_closed:
                with contextlib.suppress(OSError):  # it is read when it is whole
                    self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                    self._size, self._chunk_bytes = size, chunk_bytes
                    self._changed.notify_all()

    def came(self, chunk: int) -> None:
        """A chunk was written, and was what it should be."""
        with self._changed:
            self._chunks.add(chunk)
            self._changed.notify_all()

    def bring(self, fetch: Callable[[contextlib.ExitStack], Path]) -> None:
        """Have it fetched, in a thread of its own; it stays until `close`."""

        def work() -> None:
            with contextlib.ExitStack() as holds:
                try:
                    found = Whole(fetch(holds))
                except Exception as error:
                    self._end(None, error)
                    return
                self._end(found, None)
                with self._changed:
                    self._changed.wait_for(lambda: self._is_closed)

        threading.Thread(target=work, name="archive", daemon=True).start()

    def _end(self, found: Whole | None, error: Exception | None) -> None:
        with self._changed:
            self._whole, self._error = found, error
            self._changed.notify_all()

    def close(self) -> None:
        """It is not read any more."""
        with self._changed:
            self._is_closed = True
            fd, self._fd = self._fd, None
            if fd is not None:
                os.close(fd)
            self._changed.notify_all()

    # --- to those who read it

    @property
    def size_bytes(self) -> int:
        """As `Archive` says."""
        with self._changed:
            self._wait(lambda: self._fd is not None)
            return self._size if self._whole is None else self._whole.size_bytes

    def read(self, begin: int, end: int) -> bytes:
        """As `Archive` says."""
        with self._changed:
            self._wait(lambda: self._has(begin, end))
            if self._whole is None:
                assert self._fd is not None
                return os.pread(self._fd, end - begin, begin)
            whole = self._whole
        return whole.read(begin, end)

    def ready(self, spans: Iterable[tuple[int, int]]) -> Iterator[int]:
        """As `Archive` says."""
        left = dict(enumerate(spans))
        while left:
            with self._changed:
                self._wait(lambda: any(self._has(*span) for span in left.values()))
                place = next(place for place, span in left.items() if self._whole is not None or self._has(*span))
            del left[place]
            yield place

    def whole(self) -> Path:
        """As `Archive` says."""
        with self._changed:
            self._wait(lambda: False)
            assert self._whole is not None
            return self._whole.whole()

    def _wait(self, condition: Callable[[], bool]) -> None:
        """Until a condition holds, or all has come."""
        self._changed.wait_for(lambda: self._whole is not None or self._error is not None or condition())
        if self._whole is None and self._error is not None and not condition():
            if isinstance(self._error, FileFetchError):
                raise self._error
            raise FileFetchError(url="of the archive", reason=str(self._error)) from self._error

    def _has(self, begin: int, end: int) -> bool:
        if self._fd is None:
            return False
        last = min(end, self._size) - 1
        return all(chunk in self._chunks for chunk in range(begin // self._chunk_bytes, last // self._chunk_bytes + 1))
