"""What a script defines is the same object in the other process, with all that belongs to it, and back here."""

import threading

import cloudpickle
import pytest

from parsl_context.content.carrying import Needs, carry, carry_slowly
from parsl_context.content.serialization import pack_value, unpack_value
from tests.unit.describing import describe

# Each defines `check`, whose value must be that of a call here.
SCRIPTS = {
    "class": "class A: pass\ndef check(): return type(A()) is A, A, A()",
    "dataclass": """
from dataclasses import *
@dataclass(order=True, kw_only=True)
class A:
    x: int = 1
    y: list = field(default_factory=list, repr=False)
@dataclass
class B(A):
    z: "A" = None
    def __post_init__(self): self.w = 1
def check(): return B(x=1), A(x=1) < A(x=2), replace(B(), x=3), [each.name for each in fields(B)]
""",
    "frozen dataclass with slots": """
from dataclasses import *
@dataclass(frozen=True, slots=True)
class A:
    x: int = 1
kept = A(5)
def check(): return kept, A(3), hash(A(3)) == hash(A(3)), A(5) == kept
""",
    "slots with a private name": """
class A:
    __slots__ = ("__x", "y")
    def __init__(self): self.__x, self.y = 1, 2
    def x(self): return self.__x
def check(): return A().x(), A()
""",
    "nested classes": """
class A:
    class B:
        def home(self): return A.B
        class C:
            def home(self): return A.B.C
    class Error(Exception): pass
def check(): return A.B().home() is A.B, A.B.C().home(), A, A.Error("x"), A.B()
""",
    "super and __class__": """
class A:
    def f(self): return 1
class B(A):
    def f(self): return super().f() + 1, __class__
def check(): return B().f()
""",
    "descriptors that are told their names": """
class Part:
    def __set_name__(self, owner, name): self.name = name
    def __get__(self, found, kind=None): return self if found is None else self.name
class A:
    x = Part()
def check(): return A().x, A.x
""",
    "generic class": """
import typing
T = typing.TypeVar("T")
class A(typing.Generic[T]):
    def __init__(self, x: T): self.x = x
def of(x: T) -> T: return x
def check(): return A[int](3), A, A[int].__args__, of.__annotations__["x"] is T, A.__parameters__[0] is T
""",
    "protocol": """
import typing
@typing.runtime_checkable
class P(typing.Protocol):
    def g(self) -> int: ...
class Q:
    def g(self): return 1
def check(): return isinstance(Q(), P), isinstance(3, P)
""",
    "abstract class": """
import abc
class A(abc.ABC):
    @abc.abstractmethod
    def g(self): ...
class B(A):
    def g(self): return 1
A.register(int)
def check():
    try: A()
    except TypeError: return B().g(), isinstance(3, A)
""",
    "one object of a metaclass": """
class M(type):
    def __call__(cls, *args):
        if not hasattr(cls, "one"): cls.one = super().__call__(*args)
        return cls.one
class A(metaclass=M): pass
def check(): return A() is A(), type(A) is M
""",
    "class of a call": """
def make():
    class Local:
        def home(self): return Local
    return Local
A = make()
def check(): return A().home() is A, A, A()
""",
    "class attributes that lead back": """
class A: known = {}
class B(A): pass
A.known["b"] = B
A.default = A()
def check(): return A.known["b"] is B, B, type(A.default) is A
""",
    "named tuples": """
import collections, typing
P = collections.namedtuple("P", "x y", defaults=[3])
class Q(typing.NamedTuple):
    x: int
    y: "Q" = None
    def next(self): return Q(self.x + 1)
def check(): return P(1), P(1)._replace(x=2), Q(1).next(), Q(1, Q(2))
""",
    "enum": """
import enum
K = 5
class E(enum.Enum):
    A = enum.auto()
    B = enum.auto()
    @property
    def low(self): return self.name.lower(), K, E.B
    @classmethod
    def _missing_(cls, value): return cls.A
def check(): return E.A.value, E.B.low, E.A, E("?"), list(E)
""",
    "enum of texts": """
import enum
class E(str, enum.Enum):
    A = "a"
def check(): return E.A == "a", E("a"), E.A.upper()
""",
    "enum with two names for one member": """
import enum
class E(enum.Enum):
    A = 1
    B = 1
def check(): return E.B is E.A, list(E.__members__), E["B"]
""",
    "flags": """
import enum
class E(enum.Flag):
    A = 1
    B = 2
    AB = 3
def check(): return (E.A | E.B) is E.AB, E.A | E.B, ~E.A, E(0), list(E.AB)
""",
    "enum whose members are made in its own way": """
import enum
class Code(bytes, enum.Enum):
    def __new__(cls, value, label):
        made = bytes.__new__(cls, [value])
        made._value_, made.label = value, label
        return made
    A = (1, "a")
    B = (2, "b")
class Planet(enum.Enum):
    def __init__(self, mass, name_of): self.mass, self.title = mass, name_of
    EARTH = (1, "earth")
    MARS = (2, "mars")
    RED = (2, "mars")
class Pair(tuple, enum.Enum):
    def __new__(cls, *parts):
        made = tuple.__new__(cls, parts)
        made._value_ = parts
        return made
    X = (1, 2)
def check():
    return Code.A.label, bytes(Code.B), Code(2) is Code.B, Planet.MARS, Planet.RED is Planet.MARS, Planet.EARTH.title, \
        Planet((1, "earth")) is Planet.EARTH, Planet.MARS.mass, tuple(Pair.X), \
        Pair(Pair.X.value) is Pair.X, list(Planet), Code.A
""",
    "enum of dataclasses": """
import dataclasses, enum
@dataclasses.dataclass
class Size:
    x: int
    name_of: str
class E(Size, enum.Enum):
    A = 1, "a"
    B = 2, "b"
def check(): return E.A.x, E.B.name_of, E.A, list(E)
""",
    "classes that are told of derived ones": """
kinds = {}
class Base:
    told = []
    def __init_subclass__(cls, *, kind=None, **options):
        super().__init_subclass__(**options)
        Base.told.append(cls.size)
        kinds[kind] = cls
class A(Base, kind="a"): size = 1
class B(A, kind="b"):
    size = 2
    __slots__ = ("x",)
class C(Base):
    size = 3
    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        cls.other = cls.size
class D(A, C, kind="d"): size = 4
def check(): return D.other, kinds["a"] is A, kinds["b"] is B, Base.told, B.__mro__, A(), B(), type(A), kinds
""",
    "metaclass that takes options": """
import abc
class M(type):
    made = []
    def __new__(kind, name, bases, names, *, tag=None):
        cls = super().__new__(kind, name, bases, names)
        cls.tag = tag
        return cls
    def __init__(cls, name, bases, names, **options):
        super().__init__(name, bases, names)
        M.made.append(name)
        cls.fields = [each for each in names if not each.startswith("_")]
class A(metaclass=M, tag="t"): x = 1
class N(abc.ABCMeta):
    def __new__(kind, name, bases, names, *, tag): return super().__new__(kind, name, bases, names)
class B(metaclass=N, tag="t"):
    @abc.abstractmethod
    def f(self): ...
class C(B, tag="t"):
    def f(self): return 1
def check(): return A.tag, type(A) is M, A.fields, M.made, isinstance(C(), B), C().f(), B.__abstractmethods__, A()
""",
    "exceptions with constructors of their own": """
class A(Exception):
    def __init__(self, code, *, hint):
        super().__init__(f"code {code}")
        self.code, self.hint = code, hint
class B(A, KeyError): pass
def check():
    try:
        try: raise B(1, hint="h")
        except KeyError as error: raise A(2, hint=[B]) from error
    except A as error: return error, error.__cause__.code, error.__cause__
""",
    "functions that call each other": """
def even(n): return n == 0 or odd(n - 1)
def odd(n): return n > 0 and even(n - 1)
def check(): return even(10), even, odd
""",
    "defaults": """
class A: pass
def f(x, kind=A, *, seen=[]):
    seen.append(x)
    return kind is A, len(seen)
def check():
    found = f(1)
    f.__kwdefaults__["seen"].clear()
    return found, f
""",
    "wrapped functions": """
import functools
def wrap(g):
    @functools.wraps(g)
    def inner(*args): return g(*args)
    return inner
@wrap
def h(x): return x
def check(): return h(1), h, h.__wrapped__
""",
    "cached functions": """
import functools
@functools.lru_cache
def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
class A:
    @functools.cached_property
    def x(self): return fib(10)
def check():
    fib(50)
    return fib.cache_info().misses > 0, A().x, A.x.func
""",
    "closures that share a variable": """
def make(start):
    count = start
    def inc():
        nonlocal count
        count += 1
    def get(): return count
    def deep(n): return n and deep(n - 1)
    return inc, get, deep
inc, get, deep = make(0)
other = make(5)[1]
def check():
    before = get()
    inc()
    return get() - before, other(), deep(3), deep
""",
    "partial functions and lambdas": """
import functools
def add(a, b): return a + b
inc = functools.partial(add, 1)
twice = lambda x: 2 * x
table = {"inc": inc, "twice": twice}
def check(): return inc(2), inc, table["twice"] is twice, twice
""",
    "functions by the class of an argument": """
import functools
@functools.singledispatch
def g(x): return "other"
@g.register
def _(x: int): return "int"
class A:
    @functools.singledispatchmethod
    def m(self, x): return "other"
    @m.register
    def _(self, x: int): return "int"
@g.register(A)
def _a(x): return "A"
def check(): return g(1), g(A()), g(""), A().m(1), A().m("")
""",
    "objects around functions": """
class Count:
    def __init__(self, function): self.function = function
    def __call__(self, *args): return self.function(*args)
@Count
def g(x): return x + 1
def check(): return g(1), g.function
""",
    "names that hide Python's own": "def len(x): return 42\ndef check(): return len([])",
    "lock of the script": "import threading\nlock = threading.Lock()\ndef check():\n with lock: return lock.locked()",
    "what asks for its names": """
class A:
    def __getattr__(self, name):
        if name.startswith("_"): raise AttributeError(name)
        return name
a = A()
def check(): return a.anything, a
""",
    "constructor with arguments": """
class A:
    def __new__(cls, x):
        made = super().__new__(cls)
        made.x = x
        return made
    def __getnewargs__(self): return (self.x,)
kept = A(3)
def check(): return kept, A(4)
""",
    "weak references": """
import weakref
class A: pass
a = A()
by_key = weakref.WeakKeyDictionary({A: 1})
def check(): return by_key[A], weakref.ref(A)() is A
""",
}


