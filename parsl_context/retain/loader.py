"""Builds contexts in this process from the content that the manager sent, and reports to it."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import logging
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from parsl_context.content.carried import unpack_code
from parsl_context.content.exceptions import pack_raised
from parsl_context.content.serialization import unpack_value
from parsl_context.retain import devices, echoing
from parsl_context.retain.arguments import resolving
from parsl_context.retain.carried import carried_in
from parsl_context.retain.code_packs import CodePacks
from parsl_context.retain.files import BuildFiles, store_at
from parsl_context.retain.instances import Instance, Instances, build, resident_bytes
from parsl_context.retain.local_paths import placing
from parsl_context.retain.processes import alone, interruptible
from parsl_context.retain.speaking import Voice
from parsl_context.wire import messages as m
from parsl_context.wire.codec import Buffer, make_payload
from parsl_context.wire.messages import Digest

_LINE = 200  # characters of an error in the interchange's log

logger = logging.getLogger(f"parsl.{__name__}")


class Loader:
    """The content a process was sent, and the instances it made of it.

    Parameters
    ----------
    send
        Sends a message to the manager.
    instances
        What the process has inherited.
    voice
        Labels what context functions say.
    code_folder
        Of the run: for modules of the user's, and where the manager is asked for files.
    node_store
        Folders of the node's store, as the user writes them; if none, the environment tells.

    Attributes
    ----------
    carried : Carried
        Code of the user's in this process.
    """

    def __init__(
        self,
        send: Callable[[m.FromWorker, Sequence[Buffer]], None],
        instances: Instances,
        voice: Voice,
        code_folder: str,
        node_store: Sequence[str] = (),
    ) -> None:
        self._send = send
        self._voice = voice
        self.instances = instances
        instances.about = voice.about
        instances.on_clean_up = self._tell_clean_up
        instances.passes_interrupts = False
        self._blobs: dict[Digest, tuple[str, Buffer]] = {}
        self._folder = Path(code_folder)
        self._find_store = functools.cache(lambda: store_at(node_store))
        self._packs = CodePacks(self._find_store, self._folder)
        self.carried = carried_in(code_folder)
        self.carried.content = self.content

    def store(self, message: m.StoreBlobs, frames: Sequence[Buffer]) -> None:
        """Keep content that later messages name."""
        for blob, frame in zip(message.blobs, frames, strict=True):
            self._blobs[blob.digest] = (blob.label, frame)
            if blob.stretch is not None:
                self._packs.expect(blob.digest, blob.stretch)

    def content(self, digest: Digest) -> Buffer:
        """Content stored before."""
        return self._packs.read(digest) if digest in self._packs else self._blobs[digest][1]

    def is_isolated(self, digest: Digest) -> bool:
        """Whether calls of a context run in forks of this process."""
        instance = self.instances.get(digest)
        if instance is not None:
            return instance.upkeep.isolated
        isolated, *_ = pickle.loads(self.content(digest))
        return bool(isolated)

    def code(self, digest: Digest) -> tuple[Digest | None, Any]:
        """A function, and the header to act on before each call of it."""
        header, stream = unpack_code(self.content(digest))
        self.carried.prepare(header)
        return header, unpack_value([stream])

    def headers(self, contexts: Iterable[Digest]) -> Iterator[Digest | None]:
        """The headers of contexts that are not here yet, and of what these require."""
        for digest in contexts:
            if digest not in self.instances:
                _, header, _, requires, *_ = pickle.loads(self.content(digest))
                yield header
                yield from self.headers(requires)

    def load(self, digest: Digest, task: m.TaskId | None) -> bool:
        """Build a context. On failure the manager is told, and which call has not run for it."""
        self._send(m.LoadStarted(context=digest), ())
        label = self._blobs[digest][0]
        try:
            self._build(digest)
            return True
        except BaseException as error:
            with self._voice.about(label):
                logger.warning("Context %s could not be built", label, exc_info=True)
            payload, frames = make_payload(pack_error(error))
            kinds, text = kinds_of(error), in_a_line(error)
        # Here rather than above: until now the exception kept what was half built, whose end may take its time.
        self._send(m.LoadFailed(context=digest, task=task, error=payload, kinds=kinds, text=text), frames)
        return False

    def forget(self, digests: Sequence[Digest]) -> None:
        """Drop content, and end the instances made of it."""
        for digest in digests:
            self.drop(digest)
            self._blobs.pop(digest, None)
        self._packs.forget(digests)
        self.carried.forget(digests)

    def drop(self, digest: Digest) -> None:
        """End an instance, and those that require it; the manager is told how much memory did not come back."""
        if digest not in self.instances:
            return
        expected = {d: self.instances.size_of(d) for d in self.instances}
        before = resident_bytes()
        dropped = self.instances.drop(digest)
        gc.collect()
        _return_freed_memory()
        devices.return_freed()
        gained = max(0, before - resident_bytes())
        for context in dropped:
            kept = max(0, expected[context] - gained)
            gained = max(0, gained - expected[context])
            self._send(m.Unloaded(context=context, kept_bytes=kept), ())

    def _tell_clean_up(self, digest: Digest) -> None:
        with contextlib.suppress(OSError):  # the manager is gone
            self._send(m.CleanUpBegan(context=digest), ())

    @interruptible
    def _build(self, digest: Digest) -> object:
        """The instance of a context, built if need be, after those it requires."""
        if digest in self.instances:
            return self.instances[digest]
        label, packed = self._blobs[digest]
        *_, is_echoed = pickle.loads(packed)
        with echoing.scope() if is_echoed else contextlib.nullcontext(), self._voice.about(label):
            return self._build_anew(digest)

    def _build_anew(self, digest: Digest) -> object:
        label, packed = self._blobs[digest]
        required: list[Digest] = []
        built: list[Digest] = []

        def instance_of(other: Digest) -> object:
            required.append(other)
            if other not in self.instances:
                built.append(other)
                self._send(m.LoadStarted(context=other), ())
            return self._build(other)

        _, header, stream, *_ = pickle.loads(packed)
        self.carried.prepare(header)
        with resolving(instance_of):
            function, args, kwargs, upkeep, data = unpack_value([stream])
        if built:
            self._send(m.LoadStarted(context=digest), ())
        files = BuildFiles(self._find_store, self._folder)

        def make() -> Any:
            places.update(files.places(data))
            return function(*files.fill_in(args), **files.fill_in(kwargs))

        try:
            with placing() as places:
                made: Instance = build(label, make, tuple(required), upkeep)
        except BaseException:
            files.release()
            raise
        files.release_after(made)
        self.instances.add(digest, made)
        logger.info("Built context %s in %.3f s", label, made.load_s)
        loaded = m.Loaded(
            context=digest,
            load_s=made.load_s,
            size_bytes=made.size_bytes,
            has_clean_up=made.cleanup is not None,
            device_bytes=made.device_bytes,
            devices_total_bytes=made.devices_total_bytes,
        )
        self._send(loaded, ())
        return made.value


def _return_freed_memory() -> None:
    """Have the C library give back what it keeps of freed memory (malloc_trim(3), glibc only)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def kinds_of(error: BaseException) -> tuple[str, ...]:
    """Names of Python's own classes that an exception belongs to, the narrowest first."""
    return tuple(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins")


def in_a_line(error: BaseException) -> str:
    """What an error is, for logs."""
    try:
        text = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
    except BaseException:  # its `__str__` is the user's, and may raise anything
        text = type(error).__name__
    return text if len(text) <= _LINE else f"{text[:_LINE]}..."


def pack_error(error: BaseException) -> bytes:
    """What user code raised, with its traceback and all that it came from."""
    with alone():
        return pack_raised(error)
