"""Texts of this package that self-contained functions carry: of the runtime, and what only some apps need."""

from __future__ import annotations

import ast
import functools
import importlib.resources
import io
import tokenize
from collections.abc import Iterable

_FIRST = "from __future__ import annotations\nimport __future__\n"
# What an app needs whose context is found by itself, or whose calls run together, is the same as on workers of ours.
_EXTRAS = {
    "terms": (("parsl_context.content", "tables"), ("parsl_context.retain", "terms")),
    "batches": (("parsl_context.retain", "batches"),),
}


def text_of(modules: Iterable[tuple[str, str]]) -> str:
    """Modules of this package, by package and name, as one text: without comments and the imports between them.

    It comes with every call where calls come with their function, so it is as short as it can be without being another:
    what Python would write for its syntax tree may be none for another version.
    """
    texts = (importlib.resources.files(package).joinpath(f"{name}.py").read_text() for package, name in modules)
    return _FIRST + "".join(_without_comments(_without_own_imports(text)) for text in texts)


@functools.cache
def extra_text(name: str) -> str:
    """What an app needs that has "terms" or "batches"."""
    return text_of(_EXTRAS[name])


def _without_own_imports(text: str) -> str:
    lines = text.splitlines(keepends=True)
    for node in ast.parse(text).body:
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(("parsl_context", "__future__")):
            _replace(lines, node, "")
    return "".join(lines)


def _without_comments(text: str) -> str:
    """Code without docstrings, comments and empty lines."""
    lines = text.splitlines(keepends=True)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            first = node.body[0]
            _replace(lines, first, "" if len(node.body) > 1 else f"{' ' * first.col_offset}pass\n")
    text = "".join(lines)
    lines = text.splitlines(keepends=True)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        line, column = token.start
        if token.type == tokenize.COMMENT:
            lines[line - 1] = f"{lines[line - 1][:column].rstrip()}\n"
        if token.type == tokenize.NL and not lines[line - 1].strip():
            lines[line - 1] = ""
    return "".join(lines)


def _replace(lines: list[str], node: ast.stmt, text: str) -> None:
    lines[node.lineno - 1 : node.end_lineno] = [text] + [""] * ((node.end_lineno or node.lineno) - node.lineno)
