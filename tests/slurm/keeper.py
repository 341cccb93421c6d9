"""Keeps one daemon of a cluster, and adopts what it leaves behind. Run as a script: ``keeper.py [--bound] COMMAND...``

A node's keeper *is* the node: whatever runs there descends from it, however it was forked, and however it calls itself
(the daemons that look after jobs cut themselves loose from slurmd). So a node is killed by killing what is below.

With ``--bound`` the daemon ends with whoever started the keeper, even if that is killed. SIGTERM ends the daemon. What
the daemon leaves behind is killed: Slurm loses sight of processes of a job whose parent has ended.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys

# prctl(2)
_SET_PARENT_DEATH_SIGNAL = 1
_SET_CHILD_SUBREAPER = 36


def main(arguments: list[str]) -> int:
    """Run the daemon. Gives its exit status."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_SET_CHILD_SUBREAPER, 1)
    if arguments[0] == "--bound":
        arguments = arguments[1:]
        libc.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    daemon = subprocess.Popen(arguments, stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(daemon.pid, signal.SIGTERM))
    while True:
        pid, status = os.wait()
        if pid == daemon.pid:
            break
    while left := _children():  # what these leave behind are our children in their turn
        for child in left:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) & 0xFF


def _children() -> list[int]:
    """Processes whose parent this is; none of them goes before it is waited for."""
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return [int(word) for word in file.read().split()]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
