"""Bytes of a connection between two nodes: a greeting, then frames that are encrypted and authenticated.

The client names its ticket and the file; the server finds the key of the ticket by its own secret, so nothing is kept
for tickets that nobody uses. Both add random bytes, from which, with the ticket's key, each direction gets a key of its
own for this one connection (HKDF, RFC 5869). A frame is AES-256-GCM with the number of the frame in its direction as
nonce (NIST SP 800-38D, 8.2.1): no key ever meets a nonce twice, and no frame can be dropped, repeated or moved.

    client ── magic, ticket, blob, random ──▶ server
           ◀── random ──
           ── frames: WANT ──▶
           ◀── frames: CHUNK, LACK ──

A frame is a header (length of what follows, kind, number of the chunk), which is authenticated as well, and ciphertext.
"""

from __future__ import annotations

import enum
import socket
import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from parsl_context.errors import MessageError
from parsl_context.wire.ids import Digest
from parsl_context.wire.tickets import TICKET_BYTES

MAGIC = b"pctx-1\r\n"
RANDOM_BYTES = 16
_BLOB_BYTES = 16
TAG_BYTES = 16
GREETING_BYTES = len(MAGIC) + TICKET_BYTES + _BLOB_BYTES + RANDOM_BYTES
_header = struct.Struct(">IBI")
_WAKE_BYTES = 64 << 10
_MAX_FRAMES = 1 << 32  # of one connection and direction; far below what a counter nonce allows


class Kind(enum.IntEnum):
    """What a frame says of a chunk."""

    WANT = 1
    CHUNK = 2  # its bytes follow
    LACK = 3  # the sender does not have it


@dataclass(frozen=True)
class Frame:
    """A frame that was authenticated."""

    kind: Kind
    chunk: int
    data: bytes


@dataclass(frozen=True)
class Greeting:
    """What a client says first."""

    ticket: bytes
    blob: Digest
    random: bytes

    def pack(self) -> bytes:
        """As bytes."""
        return MAGIC + self.ticket + bytes.fromhex(self.blob) + self.random

    @classmethod
    def unpack(cls, data: bytes) -> Greeting:
        """From bytes.

        Raises
        ------
        MessageError
            If this is no greeting.
        """
        if len(data) != GREETING_BYTES or not data.startswith(MAGIC):
            raise MessageError("A connection for files begins with something else than a greeting.")
        rest = data[len(MAGIC) :]
        ticket, blob, random = rest[:16], rest[16:32], rest[32:]
        return cls(ticket, Digest(blob.hex()), random)


def directions(key: bytes, client_random: bytes, server_random: bytes) -> tuple[AESGCM, AESGCM]:
    """Ciphers of one connection: client to server, and server to client."""
    derive = HKDF(SHA256(), 64, salt=client_random + server_random, info=b"parsl-context transfer")
    both = derive.derive(key)
    return AESGCM(both[:32]), AESGCM(both[32:])


class Sealer:
    """Encrypts the frames of one direction of one connection."""

    def __init__(self, cipher: AESGCM) -> None:
        self._cipher = cipher
        self._count = 0

    def seal(self, kind: Kind, chunk: int, data: bytes = b"") -> list[bytes]:
        """Buffers of a frame."""
        header = _header.pack(len(data) + TAG_BYTES, kind, chunk)
        nonce = _nonce(self._count)
        self._count += 1
        return [header, self._cipher.encrypt(nonce, data, header)]


class Opener:
    """Reads and authenticates the frames of one direction of one connection.

    Parameters
    ----------
    most_bytes
        Content of a frame; a longer one is refused before memory is taken for it. [bytes]
    """

    def __init__(self, cipher: AESGCM, most_bytes: int) -> None:
        self._cipher = cipher
        self._most = most_bytes + TAG_BYTES
        self._count = 0
        self._header = bytearray(_header.size)
        self._body: bytearray | None = None
        self._wakes_for = 1
        self._filled = 0  # bytes of the part that is being read

    def read(self, sock: socket.socket) -> tuple[int, Frame | None]:
        """Read once; gives how many bytes came, none at the end, and the frame that they complete, if they do.

        Raises
        ------
        MessageError
            If the frame is not of the peer that has the key, or out of order, or too long.
        BlockingIOError, OSError
            As from `socket.recv_into`.
        """
        target = self._header if self._body is None else self._body
        count = sock.recv_into(memoryview(target)[self._filled :])
        self._filled += count
        if self._body is not None:
            self._wake_for(sock, len(target) - self._filled)
        if self._filled < len(target) or not count:
            return count, None
        self._filled = 0
        if self._body is None:
            size = _header.unpack(self._header)[0]
            if not TAG_BYTES <= size <= self._most:
                raise MessageError(f"A frame announces {size} bytes.")
            self._body = bytearray(size)
            return count, None
        body, self._body = self._body, None
        return count, self._open(body)

    def _wake_for(self, sock: socket.socket, left: int) -> None:
        """Have the system tell of no more than a part of a chunk at a time: waking for each packet takes a core."""
        wanted = max(1, min(left, _WAKE_BYTES))
        if wanted != self._wakes_for:
            self._wakes_for = wanted
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted)

    def _open(self, body: bytearray) -> Frame:
        _, kind, chunk = _header.unpack(self._header)
        nonce = _nonce(self._count)
        self._count += 1
        try:
            return Frame(Kind(kind), chunk, self._cipher.decrypt(nonce, bytes(body), bytes(self._header)))
        except (InvalidTag, ValueError) as error:
            raise MessageError("A frame was not written by who has the key, or not as the next one.") from error


def _nonce(count: int) -> bytes:
    if count >= _MAX_FRAMES:
        raise MessageError("A connection has had as many frames as one may have.")
    return count.to_bytes(12, "big")
