"""Classes of the user's whose objects calls may share: making one only computes, and no method changes it.

A part of the automatic split, see `parsl_context.discover.automatic`.
"""

from __future__ import annotations

import ast
import types
from collections.abc import Iterator

from parsl_context.content.modules import is_library
from parsl_context.discover.names import Names, Unknown, names_of
from parsl_context.discover.sources import source_of
from parsl_context.errors import SplitError

_PLAIN_BASES = frozenset({"builtins.object", "torch.nn.modules.module.Module"})
_SPECIAL = frozenset(
    {"__new__", "__del__", "__getattr__", "__getattribute__", "__setattr__", "__init_subclass__", "__class_getitem__"}
)
_MAKING = frozenset({"__init__", "__post_init__"})


def user_class(node: ast.expr, names: Names) -> type | None:
    """The class of the user's that a name stands for, if it is one."""
    value = names.resolve(node)
    return value if isinstance(value, type) and not is_library(value.__module__) else None


def methods_of(kind: type) -> list[types.FunctionType]:
    """What may be called of an object of a class that is the user's, once it is made."""
    return [method for name, method in _functions_of(kind) if name not in _MAKING]


def _functions_of(kind: type) -> Iterator[tuple[str, types.FunctionType]]:
    """The functions of a class and of its bases that are the user's."""
    for base in kind.__mro__:
        if is_library(base.__module__):
            continue
        for name, value in vars(base).items():
            if isinstance(value, staticmethod | classmethod):
                value = value.__func__
            elif isinstance(value, property):
                value = value.fget
            if isinstance(value, types.FunctionType):
                yield name, value


def why_not_shared(kind: type) -> str | None:
    """Why objects of a class may not be shared by calls; None if they may, as far as its text tells.

    What making one does is to be looked at as well, as that of a function: `initialisers_of`.
    """
    if type(kind) is not type:
        return "has a metaclass"
    for base in kind.__mro__:
        if is_library(base.__module__):
            if f"{base.__module__}.{base.__qualname__}" not in _PLAIN_BASES:
                return f"is a {base.__qualname__}"
        elif special := sorted(_SPECIAL & vars(base).keys()):
            return f"has {special[0]}"
    for name, value in vars(kind).items():
        if name not in _PLAIN_MEMBERS and not isinstance(value, _KNOWN_MEMBERS):
            return f"has {name}, which all its objects share"
    for name, method in _functions_of(kind):
        if name not in _MAKING and (reason := _changes_itself(method)) is not None:
            return f"is changed in {name}(): {reason}"
    return None


_PLAIN_MEMBERS = frozenset({"__module__", "__doc__", "__dict__", "__weakref__", "__annotations__", "__qualname__"})
_PLAIN_MEMBERS |= {"__firstlineno__", "__static_attributes__", "__annotate__", "__annotations_cache__"}
_KNOWN_MEMBERS = (types.FunctionType, staticmethod, classmethod, property, int, float, str, bytes, tuple, type(None))


def initialisers_of(kind: type) -> list[types.FunctionType]:
    """What runs when an object of a class is made."""
    return [method for name, method in _functions_of(kind) if name in _MAKING]


def methods_for(kind: type, name: str) -> list[types.FunctionType]:
    """What runs when a method of an object of a class is called."""
    return [method for other, method in _functions_of(kind) if other == name]


def unnamed_methods_of(kind: type) -> list[types.FunctionType]:
    """What may run without being named: operators, properties, calls."""
    found = [method for name, method in _functions_of(kind) if name == "forward" or name[:2] == name[-2:] == "__"]
    properties = [value.fget for base in kind.__mro__ for value in vars(base).values() if isinstance(value, property)]
    return [*found, *(each for each in properties if isinstance(each, types.FunctionType))]


def _changes_itself(method: types.FunctionType) -> str | None:
    """How a method changes the object that it is called on."""
    from parsl_context.discover.uses import Uses  # it asks about classes in turn

    try:
        source = source_of(method)
    except SplitError as error:
        return error.reason
    given = [*source.node.args.posonlyargs, *source.node.args.args]
    if not given:
        return None
    itself = given[0].arg
    found: dict[str, Unknown] = Uses(names_of(source, 1), frozenset({itself})).look(source.node.body)
    return None if itself not in found else f"it {found[itself].reason}"
