"""What an object looks like now, sampled: so that it can be said what a call has changed in it, and where.

Containers and attributes are looked into part by part, breadth first, up to a bound. Of long containers and large
arrays a sample is looked at, the same one each time; a change outside it goes unseen.
"""

from __future__ import annotations

import collections
import functools
import hashlib
import io
import itertools
import sys
import types
from collections.abc import Iterator, Mapping, Sequence, Sized
from typing import Any

Fingerprint = Mapping[str, str]  # what is at each place, as a text

MOST_PARTS = 4096  # that are looked at
_SAMPLE = 64  # parts of a container
_ARRAY_BYTES = 1 << 17  # of an array that is looked at whole
_ARRAY_ITEMS = 1 << 13  # of a larger one

_ATOMS = (int, float, complex, bool, type(None), str, bytes)
_OPAQUE = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type, io.IOBase)
_SHOWN = 40


def fingerprint(value: object, name: str = "value") -> Fingerprint:
    """What an object looks like.

    Parameters
    ----------
    value
        Anything. Its methods for pickling may run, as far as its classes have any.
    name
        What it is called at the beginning of each place.
    """
    seen: dict[str, str] = {}
    met: dict[int, object] = {}  # alive, so that an id means one object
    waiting: collections.deque[tuple[str, object]] = collections.deque([(name, value)])
    while waiting and len(seen) < MOST_PARTS:
        place, part = waiting.popleft()
        if not isinstance(part, _ATOMS):
            if id(part) in met:
                continue
            met[id(part)] = part
        try:
            text, parts = _look_at(part)
            within = list(parts)
        except Exception:  # code of others; what cannot be looked at counts by its kind
            text, within = type(part).__qualname__, []
        seen[place] = text
        waiting.extend((place + step, each) for step, each in within)
    return seen


def changes(before: Fingerprint, after: Fingerprint, most: int = 5) -> list[str]:
    """What differs, in words, each as ``model.calls: 3 became 4``; the outermost places first."""
    found = [f"{at}: {before[at]} became {after[at]}" for at in after if at in before and before[at] != after[at]]
    found += [f"{place} is new" for place in _outermost(after, before)]
    found += [f"{place} is gone" for place in _outermost(before, after)]
    return [*found[:most], *([f"and {len(found) - most} more"] if len(found) > most else [])]


def _outermost(places: Fingerprint, others: Fingerprint) -> list[str]:
    """Places that the others do not have, without those within one of them."""
    found: list[str] = []
    for place in places:
        if place not in others and not any(place.startswith((f"{outer}.", f"{outer}[")) for outer in found):
            found.append(place)
    return found


def _look_at(value: object) -> tuple[str, Iterator[tuple[str, object]]]:
    """A text that stands for a value, and its parts with the steps to them."""
    kind = type(value)
    if kind in _ATOMS:
        return _short(value), iter(())
    if isinstance(value, _OPAQUE):
        return kind.__qualname__, iter(())
    if isinstance(value, types.MethodType):
        return "method", iter([(".__self__", value.__self__)])
    if hasattr(kind, "__array_interface__") and hasattr(kind, "dtype"):
        return _of_array(value)
    if kind.__module__.partition(".")[0] == "torch" and hasattr(kind, "data_ptr"):
        return _of_tensor(value)
    if kind.__module__.partition(".")[0] == "pandas" and hasattr(kind, "to_numpy"):
        return _of_frame(value)
    if isinstance(value, dict):
        return _count(value), itertools.chain(_items(value), _state(value))
    if isinstance(value, list | tuple | collections.deque):
        return _count(value), itertools.chain(_elements(value), _state(value))
    if isinstance(value, set | frozenset):
        return _count(value), ((f"<{_short(each)}>", each) for each in itertools.islice(value, _SAMPLE))
    if isinstance(value, bytearray | memoryview):
        return _digest(bytes(value[:_ARRAY_BYTES])), iter(())
    return kind.__qualname__, _state(value)


