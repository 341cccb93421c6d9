"""Texts of this package that self-contained functions carry: of the runtime, and what only some apps need."""

from __future__ import annotations

import ast
import functools
import importlib.resources
from collections.abc import Iterable

_FIRST = "from __future__ import annotations\nimport __future__\n"
# What an app needs whose context is found by itself, or whose calls run together, is the same as on workers of ours.
_EXTRAS = {
    "terms": (("parsl_context.content", "tables"), ("parsl_context.retain", "terms")),
    "batches": (("parsl_context.retain", "batches"),),
}


def text_of(modules: Iterable[tuple[str, str]]) -> str:
    """Modules of this package, by package and name, as one text: without docstrings and the imports between them."""
    texts = (importlib.resources.files(package).joinpath(f"{name}.py").read_text() for package, name in modules)
    return _FIRST + "\n".join(map(_without_own_imports, texts))


@functools.cache
def extra_text(name: str) -> str:
    """What an app needs that has "terms" or "batches"."""
    return text_of(_EXTRAS[name])


def _without_own_imports(text: str) -> str:
    lines = text.splitlines(keepends=True)
    for node in ast.parse(text).body:
        is_own = isinstance(node, ast.ImportFrom) and str(node.module).startswith(("parsl_context", "__future__"))
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_own or is_text:
            for line in range(node.lineno, (node.end_lineno or node.lineno) + 1):
                lines[line - 1] = ""
    return "".join(lines)
