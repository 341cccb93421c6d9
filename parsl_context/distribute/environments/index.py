"""The format of a packed environment: an index, then a tar archive, cut and compressed in parts that stand alone.

.. code-block:: none

    skippable frame of zstd │ frame │ frame │ frame ...
      index: digests, files │  the stream of a tar archive, cut every `shard_bytes`

Any program that knows ``.tar.zst`` reads it, as it skips the index. With the index each frame (a *shard*) can be
verified and unpacked by itself, in any order: it says which files lie in it, and where. The digest of the index is that
of the environment, since the index has the digests of all that follows.
"""

from __future__ import annotations

import hashlib
import itertools
import struct
from collections.abc import Callable
from pathlib import PurePosixPath

import msgspec
from msgspec import Struct

from parsl_context.distribute.records import Sha256

_FRAME = struct.Struct("<II")  # magic number and size, RFC 8878, section 3.1.2
_MAGIC = 0x184D2A50
_MARK = b"parsl-context environment 1\n"
_MOST_BYTES = 1 << 30  # of an index
HEAD_BYTES = _FRAME.size + len(_MARK)


class NoPackError(ValueError):
    """A file does not begin as packed environments do, or its index is of no use. Says why, in a part of a sentence."""


class Packed(Struct, frozen=True, array_like=True):
    """A file of the environment."""

    path: str  # below the environment's folder
    size_bytes: int
    at: int  # where its content begins in the stream
    is_program: bool
    sha256: Sha256


class Shard(Struct, frozen=True, array_like=True):
    """A part of the stream, compressed."""

    size_bytes: int
    sha256: Sha256


class Index(Struct, frozen=True, kw_only=True):
    """What is in a packed environment, and where it runs."""

    python: str  # minor version, as "3.11"
    machine: str  # as `platform.machine` says
    glibc: str  # the lowest version that it runs with; empty: any
    distributions: list[str]  # as "numpy==2.1"
    stream_bytes: int
    shard_bytes: int  # of the stream, in each shard but the last
    shards: list[Shard]
    files: list[Packed]  # by their places in the stream

    @property
    def size_bytes(self) -> int:
        """Size of its files."""
        return sum(file.size_bytes for file in self.files)

    def places(self, head_bytes: int) -> list[int]:
        """Where each shard begins in the file, whose head takes so much."""
        return list(itertools.accumulate((shard.size_bytes for shard in self.shards[:-1]), initial=head_bytes))

    def span(self, shard: int) -> tuple[int, int]:
        """The part of the stream that is in a shard, as a half-open interval."""
        return shard * self.shard_bytes, min((shard + 1) * self.shard_bytes, self.stream_bytes)


def write_head(index: Index, compress: Callable[[bytes], bytes]) -> bytes:
    """The frame with which the file begins."""
    payload = _MARK + compress(msgspec.msgpack.encode(index))
    return _FRAME.pack(_MAGIC, len(payload)) + payload


def read_head(read: Callable[[int], bytes], decompress: Callable[[bytes], bytes]) -> tuple[Index, Sha256, int]:
    """The index of a file that is read from its beginning, the digest of the environment, and the size of the head.

    Raises
    ------
    NoPackError
        If it is no packed environment.
    """
    head = read(HEAD_BYTES)
    if len(head) < HEAD_BYTES or not is_pack(head):
        raise NoPackError("it does not begin as a file of `parsl-context pack` does")
    _, size = _FRAME.unpack_from(head)
    rest = read(size - len(_MARK)) if len(_MARK) <= size <= _MOST_BYTES else b""
    if len(rest) != size - len(_MARK):
        raise NoPackError("it ends within its index")
    try:
        index = msgspec.msgpack.decode(decompress(rest), type=Index)
    except (msgspec.MsgspecError, ValueError) as error:
        raise NoPackError(f"its index cannot be read ({error})") from error
    _check(index)
    return index, Sha256(hashlib.sha256(head[_FRAME.size :] + rest).hexdigest()), len(head) + len(rest)


def is_pack(head: bytes) -> bool:
    """Whether a file that begins so is a packed environment."""
    return head[:4] == _FRAME.pack(_MAGIC, 0)[:4] and head[_FRAME.size : HEAD_BYTES] == _MARK


def _check(index: Index) -> None:
    """Refuse an index by which files would be written anywhere else, or which contradicts itself."""
    if index.shard_bytes < 1 or len(index.shards) != -(-index.stream_bytes // index.shard_bytes):
        raise NoPackError("its index contradicts itself: another number of shards")
    end = 0
    for file in index.files:
        if not is_inside(file.path):
            raise NoPackError(f"its index has a file outside of it, {file.path!r}")
        if file.at < end or file.size_bytes < 0:
            raise NoPackError(f"its index contradicts itself: {file.path!r} overlaps another file")
        end = file.at + file.size_bytes
    if end > index.stream_bytes:
        raise NoPackError("its index contradicts itself: files beyond the end")
    if len({file.path for file in index.files}) != len(index.files):
        raise NoPackError("its index has a file twice")


def is_inside(path: str) -> bool:
    """Whether a relative path stays below the folder that it is relative to."""
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and ".." not in parts and str(PurePosixPath(path)) == path
