"""Signals as events of the loop: a handler runs between others, never in the midst of one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping

from parsl_context.wire.eventloop import EventLoop


def watch_signals(loop: EventLoop, handlers: Mapping[int, Callable[[], None]]) -> None:
    """Call handlers in the loop when signals have arrived.

    Parameters
    ----------
    handlers
        By signal; called once for all of a kind that arrived together, in this order.

    Notes
    -----
    To be called once in a process, from its main thread; the pipe that it makes stays open.
    """
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)  # the interpreter writes the numbers of signals to it
    for number in handlers:
        signal.signal(number, lambda *_: None)

    def arrived() -> None:
        numbers = set(os.read(reader, 4096))
        for number, handler in handlers.items():
            if number in numbers:
                handler()

    loop.watch(reader, arrived)
