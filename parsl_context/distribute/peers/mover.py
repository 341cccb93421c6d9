"""The thread of a process that moves chunks: serves its files to other nodes and gets chunks from them.

A few more threads read from origins and wait for disks. None of them decides what is moved; outcomes are told as calls
into the loop of the owner. Started by the first file that is wanted.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import queue
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from parsl_context.distribute.peers import origin
from parsl_context.distribute.peers.chunks import ChunkedFile, digest_of
from parsl_context.distribute.peers.download import Download
from parsl_context.distribute.peers.mailbox import Mailbox
from parsl_context.distribute.peers.tuning import tune, upload_rate
from parsl_context.distribute.peers.upload import Upload, now
from parsl_context.errors import FileFetchError
from parsl_context.scheduling.transfers.directory import UPLOADS
from parsl_context.scheduling.transfers.events import ORIGIN, Fault
from parsl_context.wire.eventloop import EventLoop
from parsl_context.wire.ids import Digest, ManagerId
from parsl_context.wire.tickets import new_secret
from parsl_context.wire.transfers import Ticket

logger = logging.getLogger(f"parsl.{__name__}")

_DISK_THREADS = 4
_TURNS = 2 * UPLOADS  # chunks that are sent at a time, whatever others ask for
_MOST_CONNECTIONS = 512
_BACKLOG = 128
_PAUSE_S = 0.5  # without descriptors. [s]
_CLOSE_S = 5.0  # that a disk may take to let the thread end. [s]


class Mover:
    """Moves chunks in a thread of its own.

    Parameters
    ----------
    tell
        Has a call made in the owner's thread; so are those below.
    on_chunk
        Called with the name of a file, the number of a chunk that came, its digest, and the source.
    on_fault
        Called with the name of a file, the number of a chunk that did not come, the source, why, and in other words.
    on_lost
        Called with the name of a file that was shared and is not there any more.

    Attributes
    ----------
    port : int
        At which it serves.
    secret : bytes
        With which keys are made for those that it is to serve.
    """

    def __init__(
        self,
        tell: Callable[[Callable[[], None]], None],
        *,
        on_chunk: Callable[[Digest, int, bytes, ManagerId], None],
        on_fault: Callable[[Digest, int, ManagerId, Fault, str], None],
        on_lost: Callable[[Digest], None],
    ) -> None:
        self._on_chunk = on_chunk
        self._on_lost = on_lost
        self._on_fault = on_fault
        self._tell = tell
        self._loop = EventLoop()
        self._orders = Mailbox(self._loop)
        self._files: dict[Digest, ChunkedFile] = {}
        self._downloads: dict[tuple[Digest, ManagerId], Download] = {}
        self._uploads: set[Upload] = set()
        self._turns = 0
        self._in_turn: OrderedDict[Upload, None] = OrderedDict()  # that wait for theirs
        self._strangers: set[str] = set()
        rate = upload_rate()
        self._rate = None if rate is None else rate / UPLOADS
        self.secret = new_secret()
        self._listener = _listen()
        self.port: int = self._listener.getsockname()[1]
        self._loop.watch(self._listener, self._accept)
        self._disk = _Waiters(_DISK_THREADS)
        self._thread = threading.Thread(target=self._loop.run, name="mover", daemon=True)
        self._thread.start()

    # --- from the owner's thread

    def share(self, blob: Digest, file: ChunkedFile) -> None:
        """Serve what there is of a file, and write to it what comes."""
        self._orders.put(lambda: self._files.__setitem__(blob, file))

    def moved(self, blob: Digest, path: Path) -> None:
        """A file that is whole has another name now."""
        self._orders.put(lambda: self._moved(blob, path))

    def unshare(self, blob: Digest) -> None:
        """Serve a file no more, get no more of it, and close it."""
        self._orders.put(lambda: self._unshare(blob))

    def get(self, blob: Digest, source: ManagerId, way: Ticket, chunk: int, digest: bytes | None) -> None:
        """Get a chunk from another node."""
        self._orders.put(lambda: self._get(blob, source, way, chunk, digest))

    def get_from_origin(self, blob: Digest, url: str, identity: str, chunk: int, digest: bytes | None) -> None:
        """Read a chunk from where the file comes from."""
        self._orders.put(lambda: self._begin_read(blob, url, identity, chunk, digest))

    def withdraw(self, blob: Digest, source: ManagerId, chunk: int) -> None:
        """Wait for a chunk from a source no longer; answered by a fault."""
        self._orders.put(lambda: self._withdraw(blob, source, chunk))

    def work(self, call: Callable[[], Callable[[], None]]) -> None:
        """Make a call that may wait for a disk, in another thread; what it gives is called in the owner's."""
        self._disk.do(lambda: self._tell(call()))

    def close(self) -> None:
        """End the thread and all connections."""
        self._orders.put(self._close)
        self._thread.join(_CLOSE_S)
        self._disk.close()

    # --- what uploads ask

    def file(self, blob: Digest) -> ChunkedFile | None:
        """As `Server` says."""
        return self._files.get(blob)

    def lost(self, blob: Digest) -> None:
        """As `Server` says."""
        if self._files.pop(blob, None) is not None:
            self._tell(lambda: self._on_lost(blob))

    def take_turn(self, upload: Upload) -> bool:
        """As `Server` says."""
        if self._turns >= _TURNS:
            self._in_turn[upload] = None
            return False
        self._turns += 1
        return True

    def end_turn(self, upload: Upload) -> None:
        """As `Server` says."""
        self._turns -= 1
        if self._in_turn:
            waiting, _ = self._in_turn.popitem(last=False)
            self._turns += 1
            self._loop.call_later(0.0, lambda: self._give_turn(waiting))

    def ended(self, upload: Upload, reason: str, *, was_known: bool) -> None:
        """As `Server` says."""
        self._uploads.discard(upload)
        self._in_turn.pop(upload, None)
        if not was_known and upload.address not in self._strangers and len(self._strangers) < _MOST_CONNECTIONS:
            self._strangers.add(upload.address)
            text = "A connection from %s that is to get files has shown no key (said once for each address): %s"
            logger.warning(text, upload.address, reason)

    def _give_turn(self, upload: Upload) -> None:
        if upload.is_closed:
            self.end_turn(upload)
        else:
            upload.send_next()

    # --- in the thread

    def _accept(self) -> None:
        try:
            sock, address = self._listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                self._loop.unwatch(self._listener)
                self._loop.call_later(_PAUSE_S, lambda: self._loop.watch(self._listener, self._accept))
            return
        if len(self._uploads) >= _MOST_CONNECTIONS:
            sock.close()
            return
        sock.setblocking(False)
        tune(sock, self._rate)
        self._uploads.add(Upload(self._loop, sock, self, now, str(address[0]), self._rate))

    def _get(self, blob: Digest, source: ManagerId, way: Ticket, chunk: int, digest: bytes | None) -> None:
        file = self._files.get(blob)
        if file is None:
            return  # it is not wanted any more
        if file.has(chunk):
            self._tell_chunk(blob, chunk, file.digests[chunk], source)
            return
        download = self._downloads.get((blob, source))
        if download is None:
            download = self._downloads[blob, source] = Download(
                self._loop,
                blob,
                file,
                way,
                on_chunk=lambda chunk, digest: self._tell_chunk(blob, chunk, digest, source),
                on_fault=lambda chunk, fault, reason: self._tell_fault(blob, chunk, source, fault, reason),
                on_end=lambda: self._forget_download(blob, source),
            )
        download.want(chunk, digest)

    def _forget_download(self, blob: Digest, source: ManagerId) -> None:
        self._downloads.pop((blob, source), None)

    def _begin_read(self, blob: Digest, url: str, identity: str, chunk: int, digest: bytes | None) -> None:
        file = self._files.get(blob)
        if file is not None:
            self._disk.do(lambda: self._read(blob, file, url, identity, chunk, digest))

    def _read(self, blob: Digest, file: ChunkedFile, url: str, identity: str, chunk: int, digest: bytes | None) -> None:
        """In a thread that may wait."""
        try:
            data = origin.read_span(url, identity, *file.span(chunk))
            found = digest_of(data)
            if found != (digest or found):
                raise FileFetchError(url=url, reason="it changed while it was copied; try again when it is written")
        except Exception as error:
            reason = str(error)
            self._orders.put(lambda: self._tell_fault(blob, chunk, ORIGIN, Fault.UNREADABLE, reason))
            return
        self._orders.put(lambda: self._write(blob, file, chunk, data, found))

    def _write(self, blob: Digest, file: ChunkedFile, chunk: int, data: bytes, digest: bytes) -> None:
        if self._files.get(blob) is file:
            file.write(chunk, data)
            file.note(chunk, digest)
            self._tell_chunk(blob, chunk, digest, ORIGIN)

    def _withdraw(self, blob: Digest, source: ManagerId, chunk: int) -> None:
        download = self._downloads.get((blob, source))
        if download is not None:
            download.withdraw(chunk)
        self._tell_fault(blob, chunk, source, Fault.WITHDRAWN, "it took too long")

    def _moved(self, blob: Digest, path: Path) -> None:
        if blob in self._files:
            self._files[blob].move(path)

    def _unshare(self, blob: Digest) -> None:
        file = self._files.pop(blob, None)
        for (name, _), download in list(self._downloads.items()):
            if name == blob:
                download.close()
        if file is not None:
            file.close()

    def _tell_chunk(self, blob: Digest, chunk: int, digest: bytes, source: ManagerId) -> None:
        self._tell(lambda: self._on_chunk(blob, chunk, digest, source))

    def _tell_fault(self, blob: Digest, chunk: int, source: ManagerId, fault: Fault, reason: str) -> None:
        self._tell(lambda: self._on_fault(blob, chunk, source, fault, reason))

    def _close(self) -> None:
        for blob in list(self._files):
            self._unshare(blob)
        for upload in list(self._uploads):
            upload.close("this process ends")
        with contextlib.suppress(KeyError):
            self._loop.unwatch(self._listener)
        self._listener.close()
        self._orders.close()
        self._loop.stop()
        self._loop.flush.append(self._loop.close)


class _Waiters:
    """Threads that may wait for a disk or a server for as long as that takes; the end of the process waits for none."""

    def __init__(self, count: int) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._left = count  # threads that may still be started

    def do(self, call: Callable[[], None]) -> None:
        """Have a call made as soon as one of them has time."""
        self._calls.put(call)
        if self._left:
            self._left -= 1
            threading.Thread(target=self._run, name="files", daemon=True).start()

    def close(self) -> None:
        """Have each end after what it does."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._calls.get_nowait()
        for _ in range(_DISK_THREADS):
            self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            EventLoop.guard(call)


def _listen() -> socket.socket:
    """A socket at which all addresses of this host are served."""
    if socket.has_dualstack_ipv6():
        listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=_BACKLOG)
    else:
        listener = socket.create_server(("", 0), backlog=_BACKLOG)
    listener.setblocking(False)
    tune(listener)  # what it accepts has the same buffers from the start
    return listener
