"""Builders with defaults, shared by the unit tests."""

import dataclasses
import enum
import importlib
import itertools
import sys
import types
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import strategies as st

from parsl_context.pool.grant import Grant
from parsl_context.wire import messages as m

# --- nodes

# Eight cores of a machine, and two thirds of the memory are free.
GIVEN = Grant(cores=8, cores_by="affinity", memory_bytes=96 << 30, memory_by="the machine", free_bytes=64 << 30)

# --- messages

LINKS: dict[str, Any] = {
    "executor to interchange": m.ToInterchange,
    "interchange to executor": m.FromInterchange,
    "interchange to manager": m.ToManager,
    "manager to interchange": m.FromManager,
    "manager to worker": m.ToWorker,
    "worker to manager": m.FromWorker,
    "manager to template": m.ToTemplate,
    "manager to zygote": m.ToZygote,
}


def all_messages() -> list[tuple[Any, type]]:
    """Each message class with the union of the link it travels on."""
    return [(union, kind) for union in LINKS.values() for kind in typing.get_args(union) or (union,)]


def payload(inline: bytes = b"", frames: int = 0) -> m.Payload:
    return m.Payload(inline, frames)


def task(number: int, **changes: Any) -> m.Task:
    return m.Task(**{"id": number, "code": "c0de", "contexts": (), "payload": payload(b"arguments"), **changes})


def result(number: int, **changes: Any) -> m.Result:
    return m.Result(**{"id": number, "ok": True, "payload": payload(b"value"), "run_s": 0.5, **changes})


_ATOMS = {
    bool: st.booleans(),
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False),
    str: st.text(max_size=8),
    bytes: st.binary(max_size=8),
    type(None): st.none(),
}


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a type as it is used in messages."""
    if hint in _ATOMS:
        return _ATOMS[hint]
    if isinstance(hint, typing.NewType):
        return values_of(hint.__supertype__)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return st.sampled_from(hint)
    if isinstance(hint, type) and (issubclass(hint, msgspec.Struct) or dataclasses.is_dataclass(hint)):
        fields = typing.get_type_hints(hint)
        return st.builds(hint, **{name: values_of(field) for name, field in fields.items()})
    arguments = typing.get_args(hint)
    match typing.get_origin(hint):
        case typing.Literal:
            return st.sampled_from(arguments)
        case typing.Union | types.UnionType:
            return st.one_of([values_of(argument) for argument in arguments])
        case kind if kind is list:
            return st.lists(values_of(arguments[0]), max_size=3)
        case kind if kind is tuple and arguments[-1] is not ...:
            return st.tuples(*map(values_of, arguments))
        case kind if kind is tuple:
            return st.lists(values_of(arguments[0]), max_size=3).map(tuple)
        case kind if kind is dict:
            return st.dictionaries(values_of(arguments[0]), values_of(arguments[1]), max_size=3)
        case _:
            raise NotImplementedError(f"messages use {hint!r}: say here how to make one")


# --- user code

_numbers = itertools.count()


def script(source: str, name: str, **names: Any) -> Any:
    """What `name` is after `source` ran as a script."""
    namespace = {"__name__": "__main__", **names}
    exec(source, namespace)
    return namespace[name]


@contextmanager
def user_module(folder: Path, source: str, name: str | None = None) -> Iterator[types.ModuleType]:
    """A module that lies beside the user's script, imported."""
    name = name or f"user_module_{next(_numbers)}"
    (folder / f"{name}.py").write_text(source)
    sys.path.insert(0, str(folder))
    try:
        importlib.invalidate_caches()
        yield importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop(name, None)


class Shared(types.SimpleNamespace):
    """What a test shares with its context functions: no part of their content, however it changes."""

    def __reduce__(self) -> str:
        return "shared"


def recording(log: list[str], name: str, value: Any = None) -> Callable[[], Iterator[Any]]:
    """A context function that writes down when it builds and when it cleans up."""

    def function() -> Iterator[Any]:
        log.append(f"build {name}")
        yield value
        log.append(f"clean {name}")

    return function
