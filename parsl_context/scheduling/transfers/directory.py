"""Who gets which chunk of a file from whom, for all files and nodes.

Assumptions: any node can be reached by any other; each has one link, which uploads share; the origin is the slowest
part. Rules, in this order, whenever a node has room for one more chunk:

- A chunk that nobody has, and nobody fetches, is fetched from the origin by a node, at most `origin_reads` at a time;
  the node is one of a few drawn at random, the one that has fetched the fewest. So nodes begin with *different* chunks.
- Otherwise it gets a chunk from a node that has it: the source that has just served it, else some drawn at random
  that have room, else the known holders of what it lacks. Of two chunks drawn at random the one that fewer have.
- A source serves at most `uploads` chunks at a time, a receiver waits for at most `downloads` from others.
- A chunk that takes much longer than they do lately is withdrawn and asked for elsewhere. A receiver that does not
  even answer to that is silent: it gets and gives nothing until it is heard again.
- A source that fails is avoided by that receiver; for good if it lied. One that two receivers found to lie, or could
  not reach, is out: nobody is sent to it any more, and what only it had comes from the origin again.

An event costs a few draws and set operations on numbers of as many bits as the file has chunks; it does not grow with
the nodes. Exceptions, each rare: a node that leaves costs as much as it had chunks, and where nothing is on its way
and draws found nobody, every node that waits is looked at.
"""

from __future__ import annotations

import heapq
import itertools
import math

from typing_extensions import assert_never

from parsl_context.scheduling.transfers import events as ev
from parsl_context.scheduling.transfers.events import ORIGIN, SCRIPT, Action, Event, Fault
from parsl_context.scheduling.transfers.swarm import Draw, Member, Swarm, bits, is_origin, one_of
from parsl_context.wire.ids import Digest, ManagerId

# The sweep of benchmarks.distribute, 32 MB to 16 nodes at 25 Mbit/s: 49, 35, 36, 22 and 26 s with 1, 2, 3, 4 and 6.
UPLOADS = 4
DOWNLOADS = 4
ORIGIN_READS = 4
_DRAWS = 4  # sources, or receivers, that are looked at for one chunk
_ACCUSERS = 2  # receivers that must find fault with a source until nobody is sent to it
_AVOIDED_S = 10.0
_RETRY_S = 1.0  # where all sources are avoided for a while, or silent. [s]
_FIRST_PATIENCE_S = 10.0  # for a chunk, while nothing was measured. [s]
_LEAST_PATIENCE_S = 1.5
_PATIENCE = 5.0  # times what a chunk takes
_NEWEST = 0.2  # weight of the newest measurement
_SCRIPT_FAULTS = 3
_LIES = (Fault.LACKING, Fault.FALSE)


