"""Which contents are the same, as a table: each side is a script, and what counts is its `load`.

Lists of what must differ grow by what was found to be equal; of what must be equal, by what was found to differ.
"""

import pytest

from parsl_context.content.digests import digest_content
from tests.unit.builders import script

SUBCLASS = "class Kind({}):\n  pass\nload = Kind({})\nload.unit = {!r}"
ARRAY = "import numpy as np\nload = "
ENUM = "import enum\nclass Kind(enum.{}):\n  A = 1\n  B = 2\n"
CALLABLE = "class Step:\n  def __init__(self, n): self.n = n\n  def __call__(self): return self.n\nload = Step({})"
TYPED = "class Meta(type):\n  def __call__(cls): return {}\nclass load(metaclass=Meta): pass"
DESCRIBED = "class load:\n  def size(self): return {}\n  size = {}(size)"
CAST = "load = memoryview(bytes(8)){}"
LRU = "import functools\n@functools.lru_cache({})\ndef help(n): return {}\ndef load(): return help(1)"
HOLDER = "import threading\nsettings = {{'size': {}, 'lock': threading.Lock()}}\ndef load(): return settings['size']"
CLIENT = (
    "import threading\nclass Client:\n  def __init__(self, url): self.url, self.lock = url, threading.Lock()\n"
    "client = Client({!r})\ndef load(): return client.url"
)
DISPATCH = (
    "import functools\n@functools.singledispatch\ndef size(x): return 0\n"
    "@size.register\ndef _(x: int): return {}\ndef load(): return size(1)"
)

DISPATCH_METHOD = (
    "import functools\nclass load:\n  @functools.singledispatchmethod\n  def size(self, x): return 0\n"
    "  @size.register\n  def _(self, x: int): return {}"
)
PROXY = (
    "class Proxy:\n  def __init__(self, f): self.f = f\n  __class__ = property(lambda self: type(self.f))\n"
    "  def __getattr__(self, name): return getattr(self.f, name)\n  def __call__(self): return {}\n"
    "def f(): return 0\nload = Proxy(f)"
)

