"""Looking for a context costs about as much per statement in a long function as in a short one: counted, not timed."""

import linecache
import sys
from pathlib import Path

import pytest

import parsl_context.discover
from parsl_context.discover.automatic import split_by_itself

PLACE = str(Path(parsl_context.discover.__file__).parent)
BLOCK = """
    table{i} = [v * {i} for v in range(9)]
    index{i} = {{v: k for k, v in enumerate(table{i})}}
    seen{i} = []
    for k in range(3):
        seen{i}.append(table{i}[k] + x)
    try:
        part{i} = index{i}[x]
    except KeyError:
        part{i} = sorted(seen{i}, key=lambda v: -v)[0]
    total += part{i} if part{i} > {i} else len(table{i})
"""


def function(body, name):
    text = f"def app(x):\n    total = 0\n{body}\n    return total\n"
    file = f"<growth {name}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    names = {"__name__": __name__}
    exec(compile(text, file, "exec"), names)
    return names["app"]


def calls(app):
    """How many functions of ours are called to split one."""
    split_by_itself(function(BLOCK.format(i=0), "first"))  # what is imported only once
    count = 0

    def seen(frame, event, arg):
        nonlocal count
        count += event == "call" and frame.f_code.co_filename.startswith(PLACE)

    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        found = split_by_itself(app)
    finally:
        sys.setprofile(before)
    assert found.names
    return count


def repeated(count):
    return function("".join(BLOCK.format(i=i) for i in range(count)), count)


@pytest.mark.parametrize("count", [3, 10])
def test_it_grows_with_statements(count):
    assert calls(repeated(4 * count)) < 5 * calls(repeated(count))
