"""Processes that fork workers: the zygote, and templates.

A worker is forked twice, so that it becomes an orphan at once and the manager, a subreaper, its parent: the manager
sees its death and its exit status, and user code finds the manager's id with `os.getppid()`.

Each has a process group of its own, which what the user's code starts belongs to as well: whoever ends a worker ends
the group. Its number is that of the process between, so the worker does not lead it and may still call `os.setsid()`.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from typing import NoReturn, TypeAlias

import msgspec

from parsl_context.retain.processes import signal_group, status_of
from parsl_context.wire.messages import ToZygote

logger = logging.getLogger(f"parsl.{__name__}")

# Time that orphans have to run clean-ups when their manager is gone. [s]
ORPHAN_GRACE_S = 3.0


_MESSAGE_BYTES = 1 << 16
ForkMessage: TypeAlias = ToZygote
_decoder: msgspec.msgpack.Decoder[ForkMessage] = msgspec.msgpack.Decoder(ForkMessage)


def request_fork(zygote: socket.socket, message: ForkMessage, *ends: socket.socket) -> None:
    """Have a zygote or a template fork a process that serves the other ends of these socket pairs."""
    socket.send_fds(zygote, [msgspec.msgpack.encode(message)], [end.fileno() for end in ends])


def receive_fork(control: socket.socket) -> tuple[ForkMessage, list[socket.socket]] | None:
    """The next request and the ends that come with it; None when the manager is gone."""
    data, fds, _, _ = socket.recv_fds(control, _MESSAGE_BYTES, 2)
    if not data:
        return None
    ends = [socket.socket(fileno=fd) for fd in fds]
    for end in ends:
        end.setblocking(True)  # whatever time-out a context has made the default
    return _decoder.decode(data), ends


class Nursery:
    """Forks orphans, and can end them and what they started.

    Parameters
    ----------
    guard
        Leads to the nursery that is to end what is forked here; None: this one.
    """

    def __init__(self, guard: socket.socket | None = None) -> None:
        self._guard = guard
        self._groups: dict[int, int] = {}  # process groups of orphans, by descriptors that tell when these end

    def fork(self, main: Callable[[], int]) -> None:
        """Run `main` in an orphan; its value is the exit status. Only the parent returns.

        Raises
        ------
        OSError
            If the system has no room for one more process or pipe; there is no orphan then.
        """
        read_end, write_end = os.pipe()
        try:
            first = os.fork()
        except OSError:
            os.close(read_end)
            os.close(write_end)
            raise
        if first == 0:
            self._fork_again(main, read_end, write_end)
        os.close(write_end)
        pid = int(os.read(read_end, 32) or b"0")
        os.close(read_end)
        with contextlib.suppress(ChildProcessError):  # a context has it that children are ignored, or reaps them all
            os.waitpid(first, 0)
        self._forget_ended()
        if not pid:
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable (the second of two forks)")
        with contextlib.suppress(OSError):  # it has ended already
            pidfd = os.pidfd_open(pid)
            if self._guard is None:
                self._groups[pidfd] = first
            else:
                _give(self._guard, pidfd, first)

    def adopt(self, link: socket.socket) -> None:
        """Take over an orphan from a nursery whose guard is this one, by the other end of its socket."""
        data, pidfds, _, _ = socket.recv_fds(link, 32, 1)
        self._forget_ended()
        self._groups.update(dict.fromkeys(pidfds, int(data)))

    def _fork_again(self, main: Callable[[], int], read_end: int, write_end: int) -> NoReturn:
        between = os.getpid()
        os.setpgid(0, 0)
        try:
            second = os.fork()
        except OSError:
            os._exit(1)
        if second:
            os.write(write_end, str(second).encode())
            os._exit(0)
        os.close(read_end)
        os.close(write_end)
        while os.getppid() == between:
            time.sleep(0.0005)  # it is about to end; whoever adopts us then is our manager, or that is gone
        self._run(main)

    def _run(self, main: Callable[[], int]) -> NoReturn:
        code = 1
        try:
            for pidfd in self._groups:
                os.close(pidfd)
            self._groups.clear()
            code = main()
        except BaseException as error:
            code = status_of(error)
            logger.exception("Process %d failed", os.getpid())
        finally:
            os._exit(code)

    def end_orphans(self) -> None:
        """Wait a while for those forked here to end, then kill the rest, and what they and those that ended started."""
        groups = list(self._groups.values())
        deadline = time.monotonic() + ORPHAN_GRACE_S
        while self._groups and (left_s := deadline - time.monotonic()) > 0:
            select.select(self._groups, [], [], left_s)
            self._forget_ended()
        for pidfd in self._groups:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        for group in groups:
            signal_group(group, signal.SIGKILL)

    def _forget_ended(self) -> None:
        ended, _, _ = select.select(self._groups, [], [], 0)
        for pidfd in ended:
            del self._groups[pidfd]
            os.close(pidfd)


def _give(guard: socket.socket, pidfd: int, group: int) -> None:
    try:
        socket.send_fds(guard, [str(group).encode()], [pidfd])
    finally:
        os.close(pidfd)
