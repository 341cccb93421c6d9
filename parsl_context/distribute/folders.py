"""One folder that the store may use: whether it is ours alone, and what is removed in it.

It is its own: it holds a marker, and a folder that holds something else but no marker is refused. Nothing is removed in
it but entries and what is half made. Whoever uses it has a shared lock on it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path

from parsl_context.distribute import locks

MARKER = "parsl-context-store"
LOCK = "lock-"
TEMPORARY = "temporary-"  # nobody goes on with it
PARTIAL = "partial-"  # another may go on with it
_OURS = "The store of parsl-context on this node. It may be removed when no run uses it.\n"  # what the marker says
_ENTRY = re.compile(r"[0-9a-f]{32}|[0-9a-f]{64}")
_UNFINISHED = re.compile(rf"{TEMPORARY}\w+|{PARTIAL}[0-9a-f]{{64}}")


class UnusableError(Exception):
    """A folder cannot be used, or not for this file. Says why, in a part of a sentence."""


def prepare(folder: Path, holds: contextlib.ExitStack) -> None:
    """Make sure that a folder is there and ours, and stays: others could put anything in its place.

    Raises
    ------
    UnusableError
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check(folder)
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        holds.callback(os.close, fd)
        fcntl.flock(fd, fcntl.LOCK_SH)
        if not is_store(folder):
            with locks.locked(folder / f"{LOCK}{MARKER}"):
                _mark(folder)
    except OSError as error:
        reason = full(error, folder) or f"{folder} cannot be made ({error})"
        raise UnusableError(reason) from error


def is_store(folder: Path) -> bool:
    """Whether a folder has our marker."""
    try:
        fd = os.open(folder / MARKER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode) and os.read(fd, 200) == _OURS.encode()
    finally:
        os.close(fd)


def entries(folder: Path) -> Iterator[Path]:
    """What is whole in it."""
    return (path for path in folder.iterdir() if _ENTRY.fullmatch(path.name) and _is_folder(path))


def unfinished(folder: Path) -> Iterator[Path]:
    """What is half made, by processes that may live or not."""
    return (path for path in folder.iterdir() if _UNFINISHED.fullmatch(path.name) and _is_folder(path))


def size_of(folder: Path) -> int:
    """Space that a folder takes. [bytes]"""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512
    return total


def last_used(folder: Path) -> float:
    """When an entry was used last. [s since the epoch]"""
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def remove_unused(folder: Path) -> bool:
    """Remove a folder that nobody has locked. Says whether it is gone."""
    fd = locks.hold(folder, shared=False)
    if fd is None:
        return not folder.exists()
    remove(folder)
    os.close(fd)
    return True


def remove(folder: Path) -> None:
    """Remove a folder; nobody finds half of it."""
    gone = folder.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
    with contextlib.suppress(OSError):
        folder.rename(gone)
    discard(gone)


def discard(folder: Path) -> None:
    """Remove a folder of which nobody knows, with read-only folders in it."""
    for parent, names, _ in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            if not os.path.islink(path):
                with contextlib.suppress(OSError):
                    os.chmod(path, 0o700)
    shutil.rmtree(folder, ignore_errors=True)


def full(error: OSError, folder: Path) -> str | None:
    """What to say if an error means that a disk is full."""
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return f"the disk of {folder} is full; make room on it" if is_full else None


def _check(folder: Path) -> None:
    status = folder.lstat()
    is_open = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or is_open:
        raise UnusableError(f"{folder} is not a folder to which this user alone may write ({_described(status)})")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK) or os.statvfs(folder).f_flag & os.ST_RDONLY:
        raise UnusableError(f"{folder} cannot be written to")


def _described(status: os.stat_result) -> str:
    if stat.S_ISLNK(status.st_mode):
        return "it is a symbolic link"
    if not stat.S_ISDIR(status.st_mode):
        return "it is a file"
    if status.st_uid != os.getuid():
        return f"it belongs to user {status.st_uid}"
    return f"its mode is {stat.S_IMODE(status.st_mode):o}"


def _mark(folder: Path) -> None:
    new = folder / f"{MARKER}.new"  # left where a process died, or was faster
    if is_store(folder):
        return
    if others := [name for name in os.listdir(folder) if not name.startswith((LOCK, MARKER))]:
        raise UnusableError(f"{folder} is no store: {min(others)} is in it. Give the store a folder of its own")
    new.write_text(_OURS)
    new.rename(folder / MARKER)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
