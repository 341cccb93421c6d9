"""Functions and classes are digested by what they do: code, defaults, closure, and the globals they use."""

import functools
import json
import logging

import pytest

from parsl_context.content.digests import digest_content
from tests.unit.builders import script, user_module


def digest_of(source, name="load", **names):
    return digest_content(script(source, name, **names))


CHANGES = {
    "constant": ("def load(): return 1", "def load(): return 2"),
    "type of a constant": ("def load(): return 1", "def load(): return 1.0"),
    "operation": ("def load(x): return x + 1", "def load(x): return x - 1"),
    "called name": ("def load(x): return len(x)", "def load(x): return max(x)"),
    "attribute": ("def load(x): return x.a", "def load(x): return x.b"),
    "default": ("def load(x=1): return x", "def load(x=2): return x"),
    "keyword default": ("def load(*, x=1): return x", "def load(*, x=2): return x"),
    "many arguments": ("def load(x): return x", "def load(*x): return x"),
    "keyword arguments": ("def load(x): return x", "def load(**x): return x"),
    "keyword-only": ("def load(x, y=1): return x", "def load(x, *, y=1): return x"),
    "nested function": ("def load(): return lambda: 1", "def load(): return lambda: 2"),
    "used global": ("SIZE = 1\ndef load(): return SIZE", "SIZE = 2\ndef load(): return SIZE"),
    "global that appears": ("def load(): return SIZE", "SIZE = 2\ndef load(): return SIZE"),
    "global of a nested function": (
        "SIZE = 1\ndef load(): return lambda: SIZE",
        "SIZE = 2\ndef load(): return lambda: SIZE",
    ),
    "helper": ("def help(): return 1\ndef load(): help()", "def help(): return 2\ndef load(): help()"),
    "helper of a helper": (
        "def a(): return 1\ndef b(): return a()\ndef load(): return b()",
        "def a(): return 2\ndef b(): return a()\ndef load(): return b()",
    ),
    "method": (
        "class Model:\n  def run(self): return 1\ndef load(): return Model()",
        "class Model:\n  def run(self): return 2\ndef load(): return Model()",
    ),
    "inherited method": (
        "class Base:\n  def run(self): return 1\nclass Model(Base): pass\ndef load(): return Model()",
        "class Base:\n  def run(self): return 2\nclass Model(Base): pass\ndef load(): return Model()",
    ),
    "attribute of a class": ("class load: size = 1", "class load: size = 2"),
    "property": (
        "class load:\n  @property\n  def size(self): return 1",
        "class load:\n  @property\n  def size(self): return 2",
    ),
    "cached property": (
        "import functools\nclass load:\n  @functools.cached_property\n  def size(self): return 1",
        "import functools\nclass load:\n  @functools.cached_property\n  def size(self): return 2",
    ),
    "abstract class": (
        "import abc\nclass load(abc.ABC):\n  def run(self): return 1",
        "import abc\nclass load(abc.ABC):\n  def run(self): return 2",
    ),
    "data class": (
        "import dataclasses\n@dataclasses.dataclass\nclass load:\n  size: int = 1",
        "import dataclasses\n@dataclasses.dataclass\nclass load:\n  size: int = 2",
    ),
    "slots": ("class load:\n  __slots__ = ('a',)", "class load:\n  __slots__ = ('b',)"),
    "value of an object": (
        "class Box:\n  def __init__(self, x): self.x = x\nload = Box(1)",
        "class Box:\n  def __init__(self, x): self.x = x\nload = Box(2)",
    ),
    "value in a slot": (
        "class Box:\n  __slots__ = ('x',)\nload = Box()\nload.x = 1",
        "class Box:\n  __slots__ = ('x',)\nload = Box()\nload.x = 2",
    ),
    "bound method": (
        "class Box:\n  def __init__(self, x): self.x = x\n  def get(self): return self.x\nload = Box(1).get",
        "class Box:\n  def __init__(self, x): self.x = x\n  def get(self): return self.x\nload = Box(2).get",
    ),
    "partial argument": (
        "import functools\ndef f(x): return x\nload = functools.partial(f, 1)",
        "import functools\ndef f(x): return x\nload = functools.partial(f, 2)",
    ),
    "closure": (
        "def outer(x):\n  def load(): return x\n  return load\nload = outer(1)",
        "def outer(x):\n  def load(): return x\n  return load\nload = outer(2)",
    ),
    "decorated function": (
        "def d(f):\n  def g(): return f()\n  return g\n@d\ndef load(): return 1",
        "def d(f):\n  def g(): return f()\n  return g\n@d\ndef load(): return 2",
    ),
}


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES.keys())
def test_changed_code_of_the_same_name_has_another_digest(before, after):
    assert digest_of(before) == digest_of(before)
    assert digest_of(before) == digest_of("\n\n# moved down\n" + before)
    assert digest_of(before) != digest_of(after)


