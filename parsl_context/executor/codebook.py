"""Functions and contexts on their way to workers: serialized once, sent once, named by digest from then on.

The executor asks the code book what stands for a function. It remembers a bounded number of functions; what nobody
has called for long, and no running call needs, is forgotten here and everywhere below.
"""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from parsl.serialize.errors import SerializationError

from parsl_context.apps.app import ContextApp
from parsl_context.apps.context import Context, ContextFunction
from parsl_context.content.carrying import Needs
from parsl_context.content.modules import is_installed
from parsl_context.content.serialization import pack_app, pack_value
from parsl_context.discover.packages import Package, Packager, packager
from parsl_context.errors import CarriedCodeError
from parsl_context.executor.environments import ContextEnvironments
from parsl_context.executor.packing import (
    Code,
    Packed,
    PackedContext,
    Packer,
    cannot_send,
    unsendable,
    with_required,
)
from parsl_context.executor.wrappers import Layers, key_of
from parsl_context.wire import messages as m
from parsl_context.wire.codec import Buffer
from parsl_context.wire.messages import Digest

MAX_FUNCTIONS = 1024
MAX_BYTES = 256 << 20
_MAX_REPLACED = 64
PARTS = ("part of the user's code", "what code needs", "what arguments need")  # labels of what comes with code
_T = TypeVar("_T")


