"""The process that workers and templates are forked from: it has imported the runtime once and does nothing else.

It has one thread and no ZeroMQ, so forking it is safe. It ends when the manager does, however that happens, and then
ends what it and the templates forked and has not ended by itself.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import select
import signal
import socket

from parsl_context.parsl_parts import lightly
from parsl_context.parsl_parts.titles import set_title
from parsl_context.pool import template, worker
from parsl_context.pool.forking import ForkMessage, Nursery, receive_fork
from parsl_context.pool.settings import WorkerSettings
from parsl_context.retain import processes
from parsl_context.wire.messages import ForkTemplate

logger = logging.getLogger(f"parsl.{__name__}")


def start_zygote(settings: WorkerSettings, drains: socket.socket) -> tuple[socket.socket, int]:
    """Fork the zygote from this process, before it has other threads. Gives the socket to talk to it, and its id.

    Parameters
    ----------
    drains
        The manager's end of what tells workers that it drains, which none of them may hold.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            ours.close()
            drains.close()
            serve_zygote(theirs, settings)
            code = 0
        except BaseException:
            logger.exception("The zygote failed")
        finally:
            os._exit(code)
    theirs.close()
    return ours, pid


def serve_zygote(control: socket.socket, settings: WorkerSettings) -> None:
    """Be a zygote until the manager is gone, or closes its end."""
    set_title("zygote")
    # The manager alone decides when its family ends.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    processes.die_with(settings.manager_pid, signal.SIGCONT)  # were it stopped, it could not end the others
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # who started the manager may have ignored children
    # A collection in a worker would touch, and so copy, every object that it has from here.
    with lightly.uncollected():
        lightly.settle()
        lightly.complete_for_users()  # once for all workers; the manager joins meanwhile
    multiprocessing.set_start_method(settings.start_method, force=True)
    _Zygote(control, settings).serve()


class _Zygote:
    """Forks what the manager asks for until that is gone."""

    def __init__(self, control: socket.socket, settings: WorkerSettings) -> None:
        self._control = control
        self._settings = settings
        self._nursery = Nursery()
        self._forked, self._guard = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # what templates fork
        self._guard.setblocking(False)  # a template does not wait for us

    def serve(self) -> None:
        while True:
            # The manager's end comes first: its workers' ends follow from it, and what they started must be ended too.
            readable, _, _ = select.select([self._control, self._forked], [], [])
            if self._control not in readable:
                self._nursery.adopt(self._forked)
            elif (request := receive_fork(self._control)) is not None:
                self._fork(*request)
            else:
                break
        while select.select([self._forked], [], [], 0)[0]:
            self._nursery.adopt(self._forked)
        self._nursery.end_orphans()

    def _fork(self, message: ForkMessage, ends: list[socket.socket]) -> None:
        try:
            self._nursery.fork(lambda: self._become(message, ends))
        except OSError:
            logger.exception("No process can be forked now")  # the manager sees its end closed, and asks again
        for end in ends:
            end.close()

    def _become(self, message: ForkMessage, ends: list[socket.socket]) -> int:
        self._control.close()
        self._forked.close()
        if isinstance(message, ForkTemplate):
            return template.main(ends[0], ends[1], self._guard, message, self._settings)
        self._guard.close()
        return worker.main(ends, message, self._settings)
