"""What a process must and must not have done so that its memory can be shared with forked children.

Threads do not survive a fork: a lock that one of them held stays locked, a pool of them hangs (measured with PyTorch:
a parent that ran with two threads hangs its children, one that ran with one does not). Accelerator drivers refuse to
work in a forked child. So the thread pools of numerical libraries are held at one thread while contexts are built, and
a process that has threads or an open accelerator all the same is not forked from.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import re
import stat
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

_POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
# The library tokenizers, which many language models come with, would start a pool at its first batch.
_HELD = {**dict.fromkeys(_POOLS, "1"), "TOKENIZERS_PARALLELISM": "false"}
_SETTLE_S = 0.5
_ACCELERATORS = re.compile(r"/dev/(nvidia\d+|nvidiactl|nvidia-uvm|kfd|dri/|accel|dxg|neuron)")


def hold_threads() -> dict[str, str | None]:
    """Make thread pools that start from now on have one thread. Gives the variables as they were."""
    before = {name: os.environ.get(name) for name in _HELD}
    os.environ.update(_HELD)
    return before


@contextlib.contextmanager
def held_threads() -> Iterator[None]:
    """Hold thread pools that start meanwhile at one thread, and leave no helper thread behind."""
    before = hold_threads()
    try:
        yield
    finally:
        _restore(before)
        stop_helpers()


def stop_helpers() -> None:
    """End threads that libraries start for their convenience, and start again when they want them.

    Progress bars of tqdm, which many model loaders show, leave a thread that watches them.
    """
    for thread in threading.enumerate():
        kind = type(thread)
        if (kind.__module__, kind.__name__) == ("tqdm._monitor", "TMonitor"):
            thread.exit()  # type: ignore[attr-defined]


def why_unsafe() -> str | None:
    """Why this process must not be forked from, or None if it may be."""
    try:
        threads, descriptors = _count_threads(), os.listdir("/proc/self/fd")
    except OSError as error:
        return f"it cannot be looked at ({error.strerror}), nor can what is forked from it work"
    if threads > 1:
        return f"it runs {threads - 1} threads of its own, which do not survive a fork"
    for fd in descriptors:
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{fd}")
            if _ACCELERATORS.match(target):
                return f"it uses an accelerator ({target}), whose driver does not work in forked processes"
    return None


def _count_threads() -> int:
    """Threads of this process; one that has just ended may take a moment to disappear."""
    deadline = time.monotonic() + _SETTLE_S
    while (count := len(os.listdir("/proc/self/task"))) > 1 and time.monotonic() < deadline:
        time.sleep(0.005)
    return count


def make_distinct(variables: Mapping[str, str | None], threads: int) -> None:
    """In a forked child: thread pools as they would have been, random numbers and file positions of its own.

    Parameters
    ----------
    variables
        What `hold_threads` gave.
    threads
        Threads for libraries that were held at one and take a new number at run time.
    """
    _restore(variables)
    random.seed()
    # Not `numpy.random`, which would import it: that takes ten times as long as the fork.
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed(int.from_bytes(os.urandom(4), "little"))
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(int.from_bytes(os.urandom(7), "little"))
        if torch.get_num_threads() == 1:
            torch.set_num_threads(threads)
    _reopen_files()


def _restore(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _reopen_files() -> None:
    """Give this process descriptions of its own for the regular files it inherited, at the same positions."""
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        with contextlib.suppress(OSError):
            if fd <= 2 or not stat.S_ISREG(os.fstat(fd).st_mode):
                continue
            position = os.lseek(fd, 0, os.SEEK_CUR)
            flags = fcntl.fcntl(fd, fcntl.F_GETFL) & ~(os.O_CREAT | os.O_EXCL | os.O_TRUNC)
            mine = os.open(Path("/proc/self/fd", name), flags | os.O_CLOEXEC)
            os.lseek(mine, position, os.SEEK_SET)
            os.dup2(mine, fd, inheritable=os.get_inheritable(fd))
            os.close(mine)
