"""Files are looked at with each call wherever their paths are written: in the function, or in what it calls."""

import sqlite3

import pytest

from parsl_context import context_app
from parsl_context.apps.automatic import literal_paths
from parsl_context.discover.automatic import split_by_itself

NAME = "in_a_global.txt"


def read():
    with open("in_a_function.txt") as file:
        return file.read()


def read_deeper():
    return [read()]


def read_global():
    with open(NAME) as file:
        return file.read()


def read_default(path="in_a_default.txt"):
    with open(path) as file:
        return file.read()


def rows_of(path):
    con = sqlite3.connect(path)
    found = con.execute("select v from t").fetchall()
    con.close()
    return found


class Table:
    def __init__(self):
        with open("in_a_class.txt") as file:
            self.text = file.read()


def a_function(x):
    text = read()
    return str(text), x


def a_deeper_function(x):
    text = read_deeper()
    return text[0], x


def a_global(x):
    text = read_global()
    return str(text), x


def a_default(x):
    text = read_default()
    return str(text), x


def a_class(x):
    table = Table()
    return table.text, x


WHERE = {
    a_function: "in_a_function.txt",
    a_deeper_function: "in_a_function.txt",
    a_global: NAME,
    a_default: "in_a_default.txt",
    a_class: "in_a_class.txt",
}


@pytest.mark.parametrize("function", WHERE, ids=lambda each: each.__name__)
def test_a_file_that_is_named_in_what_is_called_is_looked_at(function, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / WHERE[function]).write_text("one")
    app = context_app(discover=True)(function)
    assert WHERE[function] in literal_paths(split_by_itself(function))
    assert app.func(1) == ("one", 1)
    (tmp_path / WHERE[function]).write_text("another")
    assert app.func(1) == function(1) == ("another", 1)
