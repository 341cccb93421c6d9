"""The store of a node: files on its own disk, fetched once, for all workers and runs of one user.

An entry is a folder named by the digest of an address and of the version that stood there; the file in it is
read-only. Who uses an entry has a shared lock on it; to make room, entries without a lock are given up, the least
recently used first. A file that is being fetched lies in a locked folder with a temporary name, at its full size from
the start; a temporary folder without a lock was left by a process that died, and is removed.

The folder of the store is its own: it holds a marker, and a folder that holds something else but no marker is refused.
Whoever uses an entry also has a shared lock on it. Nothing is removed in it but entries and temporary folders.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import re
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from parsl_context.content.digests import digest_bytes
from parsl_context.distribute import locks, origins
from parsl_context.distribute.origins import Source, Version
from parsl_context.errors import ConfigurationError, FileFetchError

logger = logging.getLogger(f"parsl.{__name__}")

_MARKER = "parsl-context-store"
_OURS = "The store of parsl-context on this node. It may be removed when no run uses it.\n"  # what the marker says
_LOCK = "lock-"
_TEMPORARY = "temporary-"
_ENTRY = re.compile(r"[0-9a-f]{32}")
_CHUNK_BYTES = 1 << 20
_SHARE = 0.5  # of the space that the store finds free or takes itself
_ELSEWHERE = "have worker_init of the provider set PARSL_CONTEXT_STORE to a folder with room on the node's own disk"


class NodeStore:
    """Files of one user on one node.

    Parameters
    ----------
    folder
        Where they lie. Made if need be; nobody but this user may write to it.
    max_bytes
        Space that they may take; if not given, half of what is free. [bytes]
    """

    def __init__(self, folder: Path, max_bytes: int | None = None) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    def fetch(self, url: str, holds: contextlib.ExitStack) -> Path:
        """A local copy of a file, which stays until `holds` is closed, and longer if it can.

        Raises
        ------
        FileFetchError
            If it is missing, cannot be read, comes short, or finds no room.
        """
        found = origins.version(url)
        if found.identity is None:  # nothing would tell whether a copy is still right
            return self.fetch_privately(url, holds)
        self._prepare(url, holds)
        entry = self._entry(url, found)
        with locks.locked(self._folder / f"{_LOCK}{entry.name}"):
            while (path := _take(entry, url, found, holds)) is None:
                with origins.opened(url) as source:
                    folder = self._receive(url, source, holds)
                # Named by what was read: another version may have come in between.
                found, entry = source.version, self._entry(url, source.version)
                if found.identity is None:
                    return _until_closed(folder, url, holds)
                _settle(folder, entry)
                logger.info("Fetched %s to %s", url, entry)
        return path

    def fetch_privately(self, url: str, holds: contextlib.ExitStack) -> Path:
        """A copy for one use, removed when `holds` is closed.

        Raises
        ------
        FileFetchError
            As from `fetch`.
        """
        self._prepare(url, holds)
        with origins.opened(url) as source:
            folder = self._receive(url, source, holds)
        return _until_closed(folder, url, holds)

    def _entry(self, url: str, found: Version) -> Path:
        return self._folder / digest_bytes(f"{url} {found.identity}".encode())

    def _prepare(self, url: str, holds: contextlib.ExitStack) -> None:
        """Make sure that the folder is there and ours, and stays: others could put anything in its place."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = self._folder.lstat()
            is_open = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or is_open:
                reason = f"{self._folder} is not a folder to which this user alone may write; {_ELSEWHERE}"
                raise FileFetchError(url=url, reason=reason)
            fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            holds.callback(os.close, fd)
            fcntl.flock(fd, fcntl.LOCK_SH)
            if not _is_store(self._folder):
                with locks.locked(self._folder / f"{_LOCK}{_MARKER}"):
                    self._mark(url)
        except OSError as error:
            raise FileFetchError(url=url, reason=f"{self._folder} cannot be made ({error}); {_ELSEWHERE}") from error

    def _mark(self, url: str) -> None:
        new = self._folder / f"{_MARKER}.new"  # left where a process died, or was faster
        if _is_store(self._folder):
            return
        if others := [name for name in os.listdir(self._folder) if not name.startswith((_LOCK, _MARKER))]:
            reason = (
                f"{self._folder} is no store: {min(others)} is in it. Give the store a folder of its own: {_ELSEWHERE}"
            )
            raise FileFetchError(url=url, reason=reason)
        new.write_text(_OURS)
        new.rename(self._folder / _MARKER)

    def _receive(self, url: str, source: Source, holds: contextlib.ExitStack) -> Path:
        """The file, whole, in a new temporary folder that is locked until `holds` is closed."""
        with contextlib.ExitStack() as undo, _room_explained(url, self._folder):
            with locks.locked(self._folder / f"{_LOCK}room"):
                self._make_room(url, source.version.size or 0)
                folder = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=self._folder))
                undo.callback(shutil.rmtree, folder, ignore_errors=True)
                fd = locks.hold(folder, shared=True)
                assert fd is not None
                holds.callback(os.close, fd)
                file = undo.enter_context(open(folder / origins.name_of(url), "xb"))
                if source.version.size:
                    os.posix_fallocate(file.fileno(), 0, source.version.size)  # the space is ours, or refused now
            size = 0
            while chunk := source.read(_CHUNK_BYTES):
                size += file.write(chunk)
            source.check(size)
            file.truncate(size)
            os.fchmod(file.fileno(), 0o400)
            file.close()
            undo.pop_all()
        return folder

    def _make_room(self, url: str, wanted: int) -> None:
        """Remove what dead processes left and, while there is too little room, what nobody uses."""
        folders = sorted(filter(_is_ours, self._folder.iterdir()), key=_last_used)
        sizes = {path: _size(path) for path in folders if not (_is_temporary(path) and _remove_unused(path))}
        total = sum(sizes.values())
        limit = self._max_bytes
        if limit is None:
            limit = int(_SHARE * (shutil.disk_usage(self._folder).free + total))
        for folder, size in sizes.items():
            if total + wanted > limit and not _is_temporary(folder) and _remove_unused(folder):
                logger.info("Gave up %s to make room for %s", folder, url)
                total -= size
        if total + wanted > limit:
            raise FileFetchError(
                url=url,
                reason=f"there is no room for its {wanted / 1e9:.3g} GB: {self._folder} may take {limit / 1e9:.3g} GB, "
                f"of which {total / 1e9:.3g} GB are in use; set PARSL_CONTEXT_STORE_GB, or {_ELSEWHERE}",
            )


