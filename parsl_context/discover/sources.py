"""The source of a function as a syntax tree, and parts of it compiled as functions of their own.

Lines and columns stay those of the user's file, so tracebacks, debuggers and coverage show what the user wrote.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import functools
import importlib.machinery
import inspect
import sys
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from parsl_context.content import syntax
from parsl_context.errors import SplitError

OUTER = "__outer__"  # the function around a part, which has the variables of those around the whole
NO_TYPE_PARAMETERS: dict[str, Any] = {"type_params": []} if sys.version_info >= (3, 12) else {}
_FUTURE = __future__.annotations.compiler_flag  # the only one that still changes anything


@dataclass(frozen=True)
class Source:
    """A function with its syntax tree.

    Attributes
    ----------
    function : function
        The function itself.
    node : ast.FunctionDef
        Its definition, with the lines and columns of its file.
    found : dict
        What those who look at it keep of what they have found.
    """

    function: types.FunctionType
    node: ast.FunctionDef
    found: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def class_name(self) -> str | None:
        """The class that it is written in, whose private names it sees."""
        parents = self.function.__qualname__.split(".")[:-1]
        return parents[-1] if parents and parents[-1] != "<locals>" else None

    def refusal(self, reason: str, node: ast.AST | None = None) -> SplitError:
        """An error that says why the function cannot be split, and where."""
        line = getattr(node, "lineno", self.node.lineno)
        return SplitError(self.function.__qualname__, self.function.__code__.co_filename, line, reason)

    def value_of(self, name: str) -> Any:
        """What a name stands for now that is none of its own variables.

        Raises
        ------
        NameError
            If that is nothing.
        """
        free = self.function.__code__.co_freevars
        try:
            if name in free:
                return (self.function.__closure__ or ())[free.index(name)].cell_contents
            names = self.function.__globals__
            return names[name] if name in names else vars(builtins)[name]
        except (KeyError, ValueError):
            raise NameError(f"name {name!r} is not defined") from None

    def module_of(self, part: ast.FunctionDef) -> ast.Module:
        """A module that defines a part of it where all names mean what they mean in it."""
        free = [name for name in self.function.__code__.co_freevars if name != "__class__"]
        inner: ast.stmt = part
        if self.class_name is not None:
            inner = ast.ClassDef(
                name=self.class_name, bases=[], keywords=[], body=[part], decorator_list=[], **NO_TYPE_PARAMETERS
            )
        arguments = ast.arguments(
            posonlyargs=[], args=[ast.arg(name) for name in free], kwonlyargs=[], kw_defaults=[], defaults=[]
        )
        outer = ast.FunctionDef(name=OUTER, args=arguments, body=[inner], decorator_list=[], **NO_TYPE_PARAMETERS)
        for made in (inner, outer, *all_arguments(outer.args), *all_arguments(part.args)):
            if not hasattr(made, "lineno"):
                ast.copy_location(made, self.node)
        return ast.Module(body=[outer], type_ignores=[])

    def code_of(self, part: ast.FunctionDef) -> types.CodeType:
        """What a part of it runs."""
        original = self.function.__code__
        flags = original.co_flags & _FUTURE
        module = syntax.compile_tree(self.module_of(part), original.co_filename, flags=flags)
        found = next(code for code in _codes_in(module) if code.co_name == part.name and code.co_name != OUTER)
        inner = part.name if self.class_name is None else f"{self.class_name}.{part.name}"
        named = _renamed(found, f"{OUTER}.<locals>.{inner}", self.function.__qualname__)
        return named.replace(co_flags=found.co_flags & ~inspect.CO_NESTED | original.co_flags & inspect.CO_NESTED)

    def function_of(
        self,
        part: ast.FunctionDef,
        defaults: Sequence[Any] = (),
        keyword_defaults: dict[str, Any] | None = None,
    ) -> types.FunctionType:
        """A part of it as a function with its globals, variables of functions around it, name and module."""
        code = self.code_of(part)
        cells = dict(zip(self.function.__code__.co_freevars, self.function.__closure__ or (), strict=True))
        closure = tuple(cells[name] for name in code.co_freevars)
        made = types.FunctionType(code, self.function.__globals__, part.name, tuple(defaults) or None, closure)
        made.__kwdefaults__ = keyword_defaults or None
        made.__qualname__ = self.function.__qualname__
        made.__module__ = self.function.__module__
        return made


def positional(given: ast.arguments) -> list[ast.arg]:
    """Parameters that may be given by position."""
    return [*given.posonlyargs, *given.args]


def all_arguments(given: ast.arguments) -> list[ast.arg]:
    """All parameters."""
    others = [each for each in (given.vararg, given.kwarg) if each is not None]
    return [*positional(given), *given.kwonlyargs, *others]


def _renamed(code: types.CodeType, name: str, new: str) -> types.CodeType:
    """Code with another qualified name, that of definitions within it included."""

    def rename(value: Any) -> Any:
        if isinstance(value, types.CodeType):
            return _renamed(value, name, new)
        is_within = isinstance(value, str) and (value == name or value.startswith(f"{name}."))
        return new + value[len(name) :] if is_within else value

    changed: dict[str, Any] = {"co_consts": tuple(map(rename, code.co_consts))}
    if sys.version_info >= (3, 11):
        changed["co_qualname"] = rename(code.co_qualname)
    return code.replace(**changed)


def source_of(function: types.FunctionType) -> Source:
    """The source of a function that has one.

    Raises
    ------
    SplitError
        If it cannot be found, or is not what runs.
    """
    code = function.__code__
    try:
        text = "".join(inspect.findsource(code)[0])
        found = _definitions_in(text, code.co_filename).get((function.__name__, code.co_firstlineno))
    except (OSError, TypeError, SyntaxError, IndexError, ValueError):
        raise SplitError(
            function.__qualname__,
            code.co_filename,
            code.co_firstlineno,
            "its source cannot be read. Write it in a file or a notebook, or give its context as a function of its "
            "own: @context_app(context=...).",
        ) from None
    if found is None:
        raise SplitError(
            function.__qualname__, code.co_filename, code.co_firstlineno, "its source is not at the place it names."
        )
    source = Source(function, found)
    if _is_loaded_as_it_stands(function) and code not in codes_of(text, code.co_filename):
        raise source.refusal("its source was changed since it was loaded. Load it anew, or start again.")
    return source


@functools.lru_cache(maxsize=16)
def _definitions_in(text: str, file: str) -> dict[tuple[str, int], ast.FunctionDef]:
    """Functions of a file, by their names and the lines that they begin at, decorators included."""
    found = (node for node in ast.walk(syntax.parse(text, file)) if isinstance(node, ast.FunctionDef))
    return {(node.name, min([node.lineno, *(each.lineno for each in node.decorator_list)])): node for node in found}


def _is_loaded_as_it_stands(function: types.FunctionType) -> bool:
    """Whether Python itself has compiled its file; others, such as pytest, change what they compile."""
    module = sys.modules.get(function.__module__)
    loader = getattr(getattr(module, "__spec__", None), "loader", None)
    return type(loader) is importlib.machinery.SourceFileLoader


@functools.lru_cache(maxsize=16)
def codes_of(text: str, file: str) -> frozenset[types.CodeType]:
    """What the functions of a file run. Of the whole: how a call is compiled depends on the imports above."""
    return frozenset(_codes_in(compile(text, file, "exec", dont_inherit=True)))


def _codes_in(code: types.CodeType) -> Iterator[types.CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant
            yield from _codes_in(constant)
