"""The text of a function or class, with its place, as the user wrote it."""

from __future__ import annotations

import ast
import contextlib
import inspect
import linecache
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from parsl_context.content import syntax
from parsl_context.discover.sources import source_of
from parsl_context.errors import CarriedCodeError, SplitError


@dataclass(frozen=True)
class Text:
    """A definition.

    Attributes
    ----------
    text : str
        Its lines, without those of decorators.
    file, line
        Where it begins.
    decorators : tuple of str
        Expressions, the outermost first.
    has_late_annotations : bool
        Whether its file says ``from __future__ import annotations``.
    code : bytes
        Of a function that travels compiled; it has no text.
    """

    text: str
    file: str
    line: int
    decorators: tuple[str, ...]
    has_late_annotations: bool = False
    code: bytes = b""


def text_of_function(function: types.FunctionType, is_ours: Callable[[Any], bool]) -> Text:
    """The text of a function.

    Parameters
    ----------
    is_ours
        Whether what a decorator stands for makes apps or contexts: it, and those above it, are left out.

    Raises
    ------
    CarriedCodeError
        If it has none.
    """
    if function.__name__ == "<lambda>":
        return _text_of_lambda(function)
    try:
        source = source_of(function)
    except SplitError as error:
        raise _without_text(function.__qualname__, error.file, error.line, error.reason) from None
    node, file = source.node, function.__code__.co_filename
    kept = list(node.decorator_list)
    ours = [i for i, each in enumerate(kept) if is_ours(_value_of(each, source.value_of))]
    kept = kept[ours[-1] + 1 :] if ours else kept
    lines = _lines_of(function)[node.lineno - 1 : node.end_lineno]
    return Text("".join(lines), file, node.lineno, tuple(map(ast.unparse, kept)))


def _text_of_lambda(function: types.FunctionType) -> Text:
    code = function.__code__
    text = ""
    with contextlib.suppress(OSError, TypeError):
        text = "".join(_lines_of(function))
    try:
        nodes = [each for each in ast.walk(syntax.parse(text)) if isinstance(each, ast.Lambda)]
    except SyntaxError:
        nodes = []
    found = {
        str(ast.get_source_segment(text, each))
        for each in nodes
        if each.lineno == code.co_firstlineno and _is_code_of(each, code)
    }
    if len(found) != 1:
        reason = "it is a lambda whose text cannot be told. Write it as a function."
        raise _without_text(function.__qualname__, code.co_filename, code.co_firstlineno, reason)
    return Text(found.pop(), code.co_filename, code.co_firstlineno, ())


def _is_code_of(node: ast.Lambda, code: types.CodeType) -> bool:
    """Whether a lambda does the same, as far as can be told without what is around it."""
    outer = syntax.compile_tree(ast.Expression(node), code.co_filename, "eval")
    made = next(each for each in outer.co_consts if isinstance(each, types.CodeType))
    names = {*made.co_names, *made.co_freevars}
    return made.co_varnames == code.co_varnames and names == {*code.co_names, *code.co_freevars}


def text_of_class(kind: type) -> Text:
    """The text of a class that is defined at the top of the script.

    Raises
    ------
    CarriedCodeError
        If it has none, or is defined elsewhere.
    """
    name = kind.__qualname__
    if "." in name:
        raise _without_text(name, "", 0, "it is defined within a function or class. Move it to the top of the file.")
    for file, lines in _files_of_class(kind):
        try:
            tree = syntax.parse("".join(lines))
        except SyntaxError:
            continue
        found = [each for each in ast.walk(tree) if isinstance(each, ast.ClassDef) and each.name == name]
        if found:
            return _text_of_node(found[-1], tree, file, lines)
    raise _without_text(name, "", 0, "its source cannot be read.")


def _files_of_class(kind: type) -> Iterator[tuple[str, list[str]]]:
    """Where its text may be: in a notebook, each cell is a file, and Python knows that of functions alone."""
    here = [*vars(kind).values(), *vars(sys.modules[kind.__module__]).values()]
    functions = [each for each in here if isinstance(each, types.FunctionType)]
    own = [each for each in functions if each.__module__ == kind.__module__]
    for file in dict.fromkeys(each.__code__.co_filename for each in own):
        if lines := linecache.getlines(file):
            yield file, lines
    with contextlib.suppress(OSError, TypeError):
        yield inspect.getsourcefile(kind) or inspect.getfile(kind), inspect.findsource(kind)[0]
    for file, known in reversed(list(linecache.cache.items())):
        if len(known) == 4 and known[1] is None and any(f"class {kind.__name__}" in line for line in known[2]):
            yield file, list(known[2])


def _text_of_node(node: ast.ClassDef, tree: ast.Module, file: str, lines: list[str]) -> Text:
    text = "".join(lines[node.lineno - 1 : node.end_lineno])
    is_late = any(map(_makes_annotations_late, tree.body))
    return Text(text, file, node.lineno, tuple(map(ast.unparse, node.decorator_list)), is_late)


def _makes_annotations_late(node: ast.stmt) -> bool:
    match node:
        case ast.ImportFrom(module="__future__", names=names):
            return any(each.name == "annotations" for each in names)
    return False


def names_in(*texts: str) -> set[str]:
    """All names that some text mentions."""
    trees = [syntax.parse(_flush(text)) for text in texts]
    return {each.id for tree in trees for each in ast.walk(tree) if isinstance(each, ast.Name)}


def _flush(text: str) -> str:
    return f"if 1:\n{text}" if text[:1].isspace() else text


def _lines_of(function: types.FunctionType) -> list[str]:
    linecache.checkcache(function.__code__.co_filename)
    return inspect.findsource(function)[0]


def _value_of(node: ast.expr, value_of: Callable[[str], Any]) -> Any:
    """What a decorator is made of: `context` of ``@context(share="node")``; None if that cannot be told."""
    match node:
        case ast.Call(func=inner):
            return _value_of(inner, value_of)
        case ast.Attribute(value=inner, attr=name):
            return getattr(_value_of(inner, value_of), name, None)
        case ast.Name(id=name):
            try:
                return value_of(name)
            except NameError:
                return None
    return None


def _without_text(name: str, file: str, line: int, reason: str) -> CarriedCodeError:
    place = f" ({file}, line {line})" if file else ""
    return CarriedCodeError(
        f"{name}{place} cannot travel as source: {reason} Where the workers run the same version of Python, "
        'as_globus_function(codec="bytecode") sends functions as compiled code.'
    )