DIFFERENT = {
    # values
    "order of a dict": ("load = {'scale': 1, 'pca': 2}", "load = {'pca': 2, 'scale': 1}"),
    "order of a dict within a tuple": ("load = ({'a': [1], 'b': 2},)", "load = ({'b': 2, 'a': [1]},)"),
    "order of an OrderedDict": (
        "import collections\nload = collections.OrderedDict(a=1, b=2)",
        "import collections\nload = collections.OrderedDict(b=2, a=1)",
    ),
    "order of attributes": (
        "import argparse\nload = argparse.Namespace(a=1, b=2)",
        "import argparse\nload = argparse.Namespace(b=2, a=1)",
    ),
    "a bool and a number": ("load = True", "load = 1"),
    "a whole number and a real one": ("load = 1", "load = 1.0"),
    "a bool and a number as keys": ("load = {True: 'a'}", "load = {1: 'a'}"),
    "the sign of zero": ("load = 0.0", "load = -0.0"),
    "the sign of an imaginary zero": ("load = complex(1, 0.0)", "load = complex(1, -0.0)"),
    "the sign of what is no number": ("load = float('nan')", "load = -float('nan')"),
    "no number and infinity": ("load = float('nan')", "load = float('inf')"),
    "very large numbers": ("load = 10**5000", "load = 10**5000 + 1"),
    "text and bytes": ("load = 'a'", "load = b'a'"),
    "text and its representation": ("load = 'a'", "load = repr('a')"),
    "list and tuple": ("load = [1]", "load = (1,)"),
    "set and frozenset": ("load = {1}", "load = frozenset({1})"),
    "items of a set": ("load = {1, 2}", "load = {1, 3}"),
    "where lists end": ("load = [[1], [2]]", "load = [[1, 2], []]"),
    "a text and its subclass": ("load = 'a'", "class Kind(str): pass\nload = Kind('a')"),
    "attribute of a text": (SUBCLASS.format("str", "'a'", "m"), SUBCLASS.format("str", "'a'", "km")),
    "attribute of a whole number": (SUBCLASS.format("int", "1", "m"), SUBCLASS.format("int", "1", "km")),
    "attribute of a real number": (SUBCLASS.format("float", "1", "m"), SUBCLASS.format("float", "1", "km")),
    "attribute of a complex number": (SUBCLASS.format("complex", "1", "m"), SUBCLASS.format("complex", "1", "km")),
    "attribute of bytes": (SUBCLASS.format("bytes", "b'a'", "m"), SUBCLASS.format("bytes", "b'a'", "km")),
    "attribute of a tuple": (SUBCLASS.format("tuple", "[1]", "m"), SUBCLASS.format("tuple", "[1]", "km")),
    "attribute of a set": (SUBCLASS.format("set", "[1]", "m"), SUBCLASS.format("set", "[1]", "km")),
    "attribute of a dict": (SUBCLASS.format("dict", "a=1", "m"), SUBCLASS.format("dict", "a=1", "km")),
    "text that masks itself": (
        "class Secret(str):\n  def __repr__(self): return '***'\nload = Secret('one')",
        "class Secret(str):\n  def __repr__(self): return '***'\nload = Secret('two')",
    ),
    "number that masks itself": (
        "class Secret(int):\n  def __repr__(self): return '***'\nload = Secret(1)",
        "class Secret(int):\n  def __repr__(self): return '***'\nload = Secret(2)",
    ),
    "subclasses of one name": (
        "class Kind(int):\n  def half(self): return 1\nload = Kind(1)",
        "class Kind(int):\n  def half(self): return 2\nload = Kind(1)",
    ),
    "member of an Enum": (ENUM.format("Enum") + "load = Kind.A", ENUM.format("Enum") + "load = Kind.B"),
    "member of an IntEnum": (ENUM.format("IntEnum") + "load = Kind.A", ENUM.format("IntEnum") + "load = 1"),
    "value of a member": (
        "import enum\nload = enum.IntEnum('Kind', {'A': 1}, module='__main__').A",
        "import enum\nload = enum.IntEnum('Kind', {'A': 1, 'B': 2}, module='__main__').A",
    ),
    "order of members": (
        "import enum\nclass load(enum.Enum):\n  A = 1\n  B = 2",
        "import enum\nclass load(enum.Enum):\n  B = 2\n  A = 1",
    ),
    "flags": (ENUM.format("Flag") + "load = Kind.A", ENUM.format("Flag") + "load = Kind.A | Kind.B"),
    "mappingproxy": (
        "import types\nload = types.MappingProxyType({'a': 1})",
        "import types\nload = types.MappingProxyType({'a': 2})",
    ),
    "order of a mappingproxy": (
        "import types\nload = types.MappingProxyType({'a': 1, 'b': 2})",
        "import types\nload = types.MappingProxyType({'b': 2, 'a': 1})",
    ),
    "type of an array": ("import array\nload = array.array('i', [1])", "import array\nload = array.array('l', [1])"),
    "format of a view": (CAST.format(""), CAST.format(".cast('i')")),
    "shape of a view": (CAST.format(".cast('B', [2, 4])"), CAST.format(".cast('B', [4, 2])")),
    "bytes of a view": ("load = memoryview(b'a')", "load = memoryview(b'b')"),
    "order of memory of an array": (ARRAY + "np.ones((2, 3))", ARRAY + "np.ones((2, 3), order='F')"),
    "byte order of an array": (ARRAY + "np.ones(3, dtype='<i4')", ARRAY + "np.ones(3, dtype='>i4')"),
    "zeros of an array": (ARRAY + "np.array([0.0])", ARRAY + "np.array([-0.0])"),
    "objects of an array": (ARRAY + "np.array([1, None])", ARRAY + "np.array([1.0, None])"),
    "fields of an array": (
        ARRAY + "np.zeros(1, dtype=[('a', 'i4'), ('b', 'i4')])",
        ARRAY + "np.zeros(1, dtype=[('b', 'i4'), ('a', 'i4')])",
    ),
    "values between padding": (
        ARRAY + "np.zeros(1, dtype=np.dtype([('a', 'i1'), ('b', 'i8')], align=True))",
        ARRAY + "np.ones(1, dtype=np.dtype([('a', 'i1'), ('b', 'i8')], align=True))",
    ),
    "padding itself": (
        ARRAY + "np.zeros(1, dtype=np.dtype([('a', 'i1'), ('b', 'i8')], align=True))",
        ARRAY + "np.zeros(1, dtype=[('a', 'i1'), ('b', 'i8')])",
    ),
    "state of a generator of numbers": (
        ARRAY + "np.random.default_rng(1)",
        ARRAY + "np.random.default_rng(1)\nload.random()",
    ),
    "callable object": (CALLABLE.format(1), CALLABLE.format(2)),
    "state in several slots": (
        "class Box:\n  __slots__ = ('a', 'b')\nload = Box()\nload.a, load.b = 1, 2",
        "class Box:\n  __slots__ = ('a', 'b')\nload = Box()\nload.a, load.b = 2, 1",
    ),
    "how state is set": (
        "def put(box, state): box.x = 1\nclass Box:\n  def __reduce__(self): return Box, (), 1, None, None, put\n"
        "load = Box()",
        "def put(box, state): box.x = 2\nclass Box:\n  def __reduce__(self): return Box, (), 1, None, None, put\n"
        "load = Box()",
    ),
    "method set on an object": (
        "class Box:\n  def run(self): return 1\nload = Box()",
        "class Box:\n  def run(self): return 1\nload = Box()\nload.run = lambda: 2",
    ),
    "functions of one name in two modules": ("import math\nload = math.sin", "import cmath\nload = cmath.sin"),
    "order of arguments of a partial": (
        "import functools\nload = functools.partial(dict, a=1, b=2)",
        "import functools\nload = functools.partial(dict, b=2, a=1)",
    ),
    # code
    "statement within a one-line try": (
        "def load(f, g):\n  f(); g()\n  try: pass\n  except ValueError: return 1",
        "def load(f, g):\n  f()\n  try: g()\n  except ValueError: return 1",
    ),
    "statement moved into a try": (
        "def load(f, g):\n  f()\n  try: g()\n  except ValueError: pass",
        "def load(f, g):\n  try: f(); g()\n  except ValueError: pass",
    ),
    "coroutine of the old kind": (
        "def load(): yield 1",
        "import types\n@types.coroutine\ndef load(): yield 1",
    ),
    "attribute of a function": ("def load(): return 1\nload.mode = 1", "def load(): return 1\nload.mode = 2"),
    "attribute of a helper": (
        "def help(): return help.mode\nhelp.mode = 1\ndef load(): return help()",
        "def help(): return help.mode\nhelp.mode = 2\ndef load(): return help()",
    ),
    "annotation": ("def load(x: int): return x", "def load(x: str): return x"),
    "name that was set": ("def load(): return 1", "def load(): return 1\nload.__name__ = 'other'"),
    "text that was set": ("def load(): return 1", "def load(): return 1\nload.__doc__ = 'other'"),
    "what functools.wraps wraps": (
        "import functools\ndef f(x=1): pass\n@functools.wraps(f)\ndef load(*args): pass",
        "import functools\ndef f(x=2): pass\n@functools.wraps(f)\ndef load(*args): pass",
    ),
    "function under lru_cache": (LRU.format(9, 1), LRU.format(9, 2)),
    "size of lru_cache": (LRU.format(8, 1), LRU.format(9, 1)),
    "context function under lru_cache": (
        "import functools\n@functools.cache\ndef load(): return 1",
        "import functools\n@functools.cache\ndef load(): return 2",
    ),
    "function under contextmanager": (
        "import contextlib\n@contextlib.contextmanager\ndef load(): yield 1",
        "import contextlib\n@contextlib.contextmanager\ndef load(): yield 2",
    ),
    "function of singledispatch": (DISPATCH.format(1), DISPATCH.format(2)),
    "function of singledispatchmethod": (DISPATCH_METHOD.format(1), DISPATCH_METHOD.format(2)),
    "what a proxy does": (PROXY.format(1), PROXY.format(2)),
    "settings beside a lock": (HOLDER.format(1), HOLDER.format(2)),
    "state of an object with a lock": (CLIENT.format("a"), CLIENT.format("b")),
    "closure of two variables": (
        "def outer(a, b):\n  def load(): return a, b\n  return load\nload = outer(1, 2)",
        "def outer(a, b):\n  def load(): return a, b\n  return load\nload = outer(2, 1)",
    ),
    # classes
    "metaclass": (TYPED.format(1), TYPED.format(2)),
    "with and without a metaclass": (
        "class Meta(type): pass\nclass load: pass",
        "class Meta(type): pass\nclass load(metaclass=Meta): pass",
    ),
    "text of a class": ("class load: 'one'", "class load: 'two'"),
    "order of members of a class": ("class load:\n  a = 1\n  b = 2", "class load:\n  b = 2\n  a = 1"),
    "attribute that a class was given": ("class load: a = 1", "class load: a = 1\nload.a = 2"),
    "order of fields": (
        "import dataclasses\n@dataclasses.dataclass(init=False)\nclass load:\n  a: int\n  b: int",
        "import dataclasses\n@dataclasses.dataclass(init=False)\nclass load:\n  b: int\n  a: int",
    ),
    "class that was made": (
        "import types\nload = types.new_class('Model', (), {}, lambda names: names.update(size=1))",
        "import types\nload = types.new_class('Model', (), {}, lambda names: names.update(size=2))",
    ),
    "data class that was made": (
        "import dataclasses\nload = dataclasses.make_dataclass('Model', [('size', int, 1)])",
        "import dataclasses\nload = dataclasses.make_dataclass('Model', [('size', int, 2)])",
    ),
    "static and class method": (DESCRIBED.format(1, "staticmethod"), DESCRIBED.format(1, "classmethod")),
    "kind of a property": (
        "class mine(property): pass\n" + DESCRIBED.format(1, "property"),
        "class mine(property): pass\n" + DESCRIBED.format(1, "mine"),
    ),
    "attribute of a property": (
        "class mine(property): unit = 1\n" + DESCRIBED.format(1, "mine"),
        "class mine(property): unit = 2\n" + DESCRIBED.format(1, "mine"),
    ),
    "text of a property": (
        "class load: size = property(len, doc='one')",
        "class load: size = property(len, doc='two')",
    ),
    "registered class": (
        "import abc\nclass load(abc.ABC): pass",
        "import abc\nclass load(abc.ABC): pass\nload.register(int)",
    ),
}

