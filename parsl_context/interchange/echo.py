"""Printed lines on their way from managers to the script: no more of them than the script can be expected to show."""

from __future__ import annotations

import time

from parsl_context.interchange.executor_side import ExecutorSide
from parsl_context.wire import messages as m
from parsl_context.wire.allowance import Allowance
from parsl_context.wire.codec import Frames
from parsl_context.wire.eventloop import EventLoop

_BYTES_PER_S = 4e6  # of all managers together
_MOST_BYTES = 2e6
_TELL_S = 1.0  # after lines were dropped, if none came by then with which to say so. [s]


class EchoGate:
    """Passes packets of lines on, unopened, and counts those that it drops."""

    def __init__(self, loop: EventLoop, executor: ExecutorSide) -> None:
        self._loop = loop
        self._executor = executor
        self._allowance = Allowance(_BYTES_PER_S, _MOST_BYTES)
        self._dropped: m.Said | None = None  # lines of the manager that said them last, and of all others

    def pass_on(self, said: m.Said, frames: Frames) -> None:
        """A manager has sent lines."""
        if self._allowance.take(sum(len(frame) for frame in frames), time.monotonic()):
            self._executor.send(said, frames)
            return
        if self._dropped is None:
            self._loop.call_later(_TELL_S, self._tell)
        before = 0 if self._dropped is None else self._dropped.dropped
        dropped = before + said.lines + said.dropped
        self._dropped = m.Said(manager=said.manager, host=said.host, lines=0, dropped=dropped)

    def _tell(self) -> None:
        if self._dropped is not None:
            self._executor.send(self._dropped)
            self._dropped = None
