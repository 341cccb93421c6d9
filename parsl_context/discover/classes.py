"""Classes of the user's whose objects calls may share: making one only computes, and no method changes it.

A part of the automatic split, see `parsl_context.discover.automatic`.
"""

from __future__ import annotations

import ast
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import pathlib
import re
import types
from collections.abc import Iterator
from typing import Any

from parsl_context.content.modules import is_library
from parsl_context.discover.names import Names, Unknown, names_of, unwrapped
from parsl_context.discover.sources import source_of
from parsl_context.errors import SplitError

_PLAIN_BASES = frozenset({"builtins.object", "torch.nn.modules.module.Module"})
_SPECIAL = frozenset(
    {"__new__", "__del__", "__getattr__", "__getattribute__", "__setattr__", "__init_subclass__", "__class_getitem__"}
)
_MAKING = frozenset({"__init__", "__post_init__"})
# Of data classes and named tuples: what is made for them, and has no text of its own.
_GENERATED = frozenset(
    {"__init__", "__repr__", "__eq__", "__lt__", "__le__", "__gt__", "__ge__", "__hash__", "__setattr__", "__delattr__"}
)
_GENERATED |= {
    "__getstate__",
    "__setstate__",
    "__replace__",
    "__new__",
    "__getnewargs__",
    "_make",
    "_replace",
    "_asdict",
}
_WRAPPERS = (classmethod, staticmethod)
_TABLES = (list, dict, set)


def user_class(node: ast.expr, names: Names) -> type | None:
    """The class of the user's that a name stands for, if it is one."""
    value = names.resolve(node)
    return value if isinstance(value, type) and not is_library(value.__module__) else None


def maker_of(node: ast.expr, names: Names) -> tuple[type, types.FunctionType] | None:
    """The class of the user's, and its function, if a dotted name stands for one that is called on the class."""
    kind = user_class(node.value, names) if isinstance(node, ast.Attribute) else None
    if kind is None or not isinstance(node, ast.Attribute):
        return None
    found = next((vars(base)[node.attr] for base in kind.__mro__ if node.attr in vars(base)), None)
    function = found.__func__ if isinstance(found, _WRAPPERS) else None
    return (kind, function) if isinstance(function, types.FunctionType) else None


def is_member(node: ast.Attribute, names: Names) -> bool:
    """Whether a dotted name stands for a member of an enumeration of the user's."""
    kind = user_class(node.value, names)
    return kind is not None and issubclass(kind, enum.Enum) and node.attr in kind.__members__


def methods_of(kind: type) -> list[types.FunctionType]:
    """What may be called of an object of a class that is the user's, once it is made."""
    return [method for name, method in _functions_of(kind) if name not in _MAKING]


def users_bases(kind: type) -> list[type]:
    """A class and its bases, as far as they are the user's."""
    return [base for base in kind.__mro__ if not is_library(base.__module__)]


def _functions_of(kind: type) -> Iterator[tuple[str, types.FunctionType]]:
    """The functions of a class and of its bases that are the user's."""
    for base in kind.__mro__:
        if is_library(base.__module__):
            continue
        for name, value in vars(base).items():
            if isinstance(value, _WRAPPERS):
                value = value.__func__
            elif isinstance(value, property):
                value = value.fget
            value = unwrapped(value)
            if isinstance(value, types.FunctionType) and not _is_generated(base, name, value):
                yield name, value


def _is_generated(kind: type, name: str, function: types.FunctionType) -> bool:
    """Whether it was made for a data class or a named tuple, rather than written by its author."""
    is_made = _is_named_tuple(kind) or dataclasses.is_dataclass(kind)
    is_written = function.__code__.co_filename not in ("<string>", dataclasses.__file__, collections.__file__)
    return is_made and name in _GENERATED and (not is_written or is_library(function.__module__))


def _is_named_tuple(kind: type) -> bool:
    return kind.__bases__ == (tuple,) and isinstance(vars(kind).get("_fields"), tuple)


