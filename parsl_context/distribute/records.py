"""What an entry of the store says of itself: where it came from, and the digest of each file in it.

The record is written before the entry gets its name, so an entry without a record that can be read is not whole. Each
file has a stamp, which changes when anybody writes to it, and the record names the boot of the machine: what was
touched since, or may not have reached the disk before a crash, is hashed before it is used. So no file is forced to the
disk, which would take long.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import tempfile
from pathlib import Path
from typing import NewType

import msgspec

NAME = ".parsl-context.json"
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_CHUNK_BYTES = 1 << 20

Sha256 = NewType("Sha256", str)
"""SHA-256 of a content, 64 lower-case hexadecimal digits."""


class FileRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A file of an entry, as it was when it was whole."""

    sha256: Sha256
    size_bytes: int
    stamp: tuple[int, int, int]  # inode, times of modification and of change [ns]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """An entry. The paths of its files and folders are relative to it."""

    source: str  # address or path that it was fetched from; empty for what is known by its digest alone
    name: str  # of the file or folder that is its content
    files: dict[str, FileRecord]
    folders: list[str] = []
    links: dict[str, str] = {}  # symbolic links, with what they say
    boot: str = ""

    @property
    def is_folder(self) -> bool:
        """Whether its content is a folder, rather than a file."""
        return self.name not in self.files

    @property
    def size_bytes(self) -> int:
        """Size of its content."""
        return sum(file.size_bytes for file in self.files.values())

    @property
    def sha256(self) -> Sha256:
        """Digest of its content: of the file, or of the list of files."""
        if not self.is_folder:
            return self.files[self.name].sha256
        lines = [f"{self.files[path].sha256} {path}" for path in sorted(self.files)]
        lines += [f"link {self.links[path]} {path}" for path in sorted(self.links)]
        listed = "\n".join(lines)
        return Sha256(hashlib.sha256(listed.encode("utf-8", "surrogateescape")).hexdigest())


def parse_sha256(text: str) -> Sha256:
    """A digest from a text.

    Raises
    ------
    ValueError
        If it is none.
    """
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise ValueError(f"{text!r} is no SHA-256 in hexadecimal digits.")
    return Sha256(text)


def sha256_of(path: Path) -> Sha256:
    """Digest of a file's content. A symbolic link is not followed.

    Raises
    ------
    OSError
    """
    hasher = hashlib.sha256()
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(fd, "rb", buffering=0) as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            hasher.update(chunk)
    return Sha256(hasher.hexdigest())


def file_record(path: Path, sha256: Sha256) -> FileRecord:
    """What is to be remembered of a file that is whole now."""
    return record_of(path.lstat(), sha256)


def record_of(status: os.stat_result, sha256: Sha256) -> FileRecord:
    """The same, of a file that was looked at just now."""
    return FileRecord(sha256=sha256, size_bytes=status.st_size, stamp=_stamp(status))


def write(entry: Path, record: Record) -> None:
    """Put a record into its entry; who reads it meanwhile sees the old one or the new one."""
    record = msgspec.structs.replace(record, boot=_boot())
    fd, name = tempfile.mkstemp(prefix=NAME, dir=entry)
    try:
        with open(fd, "wb") as stream:
            stream.write(msgspec.json.encode(record))
        os.rename(name, entry / NAME)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def read(entry: Path) -> Record | None:
    """The record of an entry, if it has one that can be read."""
    try:
        fd = os.open(entry / NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as stream:
            return msgspec.json.decode(stream.read(), type=Record)
    except (OSError, msgspec.MsgspecError, UnicodeError):
        return None


def problem_of(entry: Path, record: Record, *, thorough: bool = False) -> str | None:
    """What is wrong with an entry; None if each file is what it was.

    Parameters
    ----------
    thorough
        Hash all files, also those that nobody has touched.
    """
    try:
        if record.is_folder and (difference := _difference(entry, record)):
            return difference
        for path, target in record.links.items():
            if os.readlink(entry / path) != target:
                return f"{path} leads elsewhere than to {target}"
        is_same_boot = record.boot == _boot() != ""
        hashed = {}
        for path, known in record.files.items():
            status = os.lstat(f"{entry}/{path}")  # a path object for each of many files would take longer
            if not stat.S_ISREG(status.st_mode):
                return f"{path} is no regular file"
            if status.st_size != known.size_bytes:
                return f"{path} has {status.st_size} bytes instead of {known.size_bytes}"
            if thorough or not is_same_boot or _stamp(status) != known.stamp:
                if sha256_of(entry / path) != known.sha256:
                    return f"{path} has another content than was written"
                hashed[path] = msgspec.structs.replace(known, stamp=_stamp(status))
    except OSError as error:
        return f"{error.filename or entry} cannot be read ({error.strerror})"
    if any(record.files[path] != file for path, file in hashed.items()) or not is_same_boot:
        with contextlib.suppress(OSError):  # else it is hashed again next time
            write(entry, msgspec.structs.replace(record, files={**record.files, **hashed}))
    return None


def _difference(entry: Path, record: Record) -> str | None:
    """What is in a copied folder and was not copied, or is missing."""
    known = {*record.files, *record.folders, *record.links}
    found: set[str] = set()
    outside = len(f"{entry}/")
    for folder, folders, files in os.walk(entry / record.name):
        found.update(f"{folder[outside:]}/{name}" for name in (*folders, *files))
    if extra := found - known:
        return f"{min(extra)} was not copied there"
    return f"{min(missing)} is missing" if (missing := known - found) else None


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_mtime_ns, status.st_ctime_ns


def _boot() -> str:
    """The boot that this machine runs since; empty if it does not tell."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""
