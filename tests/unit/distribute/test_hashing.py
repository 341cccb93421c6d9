"""What is hashed in another thread has the digest of the whole, and the thread ends."""

import contextlib
import hashlib
import threading

import pytest

from parsl_context.distribute.hashing import Hashing

MB = 1 << 20


@pytest.mark.parametrize("sizes", [[], [3], [3, 4, 5], [MB] * 20, [MB, MB, 3], [3, MB, 5, MB, 2]], ids=str)
def test_the_digest_is_that_of_all_pieces_in_order(sizes):
    pieces = [bytes([number % 256]) * size for number, size in enumerate(sizes)]
    before = threading.active_count()
    with Hashing() as hashing:
        for piece in pieces:
            hashing.add(piece)
        digest = hashing.digest()
    assert digest == hashlib.sha256(b"".join(pieces)).hexdigest()
    assert threading.active_count() == before


def test_the_thread_ends_when_the_copy_fails():
    before = threading.active_count()
    with contextlib.suppress(ZeroDivisionError), Hashing() as hashing:
        hashing.add(b"x" * MB)
        raise ZeroDivisionError
    assert threading.active_count() == before
