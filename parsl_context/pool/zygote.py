"""The process that workers are forked from: it has imported the runtime once and does nothing else.

A worker is forked twice, so that it becomes an orphan at once and the manager, a subreaper, its parent: the manager
sees its death and its exit status, and user code finds the manager's id with `os.getppid()`. The zygote has one thread
and no ZeroMQ, so forking it is safe.

It ends when the manager does, however that happens, and then ends workers that have not ended by themselves.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import time

import msgspec
from parsl.utils import setproctitle

from parsl_context.messages import ForkWorker
from parsl_context.pool import worker

logger = logging.getLogger(f"parsl.{__name__}")

# Time that workers have to run clean-ups when their manager is gone. [s]
ORPHAN_GRACE_S = 3.0
_MESSAGE_BYTES = 1 << 16


def request_worker(zygote: socket.socket, message: ForkWorker, worker_end: socket.socket) -> None:
    """Have the zygote fork a worker that serves the other end of a socket pair."""
    socket.send_fds(zygote, [msgspec.msgpack.encode(message)], [worker_end.fileno()])


def start_zygote(settings: worker.WorkerSettings) -> tuple[socket.socket, int]:
    """Fork the zygote from this process, before it has other threads. Gives the socket to talk to it, and its id."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            ours.close()
            _Zygote(theirs, settings).run()
            code = 0
        except BaseException:
            logger.exception("The zygote failed")
        finally:
            os._exit(code)
    theirs.close()
    return ours, pid


class _Zygote:
    def __init__(self, control: socket.socket, settings: worker.WorkerSettings) -> None:
        self._control = control
        self._settings = settings
        self._pidfds: list[int] = []

    def run(self) -> None:
        setproctitle("parsl: context zygote")
        # The manager alone decides when its family ends.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(-1)
        decoder = msgspec.msgpack.Decoder(ForkWorker)
        while True:
            data, fds, _, _ = socket.recv_fds(self._control, _MESSAGE_BYTES, 1)
            if not data:
                break
            self._fork_worker(decoder.decode(data), fds[0])
        self._end_orphans()

    def _fork_worker(self, message: ForkWorker, fd: int) -> None:
        read_end, write_end = os.pipe()
        first = os.fork()
        if first == 0:
            second = os.fork()
            if second:
                os.write(write_end, str(second).encode())
                os._exit(0)
            os.close(read_end)
            os.close(write_end)
            self._become_worker(message, fd)
        os.close(write_end)
        os.close(fd)
        pid = int(os.read(read_end, 32) or b"0")
        os.close(read_end)
        os.waitpid(first, 0)
        self._forget_ended()
        with contextlib.suppress(OSError):
            self._pidfds.append(os.pidfd_open(pid))

    def _become_worker(self, message: ForkWorker, fd: int) -> None:
        code = 1
        try:
            self._control.close()
            for other in self._pidfds:
                os.close(other)
            code = worker.main(socket.socket(fileno=fd), message, self._settings)
        except BaseException:
            logger.exception("Worker %d failed", message.worker)
        finally:
            os._exit(code)

    def _forget_ended(self) -> None:
        ended, _, _ = select.select(self._pidfds, [], [], 0)
        for pidfd in ended:
            self._pidfds.remove(pidfd)
            os.close(pidfd)

    def _end_orphans(self) -> None:
        deadline = time.monotonic() + ORPHAN_GRACE_S
        while self._pidfds and (left_s := deadline - time.monotonic()) > 0:
            select.select(self._pidfds, [], [], left_s)
            self._forget_ended()
        for pidfd in self._pidfds:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
