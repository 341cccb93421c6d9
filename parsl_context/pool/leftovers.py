"""Processes that the user's code started and left running: they end with their worker, or else with the manager.

A worker's process group holds them, unless they have left it for one of their own, or for a session of their own
(setsid(2)), as services do: these last as long as the manager, whose children they become.
"""

from __future__ import annotations

import logging
import os
import signal
from functools import partial

import psutil

from parsl_context.retain import processes
from parsl_context.wire.eventloop import EventLoop

logger = logging.getLogger(f"parsl.{__name__}")


class Leftovers:
    """Ends what members have left behind."""

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop

    def end(self, pid: int, group: int | None) -> None:
        """A member has ended: so does what is left of its process group, and of one that it has made itself."""
        for left in {pid, group} - {None, os.getpgrp()}:
            if left and processes.signal_group(left, signal.SIGTERM):
                logger.info("Process %d left processes behind; they are ended", pid)
                self._loop.call_later(processes.LEFT_GRACE_S, partial(_kill_group, left))

    @staticmethod
    def end_all() -> None:
        """This process ends: so do all its children and what is below them."""
        while processes.have_children():
            children = {child.pid for child in psutil.Process().children()}
            processes.end_children(children)
            if not processes.reap():
                return


def _kill_group(group: int) -> None:
    processes.signal_group(group, signal.SIGKILL)