class Directory:
    """Changed by `handle` alone.

    Parameters
    ----------
    draw
        Gives a random number in [0, n).
    uploads, downloads, origin_reads
        Chunks that a node sends at a time, those that it waits for from others, and those on their way from the
        origin of a file.
    """

    def __init__(
        self, draw: Draw, *, uploads: int = UPLOADS, downloads: int = DOWNLOADS, origin_reads: int = ORIGIN_READS
    ) -> None:
        self._draw = draw
        self._max_uploads = uploads
        self._max_downloads = downloads
        self._max_origin = origin_reads
        self.swarms: dict[Digest, Swarm] = {}
        self.uploads: dict[ManagerId, int] = {}  # chunks that each node sends
        self._blobs: dict[ManagerId, set[Digest]] = {}  # of each node
        self._deadlines: list[tuple[float, int, ManagerId, Digest, int, float]] = []
        self._order = itertools.count()
        self._retries: dict[Digest, float] = {}  # when such are looked at again
        self._stuck: dict[Digest, None] = {}  # swarms in which nothing is on its way and some wait
        self._actions: list[Action] = []

    def handle(self, event: Event, *, now: float) -> list[Action]:
        """Take an event into account; gives what is to be done."""
        match event:
            case ev.BlobWanted():
                self._want(event, now)
            case ev.BlobOffered():
                self._offer(event, now)
            case ev.ChunkGot():
                self._got(event, now)
            case ev.ChunkFailed():
                self._failed(event, now)
            case ev.BlobDropped():
                self._drop(event.peer, event.blob, now)
            case ev.PeerLeft():
                for blob in sorted(self._blobs.pop(event.peer, ())):
                    self._drop(event.peer, blob, now)
                self.uploads.pop(event.peer, None)
            case ev.Tick():
                self._expire(now)
            case _:
                assert_never(event)
        while self._stuck:
            self._unstick(self.swarms.get(self._stuck.popitem()[0]), now)
        actions, self._actions = self._actions, []
        return actions

    def next_deadline(self) -> float:
        """When `Tick` is due; infinity if never. [s]"""
        while self._deadlines and self._is_stale(self._deadlines[0]):
            heapq.heappop(self._deadlines)
        first = self._deadlines[0][0] if self._deadlines else math.inf
        return min(first, *self._retries.values()) if self._retries else first

    # --- events

    def _want(self, event: ev.BlobWanted, now: float) -> None:
        swarm = self._swarm(event.blob, event.chunks)
        if swarm.chunks != event.chunks or event.peer in swarm.members:
            return
        member = swarm.add(event.peer, reads_origin=event.reads_origin)
        self._blobs.setdefault(event.peer, set()).add(event.blob)
        for chunk, digest in event.has:
            if 0 <= chunk < swarm.chunks and swarm.digests[chunk] == digest:
                swarm.gain(event.peer, member, chunk)
        self._open(swarm, event.peer, member)
        self._feed(swarm, event.peer, None, now)
        self._fill_origin(swarm, now)
        self._serve(swarm, event.peer, now)
        self._check_progress(swarm)

    def _offer(self, event: ev.BlobOffered, now: float) -> None:
        swarm = self._swarm(event.blob, event.chunks)
        if swarm.chunks == event.chunks:
            swarm.script_has = True
            self._fill_origin(swarm, now)

    def _got(self, event: ev.ChunkGot, now: float) -> None:
        found = self._find(event.peer, event.blob, event.chunk)
        if found is None:
            return
        swarm, member = found
        self._hear(swarm, event.peer, member)
        asked = swarm.settle(member, event.chunk)
        known = swarm.digests[event.chunk]
        if asked is None:
            self._got_late(swarm, member, event, now)
            return
        if known is None:  # nobody had it, so it was read from the origin
            swarm.digests[event.chunk] = known = event.digest
        source = asked.source
        self._free(swarm, source)
        if event.digest != known:  # what stands at the origin changed, or one of its readers has read it wrongly
            self._blame(swarm, event.peer, event.peer, Fault.FALSE)
            self._fill(swarm, event.peer, None, now)
            return
        took_s = now - asked.at
        swarm.chunk_s = took_s if swarm.chunk_s is None else (1 - _NEWEST) * swarm.chunk_s + _NEWEST * took_s
        swarm.gain(event.peer, member, event.chunk)
        self._open(swarm, event.peer, member)
        self._fill(swarm, event.peer, source, now)
        self._serve(swarm, source, now)
        self._serve(swarm, event.peer, now)

    def _got_late(self, swarm: Swarm, member: Member, event: ev.ChunkGot, now: float) -> None:
        """A chunk came that was withdrawn meanwhile."""
        if event.digest == swarm.digests[event.chunk] and not (member.has >> event.chunk) & 1:
            swarm.gain(event.peer, member, event.chunk)
            self._open(swarm, event.peer, member)
            self._serve(swarm, event.peer, now)
        self._fill(swarm, event.peer, None, now)

    def _failed(self, event: ev.ChunkFailed, now: float) -> None:
        found = self._find(event.peer, event.blob, event.chunk)
        if found is None:
            return
        swarm, member = found
        self._hear(swarm, event.peer, member)
        waited = member.asked.get(event.chunk)
        is_answer = waited is not None and waited.source == event.source and event.fault is not Fault.WITHDRAWN
        if is_answer and (asked := swarm.settle(member, event.chunk)) is not None:
            source = asked.source
            self._free(swarm, source)
            self._note_fault(swarm, event.peer, member, source, event.fault, now)
            self._serve(swarm, source, now)
        self._fill(swarm, event.peer, None, now)

    def _note_fault(
        self, swarm: Swarm, peer: ManagerId, member: Member, source: ManagerId, fault: Fault, now: float
    ) -> None:
        if source == ORIGIN:
            member.reads_origin = False  # it may get it from others
            return
        if source != SCRIPT and source not in swarm.members:
            return  # it is known to be gone
        member.script_faults += source == SCRIPT
        is_final = fault in _LIES or (source == SCRIPT and member.script_faults >= _SCRIPT_FAULTS)
        member.avoids[source] = math.inf if is_final else now + _AVOIDED_S
        self._blame(swarm, source, peer, fault)

    def _blame(self, swarm: Swarm, source: ManagerId, receiver: ManagerId, fault: Fault) -> None:
        accusers = swarm.accusers.setdefault(source, set())
        is_first = not accusers
        accusers.add(receiver)
        other = swarm.members.get(source)
        is_out = len(accusers) >= _ACCUSERS or receiver == source
        if is_first or (is_out and other is not None and not other.is_out):
            blame = ev.Blame(source=source, blob=swarm.blob, receiver=receiver, fault=fault, is_out=is_out)
            self._actions.append(blame)
        if is_out:
            swarm.exclude(source)

    def _drop(self, peer: ManagerId, blob: Digest, now: float) -> None:
        swarm = self.swarms.get(blob)
        if swarm is None or peer not in swarm.members:
            return
        member = swarm.members[peer]
        served = [self._release(swarm, member, chunk) for chunk in list(member.asked)]
        if peer in self._blobs:
            self._blobs[peer].discard(blob)
        swarm.remove(peer)
        if not swarm.members:
            del self.swarms[blob]
            return
        # What others wait for from this node they will say that it broke: they see it sooner than we could tell them.
        for source in served:
            self._serve(swarm, source, now)
        self._fill_origin(swarm, now)
        self._check_progress(swarm)

    def _expire(self, now: float) -> None:
        for blob in [blob for blob, at in self._retries.items() if at <= now]:
            del self._retries[blob]
            self._stuck[blob] = None
        while self._deadlines and (self._deadlines[0][0] <= now or self._is_stale(self._deadlines[0])):
            entry = heapq.heappop(self._deadlines)
            if not self._is_stale(entry):
                self._give_up(entry[2], self.swarms[entry[3]], entry[4], now)

    def _give_up(self, peer: ManagerId, swarm: Swarm, chunk: int, now: float) -> None:
        """A chunk has taken too long. Until the receiver is heard of again, it is not known whose fault that is."""
        member = swarm.members[peer]
        source = member.asked[chunk].source
        member.avoids[source] = now + _AVOIDED_S
        self._actions.append(ev.Withdraw(receiver=peer, source=source, blob=swarm.blob, chunk=chunk))
        self._release(swarm, member, chunk)
        swarm.silence(peer, member)
        if swarm.chunk_s is not None:
            swarm.chunk_s *= 1.5  # or what is slow for all would be asked for again and again
        self._serve(swarm, source, now)
        self._fill_origin(swarm, now)
        self._check_progress(swarm)

    # --- books

    def _swarm(self, blob: Digest, chunks: int) -> Swarm:
        if blob not in self.swarms:
            self.swarms[blob] = Swarm(blob, chunks)
        return self.swarms[blob]

    def _find(self, peer: ManagerId, blob: Digest, chunk: int) -> tuple[Swarm, Member] | None:
        swarm = self.swarms.get(blob)
        member = None if swarm is None else swarm.members.get(peer)
        if swarm is None or member is None or not 0 <= chunk < swarm.chunks:
            return None
        return swarm, member

    def _hear(self, swarm: Swarm, peer: ManagerId, member: Member) -> None:
        if member.is_silent:
            swarm.hear(peer, member)
            self._open(swarm, peer, member)

    def _open(self, swarm: Swarm, peer: ManagerId, member: Member) -> None:
        """A node may serve, if it has something and is not served by too many already."""
        if member.has and member.counts and self.uploads.get(peer, 0) < self._max_uploads:
            swarm.open.add(peer)

    def _release(self, swarm: Swarm, member: Member, chunk: int) -> ManagerId:
        asked = swarm.settle(member, chunk)
        assert asked is not None
        self._free(swarm, asked.source)
        return asked.source

    def _free(self, swarm: Swarm, source: ManagerId) -> None:
        """A source serves one chunk less."""
        if is_origin(source) or source not in self.uploads:
            return
        self.uploads[source] -= 1
        for blob in self._blobs.get(source, ()):
            other = self.swarms[blob]
            self._open(other, source, other.members[source])

    def _is_stale(self, entry: tuple[float, int, ManagerId, Digest, int, float]) -> bool:
        _, _, peer, blob, chunk, at = entry
        swarm = self.swarms.get(blob)
        member = None if swarm is None else swarm.members.get(peer)
        asked = None if member is None else member.asked.get(chunk)
        return asked is None or asked.at != at

    # --- rules

    def _fill(self, swarm: Swarm, peer: ManagerId, hint: ManagerId | None, now: float) -> None:
        self._fill_origin(swarm, now)
        self._feed(swarm, peer, hint, now)
        self._check_progress(swarm)

    def _serve(self, swarm: Swarm, source: ManagerId, now: float) -> None:
        """A source has something new, or room: some that wait may get it."""
        if is_origin(source):
            return
        for blob in [swarm.blob, *(self._blobs.get(source, set()) - {swarm.blob})]:
            other = self.swarms.get(blob)
            if other is not None and source in other.open:
                for receiver in other.hungry.some(_DRAWS, self._draw):
                    self._feed(other, receiver, source, now)
                    if source not in other.open:
                        return

    def _fill_origin(self, swarm: Swarm, now: float) -> None:
        """Have chunks that nobody has fetched from the origin."""
        while swarm.unasked and swarm.at_origin < self._max_origin:
            share = max(1, self._max_origin // max(1, len(swarm.lacking)))
            able = [
                (member.origin_total, peer)
                for peer in swarm.lacking.some(_DRAWS, self._draw)
                if self._origin_of(swarm, member := swarm.members[peer], now) is not None
                and member.from_origin < share
                and swarm.unasked & ~(member.has | member.waits_for)
            ]
            if not able:
                return
            _, peer = min(able)
            member = swarm.members[peer]
            # The first of them: nodes differ all the same, and what is used as it comes is used from its beginning.
            chunk = next(bits(swarm.unasked & ~(member.has | member.waits_for)))
            self._ask(swarm, peer, self._origin_of(swarm, member, now) or ORIGIN, chunk, now)

    def _origin_of(self, swarm: Swarm, member: Member, now: float) -> ManagerId | None:
        """From where a node can get what no other has."""
        if member.is_silent:
            return None
        if member.reads_origin and member.avoids.get(ORIGIN, 0.0) <= now:
            return ORIGIN
        return SCRIPT if swarm.script_has and member.avoids.get(SCRIPT, 0.0) <= now else None

    def _feed(self, swarm: Swarm, peer: ManagerId, hint: ManagerId | None, now: float) -> None:
        """Have a node get chunks from others, for as long as it has room and finds some."""
        member = swarm.members[peer]
        while peer in swarm.lacking and not member.is_silent and member.from_peers < self._max_downloads:
            if not swarm.all & ~(member.has | member.waits_for):
                break  # all that it lacks is on its way
            if not self._ask_some(swarm, peer, member, hint, now):
                swarm.hungry.add(peer)
                return
        swarm.hungry.discard(peer)

    def _ask_some(self, swarm: Swarm, peer: ManagerId, member: Member, hint: ManagerId | None, now: float) -> bool:
        lacks = swarm.all & ~(member.has | member.waits_for)
        sources = swarm.open.some(_DRAWS, self._draw)
        if hint is not None and hint in swarm.open:
            sources.insert(0, hint)
        for source in sources:
            useful = swarm.members[source].has & lacks
            if useful and source != peer and member.avoids.get(source, 0.0) <= now:
                self._ask(swarm, peer, source, self._rarer(swarm, useful), now)
                return True
        some = {one_of(lacks, swarm.chunks, self._draw) for _ in range(_DRAWS)}
        return any(self._ask_holder(swarm, peer, member, chunk, now) for chunk in some) or any(
            self._ask_origin_again(swarm, peer, member, chunk, now) for chunk in some
        )

    def _ask_holder(self, swarm: Swarm, peer: ManagerId, member: Member, chunk: int, now: float) -> bool:
        for source in swarm.holders(chunk):
            if source in swarm.open and source != peer and member.avoids.get(source, 0.0) <= now:
                self._ask(swarm, peer, source, chunk, now)
                return True
        return False

    def _ask_origin_again(self, swarm: Swarm, peer: ManagerId, member: Member, chunk: int, now: float) -> bool:
        """What only nodes have that this one avoids, it reads where it came from: they may never send it."""
        origin = self._origin_of(swarm, member, now)
        holders = swarm.holders(chunk)
        is_avoided = all(source == peer or member.avoids.get(source, 0.0) > now for source in holders)
        if origin is None or not holders or not is_avoided or swarm.at_origin >= self._max_origin:
            return False
        self._ask(swarm, peer, origin, chunk, now)
        return True

    def _rarer(self, swarm: Swarm, chunks: int) -> int:
        first, second = (one_of(chunks, swarm.chunks, self._draw) for _ in range(2))
        return min(first, second, key=swarm.count)

    def _ask(self, swarm: Swarm, peer: ManagerId, source: ManagerId, chunk: int, now: float) -> None:
        swarm.ask(swarm.members[peer], chunk, source, now)
        if not is_origin(source):
            self.uploads[source] = self.uploads.get(source, 0) + 1
            if self.uploads[source] >= self._max_uploads:
                for blob in self._blobs.get(source, ()):
                    self.swarms[blob].open.discard(source)
        usual_s = swarm.chunk_s
        patience_s = _FIRST_PATIENCE_S if usual_s is None else max(_LEAST_PATIENCE_S, _PATIENCE * usual_s)
        entry = (now + patience_s, next(self._order), peer, swarm.blob, chunk, now)
        heapq.heappush(self._deadlines, entry)
        digest = swarm.digests[chunk]
        self._actions.append(ev.Ask(receiver=peer, source=source, blob=swarm.blob, chunk=chunk, digest=digest))

    def _check_progress(self, swarm: Swarm) -> None:
        if not swarm.in_flight and len(swarm.lacking):
            self._stuck[swarm.blob] = None

    def _unstick(self, swarm: Swarm | None, now: float) -> None:
        """Nothing is on its way: look at all that wait, at all that they lack, until something is."""
        if swarm is None or swarm.in_flight:
            return
        for peer in swarm.lacking.some(len(swarm.lacking), self._draw):
            member = swarm.members[peer]
            if not member.is_silent and self._ask_anyone(swarm, peer, member, now):
                return
        for peer in swarm.lacking.some(len(swarm.lacking), self._draw):
            member = swarm.members[peer]
            if not all(self._may_come(swarm, member, chunk) for chunk in bits(swarm.all & ~member.has)):
                self._actions.append(ev.Strand(receiver=peer, blob=swarm.blob))
                self._drop(peer, swarm.blob, now)
        waiting = [peer for peer in swarm.members if peer in swarm.lacking and not swarm.members[peer].is_silent]
        if waiting:  # sources are avoided for a while, or silent
            self._retries[swarm.blob] = now + _RETRY_S

    def _ask_anyone(self, swarm: Swarm, peer: ManagerId, member: Member, now: float) -> bool:
        origin = self._origin_of(swarm, member, now)
        for chunk in bits(swarm.all & ~(member.has | member.waits_for)):
            if self._ask_holder(swarm, peer, member, chunk, now):
                return True
            if origin is not None and all(member.avoids.get(each, 0.0) > now for each in swarm.holders(chunk)):
                self._ask(swarm, peer, origin, chunk, now)
                return True
        return False

    def _may_come(self, swarm: Swarm, member: Member, chunk: int) -> bool:
        """Whether there is hope for a chunk, if not now."""
        is_served = swarm.script_has and member.avoids.get(SCRIPT, 0.0) != math.inf
        return member.reads_origin or is_served or self._may_come_from_peer(swarm, member, chunk)

    def _may_come_from_peer(self, swarm: Swarm, member: Member, chunk: int) -> bool:
        if any(member.avoids.get(source, 0.0) != math.inf for source in swarm.holders(chunk)):
            return True
        can_others = any(swarm.members[peer].reads_origin for peer in swarm.lacking.some(_DRAWS, lambda _: 0))
        return can_others and not swarm.count(chunk)
