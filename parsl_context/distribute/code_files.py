"""Files of the user's modules on a node, each once, by its digest. The manager writes them; a worker, if it could not.

A file gets its name when it is complete and is what its digest says.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from parsl_context.content.digests import digest_bytes
from parsl_context.errors import CarriedCodeError
from parsl_context.wire.codec import Buffer
from parsl_context.wire.messages import Digest


def path_of(folder: Path, digest: Digest) -> Path:
    """Where the file with this content is, if it was written."""
    return folder / "content" / digest


def write(folder: Path, digest: Digest, data: Buffer) -> Path:
    """Write a file, unless it is there.

    Parameters
    ----------
    folder
        Of this user alone.

    Raises
    ------
    CarriedCodeError
        If the content is not what its digest says.
    OSError
        If there is no room.
    """
    path = path_of(folder, digest)
    if path.exists():
        return path
    if digest_bytes(data) != digest:
        raise CarriedCodeError("A file of the user's modules has come with other content than it was sent with.")
    path.parent.mkdir(mode=0o700, exist_ok=True)
    fd, name = tempfile.mkstemp(dir=folder)
    try:
        with os.fdopen(fd, "wb") as stream:
            stream.write(data)
        os.chmod(name, 0o400)
        os.rename(name, path)
    except OSError:
        os.unlink(name)
        raise
    return path
