"""Books of one file: who has which chunk of it, who waits for which one from whom. Decides nothing.

Sets of chunks are the bits of an integer, so that what one node has and another lacks is one operation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from parsl_context.scheduling.transfers.events import ORIGIN, SCRIPT
from parsl_context.wire.ids import Digest, ManagerId

Draw: TypeAlias = Callable[[int], int]  # a number in [0, n), at random

# Nodes that are remembered to have a chunk. More have it; these few serve to find one where chance does not.
_KNOWN_HOLDERS = 8


class Pool:
    """A set from which a member can be drawn at random. All operations take the same time, however many there are."""

    def __init__(self) -> None:
        self._members: list[ManagerId] = []
        self._places: dict[ManagerId, int] = {}

    def __contains__(self, peer: object) -> bool:
        return peer in self._places

    def __len__(self) -> int:
        return len(self._members)

    def add(self, peer: ManagerId) -> None:
        """Add a member, unless it is there."""
        if peer not in self._places:
            self._places[peer] = len(self._members)
            self._members.append(peer)

    def discard(self, peer: ManagerId) -> None:
        """Remove a member, if it is there."""
        place = self._places.pop(peer, None)
        if place is not None:
            last = self._members.pop()
            if last != peer:
                self._members[place] = last
                self._places[last] = place

    def some(self, count: int, draw: Draw) -> list[ManagerId]:
        """Up to so many members that follow each other, from a random one on."""
        size = len(self._members)
        if not size:
            return []
        start = draw(size)
        return [self._members[(start + step) % size] for step in range(min(count, size))]


class Asked:
    """A chunk that a node was told to get."""

    __slots__ = ("at", "source")

    def __init__(self, source: ManagerId, at: float) -> None:
        self.source = source
        self.at = at


class Member:
    """A node that has some of the file, or wants it.

    Attributes
    ----------
    has : int
        Chunks that it has, as bits.
    asked : dict
        Chunks that it was told to get.
    waits_for : int
        The same chunks, as bits.
    avoids : dict
        Sources that it is not sent to again until then.
    is_out : bool
        Nobody is sent to it.
    is_silent : bool
        Nothing came of what it was told, and it has not been heard since.
    """

    __slots__ = (
        "asked",
        "avoids",
        "from_origin",
        "has",
        "is_out",
        "is_silent",
        "origin_total",
        "reads_origin",
        "script_faults",
        "waits_for",
    )

    def __init__(self, *, reads_origin: bool) -> None:
        self.has = 0
        self.asked: dict[int, Asked] = {}
        self.waits_for = 0
        self.avoids: dict[ManagerId, float] = {}
        self.reads_origin = reads_origin
        self.from_origin = 0  # of those asked for
        self.origin_total = 0
        self.script_faults = 0
        self.is_out = False
        self.is_silent = False

    @property
    def counts(self) -> bool:
        """Whether others may be sent to it."""
        return not self.is_out and not self.is_silent

    @property
    def from_peers(self) -> int:
        """Chunks that it waits for from other nodes."""
        return len(self.asked) - self.from_origin


class Swarm:
    """Who has what of one file.

    Attributes
    ----------
    unasked : int
        Chunks that no node has and none gets from the origin, as bits.
    open : Pool
        Nodes that have something and have room for one more upload.
    hungry : Pool
        Nodes that lack something and found nobody to get it from.
    lacking : Pool
        Nodes that lack something.
    chunk_s : float or None
        Time that a chunk takes, as measured lately. [s]
    """

    def __init__(self, blob: Digest, chunks: int) -> None:
        self.blob = blob
        self.chunks = chunks
        self.all = (1 << chunks) - 1
        self.unasked = self.all
        self.digests: list[bytes | None] = [None] * chunks
        self.members: dict[ManagerId, Member] = {}
        self.open = Pool()
        self.hungry = Pool()
        self.lacking = Pool()
        self.script_has = False
        self.at_origin = 0  # chunks that are on their way from there
        self.in_flight = 0
        self.chunk_s: float | None = None
        self.accusers: dict[ManagerId, set[ManagerId]] = {}
        self._holders = [0] * chunks  # nodes that have a chunk and are not out
        self._known: list[list[ManagerId]] = [[] for _ in range(chunks)]

    def add(self, peer: ManagerId, *, reads_origin: bool) -> Member:
        """A new member."""
        member = self.members[peer] = Member(reads_origin=reads_origin)
        self.lacking.add(peer)
        return member

    def remove(self, peer: ManagerId) -> None:
        """A member that waits for nothing is gone, with what only it had."""
        member = self.members.pop(peer)
        for pool in (self.open, self.hungry, self.lacking):
            pool.discard(peer)
        if member.counts:
            self._lose(peer, member.has)
        self.accusers.pop(peer, None)

    def exclude(self, peer: ManagerId) -> None:
        """What a member has does not count any more."""
        member = self.members.get(peer)
        if member is not None and not member.is_out:
            was_counted = member.counts
            member.is_out = True
            self.open.discard(peer)
            if was_counted:
                self._lose(peer, member.has)

    def silence(self, peer: ManagerId, member: Member) -> None:
        """What a member has does not count until it is heard again, and it gets nothing."""
        if member.counts:
            self._lose(peer, member.has)
        member.is_silent = True
        self.open.discard(peer)
        self.hungry.discard(peer)

    def hear(self, peer: ManagerId, member: Member) -> None:
        """A silent member was heard."""
        member.is_silent = False
        if not member.is_out:
            for chunk in bits(member.has):
                self._hold(peer, chunk)

    def gain(self, peer: ManagerId, member: Member, chunk: int) -> None:
        """A member has one more chunk."""
        member.has |= 1 << chunk
        if member.counts:
            self._hold(peer, chunk)
        if member.has == self.all:
            self.lacking.discard(peer)
            self.hungry.discard(peer)

    def ask(self, member: Member, chunk: int, source: ManagerId, now: float) -> None:
        """A member is told to get a chunk."""
        member.asked[chunk] = Asked(source, now)
        member.waits_for |= 1 << chunk
        self.in_flight += 1
        if is_origin(source):
            member.from_origin += 1
            member.origin_total += 1
            self.at_origin += 1
            self.unasked &= ~(1 << chunk)

    def settle(self, member: Member, chunk: int) -> Asked | None:
        """A member waits for a chunk no longer. Gives what it waited for."""
        asked = member.asked.pop(chunk, None)
        if asked is None:
            return None
        member.waits_for &= ~(1 << chunk)
        self.in_flight -= 1
        if is_origin(asked.source):
            member.from_origin -= 1
            self.at_origin -= 1
            if not self._holders[chunk]:
                self.unasked |= 1 << chunk
        return asked

    def holders(self, chunk: int) -> list[ManagerId]:
        """Some that have a chunk; none only if nobody has."""
        known = self._known[chunk]
        if not known and self._holders[chunk]:
            bit = 1 << chunk
            for peer, member in self.members.items():  # those that were known have all left
                if member.has & bit and member.counts:
                    known.append(peer)
                    if len(known) == _KNOWN_HOLDERS:
                        break
        return known

    def count(self, chunk: int) -> int:
        """How many have a chunk, of those that others may be sent to."""
        return self._holders[chunk]

    def _hold(self, peer: ManagerId, chunk: int) -> None:
        self._holders[chunk] += 1
        if len(self._known[chunk]) < _KNOWN_HOLDERS:
            self._known[chunk].append(peer)
        self.unasked &= ~(1 << chunk)

    def _lose(self, peer: ManagerId, chunks: int) -> None:
        for chunk in bits(chunks):
            self._holders[chunk] -= 1
            if peer in self._known[chunk]:
                self._known[chunk].remove(peer)
            if not self._holders[chunk]:
                self.unasked |= 1 << chunk
        for member in self.members.values() if self.at_origin else ():
            self.unasked &= ~_from_origin(member)


def is_origin(source: ManagerId) -> bool:
    """Whether a source is where the file comes from."""
    return source in (ORIGIN, SCRIPT)


def bits(chunks: int) -> Iterator[int]:
    """Numbers of the bits that are set."""
    while chunks:
        low = chunks & -chunks
        yield low.bit_length() - 1
        chunks ^= low


def one_of(chunks: int, size: int, draw: Draw) -> int:
    """One of the bits that are set, of a number with up to `size` bits: the next one from a random place on."""
    start = draw(size)
    above = chunks >> start
    if above:
        return start + (above & -above).bit_length() - 1
    return (chunks & -chunks).bit_length() - 1


def _from_origin(member: Member) -> int:
    if not member.from_origin:
        return 0
    return sum(1 << chunk for chunk, asked in member.asked.items() if is_origin(asked.source))
