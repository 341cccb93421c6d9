"""Locks that end with the processes that hold them (flock(2)), however these end, and that forked processes keep.

Of shared locks too: whatever process still uses a file, the file stays.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


def hold(folder: Path, *, shared: bool) -> int | None:
    """Lock a folder at once. Gives the descriptor to close, or None if it is locked by others or not there."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Wait for the lock on a file, which is made if need be, and gone when nobody waits.

    Raises
    ------
    BlockingIOError
        If another has it and we are not to wait.
    """
    fd = _lock(path, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()  # while it is ours: those who wait for it see that it is gone, and make another
        os.close(fd)


def remove_if_free(path: Path) -> None:
    """Remove the file of a lock that nobody has; a process that was killed left it."""
    with contextlib.suppress(OSError), locked(path, wait=False):
        pass


def _lock(path: Path, how: int) -> int:
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, how)
            if os.path.samestat(os.fstat(fd), path.stat()):
                return fd
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
