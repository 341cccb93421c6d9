"""Exceptions <-> bytes: what user code raises in one process is raised in another, as it was.

A pickle of an exception calls its constructor with its `args`, which many constructors do not take, and leaves out
its traceback and what it came from. Here each exception of a chain is pickled by itself, with its state where its
constructor will not do; beside it travel, as plain data, the name of its type, its text and its traceback. So where
one cannot be made again, a `RemoteError` that says what it was stands in its place, and the others are themselves.
"""

from __future__ import annotations

import builtins
import contextlib
import pickle
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from parsl.app.errors import RemoteExceptionWrapper
from parsl.serialize import deserialize as parsl_deserialize
from parsl.serialize import serialize as parsl_serialize
from parsl.serialize.errors import DeserializationError
from tblib import Traceback

from parsl_context.content.making import built_in, make_exception
from parsl_context.content.serialization import pack_value, unpack_value
from parsl_context.errors import RemoteError

# Exceptions that led to one another: more than anybody reads, and fewer than pickle and others can nest.
_LONGEST_CHAIN = 100
_LONGEST_TEXT = 100_000
_ATOMS = frozenset({int, float, bool, str, bytes, type(None)})
_GROUP: type[BaseException] | tuple[()] = getattr(builtins, "BaseExceptionGroup", ())  # Python 3.10 has none

_Error = TypeVar("_Error", bound=BaseException)
_Frame = tuple[str, str, str, int]  # file, function, module and line


@dataclass(frozen=True)
class _Part:
    """One exception of a chain."""

    type_name: str
    text: str
    notes: list[str]
    frames: list[_Frame]  # of its traceback
    packed: list[bytes]  # it, or its state; empty if it cannot be pickled
    why: str  # it cannot
    cause: int | None  # other parts, by position
    context: int | None
    suppresses_context: bool
    members: list[int]  # of a group


class Raised:
    """An exception on its way to another process, with what it came from."""

    def __init__(self, error: BaseException) -> None:
        chain = _Chain(error)
        self._parts = [_describe(each, chain) for each in chain.found]  # grows as it is walked

    def exception(self) -> BaseException:
        """The exception, made again. Runs code of the user's; what that raises, whatever it is, is not passed on."""
        made: dict[int, BaseException] = {}
        for number in reversed(range(len(self._parts))):
            self._make(number, made)
        for number, part in enumerate(self._parts):
            error = made[number]
            _set(error, "__cause__", None if part.cause is None else made[part.cause])
            _set(error, "__context__", None if part.context is None else made[part.context])
            _set(error, "__suppress_context__", part.suppresses_context)
            _set(error, "__traceback__", _traceback(part.frames))
        return made[0]

    def _make(self, number: int, made: dict[int, BaseException]) -> BaseException:
        if number not in made:
            part = self._parts[number]
            made[number] = _make(part, [self._make(member, made) for member in part.members])
        return made[number]


def pack_raised(error: BaseException) -> bytes:
    """An exception with all that belongs to it. Runs code of the user's; what that raises is not passed on."""
    try:
        return pickle.dumps(Raised(error), protocol=5)
    except BaseException as failed:  # what belongs to it cannot even be asked for
        return pickle.dumps(RemoteError(type_name=_name_of(error), text=text_of(error), why=_shown(failed)))


def stand_in(error: BaseException, depth: int = 10) -> RemoteError | None:
    """What to raise where Parsl itself is to carry an exception that would not arrive; None where it would.

    Parameters
    ----------
    depth
        How many of the exceptions that caused one another are told.
    """
    try:
        str(error), repr(error)  # the DataFlowKernel will, and goes no further where that raises
        wrapper = RemoteExceptionWrapper(type(error), error, error.__traceback__)
        back = parsl_deserialize(parsl_serialize(wrapper)).get_exception()
        if isinstance(back, BaseException):
            return None
        why = "its pickle is that of something else"
    except BaseException as failed:
        why = _shown(failed)
    text = text_of(error)
    if isinstance(error, _GROUP):
        text += f" [{'; '.join(map(_shown, error.exceptions))}]"  # type: ignore[attr-defined]
    made = RemoteError(type_name=_name_of(error), text=text, why=why)
    _set(made, "__traceback__", _get(error, "__traceback__"))
    cause = _get(error, "__cause__")
    if cause is not None and depth > 0:
        _set(made, "__cause__", stand_in(cause, depth - 1) or cause)
    return made


