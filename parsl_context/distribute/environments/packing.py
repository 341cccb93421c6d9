"""Writes a packed environment: a tar archive, cut in shards that are compressed side by side."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from parsl_context.distribute.environments.collecting import Found, Item
from parsl_context.distribute.environments.index import Index, Packed, Shard, write_head
from parsl_context.distribute.environments.zstd import compress
from parsl_context.distribute.records import Sha256
from parsl_context.errors import ConfigurationError

LEAST_SHARDS = 8
_SHARD_BYTES = 4 << 20  # at most, of the stream: about a chunk of those in which files come to nodes
_LEAST_SHARD_BYTES = 4096
_PIECE_BYTES = 1 << 20
_BLOCK = tarfile.BLOCKSIZE
_END = bytes(2 * _BLOCK)


def pack(found: Found, target: Path, *, level: int = 3, threads: int | None = None) -> Index:
    """Write what was found into a file, which appears when it is whole.

    Parameters
    ----------
    level
        Of the compression.

    Raises
    ------
    ConfigurationError
        If a file changes meanwhile, or the file cannot be written.
    """
    heads = [_head(item) for item in found.items]
    stream_bytes = sum(map(len, heads)) + sum(_padded(item.size_bytes) for item in found.items) + len(_END)
    shard_bytes = max(_LEAST_SHARD_BYTES, min(_SHARD_BYTES, stream_bytes // LEAST_SHARDS))
    files: list[Packed] = []
    shards: list[Shard] = []
    folder = target.absolute().parent
    try:
        with (
            contextlib.ExitStack() as stack,
            tempfile.TemporaryDirectory(dir=folder, prefix=f".{target.name}-") as beside,
        ):
            body, whole = (stack.enter_context(open(Path(beside, name), "w+b")) for name in ("body", "whole"))
            pieces = _cut(_stream(found.items, heads, files), shard_bytes)
            for data in _in_order(pieces, lambda piece: compress(piece, level), threads or os.cpu_count() or 1):
                shards.append(Shard(len(data), Sha256(hashlib.sha256(data).hexdigest())))
                body.write(data)
            index = Index(
                python=found.terms.python,
                machine=found.terms.machine,
                glibc=found.terms.glibc,
                distributions=found.distributions,
                stream_bytes=stream_bytes,
                shard_bytes=shard_bytes,
                shards=shards,
                files=files,
            )
            whole.write(write_head(index, compress))
            body.seek(0)
            shutil.copyfileobj(body, whole, _PIECE_BYTES)
            whole.close()
            os.rename(Path(beside, "whole"), target)
    except OSError as error:
        raise ConfigurationError(f"{target} cannot be written: {error.strerror or error}.") from error
    return index


def _head(item: Item) -> bytes:
    info = tarfile.TarInfo(item.path)
    info.size = item.size_bytes
    info.mode = 0o755 if item.is_program else 0o644
    return info.tobuf(tarfile.PAX_FORMAT)


def _stream(items: Sequence[Item], heads: Sequence[bytes], files: list[Packed]) -> Iterator[bytes]:
    """The tar archive, piece by piece; `files` are filled in on the way."""
    at = 0
    for item, head in zip(items, heads, strict=True):
        yield head
        at += len(head)
        hasher, size = hashlib.sha256(), 0
        for piece in _content(item):
            hasher.update(piece)
            size += len(piece)
            yield piece
        if size != item.size_bytes:
            raise ConfigurationError(f"{item.path} changed while it was packed; try again.")
        files.append(Packed(item.path, size, at, item.is_program, Sha256(hasher.hexdigest())))
        yield bytes(_padded(size) - size)
        at += _padded(size)
    yield _END


def _content(item: Item) -> Iterator[bytes]:
    with io.BytesIO(item.source) if isinstance(item.source, bytes) else item.source.open("rb") as source:
        left = item.size_bytes
        while piece := source.read(min(_PIECE_BYTES, left + 1)):  # one more than there was shows that it grew
            left -= len(piece)
            yield piece


def _cut(pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    """The same stream, in pieces of this size."""
    buffer = bytearray()
    for piece in pieces:
        buffer += piece
        while len(buffer) >= size:
            yield bytes(buffer[:size])
            del buffer[:size]
    if buffer:
        yield bytes(buffer)


def _in_order(pieces: Iterator[bytes], work: Callable[[bytes], bytes], threads: int) -> Iterator[bytes]:
    """Results in order, a few at a time side by side."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[bytes]] = deque()
        for piece in pieces:
            waiting.append(pool.submit(work, piece))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
