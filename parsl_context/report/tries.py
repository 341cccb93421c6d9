"""Which try of which task of Parsl each call is: a file beside the event log, where monitoring is on.

Parsl's monitoring knows tasks and tries, the event log knows calls by the executor's own numbers. Only the executor
sees both. A line is `CALL TASK TRY`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

FILE = "tries.txt"


class Tries:
    """Notes them, from any thread."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._file: IO[str] | None = None
        self._lock = threading.Lock()

    def note(self, call: int, task: int, number: int) -> None:
        """A call is this try of a task of Parsl."""
        with self._lock:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("w")
            self._file.write(f"{call} {task} {number}\n")

    def close(self) -> None:
        """Write what was noted."""
        with self._lock:
            if self._file is not None:
                self._file.close()


def read_tries(folder: Path) -> Iterator[tuple[int, int, int]]:
    """Call, task and try of each line that is whole."""
    path = folder / FILE
    if path.exists():
        for line in path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                call, task, number = map(int, line.split())
                yield call, task, number
