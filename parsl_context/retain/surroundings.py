"""What code of the user's sets for its whole process, set back so that it harms neither us nor the next call.

Each call finds its process as the contexts left it, whatever the calls before did. What is cheap to set back is so
after each call: recursion limit, alarm, default time-out of sockets, some signals, stdout and stderr. What takes longer
is where that is in nobody's way, see `Surroundings.restore_rest`. The environment (`os.environ`) is left alone:
libraries set variables when they are imported, and are imported once.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any, TypeAlias

# Those whose handling by somebody else disturbs ours: of children, of who ends or interrupts us.
_SIGNALS = tuple(map(int, (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGALRM)))
_TIMERS = {
    signal.ITIMER_REAL: signal.SIGALRM,
    signal.ITIMER_VIRTUAL: signal.SIGVTALRM,
    signal.ITIMER_PROF: signal.SIGPROF,
}
_LIMITS = (
    resource.RLIMIT_NOFILE,
    resource.RLIMIT_FSIZE,
    resource.RLIMIT_AS,
    resource.RLIMIT_DATA,
    resource.RLIMIT_CPU,
    resource.RLIMIT_NPROC,
)
LimitValues: TypeAlias = tuple[tuple[int, int], ...]  # soft and hard, of each of these
_STREAMS = ("stdin", "stdout", "stderr")  # in the order of their descriptors

# Without what the module `signal` wraps around it to give enums, which takes 20 times as long.
_handler_of: Any = importlib.import_module("_signal").getsignal


class Limits:
    """Limits that contexts have set for their process, and how they are kept from what is not theirs: forking, say.

    To be made before code of contexts has run.

    Attributes
    ----------
    theirs : tuple
        All limits as the contexts left them, soft and hard.
    """

    def __init__(self) -> None:
        self._ours = self.theirs = _limits()

    def note(self) -> None:
        """Code of contexts has run, and set limits, or has not."""
        self.theirs = _limits()

    def lift(self) -> None:
        """Our limits hold, as far as they can be set back."""
        if self.theirs != self._ours:
            _set_limits(self._ours)

    def impose(self, theirs: LimitValues | None = None) -> None:
        """Those of the contexts hold, or those that were noted elsewhere."""
        if theirs is not None:
            self.theirs = theirs
        if self.theirs != self._ours:
            _set_limits(self.theirs)

    @contextlib.contextmanager
    def lifted(self) -> Iterator[None]:
        """Our limits hold meanwhile."""
        self.lift()
        try:
            yield
        finally:
            self.impose()


class Surroundings:
    """What a process looks like between calls."""

    def __init__(self) -> None:
        self._directory: int | None = None  # a descriptor: it may be removed or renamed
        self.limits = Limits()
        self.note()

    def note(self) -> None:
        """This is how calls are to find the process, but for what would end or break it."""
        tidy()
        self._recursion = sys.getrecursionlimit()
        self._timeout_s = socket.getdefaulttimeout()
        self._handlers = [_handler_of(number) for number in _SIGNALS]
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        self._streams = [getattr(sys, name) for name in _STREAMS]
        self._timers = {timer for timer in _TIMERS if signal.getitimer(timer)[0]}
        self._has_alarm = signal.ITIMER_REAL in self._timers
        self.limits.note()
        if self._directory is not None:
            os.close(self._directory)
            self._directory = None
        with contextlib.suppress(OSError):
            self._directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def restore(self) -> None:
        """Set back what is cheap. On the way of each call: measured, it takes 0.8 microseconds."""
        if sys.getrecursionlimit() != self._recursion:
            sys.setrecursionlimit(self._recursion)
        if not self._has_alarm:
            signal.alarm(0)
        if socket.getdefaulttimeout() != self._timeout_s:
            socket.setdefaulttimeout(self._timeout_s)
        if list(map(_handler_of, _SIGNALS)) != self._handlers:
            self._restore_handlers()
        _, out, err = self._streams
        if (
            sys.stdout is not out
            or sys.stderr is not err
            or getattr(out, "closed", False)
            or getattr(err, "closed", False)
        ):
            self._restore_streams()

    def restore_rest(self) -> None:
        """Set back working directory, umask, limits, other timers, stdin and descriptors 0 to 2: 7 microseconds.

        To be called after calls that took long, and before this process waits.
        """
        for timer in _TIMERS:
            if timer not in self._timers:
                signal.setitimer(timer, 0)
        _set_limits(self.limits.theirs)
        if self._directory is not None:
            with contextlib.suppress(OSError):
                os.fchdir(self._directory)
        os.umask(self._umask)
        _hold_descriptors()
        if sys.stdin is not self._streams[0] or _is_closed(self._streams[0]):
            self._restore_streams()

    def _restore_handlers(self) -> None:
        for number, handler in zip(_SIGNALS, self._handlers, strict=True):
            if handler is not None:  # else it was not set by Python code, which cannot set it back
                signal.signal(number, handler)

    def _restore_streams(self) -> None:
        for name, stream in zip(_STREAMS, self._streams, strict=True):
            setattr(sys, name, stream)
        tidy_streams()
        self._streams = [getattr(sys, name) for name in _STREAMS]


def tidy() -> None:
    """After code of contexts: undo what would end this process later, or lead what we open astray."""
    for timer, number in _TIMERS.items():
        left_s, period_s = signal.getitimer(timer)
        if left_s and (not period_s or _handler_of(number) == signal.SIG_DFL):
            signal.setitimer(timer, 0)  # a time limit that was forgotten
    _hold_descriptors()
    tidy_streams()


def tidy_streams() -> None:
    """Open standard streams anew that were closed: their descriptors are still there, or hold nothing."""
    _hold_descriptors()
    for number, name in enumerate(_STREAMS):
        if _is_closed(getattr(sys, name)):
            mode = "w" if number else "r"
            setattr(sys, name, open(number, mode, errors="backslashreplace", closefd=False))  # noqa: SIM115


def _is_closed(stream: Any) -> bool:
    return bool(getattr(stream, "closed", False))


def _hold_descriptors() -> None:
    """Keep 0, 1 and 2 taken: what is opened next would get them, and what is printed would go into it."""
    for number in range(3):
        try:
            os.get_inheritable(number)
        except OSError:
            with contextlib.suppress(OSError):
                held = os.open(os.devnull, os.O_RDWR)
                if held != number:
                    os.dup2(held, number)
                    os.close(held)
                os.set_inheritable(number, True)


def _limits() -> LimitValues:
    return tuple(map(resource.getrlimit, _LIMITS))


def _set_limits(wanted: LimitValues) -> None:
    for limit, (soft, hard) in zip(_LIMITS, wanted, strict=True):
        now = resource.getrlimit(limit)
        if now != (soft, hard):
            _set_limit(limit, soft, hard, now[1])


def _set_limit(limit: int, soft: int, hard: int, most: int) -> None:
    with contextlib.suppress(OSError, ValueError):  # the user may lower the hard limit, and only root raise it
        resource.setrlimit(limit, (soft, hard))
        return
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(limit, (most, most))
