"""Functions and contexts on their way to workers: serialized once, sent once, named by digest from then on.

The executor asks the code book what stands for a function. It remembers a bounded number of functions; what nobody
has called for long, and no running call needs, is forgotten here and everywhere below.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import types
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from parsl.serialize.errors import SerializationError

from parsl_context.apps.app import ContextApp
from parsl_context.apps.context import Context
from parsl_context.apps.context_call import ContextCall
from parsl_context.apps.options import UNKEPT_LEVELS
from parsl_context.content.digests import digest_bytes
from parsl_context.content.modules import is_installed
from parsl_context.content.serialization import pack_app, pack_code
from parsl_context.errors import ContextSerializationError
from parsl_context.wire import messages as m
from parsl_context.wire.messages import Digest

MAX_FUNCTIONS = 1024
MAX_BYTES = 256 << 20
_T = TypeVar("_T")
_SEARCH_DEPTH = 6  # wrappers that may lie around a context app


@dataclass(frozen=True)
class Code:
    """What a call names instead of its function."""

    digest: Digest
    contexts: tuple[Digest, ...]
    fresh: bool
    chunked: bool  # its one argument is a list of calls
    keep: Any  # objects whose ids are in the key; they must live as long as it does
    size: int

    @functools.cached_property
    def names(self) -> tuple[Digest, ...]:
        """All that a call names."""
        return (self.digest, *self.contexts)


@dataclass(frozen=True)
class _Packed:
    """Code that is ready to be sent."""

    code: Code
    label: str
    data: bytes
    contexts: tuple[Context, ...]


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
    """

    def __init__(
        self,
        send: Callable[[m.ToInterchange, list[bytes]], None],
        in_use: Callable[[], Iterable[Digest]],
        reuse: str,
    ) -> None:
        self._send = send
        self._in_use = in_use
        self._reuse = reuse
        self._codes: OrderedDict[Any, Code] = OrderedDict()
        self._bytes = 0
        self._sent: set[Digest] = set()
        self._requires: dict[Digest, tuple[Digest, ...]] = {}  # of each context that was sent
        self._provided: set[Digest] = set()  # sent ahead of calls
        self._lock = threading.Lock()

    def code(self, function: Callable[..., Any], kwargs: dict[str, Any]) -> tuple[Code, dict[str, Any]]:
        """What stands for a function, and the arguments of the call without those meant for its contexts.

        Raises
        ------
        ContextSerializationError
            If a context or a body cannot be pickled.
        SerializationError
            If another function cannot.
        """
        code = self._codes.get(id(function))
        if code is not None:
            with contextlib.suppress(KeyError):  # forgotten by another thread just now
                self._codes.move_to_end(id(function))
            return code, kwargs
        call = _find_call(function)
        if call is None:
            return self._app(function), kwargs
        settled, kwargs = call.settled(kwargs)
        if function is call:
            return self._remember(id(settled), lambda: self._pack_call(settled)), kwargs
        key = (_key(function), id(settled))
        return self._remember(key, lambda: self._pack_wrapped(function, call, settled)), kwargs

    def provide(self, context: Context) -> Digest:
        """Make sure that a context and those it requires were sent."""
        self._commit([context], lambda: self._provided.add(context.digest))
        return context.digest

    def release(self, context: Context) -> Digest:
        """Let a context that was sent ahead of calls be forgotten when nothing names it any more."""
        with self._lock:
            self._provided.discard(context.digest)
        return context.digest

    def _remember(self, key: Any, pack: Callable[[], _Packed]) -> Code:
        """The code under a key; packed if there is none, which runs code of the user's, so without a lock."""
        code = self._codes.get(key)
        if code is not None:
            with contextlib.suppress(KeyError):
                self._codes.move_to_end(key)
            return code
        packed = pack()

        def store() -> Code:
            code = self._codes.get(key)  # of another thread that was as quick
            if code is None:
                code = packed.code
                if code.digest not in self._sent:
                    self._send_blob(code.digest, packed.label, packed.data)
                    self._sent.add(code.digest)  # after it was: a signal handler may raise between
                self._codes[key] = code
                self._bytes += code.size
                if len(self._codes) > MAX_FUNCTIONS or self._bytes > MAX_BYTES:
                    self._forget_some(keep=code)
            return code

        return self._commit(packed.contexts, store)

    def _commit(self, contexts: Sequence[Context], store: Callable[[], _T]) -> _T:
        """Send what was not sent of these contexts and of those that they require, then store what names them.

        Contexts are pickled without the lock, because code of the user's runs then. So it may turn out, once the lock
        is held, that one more is needed, which others had forgotten meanwhile.
        """
        wanted = _with_required_contexts(contexts)
        contents: dict[Digest, bytes] = {}
        while True:
            lacking = [context for context in wanted if context.digest not in {*self._sent, *contents}]
            contents |= {context.digest: context.packed(self._reuse) for context in lacking}
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
        named = {digest for code in self._codes.values() for digest in (code.digest, *code.contexts)}
        kept = self._with_required(needed | named | self._provided)
        gone = [digest for digest in self._sent if digest not in kept]
        self._sent.difference_update(gone)
        for digest in gone:
            self._requires.pop(digest, None)
        if gone:
            self._send(m.ForgetBlobs(digests=gone), [])

    def _with_required(self, digests: Iterable[Digest]) -> set[Digest]:
        """These and the contexts that they require."""
        found: set[Digest] = set()
        waiting = list(digests)
        while waiting:
            digest = waiting.pop()
            if digest not in found:
                found.add(digest)
                waiting += self._requires.get(digest, ())
        return found

    def _app(self, function: Callable[..., Any]) -> Code:
        """An ordinary app: serialized by Parsl, which remembers it, unless no worker can import it."""
        try:
            if any(module != "__main__" and not is_installed(module) for module in _modules(function)):
                return self._remember(_key(function), lambda: self._pack_local_app(function))
            data = pack_app(function)
            return self._remember(data, lambda: self._packed(function, data, (), fresh=False, keep=None))
        except Exception as error:
            raise SerializationError(getattr(function, "__name__", repr(function))) from error

    def _pack_local_app(self, function: Callable[..., Any]) -> _Packed:
        return self._packed(function, pack_code(function), (), fresh=False, keep=function)

    def _pack_call(self, call: ContextCall) -> _Packed:
        try:
            data = pack_code(call.for_worker())
        except ContextSerializationError:
            raise
        except Exception as error:
            raise ContextSerializationError(f"The body {call.__name__}", error) from error
        return self._packed(call, data, call.contexts, fresh=self._is_fresh(call), keep=call)

    def _pack_wrapped(self, wrapper: Callable[..., Any], call: ContextCall, settled: ContextCall) -> _Packed:
        def replace(value: object) -> Any:
            return settled.for_worker().__reduce__() if value is call else NotImplemented

        try:
            data = pack_code(wrapper, replace)
        except Exception as error:
            raise ContextSerializationError(f"The body {call.__name__}", error) from error
        keep = (wrapper, settled)
        return self._packed(wrapper, data, settled.contexts, fresh=self._is_fresh(settled), keep=keep)

    @staticmethod
    def _packed(function: Any, data: bytes, contexts: tuple[Context, ...], *, fresh: bool, keep: Any) -> _Packed:
        chunked = isinstance(function, ContextCall) and function.chunked
        digests = tuple(context.digest for context in contexts)
        code = Code(digest_bytes(data), digests, fresh, chunked, keep, len(data))
        return _Packed(code, getattr(function, "__name__", type(function).__name__), data, contexts)

    def _send_context(self, context: Context, packed: bytes) -> None:
        self._send_blob(context.digest, context.name, packed)
        requires = self._requires[context.digest] = tuple(required.digest for required in context.requires)
        options = m.ContextOptions(
            name=context.name,
            reuse=context.options.reuse or self._reuse,
            requires=requires,
            memory_gb=context.options.memory_gb,
            pinned=context.options.pinned,
            max_age_s=context.options.max_age_s,
            build_timeout_s=context.options.build_timeout_s,
        )
        self._send(m.DeclareContext(context=context.digest, options=options), [])
        self._sent.add(context.digest)

    def _send_blob(self, digest: Digest, label: str, data: bytes) -> None:
        self._send(m.StoreBlobs(blobs=[m.Blob(digest, label)]), [data])

    def _is_fresh(self, call: ContextCall) -> bool:
        return any((context.options.reuse or self._reuse) in UNKEPT_LEVELS for context in call.contexts)


