"""Socket at which the manager of a node is asked for files: in the folder of the run, so it is this user's alone."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

_NAME = "desk"


def listen(folder: Path) -> socket.socket:
    """The manager's end."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with short_path(folder) as path:
        listener.bind(path)
    listener.listen(128)
    listener.setblocking(False)
    return listener


@contextlib.contextmanager
def short_path(folder: Path) -> Iterator[str]:
    """Path of the socket that fits into an address of 107 bytes, however long the folder's is."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{_NAME}"
    finally:
        os.close(fd)
