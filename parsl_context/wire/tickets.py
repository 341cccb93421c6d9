"""Tickets by which one node gets one file from another, and their keys.

The interchange makes both for each transfer, from the secret of the node that serves, and sends them to the node that
asks, over the control link. That shows the ticket; the other finds the key by its secret, and keeps no list.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from parsl_context.wire.ids import Digest

TICKET_BYTES = 16
SECRET_BYTES = 32


def new_secret() -> bytes:
    """For a process that serves files."""
    return secrets.token_bytes(SECRET_BYTES)


def new_ticket() -> bytes:
    """For a transfer of one file from one node to another."""
    return secrets.token_bytes(TICKET_BYTES)


def key_of(secret: bytes, ticket: bytes, blob: Digest) -> bytes:
    """Key of a ticket for one file of the process that has this secret."""
    return hmac.digest(secret, b"parsl-context ticket" + ticket + blob.encode(), hashlib.sha256)