def store_of_this_node(environment: Mapping[str, str] = os.environ) -> NodeStore:
    """The store that all processes of this user find: PARSL_CONTEXT_STORE, or a folder in the temporary one.

    Raises
    ------
    ConfigurationError
        If PARSL_CONTEXT_STORE_GB is no number.
    """
    folder = environment.get("PARSL_CONTEXT_STORE") or f"{tempfile.gettempdir()}/parsl-context-store-{os.getuid()}"
    size_gb = environment.get("PARSL_CONTEXT_STORE_GB")
    try:
        return NodeStore(Path(folder), int(float(size_gb) * 1e9) if size_gb else None)
    except ValueError:
        raise ConfigurationError(f"PARSL_CONTEXT_STORE_GB={size_gb!r} must be a number.") from None


def _take(entry: Path, url: str, found: Version, holds: contextlib.ExitStack) -> Path | None:
    """The file of an entry, held; None if there is none, or not a whole one."""
    fd = locks.hold(entry, shared=True)
    if fd is None:
        return None
    path = entry / origins.name_of(url)
    with contextlib.suppress(OSError):
        size = path.stat().st_size
        if found.size in (None, size) and os.path.samestat(os.fstat(fd), entry.stat()):
            os.utime(entry)  # used now
            holds.callback(os.close, fd)
            return path
    os.close(fd)
    _remove(entry)
    return None


def _settle(folder: Path, entry: Path) -> None:
    """Make a temporary folder an entry, unless another process was faster."""
    try:
        folder.rename(entry)
    except OSError:
        _remove(folder)


def _until_closed(folder: Path, url: str, holds: contextlib.ExitStack) -> Path:
    holds.callback(shutil.rmtree, folder, ignore_errors=True)
    return folder / origins.name_of(url)


def _remove_unused(folder: Path) -> bool:
    """Remove a folder that nobody has locked. Says whether it is gone."""
    fd = locks.hold(folder, shared=False)
    if fd is None:
        return not folder.exists()
    _remove(folder)
    os.close(fd)
    return True


def _remove(folder: Path) -> None:
    """Remove a folder; nobody finds half of it."""
    gone = folder.with_name(f"{_TEMPORARY}{uuid.uuid4().hex}")
    with contextlib.suppress(OSError):
        folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _is_store(folder: Path) -> bool:
    try:
        fd = os.open(folder / _MARKER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode) and os.read(fd, 200) == _OURS.encode()
    finally:
        os.close(fd)


def _is_ours(path: Path) -> bool:
    """Whether this is an entry, or a temporary folder."""
    return bool(_is_temporary(path) or _ENTRY.fullmatch(path.name)) and path.is_dir() and not path.is_symlink()


def _is_temporary(folder: Path) -> bool:
    return folder.name.startswith(_TEMPORARY)


def _last_used(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _size(folder: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return sum(path.stat().st_blocks * 512 for path in folder.iterdir())
    return 0


@contextlib.contextmanager
def _room_explained(url: str, folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        reason = f"the disk of {folder} is full; make room on it, or {_ELSEWHERE}"
        raise FileFetchError(url=url, reason=reason) from error
