"""Messages of files on their way to nodes: who wants, has, and is to get what. Their bytes take other ways.

Parts of the unions of `messages.py`; worker and manager talk over a socket of their own, see `distribute.asking`. Keys
travel in them, so they are as secret as the links: with `encrypted=False` whoever reads these can read the files.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from parsl_context.wire.ids import Digest, ManagerId

LEAST_BYTES = 4 << 20  # smaller files are fetched as if there were no other nodes
PEERS_VARIABLE = "PARSL_CONTEXT_PEERS"  # "0": no files from other nodes

# --- parts ------------------------------------------------------------------------------------------------------------


class Serving(Struct, frozen=True, kw_only=True):
    """Where a process serves files to others, and the secret that keys for it are made with."""

    addresses: tuple[str, ...]  # to be tried in order; none: those of the interchange
    port: int
    secret: bytes


class Ticket(Struct, frozen=True, kw_only=True):
    """Lets one node get one file from another."""

    addresses: tuple[str, ...]  # as in `Serving`
    port: int
    ticket: bytes
    key: bytes


# --- manager -> interchange -------------------------------------------------------------------------------------------


class FileServing(Struct, frozen=True, kw_only=True, tag=True):
    """The manager can serve files from now on. Said before the first `FileWanted`."""

    serving: Serving


class FileSought(Struct, frozen=True, kw_only=True, tag=True):
    """A file cannot be seen from here: does the script have it? Also sent on to the executor. Answer: `FileFound`."""

    url: str


class FileWanted(Struct, frozen=True, kw_only=True, tag=True):
    """A node wants a version of a file."""

    blob: Digest
    url: str
    chunks: int
    reads_origin: bool  # whether it can read the file where it is
    has: tuple[tuple[int, bytes], ...] = ()  # chunks that it has, and their digests


class ChunkCame(Struct, frozen=True, kw_only=True, tag=True):
    """A node has a chunk that it was told to get."""

    blob: Digest
    chunk: int
    digest: bytes


class ChunkMissed(Struct, frozen=True, kw_only=True, tag=True):
    """A node did not get a chunk that it was told to get, or told not to wait for any more."""

    blob: Digest
    chunk: int
    source: ManagerId
    fault: str  # name of a `scheduling.transfers.events.Fault`
    reason: str


class FileArrived(Struct, frozen=True, kw_only=True, tag=True):
    """A node has all of a file."""

    blob: Digest
    chunks: dict[ManagerId, int]  # that came from each source
    took_s: float  # [s]


class FileDropped(Struct, frozen=True, kw_only=True, tag=True):
    """A node has a file no longer, and does not want it."""

    blob: Digest


class ContentWanted(Struct, frozen=True, kw_only=True, tag=True):
    """Content that was sent as a stretch of a file, and does not come that way. Answer: `StoreBlobs`, `ContentGone`."""

    digest: Digest


# --- interchange -> manager -------------------------------------------------------------------------------------------


class FileFound(Struct, frozen=True, kw_only=True, tag=True):
    """Answer to `FileSought`; also from the executor, which then says where it serves it."""

    url: str
    identity: str | None  # of the version that the script has; None: it has none to give
    size: int = 0  # [bytes]
    reason: str = ""  # why not
    serving: Serving | None = None  # not sent on to managers


class GetChunk(Struct, frozen=True, kw_only=True, tag=True):
    """Get a chunk of a file. Answered by `ChunkCame` or `ChunkMissed`."""

    blob: Digest
    chunk: int
    digest: bytes | None  # that it must have; None: nobody has it yet
    source: ManagerId
    ticket: Ticket | None = None  # None: read it where the file comes from


class WithdrawChunk(Struct, frozen=True, kw_only=True, tag=True):
    """Do not wait for a chunk from a source any more. Answered by `ChunkMissed`."""

    blob: Digest
    chunk: int
    source: ManagerId


class FileStranded(Struct, frozen=True, kw_only=True, tag=True):
    """A file that was wanted cannot be had from anyone."""

    blob: Digest
    reason: str


class ContentGone(Struct, frozen=True, kw_only=True, tag=True):
    """Answer to `ContentWanted`: nobody names it any more."""

    digest: Digest


# --- worker <-> manager -----------------------------------------------------------------------------------------------


class AskVersion(Struct, frozen=True, kw_only=True, tag=True):
    """Which version of a file does the script have? It cannot be seen from here. Answer: `VersionIs`."""

    url: str


class AskFile(Struct, frozen=True, kw_only=True, tag=True):
    """Have a version of a file in the store of this node. Answer: `FileIs`."""

    url: str
    entry_identity: str  # by which the store of this node tells versions of it apart
    identity: str  # by which all nodes do
    size: int  # [bytes]
    reads_origin: bool  # whether it can be read where it is


class AskContent(Struct, frozen=True, kw_only=True, tag=True):
    """Some content that is not to be had as a part of a file. Answer: `ContentIs`."""

    digest: Digest


class VersionIs(Struct, frozen=True, kw_only=True, tag=True):
    """Answer to `AskVersion`."""

    identity: str | None  # None: there is none to be had
    size: int = 0  # [bytes]
    reason: str = ""


class FileIs(Struct, frozen=True, kw_only=True, tag=True):
    """Answer to `AskFile`."""

    is_here: bool
    reason: str = ""  # why not


class ContentIs(Struct, frozen=True, kw_only=True, tag=True):
    """Answer to `AskContent`; one frame follows, unless it is not to be had."""


ToDesk: TypeAlias = AskVersion | AskFile | AskContent
FromDesk: TypeAlias = VersionIs | FileIs | ContentIs
