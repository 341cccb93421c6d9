"""What self-contained functions carry of this package is the same code, and no more."""

import ast
import importlib.resources
import io
import tokenize

import pytest

from parsl_context.standalone import own_texts
from parsl_context.standalone.function import _OWN, _RUNTIME, runtime_text

MODULES = [(_OWN, name) for name in _RUNTIME] + [place for places in own_texts._EXTRAS.values() for place in places]


def without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tree


@pytest.mark.parametrize(("package", "name"), MODULES)
def test_what_is_left_is_the_same_code(package: str, name: str) -> None:
    text = own_texts._without_own_imports(importlib.resources.files(package).joinpath(f"{name}.py").read_text())
    there = ast.parse(own_texts._without_comments(text))
    assert ast.dump(there) == ast.dump(without_docstrings(ast.parse(text)))


def test_there_are_no_comments_docstrings_and_empty_lines() -> None:
    text = runtime_text()
    kinds = [token.type for token in tokenize.generate_tokens(io.StringIO(text).readline)]
    assert tokenize.COMMENT not in kinds
    assert "" not in map(str.strip, text.splitlines())
    assert ast.dump(without_docstrings(ast.parse(text))) == ast.dump(ast.parse(text))


def test_a_body_that_is_a_docstring_alone_stays_a_body() -> None:
    text = 'class A(Exception):\n    """Why."""\n\n\ndef f(x):  # it\n    """Do."""\n    return """a\n\n# b"""\n'
    found = own_texts._without_comments(text)
    assert found == 'class A(Exception):\n    pass\ndef f(x):\n    return """a\n\n# b"""\n'
