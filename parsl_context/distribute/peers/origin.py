"""Parts of a file from where it comes from: a path that this node sees, or a server that gives ranges."""

from __future__ import annotations

import os
import stat
import urllib.request
from pathlib import Path

from parsl_context.content.digests import digest_bytes
from parsl_context.distribute import origins
from parsl_context.distribute.packed import packed_folder, state_of
from parsl_context.distribute.peers.chunks import ChunkedFile
from parsl_context.errors import FileFetchError
from parsl_context.wire.ids import Digest

_TIMEOUT_S = 30.0


def shared_identity(url: str) -> tuple[str, int] | None:
    """What tells a version of a file from others on whatever node one asks, and its size; None if nothing does.

    Unlike the identity of `origins.version` it leaves the device out: nodes number that as they like.

    Raises
    ------
    FileFetchError
        If it cannot be seen from here.
    """
    if url.startswith(origins.FOLDER):
        state = state_of(origins.local_path(url))
        return state.stamp, state.size_bytes
    if origins.is_here(url):
        with origins.explained(url):
            return _of_file(os.stat(origins.local_path(url)))
    version = origins.version(url)
    return None if version.identity is None or version.size is None else (version.identity, version.size)


class OriginFile(ChunkedFile):
    """A file where it comes from, which others may change, served to nodes that do not see it.

    Parameters
    ----------
    where
        Its address here.
    identity, size
        Of the version that is served, as of `shared_identity`.
    """

    def __init__(self, where: str, identity: str, size: int) -> None:
        super().__init__(Path(origins.local_path(where)), size)
        self._where = where
        self._identity = identity

    def read(self, chunk: int) -> bytes:
        """As of any."""
        try:
            return read_span(self._where, self._identity, *self.span(chunk))
        except FileFetchError as error:
            raise FileNotFoundError(str(error)) from error


def name_of_blob(url: str, identity: str, size: int) -> Digest:
    """Name of a version of a file, the same on all nodes."""
    return digest_bytes(f"{url}\0{identity}\0{size}".encode())


def read_span(url: str, identity: str, start: int, size: int) -> bytes:
    """Some bytes of a version of a file.

    Raises
    ------
    FileFetchError
        If they cannot be had, or it is another version by now.
    """
    read = _read_folder if url.startswith(origins.FOLDER) else _read_here if origins.is_here(url) else _read_there
    data = read(url, identity, start, size)
    if len(data) != size:
        raise FileFetchError(url=url, reason=f"only {len(data)} of {size} bytes came from byte {start} on")
    return data


def _read_folder(url: str, identity: str, start: int, size: int) -> bytes:
    return packed_folder(origins.local_path(url), identity).read(start, size)


def _read_here(url: str, identity: str, start: int, size: int) -> bytes:
    with origins.explained(url), open(origins.local_path(url), "rb", buffering=0) as file:
        if _of_file(os.fstat(file.fileno()))[0] != identity:
            raise FileFetchError(url=url, reason="it changed while it was copied; try again when it is written")
        parts = []
        while size and (part := os.pread(file.fileno(), size, start)):
            parts.append(part)
            start, size = start + len(part), size - len(part)
        return b"".join(parts)


def _read_there(url: str, identity: str, start: int, size: int) -> bytes:
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-{start + size - 1}"})
    with origins.explained(url), urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        if answer.status != 206:
            raise FileFetchError(url=url, reason="its server sends no parts of it")
        whole = (answer.headers.get("Content-Range") or "").rpartition("/")[2]
        if origins.identity_of(answer, int(whole) if whole.isdecimal() else None) != identity:
            raise FileFetchError(url=url, reason="it changed while it was copied; try again when it is written")
        data: bytes = answer.read(size + 1)
        return data


def identity_of(status: os.stat_result) -> str:
    """What tells this version of a file from others, on all nodes that see it."""
    return f"{status.st_ino} {status.st_size} {status.st_mtime_ns}"


def _of_file(status: os.stat_result) -> tuple[str, int]:
    if not stat.S_ISREG(status.st_mode):
        raise IsADirectoryError
    return identity_of(status), status.st_size
