"""Messages about the bulk road: a connection of their own for large values between the script's host and another.

Parts of the unions of `messages.py`. On the road itself segments travel, see `distribute.bulk`; interchange and calls
name them only.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from parsl_context.wire.ids import Digest

BULK = Digest("b" * 32)  # what keys of the road are for, where those of files have a file
_LEAST_BYTES = 1 << 18  # below this a round trip more costs more than what a road of its own saves
ROAD_CLOSED_S = 10.0  # after which a node that could not use the road tries again


def takes_road(sizes: Sequence[int]) -> bool:
    """Whether a segment of buffers of these sizes travels on the road, rather than in frames. [bytes]"""
    return sum(sizes) >= _LEAST_BYTES


class BulkConfig(Struct, frozen=True, kw_only=True):
    """What the interchange tells the server of the road, in a line of JSON; it answers with its port in another."""

    segments: str  # directory of the executor's segments
    secret: bytes
    address: str | None  # to listen at; None: every one
    ports: tuple[int, int]  # to choose from


class BulkRoad(Struct, frozen=True, kw_only=True, tag=True):
    """Interchange to manager: large values may travel over a connection to this port of the interchange's host."""

    port: int
    ticket: bytes
    key: bytes


class BulkOpen(Struct, frozen=True, kw_only=True, tag=True):
    """Manager to interchange: calls that name segments can be sent here from now on, and outcomes will name some."""


class BulkClosed(Struct, frozen=True, kw_only=True, tag=True):
    """Manager to interchange: send values in frames again, until `BulkOpen`."""

    reason: str