def _state(value: object) -> Iterator[tuple[str, object]]:
    """Attributes of an object; and what pickle would keep of it, if it has none or says so itself."""
    found: dict[str, object] = dict(getattr(value, "__dict__", {}))
    for base in type(value).__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                found[name] = getattr(value, name)
    computed = {name for name in found if isinstance(_of_class(value, name), functools.cached_property)}
    yield from ((f".{name}", each) for name, each in found.items() if name not in computed)
    has_own = type(value).__reduce__ is not object.__reduce__ or type(value).__reduce_ex__ is not object.__reduce_ex__
    if isinstance(value, dict | list | tuple | collections.deque) or (found and not has_own):
        return
    reduced = value.__reduce_ex__(4)
    if isinstance(reduced, tuple):
        for step, each in zip(("", "", ".state"), reduced[1:3], strict=False):
            if each is not None:
                yield step or ".made_of", each


def _of_class(value: object, name: str) -> object:
    return next((base.__dict__[name] for base in type(value).__mro__ if name in base.__dict__), None)


def _items(value: Mapping[Any, object]) -> Iterator[tuple[str, object]]:
    items: Iterator[tuple[Any, object]] = iter(value.items())
    if len(value) > 2 * _SAMPLE:
        last = itertools.islice(reversed(value.items()), _SAMPLE)  # type: ignore[call-overload]
        items = itertools.chain(itertools.islice(items, _SAMPLE), last)
    return ((f"[{_short(key)}]", each) for key, each in items)


def _elements(value: Sequence[object] | collections.deque[object]) -> Iterator[tuple[str, object]]:
    step = max(1, len(value) // (2 * _SAMPLE))
    places = [*range(0, len(value), step)]
    if value and places[-1] != len(value) - 1:
        places.append(len(value) - 1)
    return ((f"[{i}]", value[i]) for i in places)


def _of_array(value: Any) -> tuple[str, Iterator[tuple[str, object]]]:
    shape = "x".join(map(str, value.shape))
    if value.dtype.hasobject:
        return f"array of {shape}", _elements(list(value.flat[:: max(1, value.size // _SAMPLE)]))
    part = value if value.nbytes <= _ARRAY_BYTES else value.flat[:: max(1, value.size // _ARRAY_ITEMS)]
    return f"array of {shape} {value.dtype}, content {_digest(part.tobytes())}", iter(())


def _of_tensor(value: Any) -> tuple[str, Iterator[tuple[str, object]]]:
    shape = "x".join(map(str, value.shape))
    flat = value.detach().reshape(-1)
    is_small = value.numel() * value.element_size() <= _ARRAY_BYTES
    part = flat if is_small else flat[:: max(1, flat.numel() // _ARRAY_ITEMS)]
    content = _digest(part.cpu().contiguous().view(sys.modules["torch"].uint8).numpy().tobytes())
    grad = [] if value.grad is None else [(".grad", value.grad)]
    return f"tensor of {shape}, content {content}", iter(grad)


def _of_frame(value: Any) -> tuple[str, Iterator[tuple[str, object]]]:
    shape = "x".join(map(str, value.shape))
    if not hasattr(value, "columns"):
        return f"{type(value).__qualname__} of {shape}", iter([(".values", value.to_numpy())])
    columns = list(value.columns)
    parts = ((f"[{_short(name)}]", value.iloc[:, i].to_numpy()) for i, name in enumerate(columns[: 2 * _SAMPLE]))
    return f"{type(value).__qualname__} of {shape}", itertools.chain([(".index", value.index.to_numpy())], parts)


def _count(value: Sized) -> str:
    return f"{len(value)} item{'' if len(value) == 1 else 's'}"


def _short(value: object) -> str:
    """A value as a text; one that is long ends in a digest, so that different ones have different texts."""
    if not isinstance(value, _ATOMS):
        return f"a {type(value).__qualname__}"
    if isinstance(value, int) and value.bit_length() > 4096:
        return f"{value:#x}"[:_SHOWN] + f"... ({_digest(f'{value:x}'.encode())})"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}... ({_digest(text.encode(errors='replace'))})"


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=4).hexdigest()
