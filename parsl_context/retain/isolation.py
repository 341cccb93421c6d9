"""Calls in forks of the process that holds their contexts, so that a body cannot spoil what later calls need.

    this process          child 1                    child 2
    fork ──────────────▶ waits
    hand a call over ──▶ runs it
    fork ──────────────────────────────────────────▶ waits
    answer ◀──────────── answers, and ends
    hand a call over ──────────────────────────────▶ runs it

A child is forked ahead, while the call before it runs or this process waits. It has what this process had then, so one
that waits is ended when that changes (`Forks.renew`). Children end without clean-ups. Only an answer that is complete
counts, so one that dies at any moment leaves nothing half said.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import resource
import select
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, TypeAlias

from parsl_context.retain import processes
from parsl_context.wire.channel import WorkerChannel
from parsl_context.wire.codec import Frames, StreamReader, to_stream

logger = logging.getLogger(f"parsl.{__name__}")

_READ_BYTES = 1 << 18
# What the first frame of an answer says.
_IS_DIRTY = 1
_HAS_FORKED = 2
Answer: TypeAlias = Callable[[Frames], tuple[Frames, bool]]


class Listener(Protocol):
    """Who may want the child to end while it runs."""

    def fileno(self) -> int:
        """Descriptor that can be read when there is something to hear."""

    def hear(self) -> bool:
        """Take it in. Whether there may be more."""

    def wants_end(self) -> bool:
        """Whether the child is to be killed."""


@dataclass(frozen=True)
class Outcome:
    """What became of a call.

    Attributes
    ----------
    message : list of buffers, optional
        What its child answered; None if it ended without that.
    is_dirty : bool
        Whether the call asked for its contexts to be built anew.
    ended : Exit, optional
        How the child ended, if it did not answer.
    """

    message: Frames | None
    is_dirty: bool = False
    ended: processes.Exit | None = None


class Forks:
    """The children of this process that run calls, one at a time.

    Parameters
    ----------
    prepare
        Makes a child ready, ahead of its call. Gives what runs a call: from what was handed over, the answer, and
        whether its contexts are to be built anew.
    """

    def __init__(self, prepare: Callable[[], Answer]) -> None:
        self._prepare = prepare
        self._spare: _Child | None = None  # waits for a call
        self._ending: list[_Child] = []  # have answered
        self._before: set[int] | None = None  # children that contexts have started, as far as that was looked at

    @property
    def has_spare(self) -> bool:
        """Whether a child waits for a call."""
        return self._spare is not None

    def fork_ahead(self) -> None:
        """Have a child for the next call, if there is room for it now."""
        with _own_children() as handler:
            self._fork_ahead(handler)

    def renew(self) -> None:
        """What this process holds is about to change, or has: the next call is for a new child."""
        self._before = None
        spare, self._spare = self._spare, None
        if spare is not None:
            with _own_children():
                spare.end()

    def run(self, frames: Frames, listener: Listener, *, forks_ahead: bool) -> Outcome:
        """Run a call in a fork of this process, which must have one thread.

        Parameters
        ----------
        frames
            What the child needs to know.
        listener
            Heard while the child runs.
        forks_ahead
            Whether the next child is forked meanwhile.

        Raises
        ------
        OSError
            If the system, or a limit that a context has set, has no room for a child.
        """
        with _own_children() as handler, self._adopting():
            if self._ending:
                self._reap(_readable(*self._ending, timeout_ms=0))
            child = self._take(handler)
            child.hand_over(frames)
            if forks_ahead:
                self._fork_ahead(handler)
            answer = child.receive(listener)
            if answer is not None and handler == signal.SIG_DFL and not answer[0][0] & _HAS_FORKED:
                self._ending.append(child)
                ended = None
            else:
                ended = child.wait()
                processes.end_children(processes.children_in_session() - self._known())
        if answer is None:
            return Outcome(None, ended=ended)
        return Outcome(answer[1:], bool(answer[0][0] & _IS_DIRTY))

    def reap_until(self, fd: int) -> None:
        """Wait for children that have answered, until a descriptor can be read."""
        while self._ending:
            ready = _readable(fd, *self._ending)
            self._reap(ready)
            if fd in ready:
                return

    def close(self) -> None:
        """End all children."""
        self.renew()
        for child in self._ending:
            child.wait()
        self._ending.clear()

    @contextlib.contextmanager
    def _adopting(self) -> Iterator[None]:
        """What a child leaves becomes a child of this process."""
        if self._before is None:
            self._before = processes.children_in_session() - {child.pid for child in self._ours()}
        processes.adopt_orphans()
        try:
            yield
        finally:
            processes.adopt_orphans(False)

    def _take(self, handler: Any) -> _Child:
        """A child that waits."""
        spare, self._spare = self._spare, None
        if spare is not None:
            if spare.is_alive:
                return spare
            spare.wait()  # somebody has killed it
        return self._fork(handler)

    def _reap(self, ended: set[int]) -> None:
        """Bury children, by their descriptors."""
        for child in [child for child in self._ending if child.fileno() in ended]:
            self._ending.remove(child)
            child.wait()

    def _fork_ahead(self, handler: Any) -> None:
        if self._spare is None:
            try:
                self._spare = self._fork(handler)
            except OSError as error:
                logger.info("No process is forked ahead of its call: %s", error)

    def _fork(self, handler: Any) -> _Child:
        return _Child(self._prepare, handler, self._ours())

    def _ours(self) -> list[_Child]:
        return self._ending if self._spare is None else [*self._ending, self._spare]

    def _known(self) -> set[int]:
        """Children of this process that no call has started."""
        return (self._before or set()) | {child.pid for child in self._ours()}


class _Child:
    """A fork of this process.

    Parameters
    ----------
    prepare
        As of `Forks`.
    handler
        Of SIGCHLD, in the child.
    others
        Other children, whose descriptors are none of its business.

    Raises
    ------
    OSError
        If there is no room for it.
    """

    def __init__(self, prepare: Callable[[], Answer], handler: Any, others: Sequence[_Child]) -> None:
        processes.flush_streams()  # or what waits to be written would be written twice
        parent = os.getpid()
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._socket.setblocking(True)  # whatever time-out is the default here
            try:
                self.pid = os.fork()
            except OSError:
                self._socket.close()
                raise
            if self.pid == 0:
                self._socket.close()
                for other in others:
                    other.let_go()
                if handler is not None:
                    signal.signal(signal.SIGCHLD, handler)
                _be_child(parent, theirs, prepare)
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except OSError:
            processes.kill(self.pid)
            processes.wait(self.pid)
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Descriptor that can be read once it has ended."""
        return self._pidfd

    @property
    def is_alive(self) -> bool:
        return not _readable(self._pidfd, timeout_ms=0)

    def hand_over(self, frames: Frames) -> None:
        """Give it its call."""
        with contextlib.suppress(ConnectionError):  # it has died: `receive` tells
            for part in to_stream(frames):
                self._socket.sendall(part)

    def receive(self, listener: Listener | None) -> Frames | None:
        """Its answer, or None if it ends without one, even if others hold its end of the socket open."""
        reader = StreamReader()
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        poller.register(self._pidfd, select.POLLIN)
        if listener is not None:
            poller.register(listener, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poller.poll()}
            if listener is not None and listener.fileno() in ready:
                if not listener.hear():
                    poller.unregister(listener)
                    listener = None
                elif listener.wants_end() and self._socket.fileno() not in ready:
                    self._kill()
            if ready.isdisjoint((self._socket.fileno(), self._pidfd)):
                continue
            if self._socket.fileno() not in ready:
                return None
            try:
                data = self._socket.recv(_READ_BYTES)
            except ConnectionError:  # it has died with unread data
                return None
            if not data:
                return None
            if messages := reader.feed(data):
                return messages[0]

    def wait(self) -> processes.Exit:
        """How it ended, once it has."""
        try:
            return processes.wait(self.pid)
        except ChildProcessError:  # code of a context has reaped it
            return processes.Exit(self.pid, None, None)
        finally:
            self.let_go()

    def end(self) -> None:
        """End it, whatever it does."""
        self._kill()
        self.wait()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def let_go(self) -> None:
        """Close what leads to it."""
        self._socket.close()
        os.close(self._pidfd)


