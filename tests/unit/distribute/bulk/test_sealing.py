"""Frames of the bulk road: what is changed on its way is refused, and so is what comes again or out of order."""

import os

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from parsl_context.distribute.bulk import sealing
from parsl_context.distribute.bulk.sealing import HEADER_BYTES, PIECE_BYTES, Kind, Opener, Sealer
from parsl_context.errors import MessageError

KEY = b"k" * 32


class Plain:
    """The cipher as older releases have it."""

    def __init__(self):
        self._cipher = AESGCM(KEY)

    def encrypt(self, *given):
        return self._cipher.encrypt(*given)

    def decrypt(self, *given):
        return self._cipher.decrypt(*given)


def opened(opener, frame):
    head = opener.head(bytes(frame[:HEADER_BYTES]))
    return head, bytes(opener.open(bytes(frame[:HEADER_BYTES]), memoryview(bytes(frame[HEADER_BYTES:]))))


@pytest.mark.parametrize("cipher", [AESGCM(KEY), Plain()], ids=["new", "old"])
@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES])
def test_a_frame_is_opened_as_it_was_sealed(cipher, size):
    content = os.urandom(size)
    sealer, opener = Sealer(AESGCM(KEY)), Opener(cipher)
    for number in (1, 2**63):
        head, got = opened(opener, Sealer.seal(sealer, Kind.PIECE, number, content))
        assert (head.kind, head.number, head.size, got) == (Kind.PIECE, number, size, content)


@pytest.mark.parametrize("place", range(0, 60, 3))
def test_a_bit_that_was_flipped_is_noticed(place):
    frame = bytearray(Sealer(AESGCM(KEY)).seal(Kind.OFFER, 7, b"x" * 40))
    frame[place] ^= 1
    with pytest.raises(MessageError):
        opened(Opener(AESGCM(KEY)), frame)


def test_frames_come_once_and_in_order():
    sealer = Sealer(AESGCM(KEY))
    first, second = (bytes(sealer.seal(Kind.GOT, number)) for number in (1, 2))
    opener = Opener(AESGCM(KEY))
    opened(opener, first)
    with pytest.raises(MessageError):
        opened(opener, first)
    with pytest.raises(MessageError):
        opened(Opener(AESGCM(KEY)), second)


def test_who_has_another_key_is_not_understood():
    with pytest.raises(MessageError):
        opened(Opener(AESGCM(b"o" * 32)), Sealer(AESGCM(KEY)).seal(Kind.HELLO, 0))


def test_no_memory_is_taken_for_what_is_too_long():
    header = bytes(Sealer(AESGCM(KEY)).seal(Kind.PIECE, 1, b"x")[:HEADER_BYTES])
    for size in (0, sealing.TAG_BYTES - 1, PIECE_BYTES + sealing.TAG_BYTES + 1, 2**32 - 1):
        with pytest.raises(MessageError, match="announces"):
            Opener.head(size.to_bytes(4, "big") + header[4:])
