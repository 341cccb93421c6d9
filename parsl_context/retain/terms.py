"""Whether calls may share what an automatic split found: what cannot be told from the text is seen once it is made."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import fractions
import io
import pathlib
import random
import re
import socket
import threading
import types
from collections.abc import AsyncIterator, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from parsl_context.content.modules import is_library
from parsl_context.content.tables import picture_of

_USED_UP = (Iterator, AsyncIterator, io.IOBase, socket.socket, random.Random, collections.defaultdict, decimal.Context)
_LOCKS = (type(threading.Lock()), type(threading.RLock()), threading.Event, threading.Condition, threading.Thread)
# Kinds that libraries have of their own: what is asked of them changes them, or they belong to one call.
_SOUNDS_LIVE = re.compile(
    r"(Connection|Cursor|Client|Socket|Lock|Reader|Writer|Generator|Iterator|RandomState|Stream|Compress|Compressor"
    r"|Decompress|Decompressor|IncrementalDecoder|IncrementalEncoder|SequenceMatcher|Solver|Integrator|Optimizer"
    r"|Scheduler|Simulation|^ode|DataLoader)$"
)
_CHANGEABLE = frozenset({"bytearray", "DataFrame", "Series", "Tensor", "SimpleNamespace"})
_ARRAYS = frozenset({"ndarray", "DataFrame", "Series", "Index", "Tensor"})
_ATOMS = frozenset({int, float, complex, bool, type(None), str, bytes, range, re.Pattern, datetime.date, datetime.time})
_ATOMS |= {datetime.datetime, datetime.timedelta, decimal.Decimal, fractions.Fraction}
# Of PyTorch's modules: methods that change them, where those of tensors of these names do not; parts that learn.
CHANGING_MODULES = frozenset({"to", "float", "cpu", "type", "bfloat16", "apply", "compile", "share_memory", "train"})
GIVING_MODULE = "get_submodule"  # as a function does that gives a part of what it is given
_GIVING_MODULES = frozenset({"children", "modules", "named_children", "named_modules", GIVING_MODULE})
ASKED_OF_MODULES = CHANGING_MODULES | _GIVING_MODULES  # whether they are called at once, or given a name
_LEARNING = re.compile(r"(Batch|Instance|Group|Layer)?Norm|Dropout|RReLU")
_LOOKED_INTO = 100  # items of a container


@dataclass(frozen=True)
class Terms:
    """What must hold for calls to share variables.

    Attributes
    ----------
    given_out : mapping
        Variables of which calls return or store items, and from how many steps into them: these must be nothing that is
        made to be changed.
    given_on : mapping
        The same, of what is computed from them: of arrays that is new.
    handed : mapping
        The same, of what is given to code that is not known: nobody must be able to change it.
    asked : mapping
        Methods that are called on variables.
    masked : tuple of str
        Variables that must be arrays, because parts of them are taken by a condition, and changed.
    tables : tuple of str
        Globals that must be what they were when the variables were made.
    kinds : frozenset of (str, str)
        Classes of the user's that were looked into, by module and name: calls may share objects of these.
    differentiated : tuple of str
        Variables that something is computed from whose gradient is taken: they must have no gradients of their own.
    defaults : frozenset of str
        Variables that may make entries when they are asked for them: no call can tell.
    """

    given_out: Mapping[str, int] = field(default_factory=dict)
    given_on: Mapping[str, int] = field(default_factory=dict)
    handed: Mapping[str, int] = field(default_factory=dict)
    asked: Mapping[str, frozenset[str]] = field(default_factory=dict)
    masked: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    kinds: frozenset[tuple[str, str]] = frozenset()
    differentiated: tuple[str, ...] = ()
    defaults: frozenset[str] = frozenset()

    def why_not_shared(self, made: Mapping[str, Any]) -> str | None:
        """Which variable calls must not share, and why; None if they may share them all, as far as can be seen."""
        reasons = ((name, self._why_not(name, value)) for name, value in made.items())
        return next((f"{name} is {reason}" for name, reason in reasons if reason is not None), None)

    def _why_not(self, name: str, value: object) -> str | None:
        if name in self.defaults and type(value) is collections.defaultdict:
            value = dict(value)
        reason = why_not_kept(value, self.kinds) or _why_not_module(
            value, self.asked.get(name, frozenset()), self.kinds
        )
        if reason is not None:
            return reason
        if name in self.given_out and not _holds_fixed(value, self.given_out[name]):
            return "given out in parts that could be changed"
        is_array = type(value).__name__ in _ARRAYS
        if name in self.given_on and not is_array and not _holds_fixed(value, self.given_on[name]):
            return "given out in parts that could be changed"
        if name in self.handed and not _holds_atoms(value, self.handed[name]):
            return "given in parts to code that could change them"
        if name in self.differentiated and _has_gradients(value):
            return "something whose gradients a call would change"
        if name in self.masked and not is_array and type(value) not in _ATOMS and not _is_plain_graph(value):
            return "no array"
        return None

    def pictures(self, space: Mapping[str, Any]) -> list[object]:
        """How the globals are now."""
        return [picture_of(space.get(name)) for name in self.tables]


NO_TERMS = Terms()


def _holds_fixed(value: object, steps: int) -> bool:
    """Whether what is so many steps within a container is none of those objects that are made to be changed."""
    kind = type(value)
    if kind.__name__ == "ndarray":
        return bool(value.dtype != object and value.ndim <= steps)  # type: ignore[attr-defined]
    if not isinstance(value, list | tuple | dict | set | frozenset | collections.deque):
        if steps <= 0 and not is_library(kind.__module__) and not isinstance(value, enum.Enum):
            return bool(getattr(getattr(kind, "__dataclass_params__", None), "frozen", False))
        return steps > 0 or kind.__name__ not in _CHANGEABLE
    if steps <= 0 and not isinstance(value, tuple | frozenset):
        return False
    items = value.values() if isinstance(value, dict) else value
    return all(_holds_fixed(each, steps - 1) for each in items)


def _holds_atoms(value: object, steps: int) -> bool:
    """Whether what is so many steps within a container cannot be changed by anybody."""
    kind = type(value)
    if kind in _ATOMS or isinstance(value, pathlib.PurePath):
        return True
    if kind.__name__ == "ndarray":
        return bool(value.dtype != object and value.ndim <= steps)  # type: ignore[attr-defined]
    if kind not in (tuple, frozenset) and (steps <= 0 or kind not in (list, dict, set, collections.Counter)):
        return False
    items = value.values() if isinstance(value, dict) else value
    return all(_holds_atoms(each, steps - 1) for each in items)  # type: ignore[attr-defined]


def _is_plain_graph(value: Any) -> bool:
    """Whether it is a graph of NetworkX whose nodes and edges hold nothing that can be changed: a copy is all new."""
    if not type(value).__module__.startswith("networkx.classes."):
        return False
    told = [data for _, data in value.nodes(data=True)] + [data for *_, data in value.edges(data=True)]
    return all(_holds_atoms(each, 0) for data in told for each in data.values())


def _has_gradients(value: Any, depth: int = 3) -> bool:
    """Whether gradients may be kept in a value: it is a tensor that has them, or none of what is known to have none."""
    kind = type(value)
    if kind in _ATOMS or kind.__name__ in _ARRAYS - {"Tensor"}:
        return False
    if isinstance(value, list | tuple | set | frozenset | dict) and depth:
        items = value.values() if isinstance(value, dict) else value
        return any(_has_gradients(each, depth - 1) for each in items)
    if not is_library(kind.__module__) or not kind.__module__.startswith("torch"):
        return True
    if callable(getattr(value, "parameters", None)):
        return any(each.requires_grad for each in value.parameters())
    return bool(getattr(value, "requires_grad", True))


_NO_KINDS: frozenset[tuple[str, str]] = frozenset()


def why_not_kept(value: object, kinds: AbstractSet[tuple[str, str]] = _NO_KINDS, depth: int = 1) -> str | None:
    """What a value is that calls must not share; None if they may, as far as can be seen."""
    kind = type(value)
    if isinstance(value, _USED_UP):
        return f"used up or changed by reading it ({kind.__qualname__})"
    if isinstance(value, _LOCKS) or _SOUNDS_LIVE.search(kind.__name__):
        return f"live ({kind.__qualname__})"
    is_known = is_library(kind.__module__) or isinstance(value, enum.Enum)
    if not is_known and (kind.__module__, kind.__qualname__) not in kinds:
        return f"an object of a class of yours ({kind.__qualname__})"
    if _holds_changeable(value):
        return f"a table of objects ({kind.__qualname__})"
    if depth and kind in (list, tuple, dict):
        items = list(value.values() if isinstance(value, dict) else value)[:_LOOKED_INTO]  # type: ignore[call-overload]
        reasons = (why_not_kept(each, kinds, depth - 1) for each in items)
        return next((f"a container of what is {reason}" for reason in reasons if reason is not None), None)
    return None


def _holds_changeable(value: Any) -> bool:
    """Whether an array or a table holds lists, dictionaries and the like."""
    kind = type(value).__name__
    if kind == "ndarray":
        found = list(value.flat[:_LOOKED_INTO]) if value.dtype.hasobject else []
    elif kind in ("DataFrame", "Series") and hasattr(value, "iloc"):
        columns = [value] if kind == "Series" else [value.iloc[:, i] for i in range(value.shape[1])]
        found = [item for column in columns if column.dtype == object for item in column.iloc[:_LOOKED_INTO]]
    else:
        return False
    return any(isinstance(each, list | dict | set | bytearray) or type(each).__name__ == "ndarray" for each in found)


def _why_not_module(value: Any, asked: frozenset[str], kinds: AbstractSet[tuple[str, str]]) -> str | None:
    """Whether a network of PyTorch, one in a container, or one of which it is a method, changes when it is asked."""
    if isinstance(value, types.MethodType):
        return _why_not_module(value.__self__, asked | {value.__name__}, kinds)
    if type(value) in (list, tuple, dict):
        items = list(value.values() if isinstance(value, dict) else value)[:_LOOKED_INTO]
        return next(filter(None, (_why_not_module(each, asked, kinds) for each in items)), None)
    if not callable(getattr(value, "modules", None)) or not hasattr(value, "state_dict"):
        return None
    for part in value.modules():
        kind = type(part)
        if not is_library(kind.__module__) and (kind.__module__, kind.__qualname__) not in kinds:
            return f"a network with parts of a class of yours ({kind.__qualname__})"
        learns = _LEARNING.search(kind.__name__) is not None or bool(getattr(part, "dropout", 0))
        if part.training and learns:
            return f"a network in training mode ({kind.__qualname__})"
    if changing := asked & CHANGING_MODULES:
        return f"a network that is changed by .{min(changing)}()"
    giving = asked & _GIVING_MODULES
    return f"a network that gives its parts by .{min(giving)}(), which may be changed" if giving else None