def test_globals_that_are_not_used_do_not_count():
    source = "def load(x): return x.lock"
    assert digest_of(source) == digest_of(source, other=1) == digest_of(source, lock=2)


def test_globals_that_cannot_be_pickled_count_by_their_kind():
    """Where they do no harm (in threads of one process), a digest must not stand in the way."""
    source = "import threading, logging\nlock = threading.Lock()\nlog = logging.getLogger('me')\n"
    use = "def load(): \n  with lock: log.info('loading')"
    assert digest_of(source + use) == digest_of(source + use) != digest_of("lock = log = None\n" + use)


def test_functions_that_call_each_other_have_digests():
    source = "def even(n): return n == 0 or odd(n - 1)\ndef odd(n): return n != 0 and even(n - {})"
    assert digest_of(source.format(1), "even") == digest_of(source.format(1), "even")
    assert digest_of(source.format(1), "even") != digest_of(source.format(2), "even")


def test_a_class_that_knows_itself_has_a_digest():
    source = "class load:\n  def copy(self): return load()\n  def base(self): return super().copy()"
    assert digest_of(source) == digest_of(source)


@pytest.mark.parametrize(
    ("before", "after", "expression"),
    [
        ("def load(): return 1", "def load(): return 2", "load"),
        ("SIZE = 1\ndef load(): return SIZE", "SIZE = 2\ndef load(): return SIZE", "load"),
        ("def f(x): return 1", "def f(x): return 2", "functools.partial(f, 3)"),
        ("class Model: size = 1", "class Model: size = 2", "Model()"),
        ("class Model: size = 1", "class Model: size = 2", "[{'model': Model}]"),
    ],
)
def test_code_beside_the_script_counts_by_its_content(tmp_path, before, after, expression):
    digests = []
    for number, source in enumerate((before, before + "\nunused = 1", after)):
        folder = tmp_path / str(number)
        folder.mkdir()
        with user_module(folder, source, "beside_the_script") as module:
            digests.append(digest_content(eval(expression, {**vars(module), "functools": functools})))
    assert digests[0] == digests[1] != digests[2]


def test_functions_used_by_way_of_their_module_count(tmp_path):
    """`helper.size()` as well as `from helper import size`."""
    with user_module(tmp_path, "def size(): return 1\nother = 1", "user_helper") as helper:
        load = script("def load(): return user_helper.size()", "load", user_helper=helper)
        before = digest_content(load)
        helper.other = 2
        assert digest_content(load) == before
        helper.size = script("def size(): return 2", "size")
        assert digest_content(load) != before


def test_installed_code_counts_by_its_name_and_own_code():
    assert digest_content(json.dumps) == digest_content(json.dumps) != digest_content(json.loads)
    assert digest_content(logging.Logger) == digest_content(logging.Logger) != digest_content(logging.Handler)


def test_functions_of_one_code_are_told_apart_where_they_stand():
    source = "def add(n): return lambda x: x + n\nload = [add({}), add({})]"
    assert digest_of(source.format(1, 2)) != digest_of(source.format(2, 1))
    assert digest_of(source.format(1, 1)) == digest_of("def add(n): return lambda x: x + n\nload = [add(1)] * 2")