def _be_child(parent: int, sock: socket.socket, prepare: Callable[[], Answer]) -> NoReturn:
    code = 1
    try:
        processes.die_with(parent)
        gc.freeze()  # a collection would touch, and so copy, every object of the parent
        channel = WorkerChannel(sock)
        answer = prepare()
        frames = channel.receive()
        if frames is not None:
            with processes.alone():
                message, is_dirty = answer(frames)
            processes.flush_streams()
            channel.send([bytes([_IS_DIRTY * is_dirty | _HAS_FORKED * _has_forked()]), *message])
        code = 0
    except SystemExit as error:
        code = processes.status_of(error)
    except BaseException:
        logger.exception("Process %d failed", os.getpid())
    finally:
        processes.flush_streams()
        os._exit(code)


def _has_forked() -> bool:
    """Whether this process has, or may have had, children."""
    had = resource.getrusage(resource.RUSAGE_CHILDREN)  # of those it has waited for
    return processes.have_children() or had.ru_minflt + had.ru_majflt > 0


def _readable(*files: int | _Child, timeout_ms: int | None = None) -> set[int]:
    """Descriptors of these that can be read, or are at their end."""
    poller = select.poll()
    for file in files:
        poller.register(file, select.POLLIN)
    return {fd for fd, _ in poller.poll(timeout_ms)}


@contextlib.contextmanager
def _own_children() -> Iterator[Any]:
    """Whoever ignores children, or reaps them all, has no part in ours. Gives the handler that holds otherwise."""
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield handler
    finally:
        if handler is not None:
            signal.signal(signal.SIGCHLD, handler)
