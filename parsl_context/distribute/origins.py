"""Where files come from: paths, file:// and http(s):// addresses; the version of what stands there, and its bytes."""

from __future__ import annotations

import contextlib
import http.client
import os
import stat
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import urlparse

from parsl_context.errors import FileFetchError

SCHEMES = ("", "file", "http", "https")
PATH = "path:"  # begins the address of a file that is known by its path, whatever characters are in it
FOLDER = "folder:"  # the same of a folder, as one file: see `packed`
_TIMEOUT_S = 60.0  # of one network operation
# A server that sends less than this for so long is taken to be stuck: others wait for the same file.
LEAST_BYTES_PER_S = 1_000
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Version:
    """What stands at an address now.

    Attributes
    ----------
    identity : str or None
        Two versions of an address that have it in common have the same content; None where the origin does not tell.
    size : int or None
        None where the origin does not tell. [bytes]
    """

    identity: str | None
    size: int | None


class Source:
    """The content at an address, open for reading.

    Attributes
    ----------
    version : Version
        What is read.
    """

    def __init__(
        self,
        url: str,
        stream: BinaryIO | http.client.HTTPResponse,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._stream = stream
        self._clock = clock
        self._since = clock()
        self._came = 0  # since then. [bytes]
        self.version = self._version()

    def _version(self) -> Version:
        if isinstance(self._stream, http.client.HTTPResponse):
            return _described(self._stream)
        return _of_file(os.fstat(self._stream.fileno()))

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end.

        Raises
        ------
        FileFetchError
        """
        with explained(self._url):
            if not isinstance(self._stream, http.client.HTTPResponse):
                return self._stream.read(size)
            data = self._stream.read1(size)  # what has come, rather than all of it however long that takes
        self._watch(len(data))
        return data

    def _watch(self, came: int) -> None:
        """Give a download up that hardly gets on."""
        self._came += came
        waited_s = self._clock() - self._since
        if waited_s < PATIENCE_S:
            return
        if self._came < LEAST_BYTES_PER_S * waited_s:
            reason = (
                f"its server has sent {self._came} bytes in {waited_s:.0f} s; see whether it is well, and try again"
            )
            raise FileFetchError(url=self._url, reason=reason)
        self._since, self._came = self._clock(), 0

    def check(self, size: int) -> None:
        """Make sure that what was read is all of one version.

        Raises
        ------
        FileFetchError
        """
        if self._version() != self.version:
            raise FileFetchError(url=self._url, reason="it changed while it was copied; try again when it is written")
        if size != (self.version.size if self.version.size is not None else size):
            raise FileFetchError(
                url=self._url,
                reason=f"only {size} of {self.version.size} bytes came; see whether its server is well, and try again",
            )


def version(url: str) -> Version:
    """What stands at an address; its content is not read.

    Raises
    ------
    FileFetchError
    """
    with explained(url):
        if not _is_http(url):
            return _of_file(os.stat(local_path(url)))
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_TIMEOUT_S) as answer:
            return _described(answer)


@contextlib.contextmanager
def opened(url: str) -> Iterator[Source]:
    """The content at an address.

    Raises
    ------
    FileFetchError
    """
    with contextlib.ExitStack() as stack:
        with explained(url):
            source = Source(url, stack.enter_context(_stream(url)))
        yield source


def _stream(url: str) -> BinaryIO | http.client.HTTPResponse:
    if _is_http(url):
        answer: http.client.HTTPResponse = urllib.request.urlopen(url, timeout=_TIMEOUT_S)
        return answer
    return open(local_path(url), "rb")


def local_path(url: str) -> str:
    """Path of a file:// address or of a plain path, as Parsl's `File` reads it, or of one of our own addresses."""
    for own in (PATH, FOLDER):
        if url.startswith(own):
            return url.removeprefix(own)
    return os.path.abspath(urlparse(url).path)


def is_here(url: str) -> bool:
    """Whether a file can be used where it is."""
    return not _is_http(url)


def name_of(url: str) -> str:
    """Name for a copy: it says which file it is, and has its suffix."""
    return os.path.basename(local_path(url) if is_own(url) else urlparse(url).path.rstrip("/")) or "file"


def is_own(url: str) -> bool:
    """Whether it is an address that only we understand: of data, which is named by its path."""
    return url.startswith((PATH, FOLDER))


def _is_http(url: str) -> bool:
    return urlparse(url).scheme in ("http", "https")


def _of_file(status: os.stat_result) -> Version:
    if not stat.S_ISREG(status.st_mode):
        raise IsADirectoryError
    return Version(f"{status.st_dev} {status.st_ino} {status.st_size} {status.st_mtime_ns}", status.st_size)


def _described(answer: http.client.HTTPResponse) -> Version:
    length = answer.headers.get("Content-Length")
    size = int(length) if length is not None and length.isdecimal() else None
    return Version(identity_of(answer, size), size)


def identity_of(answer: http.client.HTTPResponse, size: int | None) -> str | None:
    """What a server says of the version that it sends all or a part of."""
    marks = [answer.headers.get(name) for name in ("ETag", "Last-Modified")]
    # A length alone identifies nothing: the next version may be as long.
    return f"{marks} {size}" if any(marks) else None


@contextlib.contextmanager
def explained(url: str) -> Iterator[None]:
    """Turn what reading raises into an error that names the file and the node, and says what to do."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        reason = f"its server answers {error.code} {error.reason}; see whether the address is right"
        raise FileFetchError(url=url, reason=reason) from None
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = f"its server cannot be read ({getattr(error, 'reason', error)!r}); see whether this node can reach it"
        raise FileFetchError(url=url, reason=reason) from error
    except FileNotFoundError as error:
        reason = "there is no such file here; give a path that all nodes see, or an http address"
        raise FileFetchError(url=url, reason=reason) from error
    except IsADirectoryError as error:
        reason = "it is no regular file; give the files in it one by one, or its path as a string"
        raise FileFetchError(url=url, reason=reason) from error
    except OSError as error:
        raise FileFetchError(url=url, reason=f"it cannot be read: {error}") from error
