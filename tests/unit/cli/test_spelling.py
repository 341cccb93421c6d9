"""How a file says `context` and `context_app`, as far as its text tells."""

import ast

import pytest

from parsl_context.cli.spelling import spelling_in

FUNCTION = "def f(x):\n    pass\n"


def said(above="", below="", variables=(), taken=(), says_app=True):
    text = f"{above}\n{FUNCTION}{below}\n"
    line = text[: text.index("def f(x)")].count("\n") + 1
    return spelling_in(ast.parse(text), line, variables, taken, says_app=says_app)


@pytest.mark.parametrize(
    ("given", "context", "app", "imported", "imports_package"),
    [
        ({}, "context", "context_app", ("context", "context_app"), False),
        ({"says_app": False}, "context", "", ("context",), False),
        ({"above": "from parsl_context import context"}, "context", "context_app", ("context_app",), False),
        ({"above": "from parsl_context import context as c, context_app as a"}, "c", "a", (), False),
        ({"above": "import parsl_context"}, "parsl_context.context", "parsl_context.context_app", (), False),
        ({"above": "import parsl_context as p"}, "p.context", "p.context_app", (), False),
        # What means something else somewhere in the file is not taken, wherever that is.
        ({"below": "context = 3"}, "parsl_context.context", "parsl_context.context_app", (), True),
        ({"below": "from zmq import context"}, "parsl_context.context", "parsl_context.context_app", (), True),
        ({"below": "def context(): pass"}, "parsl_context.context", "parsl_context.context_app", (), True),
        ({"below": "with a() as context: pass"}, "parsl_context.context", "parsl_context.context_app", (), True),
        ({"below": "def g():\n    global context"}, "parsl_context.context", "parsl_context.context_app", (), True),
        (
            {"below": "try: pass\nexcept E as context: pass"},
            "parsl_context.context",
            "parsl_context.context_app",
            (),
            True,
        ),
        ({"below": "def g():\n    context = 3"}, "context", "context_app", ("context", "context_app"), False),
        (
            {"above": "from parsl_context import context\ncontext = 3"},
            *("parsl_context.context", "context_app", ("context_app",), True),
        ),
        # What is imported below is not there yet.
        (
            {"below": "from parsl_context import context, context_app"},
            *("parsl_context.context", "parsl_context.context_app", (), True),
        ),
        ({"below": "import parsl_context as p"}, "context", "context_app", ("context", "context_app"), False),
        ({"variables": ["context"]}, "parsl_context.context", "parsl_context.context_app", (), True),
        ({"taken": ["context_app"]}, "context", "parsl_context.context_app", ("context",), True),
        (
            {"above": "import parsl_context.errors", "variables": ["context"]},
            *("parsl_context.context", "parsl_context.context_app", (), True),
        ),
    ],
)
def test_names_are_said_as_the_file_says_them(given, context, app, imported, imports_package):
    found = said(**given)
    assert (found.context, found.context_app, found.imported, found.imports_package) == (
        context,
        app,
        imported,
        imports_package,
    )


@pytest.mark.parametrize(
    "given",
    [
        {"variables": ["context", "parsl_context"]},
        {"below": "context = 1\nparsl_context = 2"},
        {"taken": ["context", "parsl_context"]},
    ],
)
def test_where_both_names_mean_something_else_it_cannot_be_said(given):
    assert said(**given) is None
