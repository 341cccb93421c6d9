"""The process that workers and templates are forked from: it has imported the runtime once and does nothing else.

It has one thread and no ZeroMQ, so forking it is safe. It ends when the manager does, however that happens, and then
ends what it forked and has not ended by itself.
"""

from __future__ import annotations

import logging
import os
import signal
import socket

from parsl.utils import setproctitle

from parsl_context.parsl_parts import lightly
from parsl_context.pool import template, worker
from parsl_context.pool.forking import ForkMessage, Nursery, receive_fork
from parsl_context.pool.settings import WorkerSettings
from parsl_context.wire.messages import ForkTemplate

logger = logging.getLogger(f"parsl.{__name__}")


def start_zygote(settings: WorkerSettings) -> tuple[socket.socket, int]:
    """Fork the zygote from this process, before it has other threads. Gives the socket to talk to it, and its id."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            ours.close()
            _run(theirs, settings)
            code = 0
        except BaseException:
            logger.exception("The zygote failed")
        finally:
            os._exit(code)
    theirs.close()
    return ours, pid


def _run(control: socket.socket, settings: WorkerSettings) -> None:
    setproctitle("parsl: context zygote")
    # The manager alone decides when its family ends.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    signal.signal(
        signal.SIGCHLD, signal.SIG_DFL
    )  # who started the manager may have ignored children, which is inherited
    # A collection in a worker would touch, and so copy, every object that it has from here.
    with lightly.uncollected():
        lightly.settle()
        lightly.complete()  # for the code of users, once for all workers; the manager joins meanwhile
    nursery = Nursery()
    while (request := receive_fork(control)) is not None:
        message, ends = request
        try:
            nursery.fork(lambda message=message, ends=ends: _serve(control, message, ends, settings))  # type: ignore[misc]
        except OSError:
            logger.exception("No process can be forked now")  # the manager sees its end closed, and asks again
        for end in ends:
            end.close()
    nursery.end_orphans()


def _serve(control: socket.socket, message: ForkMessage, ends: list[socket.socket], settings: WorkerSettings) -> int:
    control.close()
    if isinstance(message, ForkTemplate):
        return template.main(ends[0], ends[1], settings)
    return worker.main(ends, message, settings)
