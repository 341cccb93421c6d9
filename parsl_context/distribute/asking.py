"""The processes of a node ask their manager for files.

They wait for the answer, in whatever process the context is built: a worker, a template, a fork of either.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from parsl_context.distribute import origins
from parsl_context.distribute.desk import short_path
from parsl_context.distribute.origins import Version
from parsl_context.distribute.peers.origin import shared_identity
from parsl_context.errors import FileFetchError
from parsl_context.wire.channel import WorkerChannel
from parsl_context.wire.codec import Buffer, Decoder, encode
from parsl_context.wire.ids import Digest
from parsl_context.wire.transfers import (
    LEAST_BYTES,
    PEERS_VARIABLE,
    AskContent,
    AskFile,
    AskVersion,
    ContentIs,
    FileIs,
    ToDesk,
    VersionIs,
)

_SCRIPTS = "script "  # begins the identity of a version that the script has, and this node cannot see
_Answer = TypeVar("_Answer", FileIs, VersionIs, ContentIs)


class Desk:
    """The asking end: `Peers` of a store.

    Parameters
    ----------
    folder
        Of the run, on this node.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def version(self, url: str) -> Version | None:
        """As `Peers` says."""
        if not origins.is_here(url):
            return None
        found = self._ask(AskVersion(url=url), VersionIs)
        if found is None or found.identity is None:
            return None
        return Version(f"{_SCRIPTS}{found.identity}", found.size)

    def bring(self, url: str, found: Version, name: str | None = None) -> bool:
        """As `Peers` says."""
        if found.identity is None or found.size is None:
            return False
        is_seen = not found.identity.startswith(_SCRIPTS)
        if is_seen and found.size < LEAST_BYTES:
            return False
        shared = shared_identity(url) if is_seen else (found.identity.removeprefix(_SCRIPTS), found.size)
        if shared is None or shared[1] != found.size:
            return False
        ask = AskFile(
            url=url,
            entry_identity=name or found.identity,
            identity=shared[0],
            size=found.size,
            reads_origin=is_seen,
        )
        answer = self._ask(ask, FileIs)
        is_here = answer is not None and answer.is_here
        if not is_here and not is_seen:
            reason = "the manager of this node has ended" if answer is None else answer.reason
            raise FileFetchError(url=url, reason=f"it is on the host of the script alone, and did not come: {reason}")
        return is_here

    def content(self, digest: Digest) -> Buffer | None:
        """What the script has sent under a digest; None if it is not to be had."""
        answer = self._answer(AskContent(digest=digest), ContentIs)
        return answer[1][0] if answer is not None and answer[1] else None

    def _ask(self, ask: AskFile | AskVersion, kind: type[_Answer]) -> _Answer | None:
        """The answer to a question; None if there is nobody to answer it."""
        answer = None if os.environ.get(PEERS_VARIABLE) == "0" else self._answer(ask, kind)
        return None if answer is None else answer[0]

    def _answer(self, ask: ToDesk, kind: type[_Answer]) -> tuple[_Answer, Sequence[Buffer]] | None:
        with contextlib.ExitStack() as closing:
            sock = closing.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            try:
                with short_path(self._folder) as path:
                    sock.connect(path)
                channel = WorkerChannel(sock)
                channel.send(encode(ask))
                frames = channel.receive()
            except OSError:
                return None
            return None if frames is None else Decoder[_Answer](kind).decode(frames)