class CodeBook:
    """Knows what was sent. Thread-safe.

    Parameters
    ----------
    send
        Sends a message to the interchange.
    in_use
        Gives the digests that calls without an outcome name.
    reuse
        Level of contexts that do not choose one.
    code
        Finds what the user's code needs; if not given, the one that all executors of this process share.
    on_files
        Called with the addresses of files that a context names, before it is sent.
    stretches
        Says of files of modules in which other file nodes find them, if they are not to be sent there.
    """

    def __init__(
        self,
        send: Callable[[m.ToInterchange, list[bytes]], None],
        in_use: Callable[[], Iterable[Digest]],
        reuse: str,
        code: Packager | None = None,
        on_files: Callable[[Iterable[str]], None] = lambda urls: None,
        environments: ContextEnvironments | None = None,
        stretches: Callable[[Mapping[Digest, bytes]], Mapping[Digest, m.Stretch]] = lambda files: {},
    ) -> None:
        self._on_files = on_files
        self._stretches = stretches
        self._send = send
        self._in_use = in_use
        self._reuse = reuse
        self._environments = environments or ContextEnvironments(reuse=reuse)
        self._packer = Packer(code or packager(), reuse, self._environments)
        self._codes: OrderedDict[Any, Code] = OrderedDict()
        self._bytes = 0
        self._sent: set[Digest] = set()
        self._requires: dict[Digest, tuple[Digest, ...]] = {}  # of each context that was sent
        self._files: dict[Digest, frozenset[str]] = {}  # addresses of files that each context that was sent names
        self._needs: dict[Digest, tuple[Digest, ...]] = {}  # of content that was sent: what it cannot be read without
        self._functions: dict[Any, tuple[ContextFunction, set[Digest]]] = {}  # where they stand, and their contexts
        self._superseded: set[Digest] = set()  # contexts whose function was defined anew
        self._replaced = 0  # codes that others took the place of, since names were bound anew
        self._provided: set[Digest] = set()  # sent ahead of calls
        self._lock = threading.Lock()

    def code(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Code, tuple[Any, ...], dict[str, Any]]:
        """What stands for a function, and the arguments of the call without those meant for its contexts.

        Raises
        ------
        ContextSerializationError
            If a context or a body cannot be pickled.
        SerializationError
            If another function cannot.
        """
        if isinstance(function, ContextApp):
            function = function.func
        code = self._codes.get(id(function))
        if code is not None and code.watch.is_current():
            self._use(id(function))
            return code, args, kwargs
        layers = Layers(function)
        found = layers.call
        if found is None:
            return self._app(function, layers), args, kwargs
        call = found.call
        if found.is_direct:
            settled, args, kwargs = call.settled(args, kwargs)
            if function is call:
                return self._remember(id(settled), lambda: self._packer.call(settled)), args, kwargs
            pack = functools.partial(self._packer.wrapped, function, call, settled)
        elif (needed := found.settled(args, kwargs)) is not None:
            settled = needed
            pack = functools.partial(self._packer.wrapped, function, None if call.keys else call, settled)
        else:
            return self._app(function, layers), args, kwargs
        return self._remember((key_of(function), id(settled)), pack), args, kwargs

    def pack_arguments(
        self, function: Callable[..., Any], code: Code, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[bytes, Sequence[Buffer], tuple[Digest, ...]]:
        """The arguments of a call, packed, and what they need and do not find with its code, to be named by the call.

        Raises
        ------
        CarriedCodeError, ContextSerializationError
            If they cannot be sent. Of many calls in one task, those whose arguments cannot are sent as errors.
        """
        found: list[Needs] = []
        try:
            stream, buffers = pack_value((args, kwargs), found.append)
            return stream, buffers, self._arguments(found[0], code) if found else ()
        except CarriedCodeError:
            raise
        except Exception as error:
            rows = unsendable(function, args[0]) if code.chunked else {}
            if not rows:
                raise cannot_send(function, args, kwargs, error) from error
        calls = [rows.get(place, row) for place, row in enumerate(args[0])]
        return self.pack_arguments(function, code, (calls, *args[1:]), kwargs)

    def _arguments(self, needs: Needs, code: Code) -> tuple[Digest, ...]:
        if code.covers(needs):
            return ()
        key = needs.key
        known = self._codes.get(key)
        if known is None or not known.watch.is_current():
            packed = self._packer.needs(needs)
            if packed is None:
                return ()
            known = self._remember(key, lambda: packed)
        return (known.digest,)

    def provide(self, context: Context) -> Digest:
        """Make sure that a context and those it requires were sent."""
        self._commit([context], {}, lambda: self._provided.add(context.digest))
        return context.digest

    def release(self, context: Context) -> Digest:
        """Let a context that was sent ahead of calls be forgotten when nothing names it any more."""
        with self._lock:
            self._provided.discard(context.digest)
        return context.digest

    def _use(self, key: Any) -> None:
        try:  # noqa: SIM105 (asked for each call, and a context manager takes its time)
            self._codes.move_to_end(key)
        except KeyError:
            pass  # forgotten by another thread just now

    def _remember(self, key: Any, pack: Callable[[], Packed]) -> Code:
        """The code under a key; packed if there is none, which runs code of the user's, so without a lock."""
        old = self._codes.get(key)
        if old is not None and old.watch.is_current():
            self._use(key)
            return old
        packed = pack()

        def store() -> Code:
            code = self._codes.get(key)  # of another thread that was as quick
            if code is None or code is old:
                before = code
                code = packed.code
                self._send_package(code.package)
                header = () if code.package is None else (code.package.digest,)
                self._send_blob(code.digest, packed.label, packed.data, header if header != (code.digest,) else ())
                self._codes[key] = code  # after it was sent: a signal handler may raise between
                self._bytes += code.size - (0 if before is None else before.size)
                self._give_up_old(packed.contexts)
                self._replaced += before is not None
                if len(self._codes) > MAX_FUNCTIONS or self._bytes > MAX_BYTES:
                    self._forget_some(keep=code)
                elif self._replaced > _MAX_REPLACED:
                    self._forget_unnamed({code.digest, *code.contexts, *self._in_use()})
            return code

        return self._commit(packed.contexts, packed.ready, store)

    def _commit(
        self, contexts: Sequence[Context], ready: Mapping[Digest, PackedContext], store: Callable[[], _T]
    ) -> _T:
        """Send what was not sent of these contexts and of those that they require, then store what names them.

        Contexts are pickled without the lock, because code of the user's runs then. So it may turn out, once the lock
        is held, that one more is needed, which others had forgotten meanwhile.
        """
        wanted = with_required(contexts)
        contents = dict(ready)
        while True:
            lacking = [context for context in wanted if context.digest not in {*self._sent, *contents}]
            contents |= {context.digest: self._packer.context(context) for context in lacking}
            with self._lock:
                if all(context.digest in self._sent or context.digest in contents for context in wanted):
                    for context in wanted:
                        if context.digest not in self._sent:
                            self._send_context(context, contents[context.digest])
                    return store()

    def _forget_some(self, keep: Code) -> None:
        """Forget the oldest quarter of what no call needs."""
        needed = {keep.digest, *keep.contexts, *self._in_use()}
        for key in list(self._codes)[: len(self._codes) // 4 + 1]:
            if self._codes[key].digest not in needed:
                self._bytes -= self._codes.pop(key).size
        self._forget_unnamed(needed)

    def files(self, context: Digest) -> frozenset[str]:
        """Addresses of the files that nodes fetch for a context."""
        return self._files.get(context, frozenset())

    def _forget_unnamed(self, needed: set[Digest]) -> None:
        self._replaced = 0
        named = {digest for code in self._codes.values() for digest in (code.digest, *code.contexts)}
        kept = self._with_needs(needed | named | self._provided)
        self._forget([digest for digest in self._sent if digest not in kept])

    def _forget(self, digests: Collection[Digest]) -> None:
        self._sent.difference_update(digests)
        self._packer.forget(digests)
        for digest in digests:
            self._requires.pop(digest, None)
            self._files.pop(digest, None)
            self._needs.pop(digest, None)
        if digests:
            self._send(m.ForgetBlobs(digests=list(digests)), [])

    def _with_needs(self, digests: Iterable[Digest]) -> set[Digest]:
        """These, the contexts that they require, and what they cannot be read without."""
        found: set[Digest] = set()
        waiting = list(digests)
        while waiting:
            digest = waiting.pop()
            if digest not in found:
                found.add(digest)
                waiting += self._requires.get(digest, ())
                waiting += self._needs.get(digest, ())
        return found

    def _give_up_old(self, contexts: Sequence[Context]) -> None:
        """Give up contexts whose function was defined anew, when no call needs them any more."""
        current = with_required(contexts)
        for context in current:
            function = context.function
            if not function.stands_there() or (place := function.place) is None:
                continue
            key = (id(place[0]), place[1])
            known, digests = self._functions.get(key, (function, set()))
            if known is not function and known.was_replaced:
                self._superseded |= digests
                known, digests = function, set()
            digests.add(context.digest)
            self._functions[key] = (known, digests)
        self._superseded -= {context.digest for context in current}
        gone = (self._superseded & self._sent) - {*self._in_use(), *self._provided} if self._superseded else set()
        if gone:
            self._superseded -= gone
            for key in [key for key, code in self._codes.items() if gone.intersection(code.contexts)]:
                self._bytes -= self._codes.pop(key).size
            self._forget(gone)

    def _app(self, function: Callable[..., Any], layers: Layers) -> Code:
        """An ordinary app: serialized by Parsl, which remembers it, unless no worker can import it."""
        try:
            if any(module != "__main__" and not is_installed(module) for module in layers.modules):
                return self._remember(key_of(function), lambda: self._packer.local_app(function))
            data = pack_app(function)
            return self._remember(data, lambda: self._packer.app(function, data))
        except Exception as error:
            raise SerializationError(getattr(function, "__name__", repr(function))) from error

    def _send_context(self, context: Context, packed: PackedContext) -> None:
        environment = self._environments.of(context)
        files = frozenset(context.files)
        if environment is not None and environment.form != "folder":
            files |= {environment.source}
        if files:
            self._on_files(files)
            self._files[context.digest] = files
        self._send_package(packed.package)
        header = () if packed.package is None else (packed.package.digest,)
        self._store(m.Blob(context.digest, context.name, header), packed.data)
        requires = self._requires[context.digest] = tuple(required.digest for required in context.requires)
        options = m.ContextOptions(
            name=context.name,
            reuse=context.options.reuse or self._reuse,
            requires=requires,
            memory_gb=context.options.memory_gb,
            pinned=context.options.pinned,
            max_age_s=context.options.max_age_s,
            build_timeout_s=context.options.build_timeout_s,
            isolated=context.is_isolated,
            environment=environment,
        )
        self._send(m.DeclareContext(context=context.digest, options=options), [])
        self._sent.add(context.digest)

    def _send_package(self, package: Package | None) -> None:
        """Send a header and what it names."""
        if package is None or package.digest in self._sent:
            return
        files = {
            digest: data
            for digest, data in package.content.items()
            if digest in package.files and digest not in self._sent
        }
        stretches = self._stretches(files)
        for digest, data in package.content.items():
            is_file = digest in package.files
            self._send_blob(digest, PARTS[0], data, is_file=is_file, stretch=stretches.get(digest))
        self._send_blob(package.digest, PARTS[1], package.data, tuple(package.content))

    def _send_blob(
        self,
        digest: Digest,
        label: str,
        data: bytes,
        needs: tuple[Digest, ...] = (),
        *,
        is_file: bool = False,
        stretch: m.Stretch | None = None,
    ) -> None:
        if digest not in self._sent:
            self._store(m.Blob(digest, label, needs, is_file, stretch), data)
            self._sent.add(digest)  # after it was: a signal handler may raise between

    def _store(self, blob: m.Blob, data: bytes) -> None:
        if blob.needs:
            self._needs[blob.digest] = blob.needs
        self._send(m.StoreBlobs(blobs=[blob]), [data])
