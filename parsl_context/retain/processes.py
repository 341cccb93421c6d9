"""What Linux offers to keep a family of processes together (prctl(2), pidfd_open(2))."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any, NoReturn, TypeVar

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

_Function = TypeVar("_Function", bound=Callable[..., Any])
_interruptible: set[CodeType] = set()


@dataclass(frozen=True)
class Exit:
    """How a process ended."""

    pid: int
    code: int | None  # exit status; None when a signal ended it
    signal: int | None


def adopt_orphans() -> None:
    """Become the parent of all descendants whose parents end: the manager is the parent of its workers."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with(parent: int) -> None:
    """Have this process killed when its parent ends, if that has not ended already."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def end_unless_child_of(parent: int) -> None:
    """End this process if it was adopted by another than was to adopt it, because that has ended already."""
    if os.getppid() != parent:
        os._exit(1)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Run code of the user's. Where it forks and comes back in the child as well, the child ends here, quietly.

    Whatever is left to be done is the parent's: two would answer for one, and clean up what the other uses.
    """
    pid = os.getpid()
    try:
        yield
    except BaseException as error:
        if os.getpid() != pid:
            leave(error)
        raise
    if os.getpid() != pid:
        leave(None)


def interruptible(function: _Function) -> _Function:
    """Mark a function that runs code of the user's and settles whatever that raises."""
    _interruptible.add(function.__code__)
    return function


def interrupt(_: int, frame: FrameType | None) -> None:
    """Handler of SIGINT: `KeyboardInterrupt` in code of the user's, nothing elsewhere.

    An interrupt that comes late, when the call it was meant for has ended, must end nothing else.
    """
    while frame is not None:
        if frame.f_code in _interruptible:
            raise KeyboardInterrupt
        frame = frame.f_back


def leave(error: BaseException | None) -> NoReturn:
    """End a child that code of the user's forked, with the status that Python would end it with."""
    flush_streams()
    os._exit(0 if error is None else status_of(error))


def flush_streams() -> None:
    """Write what was printed, as far as the streams are there and take it."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def status_of(error: BaseException) -> int:
    """The status that Python ends a process with."""
    if not isinstance(error, SystemExit):
        return 1
    return (error.code & 0xFF) if isinstance(error.code, int) else int(error.code is not None)


def wait(pid: int) -> Exit:
    """How a child ended, once it has."""
    return _exit_of(*os.waitpid(pid, 0))


def reap() -> list[Exit]:
    """Children that ended since the last call."""
    ended: list[Exit] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended.append(_exit_of(pid, status))


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to a process that may have ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _exit_of(pid: int, status: int) -> Exit:
    code = os.waitstatus_to_exitcode(status)
    return Exit(pid, code if code >= 0 else None, -code if code < 0 else None)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "prctl")
