"""What code says without being run, each with its line; and which lines do not count."""

import pytest

from parsl_context.discover.needs.code import Import, Text, imports_in, lines_of_names, texts_in
from parsl_context.discover.needs.guards import guards_of


def code_of(source):
    return compile(source, "<test>", "exec", dont_inherit=True)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import a.b, c", [Import("a.b", 1), Import("c", 1)]),
        ("\nfrom a import b, c", [Import("a", 2, ("b", "c"))]),
        ("from a import *", [Import("a", 1, ("*",))]),
        ("from . import x", [Import("p.q", 1, ("x",))]),
        ("from ..x import y", [Import("p.x", 1, ("y",))]),
        ("from ....x import y", []),
        ("class C:\n import a\n def f(self):\n  import b", [Import("a", 2), Import("b", 4)]),
        ("import importlib\nimportlib.import_module('a.b')", [Import("importlib", 1), Import("a.b", 2)]),
        ("import_module('.a', __package__)", [Import("p.q.a", 1)]),
        ("f = lambda: __import__('a')", [Import("a", 1)]),
        ("import_module(name, 'a')", []),
        ("x = 'a'\nimport_module(x)", []),
        ("import_module('not a name')", []),
    ],
)
def test_imports_are_found_with_their_lines(source, found):
    assert list(imports_in(code_of(source), "p.q")) == found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("open('a.txt')", Text("a.txt", 1, "open")),
        ("x = 1\nio.open('a.txt', 'w')", Text("a.txt", 2, "open")),
        ("def f():\n return ('a', ('b.c',))", Text("b.c", 2)),
        ("x in {'a.b', 'c'}", Text("a.b", 1)),
    ],
)
def test_texts_are_found_with_what_takes_them(source, found):
    assert found in list(texts_in(code_of(source)))


def test_documentation_is_no_text():
    assert list(texts_in(code_of("def f():\n 'what it does'").co_consts[0])) == []


def test_global_names_are_found_with_the_first_line_that_uses_them():
    lines = lines_of_names(code_of("def f():\n x = g\n return [g, h]"))
    assert (lines["g"], lines["h"]) == (2, 3)


@pytest.mark.parametrize(
    "source",
    [
        "if TYPE_CHECKING:\n import a\nimport b",
        "if typing.TYPE_CHECKING:\n import a\nelse: import b",
        "if not TYPE_CHECKING:import b\nelse:\n import a",
        "if __name__ == '__main__':\n import a",
    ],
)
def test_lines_for_type_checkers_and_scripts_do_not_run_where_a_module_is_imported(source):
    guards = guards_of(source)
    assert {line for line, text in enumerate(source.splitlines(), 1) if text == " import a"} == guards.never
    assert not guards.optional


@pytest.mark.parametrize(
    ("error", "instead_of"),
    [("ImportError", ("a",)), ("(OSError, ModuleNotFoundError)", ("a",)), ("Exception", None), ("", None)],
)
def test_imports_may_fail_where_that_is_caught(error, instead_of):
    guards = guards_of(f"try:\n import a\nexcept {error}:\n import b")
    assert {2, 4} <= guards.optional
    assert guards.instead_of.get(4) == instead_of


@pytest.mark.parametrize(
    ("source", "optional"),
    [
        ("try:\n import a\nexcept KeyError:\n import b", False),
        ("try:\n import a\nfinally:\n import b", False),
        ("with suppress(ImportError):\n import a", True),
        ("with contextlib.suppress(OSError):\n import a", False),
    ],
)
def test_other_blocks_say_nothing_of_imports(source, optional):
    assert (2 in guards_of(source).optional) is optional


def test_what_is_no_python_has_no_guards():
    assert guards_of("if TYPE_CHECKING:") == guards_of("")
