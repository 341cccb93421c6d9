"""What ties a worker or a template to its manager: it ends with it, and leaves it to it to heed the batch system.

A batch system signals every process of a job with SIGTERM, and the manager decides then when workers end. A process
that is sent SIGTERM while its manager is not was meant itself, and dies of it as any other would. Children that the
user's code forks are no workers: they die of it too.

If the manager ends without a word, as by SIGKILL, the kernel kills this process: nothing else is sure to, since the
code of a library may keep the interpreter from all that it could do. Only a process that holds contexts with clean-ups
is told by a signal first. It breaks off what it does, cleans up, and is killed by a timer if that takes too long.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from collections.abc import Iterator
from typing import Any

from parsl_context.pool.forking import ORPHAN_GRACE_S
from parsl_context.pool.settings import WorkerSettings
from parsl_context.retain.instances import Instances
from parsl_context.retain.processes import die_with

# One that neither libraries nor batch systems send.
_ORPHANED = signal.SIGRTMIN + 13
# Time in which a manager hears of a SIGTERM that was sent to its whole node. [s]
_HEARS_WITHIN_S = 1.0


class ManagerGone(BaseException):
    """Ends the code of the user's that runs while the manager dies."""


class Bond:
    """Ties this process to its manager, which is its parent. For the main thread.

    Attributes
    ----------
    is_busy : bool
        Whether code of the user's runs that may be broken off: a body or a context function, not a clean-up.
    is_orphaned : bool
        Whether the manager is gone, and a timer runs.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        self._manager = settings.manager_pid
        self._drains = settings.drains
        self.is_busy = False
        self.is_orphaned = False
        die_with(self._manager)
        self._on_terminate = self._terminated
        signal.signal(_ORPHANED, self._orphaned)
        self.heed_terminate()
        _reset_in_children(self)

    def heed_terminate(self) -> None:
        """Have SIGTERM end this process unless the manager drains. Also for forks of it that run calls."""
        # A handler, because programs that the user's code starts inherit what is ignored.
        signal.signal(signal.SIGTERM, self._on_terminate)

    @property
    def heeds_terminate(self) -> bool:
        """Whether SIGTERM is handled here, and not by code of the user's."""
        return signal.getsignal(signal.SIGTERM) == self._on_terminate

    @contextlib.contextmanager
    def building(self, instances: Instances) -> Iterator[None]:
        """A context function runs, which may have something to clean up, then and afterwards."""
        die_with(self._manager, _ORPHANED)
        self.is_busy = True
        try:
            yield
        finally:
            self.is_busy = False
            if not instances.have_clean_ups:
                die_with(self._manager)

    def _orphaned(self, *_: Any) -> None:
        if os.getppid() == self._manager:
            return
        self.is_orphaned = True
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
        signal.setitimer(signal.ITIMER_REAL, ORPHAN_GRACE_S)
        if self.is_busy:
            self.is_busy = False
            raise ManagerGone

    def _terminated(self, *_: Any) -> None:
        poller = select.poll()
        poller.register(self._drains, select.POLLIN)
        if poller.poll(_HEARS_WITHIN_S * 1000):
            return
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)


_bond: Bond | None = None  # of this process
_masks = threading.local()


def _reset_in_children(bond: Bond) -> None:
    global _bond
    if _bond is None:  # this is done once, and what templates fork inherits it
        os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)
    _bond = bond


def _before_fork() -> None:
    # Until the child has reset it, a SIGTERM for it waits, rather than find the handler.
    _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _after_fork() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.before)


def _in_child() -> None:
    if _bond is not None and _bond.heeds_terminate:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _after_fork()
