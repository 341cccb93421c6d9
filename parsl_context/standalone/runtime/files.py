"""Files that contexts name by address: fetched once in a process, and gone with it."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
import urllib.parse
import urllib.request
from typing import Any

_TIMEOUT_S = 60.0  # without any progress


class Files:
    """What this process has fetched."""

    def __init__(self) -> None:
        self._folder: str | None = None
        self._paths: dict[str, str] = {}
        self.lock = threading.RLock()

    def path_of(self, url: str) -> str:
        """Where a file is here. One of the scheme ``file`` is where its path says, on this host.

        Raises
        ------
        ValueError, OSError
            If it cannot be fetched.
        """
        parts = urllib.parse.urlsplit(url)
        if parts.scheme in ("", "file"):
            return urllib.request.url2pathname(parts.path)
        if parts.scheme not in ("http", "https"):
            raise ValueError(f"{url} cannot be fetched here: endpoints fetch files by http and https alone.")
        with self.lock:
            if url not in self._paths:
                self._paths[url] = self._fetch(url, os.path.basename(parts.path) or "file")
            return self._paths[url]

    def _fetch(self, url: str, name: str) -> str:
        if self._folder is None:
            self._folder = tempfile.mkdtemp(prefix="parsl-context-")
            atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
        path = os.path.join(tempfile.mkdtemp(dir=self._folder), name)
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as source, open(path, "wb") as target:
            shutil.copyfileobj(source, target)
        return path


class _File(os.PathLike[str]):
    """What a context function gets where Parsl is not installed."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.local_path = ""

    @property
    def filepath(self) -> str:
        return self.local_path

    def __fspath__(self) -> str:
        return self.local_path

    def __str__(self) -> str:
        return self.local_path


def file_here(url: str) -> Any:
    """A file as a context function gets it: with its path on this host."""
    try:
        from parsl.data_provider import files as of_parsl
    except ImportError:
        made: Any = _File(url)
    else:
        made = of_parsl.File(url)
    made.local_path = files.path_of(url)
    return made


files = Files()
