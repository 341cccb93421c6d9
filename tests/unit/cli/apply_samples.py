"""Files before and after `--apply` of their function ``f``, and calls of it."""

SAMPLES = {}  # name: (before, after, arguments of calls, words of the notes)


def sample(name, before, after, *calls, notes=()):
    SAMPLES[name] = before.lstrip("\n"), after.lstrip("\n"), calls, notes


sample(
    "a python_app",
    """
from parsl import python_app


@python_app
def f(x):
    words = "a b c".split()
    return words[x]
""",
    """
from parsl import python_app
from parsl_context import context, context_app


@context_app
def f(x):
    with context:
        words = "a b c".split()
    return words[x]
""",
    (0,),
    (2,),
    (5,),
)

sample(
    "comments, blank lines and a docstring",
    '''
"""A script."""

# Imports.
import parsl

# What follows is no import.
LIMIT = 3


# An app.
@parsl.python_app  # Parsl's
def f(x):  # of x
    """Look a word up.

    Slowly.
    """

    # First the words,
    # which are many.
    words = "a b c".split()  # three

    # Then the number of each.
    numbers = {
        word: number  # in their order
        for number, word in enumerate(words)

        # all of them
    }

    # Now the call.
    return numbers[words[x]]  # it is x

    # That is all.
# The end.
''',
    '''
"""A script."""

# Imports.
import parsl
from parsl_context import context, context_app

# What follows is no import.
LIMIT = 3


# An app.
@context_app  # Parsl's
def f(x):  # of x
    """Look a word up.

    Slowly.
    """

    with context:
        # First the words,
        # which are many.
        words = "a b c".split()  # three

        # Then the number of each.
        numbers = {
            word: number  # in their order
            for number, word in enumerate(words)

            # all of them
        }

    # Now the call.
    return numbers[words[x]]  # it is x

    # That is all.
# The end.
''',
    (0,),
    (3,),
)

sample(
    "line ends of another system, and tabs",
    "import parsl\r\n\r\n@parsl.python_app\r\ndef f(x):\r\n\tt = [\r\n\t\t1,\r\n\t\t2,\r\n\t]\r\n"
    "\tif x:\r\n\t\treturn t[x]\r\n\treturn t[0]\r\n",
    "import parsl\r\nfrom parsl_context import context, context_app\r\n\r\n@context_app\r\ndef f(x):\r\n"
    "\twith context:\r\n\t\tt = [\r\n\t\t\t1,\r\n\t\t\t2,\r\n\t\t]\r\n\tif x:\r\n\t\treturn t[x]\r\n\treturn t[0]\r\n",
    (0,),
    (1,),
)

sample(
    "two spaces, no line feed at the end, and another function in between",
    """
import parsl
@parsl.python_app
def g(x):
    return x
@parsl.python_app
def f(x):
  t = sorted(["b", "a"])
  return t[x]""",
    """
import parsl
from parsl_context import context, context_app


@parsl.python_app
def g(x):
    return x
@context_app
def f(x):
  with context:
    t = sorted(["b", "a"])
  return t[x]""",
    (0,),
)

sample(
    "arguments of the decorator by name",
    """
import parsl
from parsl import python_app
LABELS = ["a"]

@python_app(
    executors=LABELS,  # where
    cache=True,
    ignore_for_cache=["y"],
)
def f(x, y=1):
    t = sorted([3, 1])
    return t[x] * y
""",
    """
import parsl
from parsl import python_app
from parsl_context import context, context_app

LABELS = ["a"]

@context_app(
    executors=LABELS,  # where
    cache=True,
    ignore_for_cache=["y"],
)
def f(x, y=1):
    with context:
        t = sorted([3, 1])
    return t[x] * y
""",
    (1,),
    (1, 3),
)

sample(
    "arguments of the decorator by position",
    """
import parsl

@parsl.python_app(None, None, True, ["a"], **{"ignore_for_cache": None})
def f(x):
    t = sorted([3, 1])
    return t[x]
""",
    """
import parsl
from parsl_context import context, context_app

@context_app(data_flow_kernel=None, cache=True, executors=["a"], **{"ignore_for_cache": None})
def f(x):
    with context:
        t = sorted([3, 1])
    return t[x]
""",
    (1,),
)

