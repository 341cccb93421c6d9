"""What Linux offers to keep a family of processes together (prctl(2), pidfd_open(2))."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any, NoReturn, TypeVar

import psutil

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)

# Time that processes which were left behind have to end once they were sent SIGTERM. [s]
LEFT_GRACE_S = 1.0

_Function = TypeVar("_Function", bound=Callable[..., Any])
_interruptible: set[CodeType] = set()


@dataclass(frozen=True)
class Exit:
    """How a process ended."""

    pid: int
    code: int | None  # exit status; None when a signal ended it
    signal: int | None


def adopt_orphans(is_wanted: bool = True) -> None:
    """Become the parent of all descendants whose parents end: the manager is the parent of its workers."""
    _prctl(_PR_SET_CHILD_SUBREAPER, int(is_wanted))


def die_with(parent: int, number: int = signal.SIGKILL) -> None:
    """Have this process sent a signal when its parent ends. If that has ended already, end this process.

    Notes
    -----
    What the kernel takes for the parent is the *thread* that forked this process or adopted it: of a manager the first
    one, which lasts as long as the process. Children of this process do not inherit it (prctl(2)).
    """
    _prctl(_PR_SET_PDEATHSIG, number)
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


def signal_group(group: int, number: int) -> bool:
    """Send a signal to all processes of a group. False if there is none."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def group_of(pid: int) -> int | None:
    """The process group of a process, if it has not ended and is not in ours."""
    try:
        group = os.getpgid(pid)
    except ProcessLookupError:
        return None
    return group if group != os.getpgrp() else None


def have_children() -> bool:
    """Whether this process has children, ended ones included."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def children_in_session() -> set[int]:
    """Children of this process, but those in a session of their own (setsid(2)), which were meant to go on alone."""
    if not have_children():
        return set()
    session, found = os.getsid(0), set()
    for child in psutil.Process().children():
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(child.pid) == session:
                found.add(child.pid)
    return found


def end_children(pids: Collection[int]) -> None:
    """End these children and all below them: by SIGTERM, and what has not ended in a while by SIGKILL."""
    left: list[psutil.Process] = []
    for child in psutil.Process().children() if pids else ():
        if child.pid in pids:
            left += [child, *_all_below(child)]
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, left = psutil.wait_procs(left, LEFT_GRACE_S)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, LEFT_GRACE_S)


def _all_below(process: psutil.Process) -> list[psutil.Process]:
    try:
        found: list[psutil.Process] = process.children(recursive=True)
    except psutil.Error:
        return []
    return found


def _exit_of(pid: int, status: int) -> Exit:
    code = os.waitstatus_to_exitcode(status)
    return Exit(pid, code if code >= 0 else None, -code if code < 0 else None)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "prctl")
