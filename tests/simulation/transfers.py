"""Nodes that exchange a file on a fake clock, as `Directory` tells them to; the model keeps books of its own."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter, defaultdict

from parsl_context.scheduling.transfers import events as ev
from parsl_context.scheduling.transfers.directory import Directory
from parsl_context.scheduling.transfers.events import ORIGIN, SCRIPT, Fault
from parsl_context.wire.ids import Digest, ManagerId

BLOB = Digest("blob")
CHUNK_S = 0.1  # that a chunk takes on a link that is free


class Node:
    def __init__(self) -> None:
        self.has: dict[int, bytes] = {}
        self.is_cut = False
        self.lies = False  # it says that it has what it has not
        self.stalls = False  # it sends nothing


class TransferWorld:
    """Runs one directory against nodes of its own."""

    def __init__(self, chunks: int, seed: int = 0, *, reads_origin: bool = True, uploads: int = 4) -> None:
        self.random = random.Random(seed)
        self.chunks = chunks
        self.uploads_cap = uploads
        self.reads_origin = reads_origin
        self.directory = Directory(self.random.randrange, uploads=uploads)
        self.nodes: dict[ManagerId, Node] = {}
        self.now = 0.0
        self.from_origin = 0
        self.sent: Counter[tuple[ManagerId, ManagerId]] = Counter()  # chunks, by source and receiver
        self.busy: Counter[ManagerId] = Counter()
        self.most_busy = 0
        self.events = 0
        self.blamed: list[ev.Blame] = []
        self.stranded: list[ManagerId] = []
        self._queue: list[tuple[float, int, ev.Event]] = []
        self._order = itertools.count()
        self._waits: dict[tuple[ManagerId, int], tuple[ManagerId, int]] = {}
        self._numbers = itertools.count()
        self.done_at: dict[ManagerId, float] = {}
        if not reads_origin:
            self.handle(ev.BlobOffered(blob=BLOB, chunks=chunks))

    def join(self) -> ManagerId:
        peer = ManagerId(f"n{next(self._numbers)}")
        self.nodes[peer] = Node()
        self.handle(ev.BlobWanted(peer=peer, blob=BLOB, chunks=self.chunks, reads_origin=self.reads_origin))
        return peer

    def kill(self, peer: ManagerId) -> None:
        del self.nodes[peer]
        for (receiver, chunk), (source, _) in list(self._waits.items()):
            if source == peer:  # its connections break
                self.later(
                    0.01, ev.ChunkFailed(peer=receiver, blob=BLOB, chunk=chunk, source=source, fault=Fault.BROKEN)
                )
            if receiver == peer:
                self._end(receiver, chunk)
        self.handle(ev.PeerLeft(peer=peer))

    def later(self, after_s: float, event: ev.Event) -> None:
        heapq.heappush(self._queue, (self.now + after_s, next(self._order), event))

    def handle(self, event: ev.Event) -> None:
        self.events += 1
        for action in self.directory.handle(event, now=self.now):
            self._carry_out(action)

    def run(self, until: float | None = None) -> None:
        """Go on until nothing is left to happen, or until then."""
        while True:
            due = self.directory.next_deadline()
            at = min(due, self._queue[0][0] if self._queue else due)
            if at == float("inf") or (until is not None and at > until):
                break
            assert at < 10_000, "it does not end"
            self.now = max(self.now, at)
            if self._queue and self._queue[0][0] <= at:
                self._happen(heapq.heappop(self._queue)[2])
            else:
                self.handle(ev.Tick())
        if until is not None:
            self.now = until

    def whole(self, peer: ManagerId) -> bool:
        return len(self.nodes[peer].has) == self.chunks

    def _happen(self, event: ev.Event) -> None:
        if isinstance(event, ev.ChunkGot):
            node = self.nodes.get(event.peer)
            wait = self._waits.get((event.peer, event.chunk))
            if node is None or wait is None or node.is_cut:
                return
            source, _ = wait
            if source in self.nodes and self.nodes[source].is_cut:
                return
            if source not in (ORIGIN, SCRIPT) and source not in self.nodes:
                return
            if source in self.nodes and self.nodes[source].lies:
                event = ev.ChunkFailed(
                    peer=event.peer, blob=BLOB, chunk=event.chunk, source=source, fault=Fault.LACKING
                )
            else:
                node.has[event.chunk] = event.digest
                self.sent[source, event.peer] += 1
                self.from_origin += source in (ORIGIN, SCRIPT)
                if self.whole(event.peer):
                    self.done_at[event.peer] = self.now
            self._end(event.peer, event.chunk)
        elif isinstance(event, ev.ChunkFailed):
            node = self.nodes.get(event.peer)
            if node is None or node.is_cut:
                return
            if event.fault is not Fault.WITHDRAWN:
                self._end(event.peer, event.chunk)
        self.handle(event)

    def _end(self, receiver: ManagerId, chunk: int) -> None:
        wait = self._waits.pop((receiver, chunk), None)
        if wait is not None:
            self.busy[wait[0]] -= 1

    def _carry_out(self, action: ev.Action) -> None:
        match action:
            case ev.Ask():
                self._ask(action)
            case ev.Withdraw():
                self._end(action.receiver, action.chunk)
                failed = ev.ChunkFailed(
                    peer=action.receiver, blob=BLOB, chunk=action.chunk, source=action.source, fault=Fault.WITHDRAWN
                )
                self.later(0.002, failed)
            case ev.Blame():
                self.blamed.append(action)
            case ev.Strand():
                self.stranded.append(action.receiver)

    def _ask(self, ask: ev.Ask) -> None:
        assert ask.receiver in self.nodes
        assert (ask.receiver, ask.chunk) not in self._waits
        assert ask.source in (ORIGIN, SCRIPT) or ask.digest is not None
        assert ask.chunk not in self.nodes[ask.receiver].has, "asked for what it has"
        self._waits[ask.receiver, ask.chunk] = (ask.source, next(self._order))
        self.busy[ask.source] += 1
        source = self.nodes.get(ask.source)
        if ask.source not in (ORIGIN, SCRIPT):
            self.most_busy = max(self.most_busy, self.busy[ask.source])
            if source is None:  # it has just gone
                failed = ev.ChunkFailed(
                    peer=ask.receiver, blob=BLOB, chunk=ask.chunk, source=ask.source, fault=Fault.BROKEN
                )
                self.later(0.01, failed)
                return
            assert source.lies or source.is_cut or ask.chunk in source.has
            if source.stalls:
                return
        took_s = CHUNK_S * self.busy[ask.source] * self.random.uniform(0.7, 1.3)
        got = ev.ChunkGot(peer=ask.receiver, blob=BLOB, chunk=ask.chunk, digest=b"%d" % ask.chunk)
        self.later(took_s, got)


def by_source(world: TransferWorld) -> dict[ManagerId, int]:
    """Chunks that each source sent."""
    sent: dict[ManagerId, int] = defaultdict(int)
    for (source, _), count in world.sent.items():
        sent[source] += count
    return sent