sample(
    "Parsl's decorator under another name",
    """
import parsl as p
from parsl.app.app import python_app as app

@app()
def f(x):
    t = sorted([3, 1])
    return t[x]
""",
    """
import parsl as p
from parsl.app.app import python_app as app
from parsl_context import context, context_app

@context_app
def f(x):
    with context:
        t = sorted([3, 1])
    return t[x]
""",
    (1,),
)

sample(
    "a context that was found, with other options",
    """
from parsl_context import context_app

@context_app(cache=True, discover=True, executors=["a"], check=3)
def f(x):
    t = sorted([3, 1])
    return t[x]
""",
    """
from parsl_context import context, context_app

@context_app(cache=True, executors=["a"])
def f(x):
    with context:
        t = sorted([3, 1])
    return t[x]
""",
    (1,),
    notes=("A build that fails is an error now", "check= is gone"),
)

sample(
    "a context that was found, in several lines",
    """
from parsl_context import (
    ContextExecutor,  # for later
    context_app,
    split,
)

@context_app(
    executors="all",
    discover=True,
)
def f(x):
    t = sorted([3, 1])
    return t[x]
""",
    """
from parsl_context import (
    ContextExecutor,  # for later
    context,
    context_app,
    split,
)

@context_app(
    executors="all",
)
def f(x):
    with context:
        t = sorted([3, 1])
    return t[x]
""",
    (1,),
    notes=("A build that fails is an error now",),
)

sample(
    "names of ours under other names",
    """
from parsl_context import context as shared, context_app as app

@app(discover=True)
def f(x):
    t = sorted([3, 1])
    return t[x]
""",
    """
from parsl_context import context as shared, context_app as app

@app
def f(x):
    with shared:
        t = sorted([3, 1])
    return t[x]
""",
    (1,),
    notes=("A build that fails is an error now",),
)

sample(
    "the package under another name",
    """
import parsl_context as pc

@pc.context_app(discover=True)
def f(x):
    t = sorted([3, 1])
    return t[x]
""",
    """
import parsl_context as pc

@pc.context_app
def f(x):
    with pc.context:
        t = sorted([3, 1])
    return t[x]
""",
    (1,),
    notes=("A build that fails is an error now",),
)

sample(
    "another context in the file",
    """
import parsl
from decimal import Context

context = Context()

@parsl.python_app
def f(x):
    t = sorted([3, 1])
    return t[x]
""",
    """
import parsl
from decimal import Context
import parsl_context

context = Context()

@parsl_context.context_app
def f(x):
    with parsl_context.context:
        t = sorted([3, 1])
    return t[x]
""",
    (1,),
)

sample(
    "another context in the function",
    """
from parsl_context import context_app

@context_app(discover=True)
def f(context):
    t = sorted([3, 1])
    return t[context]
""",
    """
from parsl_context import context_app
import parsl_context

@context_app
def f(context):
    with parsl_context.context:
        t = sorted([3, 1])
    return t[context]
""",
    (1,),
    notes=("A build that fails is an error now",),
)

sample(
    "guards, imports and constants",
    '''
import parsl

@parsl.python_app
def f(x):
    """Doc."""
    import json
    import re

    if x is None:
        raise ValueError("none")
    size = 4
    name = "rest"
    seen = []
    # Powers.
    table = [2**i for i in range(size)]
    assert x >= 0, "negative"

    text = re.sub("a", "b", "banana")
    import math
    seen.append(x)
    return json.dumps([table[x], len(text), name, seen, size, math.floor(2.5)])
''',
    '''
import parsl
from parsl_context import context, context_app

@context_app
def f(x):
    """Doc."""
    with context:
        import json
        import re
        size = 4
        # Powers.
        table = [2**i for i in range(size)]

        text = re.sub("a", "b", "banana")

    if x is None:
        raise ValueError("none")
    name = "rest"
    seen = []
    assert x >= 0, "negative"
    import math
    seen.append(x)
    return json.dumps([table[x], len(text), name, seen, size, math.floor(2.5)])
''',
    (1,),
    (None,),
    (-1,),
    notes=("Line 9, a guard", "Line 13 ran before", "Line 16, a guard"),
)

