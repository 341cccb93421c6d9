"""A folder on the node's own disk for the files of one manager, gone with it and its workers.

It holds a marker, and a lock that all processes forked from the one that made it share. What a manager left that was
killed is removed by the next one that starts: only what has the marker, belongs to this user and is locked by nobody.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from parsl_context.distribute import locks

logger = logging.getLogger(f"parsl.{__name__}")

_PREFIX = "parsl-context-run-"
_MARKER = "parsl-context-run"
_OURS = "Files of a run of parsl-context on this node, which removes this folder when it ends.\n"


@contextlib.contextmanager
def run_folder(parent: str | None = None) -> Iterator[Path]:
    """A new folder, to which this user alone has access; removed at the end.

    Parameters
    ----------
    parent
        Where it is made; the folder for temporary files if not given.
    """
    parent = parent or tempfile.gettempdir()
    _remove_stale(Path(parent))
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    fd = locks.hold(folder, shared=True)
    try:
        (folder / _MARKER).write_text(_OURS)
        yield folder
    finally:
        if fd is not None:
            os.close(fd)
        _remove(folder)


def _remove_stale(parent: Path) -> None:
    with contextlib.suppress(OSError):
        for folder in parent.glob(f"{_PREFIX}*"):
            with contextlib.suppress(OSError):
                _remove_if_unused(folder)


def _remove_if_unused(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_uid == os.getuid() and _is_ours(fd):
            logger.info("Removing %s, which a run has left", folder)
            _remove(folder)
    finally:
        os.close(fd)


def _is_ours(folder: int) -> bool:
    marker = os.open(_MARKER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        status = os.fstat(marker)
        return stat.S_ISREG(status.st_mode) and os.read(marker, 200) == _OURS.encode()
    finally:
        os.close(marker)


def _remove(folder: Path) -> None:
    """Remove it, the marker last: what is left of it half removed is still known as ours."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != _MARKER:  # the desk's socket
                path.unlink(missing_ok=True)
        (folder / _MARKER).unlink()
        folder.rmdir()
