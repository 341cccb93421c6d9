"""Code and contexts that calls name, as the executor sent them, and what managers found out about them.

The content of a blob is an opaque frame. Each manager is sent what its calls name, once.
"""

from __future__ import annotations

from msgspec.structs import replace

from parsl_context.interchange.manager_side import ManagerSide
from parsl_context.wire import messages as m
from parsl_context.wire.codec import Buffer
from parsl_context.wire.messages import Digest, ManagerId


class Content:
    """What there is by digest, and the managers that are sent it."""

    def __init__(self, managers: ManagerSide) -> None:
        self._managers = managers
        self._blobs: dict[Digest, tuple[m.Blob, Buffer]] = {}
        self._options: dict[Digest, m.ContextOptions] = {}
        self._sizes: dict[Digest, int] = {}  # of instances, as they were measured last
        self._build_errors: dict[Digest, tuple[m.BuildFailed, list[Buffer]]] = {}

    def store(self, blob: m.Blob, frame: Buffer) -> None:
        """Keep a function, a body or a context function with its arguments."""
        self._blobs[blob.digest] = (blob, frame)

    def declare(self, context: Digest, options: m.ContextOptions) -> None:
        """Know how a context is to be treated."""
        self._options[context] = options

    def has(self, code: Digest) -> bool:
        """Whether the code was sent."""
        return code in self._blobs

    def name(self, context: Digest) -> str:
        """What people call a context."""
        options = self._options.get(context)
        return options.name if options else context

    def note_size(self, context: Digest, size_bytes: int) -> None:
        """An instance was measured; managers that are to build another one are told."""
        if size_bytes and context in self._options:
            self._sizes[context] = size_bytes

    def note_build_error(self, failure: m.BuildFailed, frames: list[Buffer]) -> None:
        """A build failed; the last error is what calls fail with when no build is tried any more."""
        self._build_errors[failure.context] = (failure, frames)

    def build_error(self, context: Digest, attempts: int) -> tuple[m.BuildFailed, list[Buffer]]:
        """Why a context could not be built, in so many attempts, and the frames of the exception."""
        failure, frames = self._build_errors[context]
        return replace(failure, attempts=attempts), frames

    def provide(self, manager: ManagerId, code: Digest | None, contexts: tuple[Digest, ...]) -> None:
        """Send a manager the content it lacks, in an order in which each thing's needs come before it."""
        session = self._managers.sessions.get(manager)
        if session is None:
            return
        for context in contexts:
            if context not in session.known:
                options = self._options[context]
                self.provide(manager, context, options.requires)
                size_bytes = self._sizes.get(context)
                declaration = m.DeclareContext(context=context, options=options, size_bytes=size_bytes)
                self._managers.send(manager, declaration)
        if code is not None:
            self._provide_blob(manager, session.known, code)

    def provide_blobs(self, manager: ManagerId, digests: tuple[Digest, ...]) -> None:
        """Send a manager what it lacks of some content, and of what that needs."""
        session = self._managers.sessions.get(manager)
        if session is not None:
            for digest in digests:
                self._provide_blob(manager, session.known, digest)

    def _provide_blob(self, manager: ManagerId, known: set[Digest], digest: Digest) -> None:
        if digest in known:
            return
        known.add(digest)
        blob, _ = self._blobs[digest]
        for needed in blob.needs:
            self._provide_blob(manager, known, needed)
        if blob.stretch is not None and not self._managers.is_near(manager):
            self._managers.send(manager, m.StoreBlobs(blobs=[blob]), [b""])
        else:
            self._send_itself(manager, digest)

    def give(self, manager: ManagerId, digest: Digest) -> None:
        """Send a manager some content itself, which it was to find in a file."""
        if digest in self._blobs:
            self._send_itself(manager, digest)
        else:
            self._managers.send(manager, m.ContentGone(digest=digest))

    def _send_itself(self, manager: ManagerId, digest: Digest) -> None:
        blob, frame = self._blobs[digest]
        self._managers.send(manager, m.StoreBlobs(blobs=[replace(blob, stretch=None)]), [frame])

    def forget(self, digests: list[Digest]) -> None:
        """Drop content here and in all managers."""
        for digest in digests:
            self._blobs.pop(digest, None)
            self._options.pop(digest, None)
            self._sizes.pop(digest, None)
            self._build_errors.pop(digest, None)
        for manager, session in list(self._managers.sessions.items()):
            known = [digest for digest in digests if digest in session.known]
            if known:
                session.known.difference_update(known)
                self._managers.send(manager, m.ForgetBlobs(digests=known))