sample(
    "a guard first",
    '''
import parsl

@parsl.python_app
def f(x):
    """Doc."""

    if x is None:
        return None

    t = sorted([3, 1])

    return t[x]
''',
    '''
import parsl
from parsl_context import context, context_app

@context_app
def f(x):
    """Doc."""

    with context:
        t = sorted([3, 1])

    if x is None:
        return None

    return t[x]
''',
    (1,),
    (None,),
    notes=("Line 7, a guard, ran before line 10",),
)

sample(
    "several statements in a line",
    """
import parsl

@parsl.python_app
def f(x):
    import re; a = "x"; pattern = re.compile("a+"); b = 2  # all of it
    return pattern.findall(a * b + x)
""",
    """
import parsl
from parsl_context import context, context_app

@context_app
def f(x):
    with context:
        import re
        pattern = re.compile("a+")
    a = "x"
    b = 2  # all of it
    return pattern.findall(a * b + x)
""",
    ("aa",),
)

sample(
    "a function in one line",
    """
import parsl
@parsl.python_app
def f(x): t = sorted([3, 1]); return t[x]  # short
""",
    """
import parsl
from parsl_context import context, context_app


@context_app
def f(x):  # short
    with context:
        t = sorted([3, 1])
    return t[x]
""",
    (1,),
)

sample(
    "long statements and texts",
    '''
import parsl

@parsl.python_app
def f(x):
    text = """
  a
        b
    """.strip().split("""
""")
    total = 1 + \\
        len(text)
    lines = (
        ["-"]
        + text
  + ["-"]
    )
    return len(text), lines[x], total + 0
''',
    '''
import parsl
from parsl_context import context, context_app

@context_app
def f(x):
    with context:
        text = """
  a
        b
    """.strip().split("""
""")
        total = 1 + \\
            len(text)
        lines = (
            ["-"]
            + text
  + ["-"]
        )
    return len(text), lines[x], total + 0
'''.replace("            len(text)", "        len(text)"),
    (1,),
)

sample(
    "annotations, and parameters of each kind",
    """
from __future__ import annotations

from typing import Any
import parsl

@parsl.python_app
def f(x: int, /, y: Any = 2, *rest: int, z: int = 3, **others: Any) -> list[Any]:
    table: dict[str, int] = dict(a=1)
    return [table["a"], x, y, rest, z, sorted(others)]
""",
    """
from __future__ import annotations

from typing import Any
import parsl
from parsl_context import context, context_app

@context_app
def f(x: int, /, y: Any = 2, *rest: int, z: int = 3, **others: Any) -> list[Any]:
    with context:
        table: dict[str, int] = dict(a=1)
    return [table["a"], x, y, rest, z, sorted(others)]
""",
    (1,),
    (1, 2, 3),
)

sample(
    "others of the same name",
    """
import parsl

class Held:
    def f(self, x):
        t = sorted([3, 1])
        return t[x]

def g():
    def f(x):
        t = sorted([3, 1])
        return t[x]

@parsl.python_app
def f(x):
    t = sorted([3, 1])
    return t[x]
""",
    """
import parsl
from parsl_context import context, context_app

class Held:
    def f(self, x):
        t = sorted([3, 1])
        return t[x]

def g():
    def f(x):
        t = sorted([3, 1])
        return t[x]

@context_app
def f(x):
    with context:
        t = sorted([3, 1])
    return t[x]
""",
    (1,),
)

sample(
    "a plain function in a file without imports",
    """
#!/usr/bin/env python
# For the file.

# For the function.
def f(x):
    t = sorted([3, 1])
    return t[x]
""",
    """
#!/usr/bin/env python
# For the file.

from parsl_context import context, context_app


# For the function.
@context_app
def f(x):
    with context:
        t = sorted([3, 1])
    return t[x]
""",
    (1,),
    notes=("f is an app now",),
)

sample(
    "a plain function below a docstring",
    '''
"""A script."""
def f(x):
    t = sorted([3, 1])
    return t[x]
''',
    '''
"""A script."""

from parsl_context import context, context_app


@context_app
def f(x):
    with context:
        t = sorted([3, 1])
    return t[x]
''',
    (1,),
    notes=("f is an app now",),
)

