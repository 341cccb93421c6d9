"""Modules of the user's that are large together, as one file that nodes get from each other.

Smaller ones go through the interchange, which sends each node a copy.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from parsl_context.distribute.origins import PATH
from parsl_context.wire.messages import Digest, Stretch
from parsl_context.wire.transfers import LEAST_BYTES, PEERS_VARIABLE

logger = logging.getLogger(f"parsl.{__name__}")


class CodePacks:
    """Writes files of modules one after the other into one.

    Parameters
    ----------
    run_folder
        Where they lie until the run ends, in a folder of their own.
    allow
        Called with the addresses of files that nodes may be served.
    """

    def __init__(self, run_folder: str | os.PathLike[str], allow: Callable[[Iterable[str]], None]) -> None:
        self._run_folder = run_folder
        self._allow = allow
        self._folder: Path | None = None

    def stretches(self, files: Mapping[Digest, bytes]) -> Mapping[Digest, Stretch]:
        """Where nodes find these files; nothing if they had better be sent."""
        if os.environ.get(PEERS_VARIABLE) == "0" or sum(map(len, files.values())) < LEAST_BYTES:
            return {}
        try:
            path = self._write(files.values())
        except OSError as error:
            logger.warning(
                "The user's modules go through the interchange: %s cannot have them: %s", self._folder, error
            )
            return {}
        url = f"{PATH}{path}"
        self._allow([url])
        found, offset = {}, 0
        for digest, data in files.items():
            found[digest] = Stretch(url, offset, len(data))
            offset += len(data)
        return found

    def close(self) -> None:
        """Nodes get nothing any more."""
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def _write(self, contents: Iterable[bytes]) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="modules-", dir=os.path.abspath(self._run_folder)))
        fd, name = tempfile.mkstemp(suffix=".pack", dir=self._folder)
        try:
            with os.fdopen(fd, "wb") as file:
                file.writelines(contents)
        except OSError:
            os.unlink(name)
            raise
        return Path(name)