@pytest.mark.parametrize("source", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_what_a_script_defines_is_the_same_there_and_back_here(far, cell, source):
    check = cell(source).check
    back = far.call(check)
    assert describe(back) == describe(check())
    assert far.described == describe(check())  # what it was over there


def test_what_a_pickle_needs_is_told(cell, project):
    project.load("needed_module", "def f(): pass")
    main = cell("""
import needed_module, json
class A: pass
def used(): return A
def f(x): return used(), needed_module.f, json.dumps, absent, len
""")
    _, needs = carry(main.f, defines=True)
    assert len(needs.definitions) == 1
    assert not needs.names  # they are those of the definition
    _, needs = carry(main.f, defines=True, root=min(needs.definitions))
    assert needs.names == {("__main__", name) for name in ("used", "needed_module", "json", "absent")}
    assert needs.modules == set()
    assert main.f.__code__.co_filename in needs.sources
    assert carry(main.needed_module.f, defines=True)[1] == Needs(modules={"needed_module"})
    assert not carry([1, "x", len, threading.Thread], defines=True)[1]


def test_a_process_that_defines_nothing_gives_no_identifiers(cell):
    main = cell("class A: pass\ndef f(): return A")
    for value in (main.A(), main.f):
        _, needs = carry(value, defines=False)
        assert not needs.definitions
    carry(main.A, defines=True)
    assert len(carry(main.A(), defines=False)[1].definitions) == 1


def test_variables_of_closures_are_shared_within_a_pickle(far, cell):
    main = cell("""
def make():
    n = 0
    def inc():
        nonlocal n
        n += 1
        return n
    def get(): return n
    return [inc, get]
def check(both): return both[0](), both[0](), both[1]()
""")
    assert far.call(main.check, main.make()) == (1, 2, 2)
    assert far.call(main.check, main.make()) == (1, 2, 2)  # these are others


@pytest.mark.parametrize("value", ["iter([1, 2])", "(lambda: (yield))", "A()", "A", "make()"])
def test_dill_takes_what_cloudpickle_does_not_and_names_the_same(cell, value):
    main = cell("class A: pass\ndef make():\n class L: pass\n return L()")
    found = eval(value, vars(main))
    stream, needs = carry_slowly(found, defines=True)
    assert type(unpack_value([stream])) is type(found)
    assert needs.definitions == carry(found, defines=True)[1].definitions or value.startswith("iter")


def test_a_value_that_only_dill_takes_brings_classes_of_the_script_back(far, cell):
    """A generator cannot be pickled by either; what dill takes is, for one, a frame's code or an open file."""
    main = cell("class A: pass\ndef check(file): return file[0].name, type(file[1]) is A, file[1]")
    with open(__file__) as file:
        name, same, back = far.call(main.check, [file, main.A()])
    assert (name, same, type(back)) == (__file__, True, main.A)


def test_pickling_changes_nothing_that_other_threads_see(cell, project):
    """cloudpickle's registry of modules that travel by value is one for the process."""
    module = project.load("pickled_in_threads", "class A: pass\ndef f(): return A")
    main = cell("import pickled_in_threads\nclass B: pass\ndef g(): return B, pickled_in_threads.f")
    ended = threading.Event()
    wrong = []
    before = dict(cloudpickle.cloudpickle._PICKLE_BY_VALUE_MODULES), cloudpickle.dumps(module.f)

    def watch():
        while not ended.is_set():
            now = dict(cloudpickle.cloudpickle._PICKLE_BY_VALUE_MODULES), cloudpickle.dumps(module.f)
            if now != before:
                wrong.append(now)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        for _ in range(300):
            carry([main.g, module.A, module.f, main.B()], defines=True)
            pack_value([main.B(), module.A()])
            carry_slowly([main.g, module.A()], defines=True)
    finally:
        ended.set()
        thread.join()
    assert wrong == []


def test_no_lock_is_held_while_code_of_the_user_s_runs(far, cell):
    """It may wait for another thread that pickles."""
    main = cell("""
class Slow:
    def __reduce__(self):
        inner()
        return Slow, ()
slow = Slow()
def g(): return slow
""")

    class Inner:
        """Is no part of what is pickled."""

        def __call__(self):
            if done:
                return  # the other thread may come by here, too
            done.append("begun")
            cell("def fresh(x): return Slow")
            thread = threading.Thread(target=lambda: done.append(far.pack((main.fresh, [main.Slow]))), daemon=True)
            thread.start()
            thread.join(20)
            done.append(thread.is_alive())

        def __reduce__(self):
            return dict, ()

    done = []
    main.inner = Inner()
    for value in (main.Slow(), main.g):
        cell("slow = Slow()")  # which nobody has pickled yet
        done.clear()
        far.pack(value)
        assert done[-1] is False


def test_a_bound_method_of_a_class_is_in_the_definition_of_that_class(far, cell):
    """It is not asked for by its name, which the class has not yet as it is made."""
    main = cell("""
class A:
    @classmethod
    def made(cls): return cls
A.kept = A.made
def f(): return A.kept()
""")
    assert far.call(main.f) is main.A
