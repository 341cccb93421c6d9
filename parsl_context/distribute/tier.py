"""One folder of the store at work: entries are taken from it, and room is made for new ones, which it receives.

An entry is a folder with the content, read-only, and a record. Who uses it has a shared lock on it; to make room,
entries without a lock are given up, the least recently used first. What is being fetched lies in a locked folder with
another name, and takes its full size from the start; one without a lock was left by a process that died.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from parsl_context.distribute import folders, locks, records
from parsl_context.distribute.folders import LOCK, PARTIAL, TEMPORARY, UnusableError
from parsl_context.distribute.records import Record

logger = logging.getLogger(f"parsl.{__name__}")

_SHARE = 0.5  # of the space that the store finds free or takes itself
_PATIENCE_S = 86_400.0  # with a part that nobody goes on with, where there is room


class Tier:
    """A folder of the store.

    Parameters
    ----------
    folder
        Where it is. Made if need be; nobody but this user may write to it.
    max_bytes
        Space that it may take; if None, half of what is free. [bytes]
    """

    def __init__(self, folder: Path, max_bytes: int | None) -> None:
        self.folder = folder
        self._max_bytes = max_bytes

    def open(self, holds: contextlib.ExitStack) -> None:
        """Make sure that it may be used, until `holds` is closed.

        Raises
        ------
        UnusableError
        """
        folders.prepare(self.folder, holds)

    @contextlib.contextmanager
    def locked(self, name: str, *, wait: bool = True) -> Iterator[None]:
        """Be the only process that makes an entry.

        Raises
        ------
        BlockingIOError
            If another is, and we are not to wait.
        UnusableError
        """
        with contextlib.ExitStack() as stack:
            with self.explained():
                stack.enter_context(locks.locked(self.folder / f"{LOCK}{name}", wait=wait))
            yield

    def take(self, name: str, holds: contextlib.ExitStack, *, verify: bool = False) -> Path | None:
        """The content of an entry, which stays until `holds` is closed; None if there is no whole one.

        Parameters
        ----------
        verify
            Hash it, also if nobody has touched it.
        """
        entry = self.folder / name
        if entry.is_symlink() or (fd := locks.hold(entry, shared=True)) is None:
            return None
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, fd)
            with contextlib.suppress(OSError):
                if not os.path.samestat(os.fstat(fd), entry.stat()):
                    return None  # given up in between
                record = records.read(entry)
                problem = records.problem_of(entry, record, thorough=verify) if record else "it has no record"
                if record is not None and problem is None:
                    os.utime(entry)  # used now
                    holds.push(undo.pop_all())
                    return entry / record.name
                logger.warning("Removing %s, which is broken: %s", entry, problem)
                folders.remove(entry)
        return None

    def new_folder(
        self, what: str, file: str, size_bytes: int, holds: contextlib.ExitStack, *, partial: str | None = None
    ) -> Path:
        """A folder to receive something in, locked until `holds` is closed, with a file that takes all its space.

        Parameters
        ----------
        what
            What it is for; for messages.
        file
            Name of the file.
        partial
            Digest of what comes, where another process may go on with it.

        Raises
        ------
        UnusableError
            If there is no room.
        """
        with self.explained(), locks.locked(self.folder / f"{LOCK}room"), contextlib.ExitStack() as undo:
            self._make_room(what, size_bytes)
            made = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=self.folder))
            undo.callback(shutil.rmtree, made, ignore_errors=True)
            fd = locks.hold(made, shared=True)
            assert fd is not None
            holds.callback(os.close, fd)
            with open(made / file, "xb") as stream:
                if size_bytes:
                    os.posix_fallocate(stream.fileno(), 0, size_bytes)  # the space is ours, or refused now
            if partial is not None:
                made = made.rename(self.folder / f"{PARTIAL}{partial}")
            undo.pop_all()
        return made

    def settle(self, folder: Path, name: str, record: Record) -> None:
        """Make what was received an entry, unless there is one.

        Raises
        ------
        UnusableError
            If something else has its name.
        """
        entry = self.folder / name
        with self.explained(), contextlib.ExitStack() as undo:
            undo.callback(folders.remove, folder)
            records.write(folder, record)
            if entry.is_symlink() or (entry.exists() and not entry.is_dir()):
                raise UnusableError(f"{entry} is in the way; remove it")
            try:
                folder.rename(entry)
            except OSError:
                if not entry.exists():
                    raise
            else:
                undo.pop_all()

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what writing here raises into an `UnusableError`."""
        try:
            yield
        except BlockingIOError:
            raise
        except OSError as error:
            reason = folders.full(error, self.folder) or f"{self.folder} cannot be written to ({error})"
            raise UnusableError(reason) from error

    def _make_room(self, what: str, wanted: int) -> None:
        """Remove what dead processes left and, while there is too little room, what nobody uses."""
        unfinished = [path for path in folders.unfinished(self.folder) if not _is_dead(path)]
        entries = sorted(folders.entries(self.folder), key=folders.last_used)
        parts = [path for path in unfinished if path.name.startswith(PARTIAL)]
        sizes = {path: folders.size_of(path) for path in (*unfinished, *entries)}
        total = sum(sizes.values())
        limit = self._max_bytes
        if limit is None:
            limit = int(_SHARE * (shutil.disk_usage(self.folder).free + total))
        for path in (*parts, *entries):
            if total + wanted > limit and folders.remove_unused(path):
                logger.info("Gave up %s to make room for %s", path, what)
                total -= sizes[path]
        if total + wanted > limit:
            raise UnusableError(
                f"there is no room for its {wanted / 1e9:.3g} GB: {self.folder} may take {limit / 1e9:.3g} GB, "
                f"of which {total / 1e9:.3g} GB are in use; set PARSL_CONTEXT_STORE_GB"
            )


def _is_dead(path: Path) -> bool:
    """Remove what a process left that died; a part of a file only if nobody has gone on with it for long."""
    is_old = time.time() - folders.last_used(path) > _PATIENCE_S
    return (path.name.startswith(TEMPORARY) or is_old) and folders.remove_unused(path)