def _with_required_contexts(contexts: Sequence[Context]) -> list[Context]:
    """These and those that they require, each after what it requires."""
    found: dict[Digest, Context] = {}

    def add(context: Context) -> None:
        if context.digest not in found:
            for required in context.requires:
                add(required)
            found[context.digest] = context

    for context in contexts:
        add(context)
    return list(found.values())


def _callables(value: Any, depth: int = _SEARCH_DEPTH) -> Iterator[Any]:
    """A function and the functions that it wraps, the outermost first."""
    yield value
    inner: list[Any] = []
    if isinstance(value, types.FunctionType):
        inner = [cell.cell_contents for cell in value.__closure__ or () if _is_filled(cell)]
    elif isinstance(value, functools.partial):
        inner = [value.func, *value.args]
    for item in inner if depth else ():
        if isinstance(item, ContextApp):
            yield item.func
        elif isinstance(item, ContextCall | types.FunctionType | functools.partial):
            yield from _callables(item, depth - 1)


def _find_call(function: Any) -> ContextCall | None:
    """The context call that a function is or wraps."""
    return next((found for found in _callables(function) if isinstance(found, ContextCall)), None)


def _modules(function: Any) -> set[str]:
    return {getattr(found, "__module__", None) or "builtins" for found in _callables(function)}


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _key(function: Any) -> Any:
    """Key of a function: itself; for wrappers that Parsl makes anew for each call, what they are made of."""
    if isinstance(function, types.FunctionType) and function.__closure__:
        module = function.__globals__.get("__name__", "")
        if module.startswith("parsl.") and all(map(_is_filled, function.__closure__)):
            return (function.__code__, *(_key(cell.cell_contents) for cell in function.__closure__))
    if isinstance(function, int | float | str):  # a walltime, say; equal ones need not be one object
        return (type(function), function)
    return id(function)