BOX = "class Box:\n  def __init__(self, x): self.x = x\n"
CACHED = (
    "import functools\nclass Box:\n  n = 1\n  @functools.cached_property\n  def size(self): return self.n\nload = Box()"
)
KEPT = (
    "import functools\nclass Box:\n  def __init__(self): self.x = 1\n  {}\n"
    "  @functools.cached_property\n  def size(self): return 2\nload = Box()"
)
COPIED = KEPT.format("def __getstate__(self): return dict(self.__dict__)")
PACKED = KEPT.format("def __getstate__(self): return [self.__dict__, {'own': self.__dict__}][1]")
ABSTRACT = (
    "import abc\nclass Base(abc.ABC):\n  @abc.abstractmethod\n  def run(self): pass\n"
    "class load(Base):\n  def run(self): pass"
)

EQUAL = {
    # values
    "sets in another order": ("load = {*'abcdefgh'}", "load = {*'hgfedcba'}"),
    "sets that collide": ("load = [{0, 8}]", "load = [{8, 0}]"),
    "subclass of set in another order": (
        "class Kind(set): pass\nload = Kind([0, 8, 16])",
        "class Kind(set): pass\nload = Kind([16, 8, 0])",
    ),
    "subclass of frozenset in another order": (
        "class Kind(frozenset): pass\nload = Kind([0, 8, 16])",
        "class Kind(frozenset): pass\nload = Kind([16, 8, 0])",
    ),
    "weak sets in another order": (
        "import weakref\nload = weakref.WeakSet([int, str, float])",
        "import weakref\nload = weakref.WeakSet([float, str, int])",
    ),
    "one object or two": ("a = [1, [2]]\nload = [a, a]", "load = [[1, [2]], [1, [2]]]"),
    "text that was put together": ("load = 'some text'", "load = ' '.join(['some', 'text'])"),
    "numbers that were computed": ("load = 10**20", "load = 10**19 * 10"),
    "dict by its literal or by keywords": ("load = {'a': 1, 'b': 2}", "load = dict(a=1, b=2)"),
    "dict that had more": ("load = {'a': 1}", "load = {'b': 2, 'a': 1}\ndel load['b']"),
    "key that was taken anew": ("load = {'a': 1, 'b': 2}", "load = {'a': 0, 'b': 2}\nload['a'] = 1"),
    "objects of one state": (BOX + "load = Box([1])", BOX + "load = Box(None)\nload.x = [1]"),
    "no numbers": ("load = [float('nan')]", "load = [float('nan')]"),
    "arrays of one content": (ARRAY + "np.arange(6)", ARRAY + "np.array([0, 1, 2, 3, 4, 5])"),
    "copies of arrays": (ARRAY + "np.ones((2, 3))", ARRAY + "np.ones((2, 3)).copy()"),
    "padding of structures": (
        ARRAY + "np.zeros(3, dtype=np.dtype([('a', 'i1'), ('b', 'i8')], align=True))",
        "import numpy as np\nmemory = np.full(48, 7, dtype='u1')\n"
        "load = memory.view(np.dtype([('a', 'i1'), ('b', 'i8')], align=True))\nload['a'] = load['b'] = 0",
    ),
    "views of one content": ("load = memoryview(b'ab')", "load = memoryview(b'xab')[1:]"),
    "functions of one library": ("import math\nload = math.sin", "from math import sin as s\nload = s"),
    "universal functions by any name": (ARRAY + "np.exp2", "from numpy import exp2 as load"),
    "a global and an equal argument": (
        BOX + "box = Box([1])\ndef f(): return box\nload = [f, box]",
        BOX + "box = Box([1])\ndef f(): return box\nload = [f, Box([1])]",
    ),
    "a table of a global and an equal argument": (
        "import collections\nbox = collections.deque([[1]])\ndef f(): return box\nload = [f, box]",
        "import collections\nbox = collections.deque([[1]])\ndef f(): return box\nload = [f, box.copy()]",
    ),
    "partials of one content": (
        "import functools\nload = functools.partial(int, base=2)",
        "import functools\nload = functools.partial(functools.partial(int), base=2)",
    ),
    "methods of equal objects": (BOX + "load = Box(1).__init__", BOX + "load = Box(1).__init__"),
    # caches
    "cached property that was read": (CACHED, CACHED + "\nload.size"),
    "cached property in a copied state": (COPIED, COPIED + "\nload.size"),
    "cached property in a state within": (PACKED, PACKED + "\nload.size"),
    "cached property of a base": (
        CACHED + "\nclass Sub(Box): pass\nload = Sub()",
        CACHED + "\nclass Sub(Box): pass\nload = Sub()\nload.size",
    ),
    "cached property of a global": (
        CACHED + "\nbox = load\ndef load(): return box",
        CACHED + "\nbox = load\nbox.size\ndef load(): return box",
    ),
    "lru_cache that was used": (LRU.format(9, 1), LRU.format(9, 1) + "\nhelp(1)"),
    "lru_cache of the context function": (
        "import functools\n@functools.cache\ndef load(): return 1",
        "import functools\n@functools.cache\ndef load(): return 1\nload()",
    ),
    "lru_cache of a method": (
        "import functools\nclass load:\n  @functools.cache\n  def run(self): return 1",
        "import functools\nclass load:\n  @functools.cache\n  def run(self): return 1\nload().run()",
    ),
    "singledispatch that was used": (DISPATCH.format(1), DISPATCH.format(1) + "\nsize('a'), size(1)"),
    "checks by isinstance": (
        ABSTRACT,
        ABSTRACT + "\nisinstance(1, Base), isinstance(load(), Base), isinstance(1, load)",
    ),
    "flags that were combined": (
        ENUM.format("Flag") + "load = Kind",
        ENUM.format("Flag") + "load = Kind\nKind.A | Kind.B",
    ),
    "members that were looked up": (ENUM.format("Enum") + "load = Kind.A", ENUM.format("Enum") + "load = Kind(1)"),
    "slots that were pickled": (
        "class load: __slots__ = ('a',)",
        "class load: __slots__ = ('a',)\nload().__reduce_ex__(4)",
    ),
    "class that was pickled": (BOX + "load = Box", BOX + "load = Box\nload(1).__reduce_ex__(4)"),
    "code that has become quick": (
        "def load(n): return sum(i * i for i in range(n))",
        "def load(n): return sum(i * i for i in range(n))\nfor _ in range(50): load(50)",
    ),
    "signature that was asked for": (
        "def load(a, b=1): return a",
        "import inspect\ndef load(a, b=1): return a\ninspect.signature(load)",
    ),
    "attributes that were asked for": (
        "import functools\nload = functools.partial(int)",
        "import functools\nload = functools.partial(int)\nvars(load)",
    ),
    "attributes of an error that were asked for": ("load = ValueError(1)", "load = ValueError(1)\nvars(load)"),
    "signature of a class": (
        "class load:\n  def __init__(self, a): pass",
        "import inspect\nclass load:\n  def __init__(self, a): pass\ninspect.signature(load)",
    ),
    "types that were asked for": (
        "class load: a: int = 1",
        "import typing\nclass load: a: int = 1\ntyping.get_type_hints(load)",
    ),
    "lock that is taken": (CLIENT.format("a"), CLIENT.format("a") + "\nclient.lock.acquire()"),
    "subclasses that were made": ("class load: pass", "class load: pass\nclass Sub(load): pass"),
    # lines and comments
    "lines above": ("def load(): return 1", "\n\n# more\n\ndef load(): return 1"),
    "comments": ("def load():\n  return 1", "def load():\n  # why\n  return 1  # how"),
    "blank lines within": ("def load(x):\n  y = x\n  return y", "def load(x):\n\n  y = x\n\n  return y"),
    "broken lines": ("def load(f, x): return f(x, x)", "def load(f, x):\n  return f(\n    x,\n    x,\n  )"),
    "one-line try": (
        "def load(f):\n  try: f()\n  except ValueError: pass",
        "def load(f):\n  try:\n    f()\n  except ValueError:\n    pass",
    ),
    "one-line try with a finally": (
        "def load(f, g):\n  try: return f()\n  finally: g()",
        "def load(f, g):\n  try:\n    return f()\n  finally:\n    g()",
    ),
    "one-line if": ("def load(x):\n  if x: return 1\n  return 2", "def load(x):\n  if x:\n    return 1\n  return 2"),
    "lines of a class": (
        "class load:\n  a = 1\n  def run(self): return self.a",
        "class load:\n\n  a = 1\n\n\n  def run(self):\n    return self.a",
    ),
    "quotes": ("def load(): return 'a'", 'def load(): return "a"'),
    "file name": ("def load(): return 1", "exec(compile('def load(): return 1', '/else/where.py', 'exec'))"),
    # what is not used
    "globals that are not used": ("def load(): return 1", "other = 2\ndef load(): return 1"),
    "order of globals": ("a = 1\nb = 2\ndef load(): return a, b", "b = 2\na = 1\ndef load(): return a, b"),
    "addresses of defaults": (
        "import dataclasses\n@dataclasses.dataclass\nclass load:\n  run: object = lambda: 1",
        "import dataclasses\n@dataclasses.dataclass\nclass load:\n  run: object = lambda: 1",
    ),
}


def digest_of(source):
    return digest_content(script(source, "load"))


@pytest.mark.parametrize(("one", "other"), DIFFERENT.values(), ids=DIFFERENT.keys())
def test_what_builds_otherwise_has_another_digest(one, other):
    assert digest_of(one) == digest_of(one)
    assert digest_of(other) == digest_of(other)
    assert digest_of(one) != digest_of(other)


@pytest.mark.parametrize(("one", "other"), EQUAL.values(), ids=EQUAL.keys())
def test_what_builds_the_same_has_the_same_digest(one, other):
    assert digest_of(one) == digest_of(other)
