"""Signals that arrive together are handled in the loop, each kind once."""

import os
import signal

import pytest

from parsl_context.pool.signals import watch_signals
from parsl_context.wire.eventloop import EventLoop


@pytest.fixture
def loop():
    """A loop in a process whose signals are as before when the test is over."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGUSR2)}
    made = EventLoop()
    yield made
    os.close(signal.set_wakeup_fd(-1))
    for number, handler in handlers.items():
        signal.signal(number, handler)
    made.close()


def test_handlers_run_in_the_loop_in_their_order_once_for_what_arrived_together(loop):
    seen = []

    def last():
        seen.append("second")
        loop.stop()

    watch_signals(loop, {signal.SIGUSR1: lambda: seen.append("first"), signal.SIGUSR2: last})
    for number in (signal.SIGUSR2, signal.SIGUSR1, signal.SIGUSR1):
        signal.raise_signal(number)
    assert seen == [], "nothing runs in the midst of other code"
    loop.run()
    assert seen == ["first", "second"]
