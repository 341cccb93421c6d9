"""Modules that code may import are found in it, also in functions that have not run."""

import json
import sys
import types

import pytest

from parsl_context.content.imports import in_code, package_of


def code_of(source):
    return compile(source, "<test>", "exec", dont_inherit=True)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import a.b", {"a.b"}),
        ("import a.b as c, d", {"a.b", "d"}),
        ("from a import b, c", {"a", "a.b", "a.c"}),
        ("from a import *", {"a"}),
        ("def f():\n def g():\n  import a\n class C:\n  import b", {"a", "b"}),
        ("try:\n import a\nexcept ImportError:\n import b", {"a", "b"}),
        ("f = lambda: __import__('a.b')", {"a.b"}),
        ("import importlib\ndef f(): return importlib.import_module('a')", {"importlib", "a"}),
        ("from importlib import import_module\nimport_module('a')", {"importlib", "importlib.import_module", "a"}),
        ("x = 'just a text'", set()),
    ],
)
def test_all_imports_of_some_code_are_found(source, found):
    assert in_code(code_of(source), {"__name__": "m"}) == found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from . import x", {"p.q", "p.q.x"}),
        ("from .x import y", {"p.q.x", "p.q.x.y"}),
        ("from .. import z", {"p", "p.z"}),
        ("from ....too import far", set()),
    ],
)
@pytest.mark.parametrize(
    "names",
    [
        {"__package__": "p.q", "__name__": "p.q.m"},
        {"__package__": None, "__name__": "p.q.m"},
        {"__name__": "p.q", "__path__": []},
    ],
    ids=["package", "name", "itself a package"],
)
def test_relative_imports_start_from_the_package_of_the_code(source, found, names):
    assert in_code(code_of(source), names) == found


def test_a_text_that_is_the_name_of_a_loaded_module_may_be_imported():
    assert json.__name__ in sys.modules
    assert in_code(code_of("load('json')"), {"__name__": "m"}) == {"json"}


@pytest.mark.parametrize(
    ("names", "package"),
    [({"__name__": "__main__"}, ""), ({"__name__": "a.b"}, "a"), ({"__name__": "a.b", "__package__": ""}, "")],
)
def test_the_package_of_code_is_what_python_takes_it_for(names, package):
    assert package_of(names) == package


def test_code_of_a_function_counts_its_defaults_and_inner_functions():
    module = types.ModuleType("m")
    exec(code_of("def f(x=1):\n return [__import__('a') for _ in x]"), vars(module))
    assert in_code(module.f.__code__, vars(module)) == {"a"}
