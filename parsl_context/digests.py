"""Digests of content: what makes two contexts the same context.

A context is identified by what it would build, never by its name. Pickles alone do not serve: their bytes depend on
object identity and on the order of sets, and a function pickled by reference is only a name. So functions are digested
by their code, defaults, closure and, outside installed modules, the globals they use; containers by their elements;
everything else by its pickle.
"""

from __future__ import annotations

import hashlib
import types
from collections.abc import Callable, Iterator
from typing import Any

import cloudpickle

from parsl_context.messages import Digest
from parsl_context.modules import is_installed

_SIZE_BYTES = 16

_ATOMS = (bool, int, float, complex, str, bytes)
_CLASS_MACHINERY = {"__dict__", "__weakref__", "__doc__", "__module__"}

Escape = Callable[[object], "str | None"]


def digest_bytes(data: bytes | bytearray | memoryview) -> Digest:
    """Digest of raw bytes."""
    return Digest(hashlib.blake2b(data, digest_size=_SIZE_BYTES).hexdigest())


def digest_content(value: object, escape: Escape | None = None) -> Digest:
    """Digest of a value's content, the same in every process that runs the same code.

    Parameters
    ----------
    value
        Anything that cloudpickle takes.
    escape
        Asked first for each object met: a text that stands for it, or None.
    """
    hasher = _ContentHasher(escape)
    hasher.add(value)
    return Digest(hasher.hexdigest())


class _ContentHasher:
    def __init__(self, escape: Escape | None, active: set[int] | None = None) -> None:
        self._hash = hashlib.blake2b(digest_size=_SIZE_BYTES)
        self._escape = escape
        self._active = set() if active is None else active  # ids of the objects we are inside of: cycles end there

    def hexdigest(self) -> str:
        return self._hash.hexdigest()

    def add(self, value: object) -> None:
        if self._escape is not None and (text := self._escape(value)) is not None:
            self._mark("escape", text)
        elif value is None or isinstance(value, _ATOMS):
            self._mark(type(value).__name__, repr(value))
        elif isinstance(value, types.ModuleType):
            self._mark("module", value.__name__)
        elif id(value) in self._active:
            self._mark("cycle", type(value).__qualname__)
        else:
            self._active.add(id(value))
            try:
                self._add_compound(value)
            finally:
                self._active.discard(id(value))

    def _add_compound(self, value: object) -> None:
        match value:
            case types.CodeType():
                self._add_code(value)
            case types.FunctionType():
                self._add_function(value)
            case types.MethodType():
                self._add_all("method", [value.__func__, value.__self__])
            case type():
                self._add_class(value)
            case list() | tuple():
                self._add_all(type(value).__qualname__, value)
            case set() | frozenset():
                self._add_unordered(type(value).__qualname__, value)
            case dict():
                self._add_unordered("dict", value.items())
            case _:
                self._add_opaque(value)

    def _mark(self, kind: str, text: str) -> None:
        data = text.encode("utf-8", "surrogatepass")
        self._hash.update(f"{kind}:{len(data)}:".encode())
        self._hash.update(data)

    def _add_all(self, kind: str, values: Any) -> None:
        self._mark(kind, str(len(values)))
        for value in values:
            self.add(value)

    def _add_unordered(self, kind: str, values: Any) -> None:
        digests = []
        for value in values:
            part = _ContentHasher(self._escape, self._active)
            part.add(value)
            digests.append(part.hexdigest())
        self._mark(kind, " ".join(sorted(digests)))

    def _add_code(self, code: types.CodeType) -> None:
        self._mark("code", code.co_name)
        self._mark("bytes", code.co_code.hex())
        self._add_all("names", [*code.co_names, *code.co_varnames, *code.co_freevars, *code.co_cellvars])
        self._add_all("constants", code.co_consts)

    def _add_function(self, function: types.FunctionType) -> None:
        self._mark("function", f"{function.__module__}.{function.__qualname__}")
        self.add(function.__code__)
        self.add(function.__defaults__)
        self.add(function.__kwdefaults__)
        for cell in function.__closure__ or ():
            try:
                self.add(cell.cell_contents)
            except ValueError:
                self._mark("cell", "empty")
        if not is_installed(function.__module__):
            for name in sorted(_global_names(function.__code__)):
                if name in function.__globals__:
                    self._mark("global", name)
                    self.add(function.__globals__[name])

    def _add_class(self, value: type) -> None:
        self._mark("class", f"{value.__module__}.{value.__qualname__}")
        if not is_installed(value.__module__):
            self._add_all("bases", value.__bases__)
            self._add_unordered("body", [(k, v) for k, v in vars(value).items() if k not in _CLASS_MACHINERY])

    def _add_opaque(self, value: object) -> None:
        kind = type(value)
        if (
            not is_installed(kind.__module__)
            and kind.__reduce_ex__ is object.__reduce_ex__
            and hasattr(value, "__dict__")
        ):
            self._add_all("object", [kind, vars(value)])
            return
        self._mark("type", f"{kind.__module__}.{kind.__qualname__}")
        buffers: list[Any] = []
        self._hash.update(cloudpickle.dumps(value, protocol=5, buffer_callback=buffers.append))
        for buffer in buffers:
            self._hash.update(buffer.raw())


def _global_names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _global_names(constant)
