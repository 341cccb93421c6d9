"""What comes into a folder of the store: from an origin, from the user's folders, or piece by piece from elsewhere."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from io import RawIOBase
from pathlib import Path
from typing import BinaryIO

from parsl_context.distribute import folders, locks, packed, records
from parsl_context.distribute.folders import UnusableError
from parsl_context.distribute.hashing import Hashing
from parsl_context.distribute.origins import Source
from parsl_context.distribute.packed import PathState
from parsl_context.distribute.records import FileRecord, Record, Sha256
from parsl_context.distribute.tier import Tier
from parsl_context.distribute.trees import Listing, Member, listing, stamp_of
from parsl_context.errors import FileFetchError

_PIECE_BYTES = 1 << 20
BLOB = "content"  # name of the file of an entry that is known by its digest
_RESERVE = ".parsl-context-reserve"  # holds the space of what has not come yet


def receive_file(tier: Tier, url: str, name: str, source: Source, holds: contextlib.ExitStack) -> tuple[Path, Record]:
    """A file, whole, in a new folder that is locked until `holds` is closed.

    Raises
    ------
    FileFetchError
        If it does not come.
    UnusableError
        If it finds no room.
    """
    name = free_name(name)
    folder = tier.new_folder(url, name, source.version.size or 0, holds)
    with contextlib.ExitStack() as undo:
        undo.callback(folders.discard, folder)
        path = folder / name
        with tier.explained():
            stream = undo.enter_context(open(path, "r+b", buffering=0))
        size, sha256 = _copy(source.read, stream, tier)
        source.check(size)
        with tier.explained():
            stream.truncate(size)
            os.fchmod(stream.fileno(), 0o400)
            stream.close()
            files = {path.name: records.file_record(path, sha256)}
        undo.pop_all()
    return folder, Record(source=url, name=path.name, files=files)


def receive_path(tier: Tier, path: str, stamp: str, holds: contextlib.ExitStack) -> tuple[Path, Record]:
    """A copy of a file or folder in the state that has this stamp, as of `receive_file`.

    Raises
    ------
    FileFetchError
        If it cannot be read, or is not in that state all the time.
    UnusableError
        If it finds no room.
    """
    name = os.path.basename(os.path.normpath(path)) or "folder"
    with contextlib.ExitStack() as stack:
        if os.path.isdir(path):
            found = listing(path)
            folder, record = _receive_folder(tier, found, name, holds, lambda member: _member_of(found, member))
        else:
            try:
                stream = stack.enter_context(open(path, "rb"))
            except OSError as error:
                raise FileFetchError(url=path, reason=f"it cannot be read: {error.strerror}") from error
            folder, record = receive_file(tier, path, name, Source(path, stream), holds)
        if stamp_of(path) != stamp:
            folders.discard(folder)
            raise _changed(path)
    return folder, record


def unpack_folder(tier: Tier, file: Path, state: PathState, holds: contextlib.ExitStack) -> tuple[Path, Record]:
    """A folder that has come as one file, as of `receive_file`.

    Raises
    ------
    FileFetchError
        If something else has come.
    UnusableError
        If it finds no room.
    """
    found, open_member = packed.opened(file, state.path, state.stamp)
    name = os.path.basename(os.path.normpath(state.path)) or "folder"
    return _receive_folder(tier, found, name, holds, open_member)


def settle_file(tier: Tier, url: str, path: Path, entry: str) -> None:
    """Make a file that others have filled, in a folder of this tier, an entry.

    Raises
    ------
    UnusableError
        If the disk takes no more.
    """
    with tier.explained():
        path.chmod(0o400)
        files = {path.name: records.file_record(path, records.sha256_of(path))}
    tier.settle(path.parent, entry, Record(source=url, name=path.name, files=files))


class Receiving:
    """A content that comes into the store piece by piece, known by its digest. Made by `NodeStore.receiving`.

    Attributes
    ----------
    path : Path
        A file of the full size, to be written by whoever receives. Its space is taken already.
    folder : Path
        The folder that it is in, for notes on what has come. All else in it is removed when it settles.
    is_resumed : bool
        Whether a process that ended left it so: what of it has come must be verified. Else it is all zeros.
    is_there : bool
        Whether it has come whole while we waited for others: there is nothing to do but `settle`.
    """

    def __init__(self, tier: Tier, digest: Sha256, folder: Path, *, is_resumed: bool, is_there: bool) -> None:
        self._tier = tier
        self._digest = digest
        self.folder = folder
        self.path = folder / BLOB
        self.is_resumed = is_resumed
        self.is_there = is_there

    def settle(self, holds: contextlib.ExitStack) -> Path:
        """Verify the content and make it an entry.

        Returns
        -------
        Path
            The file, read-only. It stays until `holds` is closed, and longer if it can.

        Raises
        ------
        FileFetchError
            If it is not what its digest says: it is removed, and is to be received again.
        """
        try:
            if not self.is_there:
                self._verify_and_settle()
            path = self._tier.take(self._digest, holds)
        except UnusableError as error:
            raise FileFetchError(url=self._digest, reason=str(error)) from error
        if path is None:
            raise FileFetchError(url=self._digest, reason="it was removed as soon as it had come; try again")
        return path

    def _verify_and_settle(self) -> None:
        with self._tier.explained():
            self.path.chmod(0o400)
            sha256 = records.sha256_of(self.path)
            if sha256 != self._digest:
                folders.remove(self.folder)
                reason = "what came has another content than its digest says; it was removed, try again"
                raise FileFetchError(url=self._digest, reason=reason)
            for other in self.folder.iterdir():
                if other != self.path:
                    other.unlink()
            files = {BLOB: records.file_record(self.path, sha256)}
        self._tier.settle(self.folder, self._digest, Record(source="", name=BLOB, files=files))


def begin(tier: Tier, digest: Sha256, size_bytes: int, holds: contextlib.ExitStack) -> Receiving:
    """Start to receive, or go on with what another process has left. To be called by one process at a time.

    Raises
    ------
    UnusableError
        If there is no room.
    """
    folder = tier.folder / f"{folders.PARTIAL}{digest}"
    if (left := _left(folder, size_bytes, holds)) is not None:
        return Receiving(tier, digest, left, is_resumed=True, is_there=False)
    folders.remove(folder)
    made = tier.new_folder(digest, BLOB, size_bytes, holds, partial=digest)
    return Receiving(tier, digest, made, is_resumed=False, is_there=False)


def _receive_folder(
    tier: Tier,
    found: Listing,
    name: str,
    holds: contextlib.ExitStack,
    open_member: Callable[[Member], contextlib.AbstractContextManager[BinaryIO]],
) -> tuple[Path, Record]:
    name = free_name(name)
    made = tier.new_folder(found.path, _RESERVE, found.size_bytes, holds)
    with contextlib.ExitStack() as undo:
        undo.callback(folders.discard, made)
        reserve, top = made / _RESERVE, made / name
        with tier.explained():
            top.mkdir(mode=0o700)
            for place in found.folders:
                (top / place).mkdir(mode=0o700)
        files = {}
        left = found.size_bytes
        for member in found.files:
            left -= member.size_bytes
            with tier.explained():
                os.truncate(reserve, left)  # makes room for the next file
            files[f"{name}/{member.place}"] = _copy_member(tier, found.path, member, top / member.place, open_member)
        with tier.explained():
            reserve.unlink()
            for place in (*reversed(found.folders), ""):
                (top / place).chmod(0o500)
        undo.pop_all()
    inside = [f"{name}/{place}" for place in found.folders]
    return made, Record(source=found.path, name=name, files=files, folders=inside)


def free_name(name: str) -> str:
    """A name that is not one of ours."""
    return "file" if name in (records.NAME, _RESERVE) else name


def _left(folder: Path, size_bytes: int, holds: contextlib.ExitStack) -> Path | None:
    """The folder of what a process has left half made, held; None if it is not what we can go on with."""
    if folder.is_symlink() or (fd := locks.hold(folder, shared=True)) is None:
        return None
    with contextlib.ExitStack() as undo, contextlib.suppress(OSError):
        undo.callback(os.close, fd)
        status = (folder / BLOB).lstat()
        is_same = os.path.samestat(os.fstat(fd), folder.stat())
        if is_same and stat.S_ISREG(status.st_mode) and status.st_size == size_bytes:
            (folder / BLOB).chmod(0o600)  # it may have ended as it settled
            os.utime(folder)
            holds.push(undo.pop_all())
            return folder
    return None


def _copy(read: Callable[[int], bytes], stream: RawIOBase, tier: Tier) -> tuple[int, Sha256]:
    size = 0
    with Hashing() as hashing:
        while piece := read(_PIECE_BYTES):
            hashing.add(piece)
            size += len(piece)
            left = memoryview(piece)
            with tier.explained():
                while left:  # not buffered, so that a full disk is met here rather than as the file is closed
                    left = left[stream.write(left) or 0 :]
        return size, hashing.digest()


def _copy_member(
    tier: Tier,
    root: str,
    member: Member,
    target: Path,
    open_member: Callable[[Member], contextlib.AbstractContextManager[BinaryIO]],
) -> FileRecord:
    left = member.size_bytes

    def read(size: int) -> bytes:
        nonlocal left
        with _reading(root, member):
            piece = source.read(min(size, left))
        left -= len(piece)
        return piece

    with contextlib.ExitStack() as stack:
        with _reading(root, member):
            source = stack.enter_context(open_member(member))
        with tier.explained():
            stream = stack.enter_context(open(target, "xb", buffering=0))
        size, sha256 = _copy(read, stream, tier)
        if size != member.size_bytes:
            raise _changed(root)
        with tier.explained():
            os.fchmod(stream.fileno(), 0o500 if member.is_program else 0o400)
            stream.close()
    return records.file_record(target, sha256)


@contextlib.contextmanager
def _member_of(found: Listing, member: Member) -> Iterator[BinaryIO]:
    with open(os.path.join(found.path, member.place), "rb") as stream:
        yield stream


@contextlib.contextmanager
def _reading(root: str, member: Member) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileFetchError(url=root, reason=f"{member.place} in it cannot be read: {error.strerror}") from error


def _changed(path: str) -> FileFetchError:
    return FileFetchError(url=path, reason="it changed while it was copied; try again when it is written")
