"""Processes that fork workers: the zygote, and templates.

A worker is forked twice, so that it becomes an orphan at once and the manager, a subreaper, its parent: the manager
sees its death and its exit status, and user code finds the manager's id with `os.getppid()`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from typing import NoReturn, TypeAlias

import msgspec

from parsl_context.retain.processes import status_of
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
    """Forks orphans and can end those that have not ended by themselves."""

    def __init__(self) -> None:
        self._pidfds: list[int] = []

    def fork(self, main: Callable[[], int]) -> None:
        """Run `main` in an orphan; its value is the exit status. Only the parent returns.

        Raises
        ------
        OSError
            If the system has no room for one more process or pipe. It may also be the second of two forks that fails:
            then there is no orphan, which its manager notices by the end of its stream.
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
        with contextlib.suppress(OSError):  # it has ended already
            self._pidfds.append(os.pidfd_open(pid))

    def _fork_again(self, main: Callable[[], int], read_end: int, write_end: int) -> NoReturn:
        between = os.getpid()
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
            for pidfd in self._pidfds:
                os.close(pidfd)
            self._pidfds.clear()
            code = main()
        except BaseException as error:
            code = status_of(error)
            logger.exception("Process %d failed", os.getpid())
        finally:
            os._exit(code)

    def end_orphans(self) -> None:
        """Wait a while for those forked here to end, then kill the rest."""
        deadline = time.monotonic() + ORPHAN_GRACE_S
        while self._pidfds and (left_s := deadline - time.monotonic()) > 0:
            select.select(self._pidfds, [], [], left_s)
            self._forget_ended()
        for pidfd in self._pidfds:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)

    def _forget_ended(self) -> None:
        ended, _, _ = select.select(self._pidfds, [], [], 0)
        for pidfd in ended:
            self._pidfds.remove(pidfd)
            os.close(pidfd)