def another(error: BaseException) -> BaseException:
    """An exception like this one, with its cause, for somebody else: raising one adds to its traceback, each time."""
    cause = _get(error, "__cause__")
    try:
        made = _State(error).make(getattr(error, "exceptions", ()))
    except BaseException as failed:
        made = RemoteError(type_name=_name_of(error), text=text_of(error), why=_shown(failed))
        cause = error
    _set(made, "__cause__", cause)
    _set(made, "__suppress_context__", _get(error, "__suppress_context__"))
    if notes := _notes_of(error):
        _set(made, "__notes__", [*notes])
    return made


def with_text(error: _Error) -> _Error | DeserializationError:
    """The exception, with a text of ours if it has none: the DataFlowKernel logs it before it passes it on."""
    try:
        str(error), repr(error)
    except BaseException as failed:
        kind, text = type(error), f"<it has no text: {type(failed).__name__} was raised for it>"
        shown = f"{kind.__name__}({text})"
        methods = {"__module__": kind.__module__, "__str__": lambda _: text, "__repr__": lambda _: shown}
        try:
            error.__class__ = type(kind.__name__, (kind,), methods)
        except BaseException:
            return DeserializationError(f"Received an exception of type {kind.__qualname__}: {text}")
    return error


def text_of(error: BaseException) -> str:
    """The text of an exception, or that it has none."""
    try:
        return str(error)[:_LONGEST_TEXT]
    except BaseException as failed:
        return f"<it has no text: {type(failed).__name__} was raised for it>"


# --- on the way


class _Chain:
    """An exception and all that it came from or holds, in the order in which they are found."""

    def __init__(self, error: BaseException) -> None:
        self.found = [error]
        self._numbers = {id(error): 0}
        self._depths = [0]

    def number(self, other: BaseException | None, of: BaseException) -> int | None:
        """Position of one that belongs to another; None if that is too far from the first."""
        if other is None:
            return None
        if id(other) not in self._numbers:
            depth = self._depths[self._numbers[id(of)]] + 1
            if depth > _LONGEST_CHAIN:
                return None
            self._numbers[id(other)] = len(self.found)
            self.found.append(other)
            self._depths.append(depth)
        return self._numbers[id(other)]


def _describe(error: BaseException, chain: _Chain) -> _Part:
    members: Sequence[BaseException] = error.exceptions if isinstance(error, _GROUP) else ()  # type: ignore[attr-defined]
    text = text_of(error)
    packed, why = _pack(error, text, members)
    hides = _get(error, "__suppress_context__")
    return _Part(
        type_name=_name_of(error),
        text=text,
        notes=[note for note in _notes_of(error) if isinstance(note, str)],
        frames=_frames(_get(error, "__traceback__")),
        packed=packed,
        why=why,
        cause=chain.number(_get(error, "__cause__"), error),
        context=None if hides else chain.number(_get(error, "__context__"), error),
        suppresses_context=hides,
        members=[number for member in members if (number := chain.number(member, error)) is not None],
    )


def _pack(error: BaseException, text: str, members: Sequence[BaseException]) -> tuple[list[bytes], str]:
    """What to make an exception of, in the first way in which it comes back as it was; or in one in which it comes."""
    packed: list[bytes] = []
    why = ""
    for way in [_State] if _has_stock_reduce(type(error)) else [_Reduced, _State]:
        try:
            stream, buffers = pack_value(way(error))
            frames = [stream, *map(bytes, buffers)]
            if way is _State and _is_plain(error):
                return frames, ""
            back = _unpack(frames, members)
            if type(back) is type(error) and text_of(back) == text:
                return frames, ""
            packed = packed or frames
        except BaseException as failed:
            why = why or _shown(failed)
    return packed, why


def _has_stock_reduce(kind: type[BaseException]) -> bool:
    """Whether a class leaves it to Python how its exceptions are pickled."""
    return type(kind.__reduce__) is types.MethodDescriptorType and kind.__reduce_ex__ is object.__reduce_ex__


