"""SHA-256 of what is being copied, found in a thread of its own while the next piece is read and written."""

from __future__ import annotations

import hashlib
import threading
from queue import Queue
from types import TracebackType

from parsl_context.distribute.records import Sha256

_MOST_WAITING = 4  # pieces, each of which takes memory
_SMALL_BYTES = 1 << 20  # to start a thread for less takes longer than to hash it


class Hashing:
    """To be used in a ``with`` statement; its thread, if there was one, has ended after that."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._queue: Queue[bytes | None] = Queue(_MOST_WAITING)
        self._thread: threading.Thread | None = None

    def add(self, piece: bytes) -> None:
        """Take the next piece; it may be hashed later."""
        if self._thread is None and len(piece) < _SMALL_BYTES:
            self._hash.update(piece)
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="hashing", daemon=True)
            self._thread.start()
        self._queue.put(piece)

    def digest(self) -> Sha256:
        """Of all pieces. Waits until they are hashed; no more may come."""
        self._end()
        return Sha256(self._hash.hexdigest())

    def __enter__(self) -> Hashing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        while (piece := self._queue.get()) is not None:
            self._hash.update(piece)
