"""Frames of the bulk road: encrypted and authenticated, into memory that is used again and again.

As in `peers.framing` a frame is AES-256-GCM under a key of this connection and direction alone, with the number of the
frame as nonce (NIST SP 800-38D, 8.2.1) and its header authenticated too: none can be dropped, repeated or moved.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from parsl_context.errors import MessageError

PIECE_BYTES = 1 << 18  # of a value in one frame: what is urgent waits for no more than one
TAG_BYTES = 16
_header = struct.Struct(">IBQ")
HEADER_BYTES = _header.size
_MOST_FRAMES = 1 << 32  # of one connection and direction; far below what a counter as nonce allows


class Kind(enum.IntEnum):
    """What a frame is."""

    HELLO = 1
    WANT = 2  # a segment, by its description: the same number comes back with its pieces, or `LACK`
    OFFER = 3  # a segment, by its description: its pieces follow; answered by `GOT` or `LACK`
    PIECE = 4  # the next bytes of a segment
    GOT = 5
    LACK = 6  # it does not come, or cannot be taken: why


_KINDS = {int(kind): kind for kind in Kind}


@dataclass(frozen=True)
class Head:
    """Header of a frame."""

    kind: Kind
    number: int  # of the transfer
    size: int  # of the content. [bytes]


class Sealer:
    """Makes the frames of one direction."""

    def __init__(self, cipher: AESGCM) -> None:
        self._cipher = cipher
        self._count = 0
        self._frame = bytearray(HEADER_BYTES + PIECE_BYTES + TAG_BYTES)

    def seal(self, kind: Kind, number: int, content: bytes | memoryview = b"") -> memoryview:
        """A frame. It is good until the next one is made."""
        size = len(content)
        end = HEADER_BYTES + size + TAG_BYTES
        view = memoryview(self._frame)
        _header.pack_into(self._frame, 0, size + TAG_BYTES, kind, number)
        head, body = bytes(view[:HEADER_BYTES]), view[HEADER_BYTES:end]
        nonce = _nonce(self._count)
        self._count += 1
        if hasattr(self._cipher, "encrypt_into"):
            self._cipher.encrypt_into(nonce, content, head, body)
        else:  # older releases of cryptography
            body[:] = self._cipher.encrypt(nonce, content, head)
        return view[:end]


class Opener:
    """Opens the frames of the other direction."""

    def __init__(self, cipher: AESGCM) -> None:
        self._cipher = cipher
        self._count = 0
        self._content = bytearray(PIECE_BYTES)

    @staticmethod
    def head(data: bytes | bytearray) -> Head:
        """What a header says, which is not authenticated yet.

        Raises
        ------
        MessageError
            If it can be none.
        """
        size, kind, number = _header.unpack(data)
        if not TAG_BYTES <= size <= PIECE_BYTES + TAG_BYTES or kind not in _KINDS:
            raise MessageError(f"A frame of kind {kind} announces {size} bytes.")
        return Head(_KINDS[kind], number, size - TAG_BYTES)

    def open(self, header: bytes | bytearray, body: memoryview) -> memoryview:
        """Content of a frame. It is good until the next one is opened.

        Raises
        ------
        MessageError
            If it is not from who has the key, or not the next one.
        """
        nonce = _nonce(self._count)
        self._count += 1
        content = memoryview(self._content)[: len(body) - TAG_BYTES]
        try:
            if hasattr(self._cipher, "decrypt_into"):
                self._cipher.decrypt_into(nonce, body, bytes(header), content)
            else:
                content[:] = self._cipher.decrypt(nonce, bytes(body), bytes(header))
        except InvalidTag as error:
            raise MessageError("A frame was not written by who has the key, or not as the next one.") from error
        return content


def _nonce(count: int) -> bytes:
    if count >= _MOST_FRAMES:
        raise MessageError("A connection has had as many frames as one may have.")
    return count.to_bytes(12, "big")