def _is_plain(error: BaseException) -> bool:
    """Whether an exception surely comes back from its state: most do, and need not be tried."""
    return _ATOMS.issuperset(map(type, error.args)) and _ATOMS.issuperset(map(type, _get(error, "__dict__").values()))


# Both are pickled in place of the exception: Parsl (by way of tblib) registers with `copyreg` how exceptions are to be
# pickled, together with all that they came from, so that one that cannot be pickled would take the others with it.
class _Reduced:
    """What the class of an exception says that it is to be made of."""

    def __init__(self, error: BaseException) -> None:
        self.reduced = tuple(error.__reduce_ex__(5))[:3]

    def make(self, members: Sequence[BaseException]) -> Any:
        function, args, *state = self.reduced
        made = function(*args)
        if state and state[0] is not None:
            made.__setstate__(state[0])
        return made


class _State:
    """What Python's own part of an exception is made of, and its attributes."""

    def __init__(self, error: BaseException) -> None:
        self.kind = type(error)
        reduced: tuple[Any, ...] = built_in(self.kind).__reduce__(error)  # type: ignore[assignment]
        # The members of a group travel by themselves.
        is_group = isinstance(error, _GROUP)
        self.args: tuple[Any, ...] = (error.message,) if is_group else reduced[1]  # type: ignore[attr-defined]
        self.state: dict[str, Any] | None = reduced[2] if len(reduced) > 2 else None
        slots = (name for kind in self.kind.__mro__ for name in _slots_of(kind))
        self.slots = {name: getattr(error, name) for name in slots if hasattr(error, name)}

    def make(self, members: Sequence[BaseException]) -> BaseException:
        """The exception, without a call of its constructor, as pickle makes objects that are no exceptions."""
        args = (*self.args, list(members)) if members else self.args
        made = make_exception(self.kind, args)
        if self.state is not None:
            built_in(self.kind).__setstate__(made, self.state)
        for name, value in self.slots.items():
            _set(made, name, value)
        return made


def _slots_of(kind: type) -> tuple[str, ...]:
    slots = vars(kind).get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return tuple(name for name in names if not name.startswith("__"))


def _name_of(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")


def _notes_of(error: BaseException) -> list[object]:
    notes = _get(error, "__dict__").get("__notes__")
    return notes if isinstance(notes, list) else []


def _frames(trace: types.TracebackType | None) -> list[_Frame]:
    frames = []
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append((code.co_filename, code.co_name, str(trace.tb_frame.f_globals.get("__name__")), trace.tb_lineno))
        trace = trace.tb_next
    return frames


# --- there


def _unpack(frames: Sequence[bytes], members: Sequence[BaseException]) -> BaseException:
    value = unpack_value(frames)
    if isinstance(value, _State | _Reduced):
        value = value.make(members)
    if not isinstance(value, BaseException):
        raise TypeError(f"its pickle is that of an object of type {type(value).__qualname__}")
    return value


def _make(part: _Part, members: Sequence[BaseException]) -> BaseException:
    why = part.why
    if part.packed:
        try:
            return _unpack(part.packed, members)
        except BaseException as error:  # unpickling runs code of the user's, which may raise anything
            why = _shown(error)
    made = RemoteError(type_name=part.type_name, text=part.text, why=why)
    if part.notes:
        made.__dict__["__notes__"] = part.notes
    return made


def _traceback(frames: list[_Frame]) -> types.TracebackType | None:
    trace = None
    for file, function, module, line in reversed(frames):
        code = types.SimpleNamespace(co_filename=file, co_name=function)
        names = {"__file__": file, "__name__": module}
        frame = types.SimpleNamespace(f_code=code, f_globals=names, f_locals={}, f_lineno=line)
        trace = types.SimpleNamespace(tb_frame=frame, tb_lineno=line, tb_next=trace)
    found: types.TracebackType | None = None if trace is None else Traceback(trace).as_traceback()
    return found


def _get(error: BaseException, name: str) -> Any:
    """An attribute that Python gives all exceptions; what a class makes of it is left out."""
    return vars(BaseException)[name].__get__(error)


def _set(error: BaseException, name: str, value: object) -> None:
    """Set an attribute; what the class of the exception makes of that is left out."""
    with contextlib.suppress(Exception):
        BaseException.__setattr__(error, name, value)


def _shown(error: BaseException) -> str:
    text = text_of(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
