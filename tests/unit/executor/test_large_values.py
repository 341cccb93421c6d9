"""Large values that travel with code are named in the log, once, when the code is packed."""

import pytest
from parsl import python_app

from parsl_context.apps.app import context_app
from parsl_context.apps.decorator import context
from parsl_context.discover import large
from parsl_context.discover.large import LargeValues
from parsl_context.executor.codebook import CodeBook

LARGE = 10_000_001


@pytest.fixture
def told(caplog, monkeypatch):
    """What was named."""
    named = LargeValues()
    for module in ("discover.definitions", "executor.packing"):
        monkeypatch.setattr(f"parsl_context.{module}.large_values", named)
    return lambda: [record.getMessage() for record in caplog.records if record.name == large.logger.name]


@pytest.fixture
def book():
    return CodeBook(lambda message, frames: None, lambda: (), "memory")


def app_of(main):
    return context_app(context=context(lambda: 1))(main.f).func


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("TABLE = bytes({0})\ndef f(c): return TABLE", "The global 'TABLE' (bytes, 10 MB) travels"),
        ("TABLE = bytes({0})\ndef g(): return TABLE\ndef f(c): return g()", "The global 'TABLE' (bytes"),
        (
            "def make():\n inner = bytes({0})\n def f(c): return inner\n return f\nf = make()",
            "The variable 'inner' that make.<locals>.f has captured (bytes",
        ),
        ("def f(c, table=bytes({0})): return table", "The default of parameter 'table' of f (bytes"),
        ("def f(c, *, table=bytes({0})): return table", "The default of parameter 'table' of f (bytes"),
        ("def f(c): return 1\nf.table = bytes({0})", "The attribute 'table' of f (bytes"),
        ("class A:\n table = bytes({0})\ndef f(c): return A", "The attribute 'table' of A (bytes"),
        (
            "import numpy\nTABLE = {{'a': numpy.zeros({0} // 8 + 10)}}\ndef f(c): return TABLE",
            "The global 'TABLE' (dict",
        ),
    ],
    ids=["global", "global of another", "closure", "default", "keyword", "attribute", "class", "array in a dict"],
)
def test_a_large_value_is_named_once(cell, book, told, source, name):
    app = app_of(cell(source.format(LARGE)))
    for _ in range(3):
        book.code(app, (), {})
    (message,) = told()
    assert message.startswith(name)
    assert "Make it a context" in message


def test_a_large_value_is_named_once_for_all_that_use_it(cell, book, told):
    main = cell(f"TABLE = bytes({LARGE})\ndef f(c): return TABLE\ndef load(): return TABLE")
    book.code(app_of(main), (), {})
    book.code(context_app(context=context(main.load))(main.f).func, (), {})
    CodeBook(lambda message, frames: None, lambda: (), "memory").code(app_of(main), (), {})
    cell(f"TABLE = bytes({LARGE} + 1)")
    book.code(app_of(main), (), {})
    assert len(told()) == 1


def test_large_values_of_an_ordinary_app_are_named_if_they_travel(cell, book, told):
    """Parsl sends defaults, and no globals."""
    main = cell(f"TABLE = bytes({LARGE})\ndef f(x=bytes({LARGE})): return TABLE")
    app = python_app(main.f)
    book.code(app.func, (), {})
    book.code(app.func, (), {})
    (message,) = told()
    assert message.startswith("The default of parameter 'x' of f")


def test_smaller_values_and_arguments_of_contexts_are_not_named(cell, book, told):
    main = cell(f"TABLE = bytes({LARGE} - 100)\ndef load(table): return table\ndef f(c): return TABLE")
    book.code(context_app(context=context(main.load)(bytes(LARGE)))(main.f).func, (), {})
    assert told() == []


def test_code_that_is_known_is_not_looked_at_again(cell, book, monkeypatch):
    """So that it costs a warm call nothing."""
    app = app_of(cell(f"TABLE = bytes({LARGE})\ndef f(c): return TABLE"))
    book.code(app, (), {})

    def fail(*_):
        raise AssertionError

    monkeypatch.setattr(LargeValues, "tell", fail)
    monkeypatch.setattr(LargeValues, "look_into", fail)
    book.code(app, (), {})
