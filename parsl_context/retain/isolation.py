"""Calls in forks of the process that holds their contexts, so that a body cannot spoil what later calls need.

The child runs one call, sends its message to the parent through a socket pair, and ends without clean-ups. The parent
waits; only a message that is complete counts, so a child that dies at any moment leaves nothing half said.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import socket
from collections.abc import Callable
from typing import Any

from parsl_context.retain import processes
from parsl_context.wire.channel import WorkerChannel
from parsl_context.wire.codec import Frames, StreamReader

logger = logging.getLogger(f"parsl.{__name__}")

_READ_BYTES = 1 << 18
# Exit status of a child whose call asked for its contexts to be built anew.
DIRTY = 3


def run_in_child(work: Callable[[], tuple[Frames, int]]) -> tuple[Frames | None, processes.Exit]:
    """Run in a fork of this process, which must have one thread.

    Parameters
    ----------
    work
        Gives the message to hand to the parent, and the child's exit status.

    Returns
    -------
    list of buffers or None
        The message; None if the child ended without one.
    Exit
        How the child ended. What it has started and left running is ended too.

    Raises
    ------
    OSError
        If the system, or a limit that a context has set, has no room for it.
    """
    # Whoever ignores children, or reaps them all, has no part in this one.
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        return _run_in_child(work, handler)
    finally:
        if handler is not None:
            signal.signal(signal.SIGCHLD, handler)


def _run_in_child(work: Callable[[], tuple[Frames, int]], handler: Any) -> tuple[Frames | None, processes.Exit]:
    processes.flush_streams()  # or what waits to be written would be written twice
    parent = os.getpid()
    before = processes.children_in_session()  # what a context has started
    processes.adopt_orphans()
    ours, theirs = socket.socketpair()
    ours.setblocking(True)  # whatever time-out is the default here
    try:
        pid = os.fork()
    except OSError:
        ours.close()
        theirs.close()
        raise
    if pid == 0:
        ours.close()
        if handler is not None:
            signal.signal(signal.SIGCHLD, handler)
        _be_child(parent, theirs, work)
    theirs.close()
    try:
        message = _receive(ours, pid)
    finally:
        ours.close()
    ended = processes.wait(pid)
    processes.end_children(processes.children_in_session() - before)
    processes.adopt_orphans(False)
    return message, ended


def _be_child(parent: int, sock: socket.socket, work: Callable[[], tuple[Frames, int]]) -> None:
    code = 1
    try:
        processes.die_with(parent)
        gc.freeze()  # a collection would touch, and so copy, every object of the parent
        with processes.alone():
            message, status = work()
        processes.flush_streams()
        WorkerChannel(sock).send(message)
        code = status
    except SystemExit as error:
        code = processes.status_of(error)
    except BaseException:
        logger.exception("Process %d failed", os.getpid())
    finally:
        processes.flush_streams()
        os._exit(code)


def _receive(sock: socket.socket, pid: int) -> Frames | None:
    """What the child says, or None if it ends without a message, even if others hold its end of the socket open."""
    reader = StreamReader()
    pidfd = os.pidfd_open(pid)
    try:
        poller = select.poll()
        poller.register(sock, select.POLLIN)
        poller.register(pidfd, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poller.poll()}
            if sock.fileno() not in ready:
                return None
            data = sock.recv(_READ_BYTES)
            if not data:
                return None
            if messages := reader.feed(data):
                return messages[0]
    finally:
        os.close(pidfd)