sample(
    "what is set up in place",
    """
import parsl

@parsl.python_app
def f(x):
    rows = [3, 1, 2]
    rows.sort()
    rows[0] = 9
    rows += [4]
    first, last = rows[0], rows[-1]
    return rows[x], first + 0, last + 0
""",
    """
import parsl
from parsl_context import context, context_app

@context_app
def f(x):
    with context:
        rows = [3, 1, 2]
        rows.sort()
        rows[0] = 9
        rows += [4]
        first, last = rows[0], rows[-1]
    return rows[x], first + 0, last + 0
""",
    (1,),
)

sample(
    "a name of the encoding and letters of it",
    """
# -*- coding: latin-1 -*-
import parsl

@parsl.python_app
def f(x):
    words = "é ü".split()
    return words[x]
""",
    """
# -*- coding: latin-1 -*-
import parsl
from parsl_context import context, context_app

@context_app
def f(x):
    with context:
        words = "é ü".split()
    return words[x]
""",
    (1,),
)

sample(
    "what a module of the user's may bind anew",
    """
import parsl

@parsl.python_app
def f(x):
    from settings import SIZE, TABLE, build  # ours
    from json import dumps
    from shapes import square
    rows = build(SIZE)
    return dumps([rows[x], square(x), SIZE, TABLE])
""",
    """
import parsl
from parsl_context import context, context_app

@context_app
def f(x):
    with context:
        from settings import SIZE, TABLE, build  # ours
        from json import dumps
        from shapes import square
        rows = build(SIZE)
    from settings import SIZE, TABLE, build  # ours
    return dumps([rows[x], square(x), SIZE, TABLE])
""",
    (1,),
    notes=("Line 5 is in both halves",),
)

sample(
    "a name of ours that is imported without being named",
    """
import parsl
from others import *

@parsl.python_app
def f(x):
    t = sorted([3, 1])
    return t[x]
""",
    """
import parsl
from others import *
import parsl_context

@parsl_context.context_app
def f(x):
    with parsl_context.context:
        t = sorted([3, 1])
    return t[x]
""",
    (1,),
)

sample(
    "names of ours that are imported below",
    """
import parsl

@parsl.python_app
def f(x):
    t = sorted([3, 1])
    return t[x]

from parsl_context import split
""",
    """
import parsl
from parsl_context import context, context_app

@context_app
def f(x):
    with context:
        t = sorted([3, 1])
    return t[x]

from parsl_context import split
""",
    (1,),
)

sample(
    "a parameter that is named as what is imported",
    """
from parsl_context import context, context_app

@context_app(discover=True)
def f(context):
    t = sorted([3, 1])
    return t[context]
""",
    """
from parsl_context import context, context_app
import parsl_context

@context_app
def f(context):
    with parsl_context.context:
        t = sorted([3, 1])
    return t[context]
""",
    (1,),
    notes=("A build that fails is an error now",),
)

sample(
    "a name that is bound twice, and another decorator",
    """
import parsl

def f(x):
    return x

def register(function):
    function.old = f
    return function

@parsl.python_app
@register
def f(x):
    t = sorted([3, 1])
    return t[x]
""",
    """
import parsl
from parsl_context import context, context_app

def f(x):
    return x

def register(function):
    function.old = f
    return function

@context_app
@register
def f(x):
    with context:
        t = sorted([3, 1])
    return t[x]
""",
    (1,),
)


sample(
    "a function that both halves call",
    """
from parsl import python_app


@python_app
def f(x):
    x = str(x)
    stop = set("ab")

    def kept(text):
        return [c for c in text if c not in stop]

    rows = [kept(text) for text in ("abc", "bcd")]
    return len(rows[0]), kept(x)
""",
    """
from parsl import python_app
from parsl_context import context, context_app


@context_app
def f(x):
    with context:
        stop = set("ab")

        def kept(text):
            return [c for c in text if c not in stop]

        rows = [kept(text) for text in ("abc", "bcd")]
    x = str(x)
    return len(rows[0]), kept(x)
""",
    ("abc",),
    (12,),
    notes=("and runs after the block now",),
)
