"""Values and code <-> frames.

*Values* (arguments, results) go through whatever serializers the user registered with Parsl. Where only Parsl's own
is registered, a faster way with the same reach comes first: the C pickler with protocol 5, whose large buffers travel
uncopied in frames of their own; dill takes what it cannot.

*Code* (functions, context functions, bodies) is pickled by cloudpickle, by value where a worker cannot be expected to
have the module. Ordinary apps are serialized by Parsl, as on any other executor.
"""

from __future__ import annotations

import io
import pickle
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

import cloudpickle
from parsl.serialize import deserialize as parsl_deserialize
from parsl.serialize import facade
from parsl.serialize import serialize as parsl_serialize
from parsl.serialize.concretes import DillSerializer

from parsl_context.content.carrying import Needs, carry, carry_slowly
from parsl_context.content.modules import is_installed
from parsl_context.content.reducers import reduce_code
from parsl_context.wire.codec import MAX_BUFFERS, Buffer

_PICKLE_START = 0x80  # opcode PROTO; no identifier of a Parsl serializer starts with it
_ATOMS = frozenset({int, float, bool, str, bytes, type(None), complex})
_ONLY_TEXTS = frozenset({str})
_SIMPLE_CONTAINERS = frozenset({tuple, list, dict})
_QUIET_SIZE = sys.maxsize  # Parsl warns above a threshold; large values are no fault here


def pack_value(value: object, note: Callable[[Needs], object] | None = None) -> tuple[bytes, Sequence[Buffer]]:
    """A pickle stream and its out-of-band buffers.

    Parameters
    ----------
    note
        Told what the stream needs where it is read, if anything. Without it, this process gives no identifiers to what
        has none.

    Raises
    ------
    Exception
        What the last serializer tried raised.
    """
    if not _only_stock_serializer():
        return parsl_serialize(value, buffer_threshold=_QUIET_SIZE), ()
    if _is_simple(value):
        return pickle.dumps(value, protocol=5), ()
    defines = note is not None
    buffers: list[pickle.PickleBuffer] = []
    try:
        stream, found = carry(value, defines=defines, buffer_callback=buffers.append)
        if len(buffers) > MAX_BUFFERS:
            buffers.clear()
            stream, found = carry(value, defines=defines)
    except Exception:
        buffers.clear()
        stream, found = carry_slowly(value, defines=defines)
    if note is not None and found:
        note(found)
    return stream, [_flat(buffer) for buffer in buffers]


def unpack_value(frames: Sequence[Buffer]) -> Any:
    """The value of a stream and its buffers. Runs code: call it only where the value is wanted."""
    stream = frames[0]
    if stream[0] == _PICKLE_START:
        return pickle.loads(stream, buffers=map(_writable, frames[1:]))
    return parsl_deserialize(bytes(stream))


def pack_code(value: object, replace: Callable[[object], Any] | None = None) -> bytes:
    """Pickle of a function and what it carries.

    Parameters
    ----------
    value
        The function, or an object that holds functions.
    replace
        Asked for each object met: what `object.__reduce__` may return to stand for it, or NotImplemented.
    """
    try:
        return _pickle_code(value, replace, by_value=True)
    except Exception:
        # A module beside the script may hold what cannot be pickled (locks, handles): then the worker must import it.
        return _pickle_code(value, replace, by_value=False)


def pack_app(function: Callable[..., Any]) -> bytes:
    """An ordinary app, serialized by Parsl."""
    return parsl_serialize(function, buffer_threshold=_QUIET_SIZE)


def _only_stock_serializer() -> bool:
    methods = facade.methods_for_data
    return len(methods) == 1 and type(next(iter(methods.values()))) is DillSerializer


def _is_simple(value: Any, depth: int = 3) -> bool:
    """Whether plain pickle surely does with a value what cloudpickle would do. A quick look, not a search."""
    kind = type(value)
    if kind in _ATOMS:
        return True
    if kind not in _SIMPLE_CONTAINERS or len(value) >= 16:
        return False
    if kind is dict:
        if not _ONLY_TEXTS.issuperset(map(type, value)):
            return False
        value = value.values()
    if _ATOMS.issuperset(map(type, value)):
        return True
    if depth == 0:
        return False
    for item in value:  # noqa: SIM110 (asked for each call, and a generator takes its time to be made)
        if not _is_simple(item, depth - 1):
            return False
    return True


def _flat(buffer: pickle.PickleBuffer) -> Buffer:
    return buffer.raw()


def _writable(frame: Buffer) -> Buffer:
    """A frame that the value may keep and change in place; pickle itself keeps what was read-only read-only."""
    return bytearray(frame) if memoryview(frame).readonly else frame


def _pickle_code(value: object, replace: Callable[[object], Any] | None, *, by_value: bool) -> bytes:
    file = io.BytesIO()
    _CodePickler(file, replace, by_value=by_value).dump(value)
    return file.getvalue()


class _CodePickler(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle's, which also takes modules of the user's by value.

    cloudpickle has a registry for that, which is one for the process: what one thread registers changes what others
    pickle, and would have to stay while code of the user runs. So it is decided here, for this stream alone.
    """

    def __init__(self, file: io.BytesIO, replace: Callable[[object], Any] | None, *, by_value: bool) -> None:
        super().__init__(file, protocol=5)
        self._replace = replace
        self._by_value = by_value
        self._users: dict[str, bool] = {}  # by name of the module

    def reducer_override(self, obj: Any) -> Any:
        if self._replace is not None:
            reduced = self._replace(obj)
            if reduced is not NotImplemented:
                return reduced
        reduced = reduce_code(obj)
        if reduced is not NotImplemented:
            return reduced
        if self._by_value:
            if type(obj) is types.FunctionType and self._is_users(obj.__module__):
                return self._dynamic_function_reduce(obj)
            if isinstance(obj, type) and self._is_users(obj.__module__):
                return cloudpickle.cloudpickle._dynamic_class_reduce(obj)
            if type(obj) is types.ModuleType and self._is_users(obj.__name__):
                state = {name: value for name, value in vars(obj).items() if name != "__builtins__"}
                return cloudpickle.cloudpickle.dynamic_subimport, (obj.__name__, state)
        return super().reducer_override(obj)

    def _is_users(self, module: Any) -> bool:
        """Whether a module is one that a worker cannot be expected to have."""
        if not isinstance(module, str):
            return False
        found = self._users.get(module)
        if found is None:
            top = module.partition(".")[0]
            is_ours = top in ("__main__", "parsl_context")
            found = not is_ours and module in sys.modules and top in sys.modules and not is_installed(top)
            self._users[module] = found
        return found