def why_not_shared(kind: type) -> str | None:
    """Why objects of a class may not be shared by calls; None if they may, as far as its text tells.

    What making one does is to be looked at as well, as that of a function: `initialisers_of`.
    """
    if type(kind) is not type:
        return "has a metaclass"
    for base in kind.__mro__:
        if is_library(base.__module__):
            is_plain = f"{base.__module__}.{base.__qualname__}" in _PLAIN_BASES
            if not is_plain and not (base is tuple and any(map(_is_named_tuple, kind.__mro__))):
                return f"is a {base.__qualname__}"
            continue
        written = {name for name, value in vars(base).items() if not _is_known(base, name, value)}
        if special := sorted(_SPECIAL & written):
            return f"has {special[0]}"
    for name, value in vars(kind).items():
        is_table = isinstance(value, _TABLES) and name not in _asked_in_making(kind)
        if not _is_known(kind, name, value) and not isinstance(value, _KNOWN_MEMBERS) and not is_table:
            return f"has {name}, which all its objects share"
    if any(not _makes_new(each.default_factory) for each in _fields_of(kind)):
        return "has fields that a function of yours makes"
    for name, method in _functions_of(kind):
        if name not in _MAKING and (reason := _changes_itself(kind, method)) is not None:
            return f"is changed in {name}(): {reason}"
    return None


_PLAIN_MEMBERS = frozenset({"__module__", "__doc__", "__dict__", "__weakref__", "__annotations__", "__qualname__"})
_PLAIN_MEMBERS |= {"__firstlineno__", "__static_attributes__", "__annotate__", "__annotations_cache__"}
_KNOWN_MEMBERS: tuple[type, ...] = (
    types.FunctionType,
    staticmethod,
    classmethod,
    property,
    int,
    float,
    str,
    bytes,
    tuple,
    type(None),
)
_KNOWN_MEMBERS += (re.Pattern, range, frozenset, pathlib.PurePath, datetime.date, datetime.timedelta, decimal.Decimal)
_KNOWN_MEMBERS += (fractions.Fraction, complex, types.MemberDescriptorType, types.GetSetDescriptorType)
_OF_DATA_CLASSES = frozenset({"__dataclass_params__", "__dataclass_fields__", "__match_args__", "__slots__"})
_OF_NAMED_TUPLES = frozenset({"_fields", "_field_defaults", "_fields_defaults", "__orig_bases__", "__slots__"})


def _is_known(kind: type, name: str, value: object) -> bool:
    """Whether a member says nothing about how objects are used: it is there in each class, or made for this one."""
    if isinstance(value, types.FunctionType | classmethod):
        function = value.__func__ if isinstance(value, classmethod) else value
        return isinstance(function, types.FunctionType) and _is_generated(kind, name, function)
    if name in _PLAIN_MEMBERS or (name in _OF_DATA_CLASSES and dataclasses.is_dataclass(kind)):
        return True
    return _is_named_tuple(kind) and (name in _OF_NAMED_TUPLES | _GENERATED or type(value).__name__ == "_tuplegetter")


def _fields_of(kind: type) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()


def _makes_new(factory: object) -> bool:
    return factory is dataclasses.MISSING or factory in (list, dict, set, tuple, str, int, float)


def initialisers_of(kind: type) -> list[types.FunctionType]:
    """What runs when an object of a class is made."""
    return [method for name, method in _functions_of(kind) if name in _MAKING]


def _asked_in_making(kind: type) -> set[str]:
    """Names of attributes that may be asked for when an object of a class is made."""
    functions = dict(_functions_of(kind))
    waiting, found = [functions[name] for name in _MAKING & functions.keys()], set[str]()
    while waiting:
        for name in _names_in(waiting.pop().__code__):
            if name not in found and name in functions:
                waiting.append(functions[name])
            found.add(name)
    return found


def _names_in(code: types.CodeType) -> set[str]:
    inner = (each for each in code.co_consts if isinstance(each, types.CodeType))
    return {*code.co_names}.union(*map(_names_in, inner))


def methods_for(kind: type, name: str) -> list[types.FunctionType]:
    """What runs when a method of an object of a class is called."""
    return [method for other, method in _functions_of(kind) if other == name]


def unnamed_methods_of(kind: type) -> list[types.FunctionType]:
    """What may run without being named: operators, properties, calls."""
    found = [method for name, method in _functions_of(kind) if name == "forward" or name[:2] == name[-2:] == "__"]
    properties = [value.fget for base in kind.__mro__ for value in vars(base).values() if isinstance(value, property)]
    return [*found, *(each for each in properties if isinstance(each, types.FunctionType))]


def _changes_itself(kind: type, method: types.FunctionType) -> str | None:
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
    uses = Uses(names_of(source, 1), frozenset({itself}))
    if all(
        f"{base.__module__}.{base.__qualname__}" == "builtins.object"
        for base in kind.__mro__
        if is_library(base.__module__)
    ):
        uses.methods_of_it = frozenset(name for name, _ in _functions_of(kind))
    uses.is_called = True
    uses.look(source.node.body)
    found: dict[str, Unknown] = uses.all_misused()
    return None if itself not in found else f"it {found[itself].reason}"
