"""What the directory of transfers is told, and what it wants done."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias

from parsl_context.wire.ids import Digest, ManagerId

# Sources that are no manager. Managers have hexadecimal identities.
ORIGIN = ManagerId("the origin")  # the receiver reads from there by itself
SCRIPT = ManagerId("the script")  # the process of the executor


class Fault(enum.Enum):
    """Why a chunk did not come."""

    LACKING = "it does not have what it said it has"
    FALSE = "what it sends is not what was asked for"
    BROKEN = "the connection to it cannot be made, or broke"
    STALLED = "it sends nothing, or too slowly"
    UNREADABLE = "the file cannot be read there"
    WITHDRAWN = "it was asked for elsewhere"  # the answer to `Withdraw`


@dataclass(frozen=True, kw_only=True)
class BlobWanted:
    """A node wants a file."""

    peer: ManagerId
    blob: Digest
    chunks: int  # that the file has
    reads_origin: bool  # whether the node can read it where it is
    has: tuple[tuple[int, bytes], ...] = ()  # chunks that it has from before, and their digests


@dataclass(frozen=True, kw_only=True)
class BlobOffered:
    """The script serves a file."""

    blob: Digest
    chunks: int


@dataclass(frozen=True, kw_only=True)
class ChunkGot:
    """A node has a chunk; it was what its digest says, or gave it its digest if it came from the origin."""

    peer: ManagerId
    blob: Digest
    chunk: int
    digest: bytes


@dataclass(frozen=True, kw_only=True)
class ChunkFailed:
    """A node did not get a chunk that it was to get."""

    peer: ManagerId
    blob: Digest
    chunk: int
    source: ManagerId
    fault: Fault


@dataclass(frozen=True, kw_only=True)
class BlobDropped:
    """A node has nothing of a file any more, and does not want it."""

    peer: ManagerId
    blob: Digest


@dataclass(frozen=True, kw_only=True)
class PeerLeft:
    """A node is gone."""

    peer: ManagerId


@dataclass(frozen=True, kw_only=True)
class Tick:
    """Time has passed."""


Event: TypeAlias = BlobWanted | BlobOffered | ChunkGot | ChunkFailed | BlobDropped | PeerLeft | Tick


@dataclass(frozen=True, kw_only=True)
class Ask:
    """Have a node get a chunk from a source: another node, `ORIGIN` or `SCRIPT`."""

    receiver: ManagerId
    source: ManagerId
    blob: Digest
    chunk: int
    digest: bytes | None  # None: nobody has it yet


@dataclass(frozen=True, kw_only=True)
class Withdraw:
    """Have a node no longer wait for a chunk from a source. It answers by `ChunkFailed`, unless it got it by then."""

    receiver: ManagerId
    source: ManagerId
    blob: Digest
    chunk: int


@dataclass(frozen=True, kw_only=True)
class Blame:
    """A source did not do what it should. Said once for each source of a file."""

    source: ManagerId
    blob: Digest
    receiver: ManagerId
    fault: Fault
    is_out: bool  # nobody is sent to it any more


@dataclass(frozen=True, kw_only=True)
class Strand:
    """A node cannot get a file: nobody has all of it, and nobody can read it where it is."""

    receiver: ManagerId
    blob: Digest


Action: TypeAlias = Ask | Withdraw | Blame | Strand
