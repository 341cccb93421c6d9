"""Files that the workers of this node want, from wherever the interchange says.

    worker ── AskFile ──▶ NodeFiles ── FileWanted, ChunkCame ──▶ interchange
           ◀── FileIs ──     │      ◀── GetChunk ───────────────
                             ▼
                           Mover: sockets, disk

Keeps the books of this node: which file is on its way, who waits for it. Where it comes from is decided elsewhere; what
waits for a socket or a disk does so in the mover's threads.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import shutil
import socket
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import psutil
from typing_extensions import assert_never

from parsl_context.distribute.desk import listen
from parsl_context.errors import ParslContextError
from parsl_context.wire.channel import Channel
from parsl_context.wire.codec import Buffer, Decoder, Frames, encode
from parsl_context.wire.eventloop import EventLoop
from parsl_context.wire.messages import Digest, FromManager, ManagerId
from parsl_context.wire.transfers import (
    AskContent,
    AskFile,
    AskVersion,
    ChunkCame,
    ChunkMissed,
    ContentGone,
    ContentIs,
    ContentWanted,
    FileArrived,
    FileDropped,
    FileFound,
    FileIs,
    FileServing,
    FileSought,
    FileStranded,
    FileWanted,
    GetChunk,
    Serving,
    Ticket,
    ToDesk,
    VersionIs,
    WithdrawChunk,
)

if TYPE_CHECKING:  # only nodes whose contexts have large files need them
    from parsl_context.distribute.environments.adopting import Bringing
    from parsl_context.distribute.environments.arriving import Arriving
    from parsl_context.distribute.node import NodeStore
    from parsl_context.distribute.peers.chunks import ChunkedFile
    from parsl_context.distribute.peers.mailbox import Mailbox
    from parsl_context.distribute.peers.mover import Mover
    from parsl_context.scheduling.transfers.events import Fault

logger = logging.getLogger(f"parsl.{__name__}")

Order: TypeAlias = FileFound | GetChunk | WithdrawChunk | FileStranded | ContentGone
_MOST_FILES = 256  # that others are told that they are here
_MOST_ASKERS = 4096
_MOST_ADDRESSES = 4


@dataclass(eq=False)
class _NodeFile:
    """A version of a file, on its way here or here."""

    ask: AskFile
    chunks: int
    holds: contextlib.ExitStack = field(
        default_factory=contextlib.ExitStack
    )  # the room that it takes, until it is here
    file: ChunkedFile | None = None
    path: Path | None = None
    waiting: list[Channel] = field(default_factory=list)
    got: set[int] = field(default_factory=set)  # chunks that have come
    sources: Counter[ManagerId] = field(default_factory=Counter)
    began_at: float = field(default_factory=time.monotonic)
    is_here: bool = False  # as an entry of the store


class NodeFiles:
    """What workers ask for, and what the interchange says about it.

    Parameters
    ----------
    send
        Sends a message to the interchange.
    folder
        Of the run, where workers find the desk.
    interchange
        Host of the interchange, where the script serves its files.
    node_store
        Folders of the node's store, as the user writes them; if none, the environment tells.
    """

    def __init__(
        self,
        loop: EventLoop,
        send: Callable[[FromManager], None],
        *,
        folder: Path,
        interchange: str,
        node_store: Sequence[str] = (),
    ) -> None:
        self._loop = loop
        self._send = send
        self._store: NodeStore | None = None
        self._interchange = interchange
        self._node_store = node_store
        self._folder = folder
        self._listener = listen(folder)
        loop.watch(self._listener, self._accept)
        self._decoder: Decoder[ToDesk] = Decoder(ToDesk)
        self._askers: set[Channel] = set()
        self._seeking: dict[str, list[Channel]] = {}
        self._wanting: dict[Digest, list[Channel]] = {}  # content, from the interchange itself
        self._files: OrderedDict[Digest, _NodeFile] = OrderedDict()
        self._arriving: dict[str, Arriving] = {}  # archives that are read as they come, by address
        self._mover: Mover | None = None
        self._mail: Mailbox | None = None  # of the mover, to this thread
        self._blamed: set[tuple[Digest, ManagerId]] = set()

    def close(self) -> None:
        """End all transfers; who waits is told nothing any more."""
        self._loop.unwatch(self._listener)
        self._listener.close()
        for asker in list(self._askers):
            asker.close()
        if self._mover is not None:
            self._mover.close()
        if self._mail is not None:
            self._mail.close()
        for known in self._files.values():
            _let_go(known.holds, None if known.is_here else known.path)
        self._files.clear()

    def bringing(self) -> Bringing:
        """How archives of environments come here."""
        from parsl_context.distribute.asking import Desk
        from parsl_context.distribute.environments.adopting import Bringing
        from parsl_context.distribute.environments.arriving import Arriving
        from parsl_context.distribute.node import store_of_this_node

        store = self._store = self._store or store_of_this_node(os.environ, self._node_store)
        peers = Desk(self._folder)

        def arriving(url: str, holds: contextlib.ExitStack) -> Arriving:
            """In a thread of its own."""
            coming = self._arriving[url] = Arriving()
            holds.callback(coming.close)
            holds.callback(self._arriving.pop, url, None)
            coming.bring(lambda fetched: store.fetch(url, fetched, peers))
            return coming

        return Bringing(store, arriving)

    def joined(self) -> None:
        """A session with the interchange began: it knows nothing of our files."""
        if self._mover is not None:
            self._tell_serving(self._mover)
            for blob, known in self._files.items():
                if known.file is not None:
                    self._want(blob, known)
        for url in self._seeking:
            self._send(FileSought(url=url))
        for digest in self._wanting:
            self._send(ContentWanted(digest=digest))

    def content_came(self, digest: Digest, content: Buffer) -> None:
        """The interchange has sent some content, perhaps for somebody who has asked for it."""
        for asker in self._wanting.pop(digest, ()):
            asker.send(encode(ContentIs(), [content]))

    def message(self, message: Order) -> None:
        """The interchange said something of files."""
        match message:
            case FileFound():
                answer = VersionIs(identity=message.identity, size=message.size, reason=message.reason)
                for asker in self._seeking.pop(message.url, ()):
                    self._answer(asker, answer)
            case GetChunk():
                self._get(message)
            case WithdrawChunk():
                if self._mover is not None:
                    self._mover.withdraw(message.blob, message.source, message.chunk)
            case FileStranded():
                self._fail(message.blob, message.reason, is_known=True)
            case ContentGone():
                for asker in self._wanting.pop(message.digest, ()):
                    asker.send(encode(ContentIs()))
            case _:
                assert_never(message)

    # --- workers

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        if len(self._askers) >= _MOST_ASKERS:
            sock.close()
            return
        asker: Channel
        asker = Channel(
            self._loop,
            sock,
            on_message=lambda frames: self._asked(asker, frames),
            on_end=lambda: self._askers.discard(asker),
            who="a worker that asks for a file",
        )
        self._askers.add(asker)

    def _asked(self, asker: Channel, frames: Frames) -> None:
        message, _ = self._decoder.decode(frames)
        if isinstance(message, AskVersion):
            is_first = message.url not in self._seeking
            self._seeking.setdefault(message.url, []).append(asker)
            if is_first:
                self._send(FileSought(url=message.url))
            return
        if isinstance(message, AskContent):
            is_first = message.digest not in self._wanting
            self._wanting.setdefault(message.digest, []).append(asker)
            if is_first:
                self._send(ContentWanted(digest=message.digest))
            return
        try:
            self._find(asker, message)
        except (OSError, ParslContextError) as error:
            self._answer(asker, FileIs(is_here=False, reason=str(error)))

    def _answer(self, asker: Channel, answer: FileIs | VersionIs) -> None:
        asker.send(encode(answer))

    def _find(self, asker: Channel, ask: AskFile) -> None:
        from parsl_context.distribute.peers.chunks import count_of
        from parsl_context.distribute.peers.origin import name_of_blob

        blob = name_of_blob(ask.url, ask.identity, ask.size)
        known = self._files.get(blob)
        if known is not None and known.is_here:  # it has been given up by the store: the worker would have found it
            self._forget(blob)
            known = None
        if known is None:
            known = self._files[blob] = _NodeFile(ask, count_of(ask.size))
            self._prepare(blob, known)
        known.waiting.append(asker)
        self._tell_reader(known, known.got)

    def _tell_reader(self, known: _NodeFile, chunks: Collection[int]) -> None:
        """Chunks have come of an archive that may be read meanwhile."""
        reader = self._arriving.get(known.ask.url)
        if reader is None or known.path is None or known.file is None:
            return
        reader.begin(known.path, known.file.size, known.file.chunk_bytes)
        for chunk in chunks:
            reader.came(chunk)

    # --- a file's way

    def _prepare(self, blob: Digest, known: _NodeFile) -> None:
        """Have room made for it, then tell the interchange that it is wanted."""
        from parsl_context.distribute.node import store_of_this_node

        self._make_way()
        mover = self._started()
        store = self._store = self._store or store_of_this_node(os.environ, self._node_store)
        ask = known.ask

        def allocate() -> Callable[[], None]:
            from parsl_context.distribute.peers.chunks import ChunkedFile

            try:
                path = store.allocate(ask.url, ask.size, known.holds)
                file = ChunkedFile(path, ask.size, os.open(path, os.O_RDWR | os.O_CLOEXEC))
            except Exception as error:
                reason = str(error)
                return lambda: self._fail(blob, reason)
            return lambda: self._begin(blob, known, path, file)

        mover.work(allocate)

    def _begin(self, blob: Digest, known: _NodeFile, path: Path, file: ChunkedFile) -> None:
        if self._files.get(blob) is not known or self._mover is None:
            file.close()
            _let_go(known.holds, path)
            return
        known.path, known.file = path, file
        self._tell_reader(known, ())
        self._mover.share(blob, file)
        self._want(blob, known)

    def _want(self, blob: Digest, known: _NodeFile) -> None:
        assert known.file is not None
        wanted = FileWanted(
            blob=blob,
            url=known.ask.url,
            chunks=known.chunks,
            reads_origin=known.ask.reads_origin,
            has=tuple(known.file.digests.items()),
        )
        self._send(wanted)

    def _get(self, order: GetChunk) -> None:
        known = self._files.get(order.blob)
        if known is None or self._mover is None:
            self._send(FileDropped(blob=order.blob))
            return
        ask = known.ask
        if order.ticket is None:
            self._mover.get_from_origin(order.blob, ask.url, ask.identity, order.chunk, order.digest)
        else:
            ticket = order.ticket
            if not ticket.addresses:
                ticket = _at(ticket, self._interchange)
            self._mover.get(order.blob, order.source, ticket, order.chunk, order.digest)

    def _came(self, blob: Digest, chunk: int, digest: bytes, source: ManagerId) -> None:
        self._send(ChunkCame(blob=blob, chunk=chunk, digest=digest))
        known = self._files.get(blob)
        if known is None or chunk in known.got:
            return
        known.got.add(chunk)
        known.sources[source] += 1
        self._tell_reader(known, [chunk])
        if len(known.got) == known.chunks and known.path is not None:
            self._settle(blob, known, known.path)

    def _settle(self, blob: Digest, known: _NodeFile, path: Path) -> None:
        assert self._mover is not None
        store = self._store
        assert store is not None
        known.is_here = True

        def settle() -> Callable[[], None]:
            try:
                entry = store.settle(path, known.ask.url, known.ask.entry_identity)
                known.holds.close()
            except Exception as error:
                reason = str(error)
                return lambda: self._fail(blob, reason)
            return lambda: self._arrived(blob, known, entry)

        self._mover.work(settle)

    def _arrived(self, blob: Digest, known: _NodeFile, entry: Path) -> None:
        if self._mover is not None:
            self._mover.moved(blob, entry)
        took_s = time.monotonic() - known.began_at
        self._send(FileArrived(blob=blob, chunks=dict(known.sources), took_s=took_s))
        text = ", ".join(f"{count} of {source}" for source, count in known.sources.most_common())
        logger.info("Got %s in %.2f s; chunks: %s", known.ask.url, took_s, text)
        waiting, known.waiting = known.waiting, []
        for asker in waiting:
            self._answer(asker, FileIs(is_here=True))

    def _missed(self, blob: Digest, chunk: int, source: ManagerId, fault: Fault, reason: str) -> None:
        self._send(ChunkMissed(blob=blob, chunk=chunk, source=source, fault=fault.name, reason=reason))
        if fault.name != "WITHDRAWN" and (blob, source) not in self._blamed and len(self._blamed) < 10_000:
            self._blamed.add((blob, source))
            known = self._files.get(blob)
            url = known.ask.url if known is not None else blob
            logger.warning("A part of %s did not come from %s (said once): %s", url, source, reason)

    def _fail(self, blob: Digest, reason: str, *, is_known: bool = False) -> None:
        """A file will not come this way."""
        known = self._files.get(blob)
        if known is None:
            return
        logger.warning("%s does not come from other nodes: %s", known.ask.url, reason)
        waiting, known.waiting = known.waiting, []
        for asker in waiting:
            self._answer(asker, FileIs(is_here=False, reason=reason))
        self._forget(blob, is_told=not is_known)

    def _forget(self, blob: Digest, *, is_told: bool = True) -> None:
        known = self._files.pop(blob)
        if self._mover is not None:
            self._mover.unshare(blob)
            holds, path = known.holds, None if known.is_here else known.path
            self._mover.work(lambda: _let_go(holds, path))
        if is_told:
            self._send(FileDropped(blob=blob))

    def _lost(self, blob: Digest) -> None:
        """The store has given a file up."""
        if blob in self._files:
            self._forget(blob)

    def _make_way(self) -> None:
        """Let go of the files that have been here the longest, if there are many."""
        for blob in [blob for blob, known in self._files.items() if known.is_here][: -_MOST_FILES or None]:
            self._forget(blob)

    # --- the mover

    def _started(self) -> Mover:
        if self._mover is None:
            from parsl_context.distribute.peers.mailbox import Mailbox
            from parsl_context.distribute.peers.mover import Mover

            self._mail = Mailbox(self._loop)
            self._mover = Mover(self._mail.put, on_chunk=self._came, on_fault=self._missed, on_lost=self._lost)
            self._tell_serving(self._mover)
        return self._mover

    def _tell_serving(self, mover: Mover) -> None:
        addresses = addresses_towards(self._interchange)
        self._send(FileServing(serving=Serving(addresses=addresses, port=mover.port, secret=mover.secret)))


def _let_go(holds: contextlib.ExitStack, path: Path | None) -> Callable[[], None]:
    """Remove a file that has not arrived, and give its room back."""
    if path is not None:
        shutil.rmtree(path.parent, ignore_errors=True)  # the temporary folder that it was given
    holds.close()
    return lambda: None


def _at(ticket: Ticket, address: str) -> Ticket:
    return Ticket(addresses=(address,), port=ticket.port, ticket=ticket.ticket, key=ticket.key)


def addresses_towards(host: str) -> tuple[str, ...]:
    """Addresses of this host: first the one that another host is reached from. Nothing is sent.

    If that one is of this host only, because the other host is this one, more follow that others may know it by.
    """
    found: list[str] = []
    with contextlib.suppress(OSError):
        family, _, _, _, address = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect(address)
            found.append(str(sock.getsockname()[0]))
    if not found or ipaddress.ip_address(found[0]).is_loopback:
        found += [
            each.address
            for addresses in psutil.net_if_addrs().values()
            for each in addresses
            if each.family == socket.AF_INET and not ipaddress.ip_address(each.address).is_loopback
        ]
    return tuple(found[:_MOST_ADDRESSES])
