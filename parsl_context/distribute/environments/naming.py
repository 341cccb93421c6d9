"""What `environment=` names: of which form it is, and the digest by which nodes know it. Where the script runs."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Literal
from urllib.parse import urlparse

from parsl_context.content.digests import digest_bytes
from parsl_context.distribute import origins, records
from parsl_context.distribute.environments import interpreters, zstd
from parsl_context.distribute.environments.index import HEAD_BYTES, NoPackError, is_pack, read_head
from parsl_context.errors import ConfigurationError, FileFetchError
from parsl_context.wire.messages import Digest, Environment


def describe(text: str, *, is_kept: bool = True) -> Environment:
    """What workers are told of an environment.

    Parameters
    ----------
    text
        A path, or the address of what `parsl-context pack` has made.

    Raises
    ------
    ConfigurationError
        If there is none.
    """
    try:
        form, digest = _described(text)
    except (OSError, FileFetchError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise ConfigurationError(f"environment={text!r} cannot be read: {reason}.") from error
    except NoPackError as error:
        raise ConfigurationError(f"environment={text!r} cannot be used: {error}; pack it again.") from error
    return Environment(digest=Digest(digest), source=text, form=form, is_kept=is_kept)


def _described(text: str) -> tuple[Literal["pack", "archive", "folder"], str]:
    if not origins.is_here(text):
        return "pack", _digest_at(text)
    path = Path(origins.local_path(text) if urlparse(text).scheme else text)
    if path.is_dir():
        return "folder", _digest_of_folder(path)
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    if is_pack(head):
        return "pack", digest_of_pack(path)
    return "archive", digest_of_archive(path)


def digest_of_pack(path: Path) -> str:
    """Digest of what `parsl-context pack` has made: that of its index.

    Raises
    ------
    NoPackError, OSError
    """
    with path.open("rb") as stream:
        return read_head(stream.read, zstd.decompress)[1]


def digest_of_archive(path: Path) -> str:
    """Digest of any file."""
    status = path.stat()
    return _digest_of_version(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _digest_of_version(path: Path, size: int, changed_ns: int) -> str:
    return records.sha256_of(path.resolve())


def _digest_at(url: str) -> str:
    with origins.opened(url) as source:

        def read(size: int) -> bytes:
            data = b""
            while len(data) < size and (piece := source.read(size - len(data))):
                data += piece
            return data

        return read_head(read, zstd.decompress)[1]


def _digest_of_folder(path: Path) -> str:
    """Of where it is, and when anything was installed there last."""
    top = path.resolve()
    if interpreters.top_of(top) != top:
        raise ConfigurationError(
            f"environment={str(path)!r} is a folder without a Python environment: it has no bin/python, pyvenv.cfg or "
            "conda-meta."
        )
    changed = [each.stat().st_mtime_ns for each in sorted(top.glob("lib/python3*/site-packages"))]
    return digest_bytes(f"folder {top} {changed}".encode("utf-8", "surrogateescape"))
