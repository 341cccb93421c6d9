"""The script of the project: what a user would write, and functions that look at it from the inside."""

# %% imports
import abc
import asyncio
import collections
import concurrent.futures
import contextlib
import contextvars
import copy
import copyreg
import dataclasses
import enum
import fcntl
import functools
import importlib
import inspect
import linecache
import logging
import multiprocessing
import operator
import os
import pickle
import subprocess
import sys
import threading
import traceback
import types
import typing
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import beside
import changed
import edited
from beside import Beside
from harness import block_app, level, made, main, probe, sequence
from parsl_context import context

import pkg
from pkg import blocks, caches, errors, handles, kinds, lazy, left, plugins, registry, right, state, table
from pkg import kinds as other_name
from pkg.errors import PkgWarning, QuotaError, fail
from pkg.kinds import Colour, Point, Shape
from pkg.sub.deep import Deep, is_red
from pkg.words import *  # noqa: F403
from space import part
from space.part import Part


# %% what a user defines in a script
class Tone(enum.Enum):
    HIGH = "h"
    LOW = "l"

    @property
    def other(self):
        return Tone.LOW if self is Tone.HIGH else Tone.HIGH


class Access(enum.IntFlag):
    READ = 1
    WRITE = 2


class Rank(enum.IntEnum):
    FIRST = 1
    LAST = 9


@dataclass
class Note:
    pitch: int
    tone: Tone = Tone.HIGH
    tags: list = field(default_factory=list)


@dataclass(frozen=True, order=True)
class Mark:
    name: str
    weight: int = 0


class Model:
    """A model of the user's."""

    made = 0
    names = []

    def __init__(self, name="model"):
        self.name = name
        Model.made += 1

    def predict(self, value):
        return [self.name, value]

    @classmethod
    def build(cls, name):
        return cls(name)

    @staticmethod
    def twice(value):
        return 2 * value


class BetterModel(Model):
    def predict(self, value):
        return ["better", *super().predict(value)]

    def home(self):
        return __class__


@dataclass(slots=True)
class Config:
    model: "Model"
    tone: "Tone" = Tone.LOW
    parts: "list[Note]" = field(default_factory=list)


class ScriptError(Exception):
    def __init__(self, code, *, hint):
        super().__init__(f"code {code}")
        self.code = code
        self.hint = hint


class DeeperError(ScriptError, KeyError):
    pass


class ScriptWarning(UserWarning):
    pass


class Coordinates(typing.NamedTuple):
    x: int
    tone: Tone = Tone.LOW


Size = collections.namedtuple("Size", "width height")
Money = typing.NewType("Money", int)
T = typing.TypeVar("T")


class Options(typing.TypedDict):
    depth: int


class Stack(typing.Generic[T]):
    def __init__(self, *items):
        self.items = items


@typing.runtime_checkable
class Named(typing.Protocol):
    name: str


class Instrument(abc.ABC):
    @abc.abstractmethod
    def play(self): ...


class Flute(Instrument):
    def play(self):
        return "toot"


class Bucket:
    def play(self):
        return "bang"


Instrument.register(Bucket)


class Triangle(Shape):
    def area(self):
        return 0.5


class Registering(type):
    known = {}

    def __new__(meta, name, bases, namespace):
        cls = super().__new__(meta, name, bases, namespace)
        meta.known[name] = cls
        return cls


class Known(metaclass=Registering):
    pass


class AlsoKnown(Known):
    pass


class Slots:
    __slots__ = ("one", "two")

    def __init__(self, one, two):
        self.one, self.two = one, two


class Reduced:
    def __init__(self, value):
        self.value = value

    def __reduce__(self):
        return rebuilt, (self.value,)


def rebuilt(value):
    return Reduced(value)


class Stateful:
    def __init__(self):
        self.lock = threading.Lock()
        self.value = 1

    def __getstate__(self):
        return {"value": self.value}

    def __setstate__(self, state):
        self.__dict__.update(state, lock=threading.Lock())


class NotGiven:
    def __reduce__(self):
        return "NOT_GIVEN"


NOT_GIVEN = NotGiven()


class Special:
    def __init__(self, value):
        self.value = value


def special_from(value):
    return Special(-value)


copyreg.pickle(Special, lambda it: (special_from, (-it.value,)))


class Positive:
    def __set_name__(self, owner, name):
        self.owner, self.name = owner, name

    def __get__(self, instance, owner):
        return self if instance is None else instance.__dict__[self.name]

    def __set__(self, instance, value):
        instance.__dict__[self.name] = abs(value)


class Account:
    balance = Positive()


class Nest:
    class Egg:
        pass

    class Kind(enum.Enum):
        ROUND = 1


class Costly:
    computed = 0

    @functools.cached_property
    def value(self):
        Costly.computed += 1
        return Costly.computed


class Tree:
    def __init__(self, *children):
        self.children = list(children)
        self.parent = None
        for child in children:
            child.parent = self


@functools.lru_cache(maxsize=None)
def remembered(key):
    return object()


@functools.singledispatch
def kind_of(value):
    return "something"


@kind_of.register
def _(value: Note):
    return "note"


@kind_of.register
def _(value: Tone):
    return "tone"


def logged(function):
    @functools.wraps(function)
    def inner(*args):
        return ["logged", function(*args)]

    return inner


@logged
def add(one, two):
    return one + two


def scale(value, factor=3, *, offset=0):
    """Scale a value."""
    return value * factor + offset


def factorial(number):
    return 1 if number < 2 else number * factorial(number - 1)


def is_even(number):
    return number == 0 or is_odd(number - 1)


def is_odd(number):
    return number != 0 and is_even(number - 1)


def counter():
    count = 0

    def up():
        nonlocal count
        count += 1
        return count

    return up, lambda: count


def local_class():
    class Local:
        pass

    return Local


def collecting(value, seen=[]):  # noqa: B006
    seen.append(value)
    return list(seen)


def script_fails(code):
    raise ScriptError(code, hint="try again")  # the line of the script that fails


async def later_value(value):
    await asyncio.sleep(0)
    return Note(value)


def in_a_child(value):
    return [value, isinstance(value, Note), __name__ == "__main__"]


half = functools.partial(operator.mul, 0.5)
triple = functools.partial(scale, factor=3)
by_name = lambda it: it.name  # noqa: E731
LIMIT = 10
SETTINGS = {"depth": 1}
LOADED = None
LOG = logging.getLogger("script")
WHO = contextvars.ContextVar("WHO", default="nobody")
GATE = threading.Lock()
ALL_TONES = {Tone.HIGH: 1, Tone.LOW: 2}
Alias = typing.Union[Note, Mark]
UNREFERENCED = "by name alone"


class Unreferenced:
    pass


# %% contexts
def the_tone():
    return Tone.HIGH


def the_colour():
    return Colour.RED


def the_note():
    return Note(1, Tone.LOW)


def the_model(name="model"):
    return Model(name)


def given(*values):
    return values


def pipeline(config):
    return config


# %% enums
@probe(the_tone, args=lambda: (Tone.HIGH, [Tone.LOW]))
def enum_of_script(held, tone, tones):
    return [held is tone, tone is Tone.HIGH, tone == held, tones[0] is Tone.LOW, tone.other is Tone.LOW, tone in Tone]


@probe(the_colour, args=lambda: (Colour.RED, {Colour.GREEN: 1}))
def enum_of_package(held, colour, table):
    return [held is colour, colour is kinds.Colour.RED, isinstance(colour, Colour), table[Colour.GREEN], is_red(held)]


@probe(args=lambda: (Access.READ | Access.WRITE, Rank.LAST, kinds.Mode.READ))
def flags(held, access, rank, mode):
    return [access == Access.READ | Access.WRITE, type(access) is Access, Access.READ in access, rank is Rank.LAST] + [
        mode is kinds.Mode.READ
    ]


@probe(args=lambda: ({Tone.HIGH: "a", Tone.LOW: "b"},))
def enum_as_key(held, table):
    return [table[Tone.HIGH], table[Tone("l")], ALL_TONES[Tone.HIGH], list(ALL_TONES) == list(table)]


@probe(the_tone, after=lambda result: [result is Tone.HIGH, result in ALL_TONES])
def enum_returned(held):
    return held


@probe(
    after=lambda result: [result[0] is Colour.GREEN, result[1][Colour.RED] is Tone.LOW, list(result[1])[1] is Rank.LAST]
)
def enums_returned_inside(held):
    return [Colour.GREEN, {Colour.RED: Tone.LOW, Rank.LAST: Nest.Kind.ROUND}]


@probe(args=lambda: (Nest.Kind.ROUND, Nest.Egg()))
def nested_classes(held, kind, egg):
    inner = kinds.Outer.make()
    return [kind is Nest.Kind.ROUND, type(egg) is Nest.Egg, Nest.Egg.__qualname__, type(inner) is kinds.Outer.Inner]


# %% classes
@probe(the_note, args=lambda: (Note(1, Tone.LOW),))
def dataclass_of_script(held, note):
    return [
        held == note,
        type(held) is type(note) is Note,
        isinstance(note, Note),
        dataclasses.replace(note, pitch=2).pitch,
    ]


@probe(lambda: Point(1, 2), args=lambda: (Point(1, 2),))
def dataclass_of_package(held, point):
    return [held == point, type(point) is Point is kinds.Point, kinds.Slotted(point) == kinds.Slotted(held)]


@probe(lambda: {Mark("a"): 1}, args=lambda: (Mark("a"), kinds.Key("k")))
def frozen_dataclass(held, mark, key):
    return [held[mark], mark < Mark("b"), key in {kinds.Key("k")}, hash(mark) == hash(Mark("a"))]


@probe(lambda: Config(Model("a")), args=lambda: (Config(Model("b"), parts=[Note(1)]),))
def slotted_dataclass(held, config):
    hints = typing.get_type_hints(Config)
    return [hints["model"] is Model, hints["tone"] is Tone, type(config) is Config, type(config.model) is Model] + [
        isinstance(held, type(config)),
        config.tone is Tone.LOW,
        sorted(Config.__slots__),
    ]


@probe(after=lambda result: [type(result) is Note, result.tags == [Mark("a")], result.tone is Tone.HIGH])
def dataclass_returned(held):
    return Note(5, tags=[Mark("a")])


@probe(the_model, after=lambda result: [type(result) is Model, isinstance(result, Model), result.predict(1)])
def instance_of_script_returned(held):
    return held


@probe(after=lambda result: [type(result[0]) is Point, type(result[1]) is Deep, type(result[2]) is Part])
def instances_of_modules_returned(held):
    return [Point(1, 2), Deep(), Part()]


@probe(after=lambda result: [result[0] is Model, result[1] is Point, result[2] is Nest.Egg, result[3] is kinds])
def classes_and_modules_returned(held):
    return [Model, Point, Nest.Egg, kinds]


@probe(the_model, args=lambda: (BetterModel("b"), Model))
def inheritance(held, better, cls):
    return [
        isinstance(better, Model),
        isinstance(better, type(held)),
        better.predict(1),
        better.home() is BetterModel,
    ] + [
        cls is Model,
        issubclass(BetterModel, cls),
    ]


@probe(lambda: Model.made, args=lambda: ())
def class_counter(held):
    Model("x")
    return [Model.made - held]


def names_noted():
    Model.names.append("by the context")
    return Model


@probe(names_noted)
def class_attribute_set_by_context(held):
    return [held is Model, Model.names[-1:]]


@probe(args=lambda: (Coordinates(1), Size(1, 2), Money(3), Options(depth=1)))
def named_tuples(held, coordinates, size, money, options):
    return [type(coordinates) is Coordinates, coordinates == (1, Tone.LOW), coordinates.tone is Tone.LOW] + [
        type(size) is Size,
        size.height,
        money,
        options == Options(depth=1),
        kinds.Pair(1, Colour.RED).right is Colour.RED,
    ]


@probe(lambda: Stack(1), args=lambda: (Stack("a"), Stack[int], Alias))
def generic_classes(held, stack, alias, union):
    return [type(stack) is Stack is type(held), alias == Stack[int], Stack.__parameters__[0] is T] + [
        alias.__origin__ is Stack,
        union == typing.Union[Note, Mark],
        kinds.Box[int] == kinds.Box[int],
        kinds.Box.__parameters__[0] is kinds.T,
    ]


@probe(Flute, args=lambda: (Flute(), Bucket(), Triangle(), kinds.Square(2), Model("n")))
def abstract_classes(held, flute, bucket, triangle, square, model):
    return [isinstance(held, Instrument), isinstance(flute, Instrument), isinstance(bucket, Instrument)] + [
        isinstance(triangle, Shape),
        isinstance(triangle, kinds.HasArea),
        isinstance(model, Named),
        kinds.area(square),
        Shape.known["Triangle"] is Triangle,
        Shape.known["Square"] is kinds.Square,
    ]


@probe(AlsoKnown, args=lambda: (AlsoKnown(), kinds.WithMeta()))
def metaclasses(held, known, other):
    return [type(type(known)) is Registering, Registering.known["AlsoKnown"] is type(known) is type(held)] + [
        other in kinds.WithMeta,
        type(kinds.WithMeta) is kinds.Meta,
        sorted(Registering.known),
    ]


@probe(lambda: Slots(1, 2), args=lambda: (Slots(3, Tone.LOW),))
def slots(held, given):
    return [type(given) is Slots is type(held), given.two is Tone.LOW, hasattr(given, "__dict__")]


@probe(lambda: Reduced(1), args=lambda: (Reduced(2), Stateful(), Special(7)))
def own_ways_of_pickling(held, reduced, stateful, special):
    return [type(reduced) is Reduced is type(held), reduced.value, type(stateful) is Stateful, stateful.value] + [
        type(special) is Special,
        special.value,
        type(pickle.loads(pickle.dumps(special))) is Special,
    ]


@probe(lambda: NOT_GIVEN, args=lambda: (NOT_GIVEN,))
def single_object_of_script(held, given):
    return [held is NOT_GIVEN, given is NOT_GIVEN, given is held]


@probe(lambda: kinds.MISSING, args=lambda: (kinds.MISSING, kinds.OnlyOne()))
def single_objects_of_package(held, missing, only):
    return [held is kinds.MISSING, missing is held, only is kinds.OnlyOne()]


@probe(after=lambda result: [result[0] is NOT_GIVEN, result[1] is kinds.MISSING, result[2] is kinds.OnlyOne()])
def single_objects_returned(held):
    return [NOT_GIVEN, kinds.MISSING, kinds.OnlyOne()]


@probe(args=lambda: (Account(),))
def descriptors(held, account):
    account.balance = -3
    return [account.balance, Account.balance.owner is Account is type(account), type(Account.balance) is Positive]


@probe(lambda: Tree(Tree(), Tree()), args=lambda: (Tree(Tree()),))
def circular_objects(held, tree):
    return [tree.children[0].parent is tree, held.children[1].parent is held, type(tree.children[0]) is Tree]


def local_classes():
    local = local_class()
    return local, local()


LOCAL_CLASS, LOCAL_OBJECT = local_classes()


@probe(given, context=lambda: (LOCAL_OBJECT,), args=lambda: (LOCAL_CLASS(), LOCAL_CLASS))
def class_made_in_a_function(held, given, cls):
    return [type(held[0]) is type(given) is cls, cls is LOCAL_CLASS, isinstance(given, type(LOCAL_OBJECT))]


@probe(after=lambda result: [type(result[0]) is LOCAL_CLASS, result[1] is LOCAL_CLASS])
def class_made_in_a_function_returned(held):
    return [LOCAL_CLASS(), type(LOCAL_OBJECT)]


@probe(after=lambda result: [isinstance(result, Model), type(result).__name__, result.predict(1)])
def class_made_by_the_body_returned(held):
    class Newer(Model):
        pass

    return Newer("newer")


def model_class():
    class Made(Model):
        pass

    return Made


@probe(model_class, after=lambda result: [issubclass(result, Model), result.__mro__[1] is Model])
def class_made_by_the_context_returned(held):
    return held


# %% functions
@probe(lambda: scale, args=lambda: (scale, kinds.area, Model.build, Model.twice, add, triple))
def functions_as_arguments(held, given, of_package, class_method, static_method, wrapped, partial):
    return [held is scale, given is scale, of_package is kinds.area, class_method.__self__ is Model] + [
        static_method is Model.twice,
        wrapped is add,
        partial.func is scale,
        partial(2),
        triple.func is scale,
    ]


@probe(after=lambda result: [result[0] is scale, result[1] is fail, result[2] is Model.twice, result[3].func is scale])
def functions_returned(held):
    return [scale, fail, Model.twice, triple]


@probe(lambda: Model("held").predict, args=lambda: (Model("given").predict, kinds.Square(3).area))
def bound_methods(held, method, of_package):
    return [method.__func__ is Model.predict, type(held.__self__) is Model, method(1), of_package()]


def mark_function():
    scale.calls = 7
    return scale


@probe(mark_function)
def attribute_of_function_set_by_context(held):
    return [held is scale, getattr(scale, "calls", None)]


@probe(lambda: counter(), args=lambda: (counter(),))
def closures_that_share(held, given):
    return [held[0](), held[1](), given[0](), given[0](), given[1]()]


@probe(lambda: [by_name(Model("a")), by_name], args=lambda: (by_name, lambda: [Tone.HIGH, scale]))
def lambdas(held, given, making):
    return [held[0], held[1] is by_name is given, making()[0] is Tone.HIGH, making()[1] is scale]


@probe(lambda: collecting(1), args=lambda: (collecting,))
def default_that_is_kept(held, given):
    return [held, given(2)]


@probe(lambda: factorial(4), args=lambda: (factorial, is_even))
def recursion(held, given, even):
    return [held, given(5), given is factorial, even(10), even.__globals__["is_even"] is is_even]


@probe(args=lambda: (add, caches.traced(scale)))
def wrapped_functions(held, given, traced):
    return [add(1, 2), given.__wrapped__ is add.__wrapped__, add.__name__, traced(2), traced.__wrapped__ is scale]


@probe(lambda: [kind_of(Note(1)), kind_of(Tone.LOW)], args=lambda: (Note(1), Tone.HIGH, kind_of))
def dispatch_of_script(held, note, tone, dispatch):
    return [held, kind_of(note), kind_of(tone), kind_of(1), dispatch is kind_of, kind_of.dispatch(Note)(None)]


@probe(lambda: caches.describe(Point(1, 2)), args=lambda: (Point(3, 4), Colour.RED))
def dispatch_of_package(held, point, colour):
    return [held, caches.describe(point), caches.describe(colour), caches.describe(1)]


@probe(lambda: remembered("key"), args=lambda: (remembered,))
def cache_of_script(held, given):
    return [held is remembered("key"), given is remembered, given("key") is held]


@probe(lambda: caches.slow(1), args=lambda: (caches.slow,))
def cache_of_package(held, given):
    return [held is caches.slow(1), given is caches.slow]


@probe(lambda: [(costly := Costly()), costly.value, Costly.computed], args=lambda: (Costly(), caches.Lazy()))
def cached_properties(held, costly, lazy):
    return [
        held[0].value == held[1],
        costly.value - held[2],
        Costly.computed - held[2],
        lazy.value == caches.Lazy.computed,
    ]


@probe(args=lambda: (later_value,))
def coroutines(held, given):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:  # a notebook has a loop in its main thread
        notes = [pool.submit(asyncio.run, function(1)).result() for function in (given, later_value)]
    return [type(notes[0]) is Note, notes[1] == Note(1), given is later_value]


@probe(args=lambda: ([Note(1), Note(2)],))
def threads_of_a_body(held, notes):
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return [list(pool.map(kind_of, notes)), list(pool.map(lambda note: note == Note(1), notes))]


def with_clean_up():
    note = Note(9)
    yield note
    note.tags.append("cleaned")


@probe(with_clean_up)
def context_that_yields(held):
    return [held == Note(9), type(held) is Note]


# %% globals of the script
@probe(lambda: LIMIT, args=lambda: (LIMIT,))
def global_that_is_read(held, given):
    return [held, LIMIT == given, SETTINGS["depth"], half(4)]


def load_global():
    global LOADED
    LOADED = Note(5)
    return LOADED


@probe(load_global)
def global_set_by_context(held):
    return [LOADED is held, LOADED == Note(5), globals()["LOADED"] is held]


def fill_settings():
    SETTINGS["by"] = "context"
    return SETTINGS


@probe(fill_settings)
def global_filled_by_context(held):
    return [SETTINGS is held, SETTINGS.get("by")]


@probe(lambda: globals, args=lambda: ())
def globals_are_of_one_module(held):
    module = sys.modules[Model.__module__]
    return [held() is globals(), vars(module) is globals(), module.scale is scale, scale.__globals__ is globals()] + [
        module.Model is Model,
        __name__ == Model.__module__,
    ]


@probe(args=lambda: (Model("a"), Note(1)))
def main_module(held, model, note):
    main = sys.modules["__main__"]
    return [getattr(main, "Model", None) is type(model), getattr(main, "Note", None) is type(note)] + [
        getattr(main, "scale", None) is scale,
        main.__name__,
    ]


@probe(args=lambda: (Model("a"),))
def import_from_main(held, model):
    from __main__ import Model as Again

    return Again is Model is type(model)


@probe(lambda: [globals().get("Unreferenced"), globals().get("UNREFERENCED")])
def global_found_by_name(held):
    return [isinstance(held[0], type), held[1], eval("Unreferenced") is held[0], eval("UNREFERENCED")]


@probe()
def name_of_the_script(held):
    return [__name__, globals().get("__package__"), (__doc__ or "").partition(":")[0]]


@probe()
def file_of_the_script(held):
    return __file__ if __name__ == "__main__" else Path(__file__).name


@probe(expected=False)
def guard_is_not_run(held):
    return hasattr(sys, "faithful_guard")


def works_or_is_named(name):
    """What no pickle takes may be refused in a sentence that names it."""
    return lambda value: isinstance(value, list) or name in str(value) or value


@probe(lambda: GATE, after=works_or_is_named("GATE"))
def lock_of_script(held):
    with GATE:
        assert held is GATE, "another lock"
    return ["works"]


def set_who():
    WHO.set("the context")
    return WHO


@probe(lambda: WHO, after=works_or_is_named("WHO"))
def context_variable_of_script(held):
    token = WHO.set("the body")
    seen = WHO.get()
    WHO.reset(token)
    assert [held is WHO, seen] == [True, "the body"], "another variable"
    return ["works"]


@probe(lambda: LOG)
def logger_of_script(held):
    return [held is LOG, LOG is logging.getLogger("script"), logging.getLogger(__name__).name]


@probe(lambda: shout("a"))
def names_of_a_star_import(held):
    return [held, shout("b"), shout.__module__.rpartition(".")[2]]


# %% modules
@probe(lambda: kinds, args=lambda: (kinds, pkg, sys.modules["pkg.sub.deep"], os.path))
def modules_as_arguments(held, given, package, deep, path):
    return [held is kinds, given is sys.modules["pkg.kinds"], package is pkg, deep is sys.modules["pkg.sub.deep"]] + [
        path is os.path,
        other_name is kinds,
        pkg.sub.deep is deep,
    ]


@probe(lambda: (state.init(5), state.value())[1])
def module_global_set_by_context(held):
    return [held, state.value(), state.LIMIT, state._settings]


@probe(lambda: (beside.set_level(4), Beside(), Beside.made)[2], args=lambda: (Beside,))
def state_of_a_module_beside(held, given):
    return [beside.level(), Beside.made - held, given is Beside is beside.Beside]


@probe()
def modules_are_loaded_once(held):
    import pkg.state

    loads = sys.faithful_loads
    return [loads.count("pkg"), loads.count("pkg.state"), pkg.state is state]


@probe(handles.words, args=lambda: (handles.Guarded(3), handles.words))
def module_of_handles(held, guarded, words):
    with handles.LOCK:
        pass
    return [held, words(), words is handles.words, guarded.get(), type(guarded) is handles.Guarded]


@probe(lambda: handles.USER.set("the context"))
def context_variable_of_module(held):
    token = handles.USER.set("the body")
    handles.USER.reset(token)
    return [handles.USER.name, type(held).__name__]


@probe()
def names_of_a_module(held):
    return [kinds.__name__, kinds.__package__, kinds.__spec__.name, Path(kinds.__file__).name, kinds.__doc__] + [
        Path(pkg.__file__).name,
        pkg.__version__,
        Path(pkg.__path__[0]).name,
        kinds.__spec__.parent,
    ]


@probe(lambda: pkg.made_when_asked)
def attribute_made_by_a_module(held):
    return [held, pkg.made_when_asked]


@probe(left.Left, args=lambda: (left.Left(), right.Right()))
def circular_imports(held, one, two):
    return [type(one.other()) is type(two), type(two.other()) is type(one) is left.Left, left.right is right]


@probe(Deep, args=lambda: (Deep(),))
def module_deep_in_a_package(held, deep):
    import pkg.sub.deep as again

    return [type(deep) is Deep is again.Deep, deep.colour is Colour.GREEN, again.Colour is Colour]


@probe(Part, args=lambda: (Part(), part))
def namespace_package(held, given, module):
    return [isinstance(given, Part), part.whose(held), module is part, type(given) is module.Part]


def later_imported():
    import later

    return later.Later()


@probe(later_imported, args=lambda: ())
def module_beside_imported_by_context(held):
    import later

    return [type(held) is later.Later, isinstance(held, Beside), later.name_of(held)]


@probe()
def module_beside_imported_by_body(held):
    module = importlib.import_module("later")
    from beside import in_a_child as child

    return [module.Later.__mro__[1] is Beside, child is beside.in_a_child]


@probe(lazy.late)
def import_inside_a_function_of_a_module(held):
    from pkg._late import Late

    return [type(held) is Late, type(lazy.late()) is Late]


@probe(lambda: [table.beside(), table.resource()])
def data_files(held):
    return [held, table.beside(), table.resource(), table.by_pkgutil()]


@probe(lambda: sorted(registry.NAMES))
def registry_of_a_package(held):
    return [held, registry.NAMES["double"] is plugins.double, registry.NAMES["plugin"] is plugins.Plugin]


@probe(lambda: beside.FAVOURITE, args=lambda: (Colour.RED,))
def global_of_a_module(held, red):
    return [held is red is beside.FAVOURITE, caches.Colour is Colour]


@probe()
def star_of_a_module(held):
    namespace = {}
    exec("from pkg.words import *", namespace)
    return namespace["shout"] is sys.modules["pkg.words"].shout


# %% errors
@probe(args=lambda: (fail, script_fails))
def errors_caught_in_the_body(held, failing, script_failing):
    caught = []
    try:
        failing("home")
    except errors.QuotaError as error:
        caught += [type(error) is QuotaError, error.site, error.left]
    try:
        script_failing(4)
    except ScriptError as error:
        caught += [error.code, error.hint]
    return caught


@probe(lambda: fail, args=lambda: ())
def error_of_function_of_the_context(held):
    try:
        held("scratch")
    except QuotaError as error:
        return [error.left, isinstance(error, errors.PkgError)]


@probe(args=lambda: (ValueError("v"), QuotaError("home", left=1), ScriptError(1, hint="h")))
def errors_as_arguments(held, value, quota, script):
    return [type(value).__name__, type(quota) is QuotaError, quota.left, type(script) is ScriptError, script.hint]


def script_error_seen(error):
    try:
        raise error
    except DeeperError:
        return "deeper"
    except ScriptError as seen:
        return [type(seen) is ScriptError, seen.code, seen.hint, str(seen), isinstance(seen, ScriptError)]


@probe(after=script_error_seen)
def error_of_script_raised(held):
    script_fails(8)


def quota_error_seen(error):
    try:
        raise error
    except errors.QuotaError as seen:
        return [type(seen) is QuotaError, seen.site, seen.left, str(seen)]


@probe(after=quota_error_seen)
def error_of_package_raised(held):
    fail("home", 2)


@probe(lambda: fail("store", 1), after=quota_error_seen)
def error_of_package_raised_by_the_context(held):
    return "not reached"


@probe(lambda: script_fails(3), after=script_error_seen)
def error_of_script_raised_by_the_context(held):
    return "not reached"


def causes_seen(error):
    return [type(error) is DeeperError, type(error.__cause__) is QuotaError, error.__cause__.left, error.hint] + [
        isinstance(error, KeyError),
        type(error.__cause__.__context__) is ScriptError,
    ]


@probe(after=causes_seen)
def causes_of_an_error(held):
    try:
        try:
            script_fails(1)
        except ScriptError:
            fail("home")
    except QuotaError as error:
        raise DeeperError(2, hint="deep") from error


@probe(after=lambda error: [type(error) is ScriptError, error.hint])
def error_returned(held):
    return ScriptError(6, hint="as a value")


def lines_seen(error):
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return ["the line of the script" in text, "the line that fails" in text, "fail(site)  # called" in text]


def calls_fail(site):
    fail(site)  # called by the script


@probe(after=lines_seen)
def lines_in_the_traceback_of_a_module(held):
    calls_fail("home")


@probe(after=lines_seen)
def lines_in_the_traceback_of_the_script(held):
    script_fails(5)


@probe()
def lines_in_a_traceback_formatted_there(held):
    try:
        script_fails(5)
    except ScriptError:
        first = traceback.format_exc()
    try:
        calls_fail("home")
    except QuotaError:
        second = traceback.format_exc()
    return ["the line of the script" in first, "the line that fails" in second, "called by the script" in second]


@probe(args=lambda: (PkgWarning,))
def warnings_of_own_classes(held, category):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn("careful", ScriptWarning, stacklevel=1)
        warnings.warn("careful", category, stacklevel=1)
    return [caught[0].category is ScriptWarning, caught[1].category is PkgWarning]


# %% source
def source_of(value):
    try:
        return inspect.getsource(value)
    except (OSError, TypeError) as error:
        return f"{type(error).__name__}"


@probe(lambda: source_of(scale), args=lambda: (scale, Model))
def source_of_the_script(held, function, cls):
    return [held, source_of(function), source_of(cls), source_of(Model.predict), source_of(by_name)]


@probe(lambda: source_of(kinds.area))
def source_of_modules(held):
    return [held, source_of(kinds.Point), len(source_of(kinds)), source_of(fail)]


@probe(args=lambda: (scale, kinds.area))
def code_of_functions(held, function, of_package):
    return [Path(function.__code__.co_filename).name, function.__code__.co_firstlineno, function.__qualname__] + [
        Path(of_package.__code__.co_filename).name,
        function.__module__,
        inspect.getdoc(function),
        str(inspect.signature(function)),
        inspect.getmodule(function) is sys.modules[function.__module__],
        linecache.getline(function.__code__.co_filename, function.__code__.co_firstlineno).strip(),
    ]


@probe(lambda: inspect.getsourcefile(Model) if hasattr(sys.modules[__name__], "__file__") else None)
def file_of_a_class(held):
    return [held and Path(held).name, Path(inspect.getsourcefile(kinds.Point)).name]


def annotated(note: "Note", *, tone: Tone = Tone.HIGH) -> "list[Model]":
    return [note, tone]


@probe(args=lambda: (annotated,))
def annotations(held, given):
    hints = typing.get_type_hints(given)
    return [hints["note"] is Note, hints["tone"] is Tone, hints["return"] == list[Model]] + [
        typing.get_type_hints(kinds.Slotted)["point"] is Point,
        [item.type for item in dataclasses.fields(Config)],
    ]


# %% pickling in the body
@probe(the_model, args=lambda: (Model("b"), Note(2, Tone.LOW)))
def pickled_in_the_body(held, model, note):
    again = [pickle.loads(pickle.dumps(value)) for value in (held, model, note, Tone.LOW, scale, Model, Point(1, 2))]
    return [type(again[0]) is Model, type(again[1]) is Model, again[2] == note, again[3] is Tone.LOW] + [
        again[4] is scale,
        again[5] is Model,
        again[6] == Point(1, 2),
        type(copy.deepcopy(held)) is Model,
    ]


@probe(
    pickle.loads,
    context=lambda: (pickle.dumps(Unreferenced()),),
    args=lambda: (pickle.dumps([Model("a"), Point(1, 2)]),),
)
def pickled_by_the_script(held, data):
    model, point = pickle.loads(data)
    return [type(held).__name__, type(model) is Model, type(point) is Point]


@probe(after=lambda data: [type(value).__name__ for value in pickle.loads(data)])
def pickled_in_the_body_and_loaded_in_the_script(held):
    return pickle.dumps([Note(1), Point(1, 2), Tone.LOW, scale])


@probe(args=lambda: (Note(3),))
def same_object_within_one_message(held, note):
    return [
        note is note,
        type(note).__dataclass_fields__["tone"].default is Tone.HIGH,
        type(note).__eq__(note, Note(3)),
    ]


# %% contexts in arguments
@probe(pipeline, context=lambda: (Config(made(the_model, "a")),))
def context_in_a_dataclass(held):
    return [type(held) is Config, type(held.model) is Model, held.model.predict(1)]


@probe(given, context=lambda: ({made(the_model, "a"), made(the_model, "b")},))
def contexts_in_a_set(held):
    return sorted(type(model).__name__ + model.name for model in held[0])


@probe(given, context=lambda: (types.SimpleNamespace(model=made(the_model, "c"), tone=Tone.LOW),))
def context_in_an_object(held):
    return [held[0].model.predict(2), held[0].tone is Tone.LOW]


@probe(given, context=lambda: (Stack(made(the_model, "d")), {"deep": [(made(the_model, "e"),)]}, made(the_tone)))
def contexts_in_containers(held):
    stack, deep, tone = held
    return [stack.items[0].predict(1), deep["deep"][0][0].predict(1), type(stack) is Stack, tone is Tone.HIGH]


@probe(given, context=lambda: (functools.partial(scale, made(the_model, "p")), made(the_note)))
def context_in_a_partial(held):
    return [type(held[0].args[0]) is Model, held[0].func is scale, held[1] == Note(1, Tone.LOW)]


@probe(given, context=lambda: (made(the_model, "x"), made(the_model, "y"), Model("z")))
def classes_of_several_contexts(held):
    return [type(held[0]) is type(held[1]) is type(held[2]) is Model, [model.name for model in held]]


# %% children of a body
def spawned(target, *args):
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(target, *args).result(timeout=15)


@probe()
def spawned_child_of_a_module(held):
    return spawned(beside.in_a_child, 3)


@probe()
def spawned_child_of_the_script(held):
    return spawned(in_a_child, Note(1))


@probe(args=lambda: (Point(1, 2),))
def spawned_child_gets_an_object_of_a_module(held, point):
    return spawned(kind_of_point, point) if __name__ != "__main__" else spawned(caches.describe, point)


def kind_of_point(point):
    return caches.describe(point)


@probe(expected=["True __main__", ""])  # also where the directory of the script is not the working directory
def program_that_imports_a_module(held):
    code = "import pkg.sub.deep, beside; print(pkg.sub.deep.is_red(beside.FAVOURITE), __name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=15)
    return [done.stdout.strip(), done.stderr.strip()[-200:]]


@probe(args=lambda: (Note(1), Point(1, 2)))
def forked_child(held, note, point):
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=lambda: queue.put([type(note) is Note, type(point) is Point, kind_of(note)]))
    child.start()
    child.join()
    return queue.get()


# %% several calls: what is rebound, redefined and edited
def read_limit(held):
    return LIMIT


def tone_of(value):
    return "first"


def uses_tone_of(held, value):
    return tone_of(value)


def identity():
    return [os.getpid(), os.urandom(8).hex()]


@sequence()
def global_bound_anew(make_app):
    global LIMIT
    app, before = make_app(read_limit), LIMIT
    seen = [app()]
    try:
        LIMIT = 11
        seen += [app(), make_app(read_limit)()]
        LIMIT = "text"
        seen += [app()]
    finally:
        LIMIT = before
    return [*seen, app()]


@sequence()
def function_defined_anew(make_app):
    global tone_of
    first = tone_of
    app = make_app(uses_tone_of)
    seen = [app(1)]

    def tone_of(value):
        return ["second", scale(value)]

    try:
        return [*seen, app(1), make_app(uses_tone_of)(1)]
    finally:
        tone_of = first


class Redefined:
    version = 1


def is_redefined(held, value):
    return [Redefined.version, isinstance(value, Redefined), type(value).version]


@sequence()
def class_defined_anew(make_app):
    global Redefined
    first, app, old = Redefined, make_app(is_redefined), Redefined()
    seen = [app(old)]

    class Redefined:
        version = 2

    try:
        return [*seen, app(Redefined()), app(old)]
    finally:
        Redefined = first


@sequence(expected=[True, True])
def edited_body_keeps_its_context(make_app):
    seen = [make_app(lambda held: held, identity)(), make_app(lambda held: list(held), identity)()]
    LIMIT_BEFORE = 12
    seen += [make_app(lambda held: held[:LIMIT_BEFORE], identity)()]
    return [seen[0] == seen[1], seen[0] == seen[2]]


def block_of_the_script(value):
    """Its block binds a global, a class and functions; the body uses classes of the script and of the package."""
    with context(**level()):
        global LOADED

        class Local(Model):
            def predict(self, value):
                return [super().predict(value), scale(value)]

        model = Local()
        LOADED = model

        def kind(value):
            return isinstance(value, Model)

    return [LOADED is model, isinstance(model, Local), kind(model), model.predict(value)]


def block_with_errors(site):
    with context(**level()):
        run = fail
        wanted = QuotaError
    try:
        run(site)
    except wanted as error:
        return [type(error) is QuotaError, error.left, wanted is errors.QuotaError]


@sequence()
def block_in_the_script(make_app):
    app = block_app(block_of_the_script)
    return [app(1), app(2), block_app(block_with_errors)("here")]


@sequence()
def block_in_a_package(make_app):
    app = block_app(blocks.paint)
    return [app(1), app(2, kinds.Colour.RED), app(3, [*kinds.Colour][-1])]


@sequence()
def block_in_a_function(make_app):
    offset = Point(1, 2)

    def moved(value):
        with context(**level()):
            before = offset
            cache = {}
        cache[value] = before
        return [type(before) is Point, before == offset, before is offset, value in cache]

    app = block_app(moved)
    return [app(1), app(2)]


@sequence()
def what_a_context_set_survives_calls(make_app):
    app = make_app(lambda held: LOADED is held, load_global)
    return [app(), app(), make_app(lambda held: [LOADED is held, LOADED.pitch], load_global)()]


TUNING = None


def tune():
    global TUNING
    TUNING = ["set by the context"]
    return TUNING


@sequence(expected=[[True, ["set by the context"]], [False, "set by the script"], [False, "set by the script"]])
def binding_of_the_script_wins_when_it_is_newer(make_app):
    global TUNING
    TUNING = None
    app = make_app(lambda held: [TUNING is held, TUNING], tune)
    seen = [app()]
    TUNING = "set by the script"
    return [*seen, app(), app()]


def run_cell(text):
    """Run a cell of a notebook, or what comes nearest to it."""
    shell = globals().get("get_ipython")
    if shell is not None:
        shell().run_cell(text)
    else:
        exec(text, globals())


CELL = """
import enum
import fcntl

class Knob(enum.Enum):
    LEFT = "left {0}"

def tuned(value):
    return ["version {0}", value]
"""


def knob_seen(held, value):
    return [tuned(1), Knob.LEFT.value, isinstance(value, Knob), value is Knob.LEFT, "version" in source_of(tuned)]


def tuned_by_the_context():
    return tuned("context")


@sequence()
def cell_run_again_with_changes(make_app):
    run_cell(CELL.format(1))
    app, old = make_app(knob_seen), Knob.LEFT
    seen = [app(Knob.LEFT), make_app(lambda held: held, tuned_by_the_context)()]
    run_cell(CELL.format(2))
    seen += [app(old), app(Knob.LEFT), make_app(lambda held: held, tuned_by_the_context)()]
    result = make_app(lambda held: held, lambda: Knob.LEFT)()
    return [*seen, result is Knob.LEFT]


@sequence()
def cell_run_again_as_it_was(make_app):
    run_cell(CELL.format(1))
    app, old = make_app(lambda held, value: value is Knob.LEFT), Knob.LEFT
    seen = [app(Knob.LEFT), app(old)]
    run_cell(CELL.format(1))
    return [*seen, app(Knob.LEFT), app(old)]


@sequence(expected=[True, True])
def cell_of_the_body_run_again_keeps_the_context(make_app):
    cell = "def unchanged(held):\n    return [{0!r}, held]\n"
    run_cell(cell.format("first"))
    seen = [make_app(unchanged, identity)()]
    for text in ("first", "second"):
        run_cell(cell.format(text))
        seen += [make_app(unchanged, identity)()]
    return [seen[0] == seen[1], seen[1][1] == seen[2][1]]


def version_seen(held):
    return [held, edited.version(), getattr(edited, "added", None)]


@contextlib.contextmanager
def alone_with(path):
    """Nobody else edits the file meanwhile: two processes of pytest-xdist share the project."""
    with open(f"{path}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@sequence()
def module_reloaded(make_app):
    path = Path(edited.__file__)
    with alone_with(path):
        text = path.read_text()
        try:
            seen = [make_app(version_seen, lambda: edited.version())()]
            path.write_text(text.replace("return 1", "return 2  # edited") + "\n\nadded = True\n")
            importlib.reload(edited)
            app = make_app(version_seen, lambda: edited.version())
            seen += [app(), app()]
        finally:
            path.write_text(text)
            with contextlib.suppress(AttributeError):
                del edited.added
            importlib.reload(edited)
        return [*seen, make_app(version_seen, lambda: edited.version())()[:2]]


@sequence()
def module_reloaded_under_an_earlier_app(make_app):
    path = Path(edited.__file__)
    with alone_with(path):
        text = path.read_text()
        app = make_app(lambda held: edited.version())
        try:
            seen = [app()]
            path.write_text(text.replace("return 1", "return 3  # edited otherwise"))
            importlib.reload(edited)
            seen += [app()]
        finally:
            path.write_text(text)
            importlib.reload(edited)
        return [*seen, app()]


@sequence(expected="an error that names the module")
def module_changed_and_not_reloaded(make_app):
    path = Path(changed.__file__)
    text, times = path.read_text(), path.stat()
    path.write_text(text.replace("return 1", "return 2  # changed"))
    try:
        seen = make_app(lambda held: changed.version())()
        # Where an earlier probe has carried it, workers go on with what the script has loaded.
        return "an error that names the module" if seen == changed.version() == 1 else ["no error", seen]
    except Exception as error:
        return "an error that names the module" if "changed" in str(error) else repr(error)
    finally:
        path.write_text(text)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@sequence()
def class_of_a_test_or_cell(make_app):
    class Here:
        size = 3

    class There(Here):
        pass

    app = make_app(lambda held, one, two: [type(held) is There, isinstance(two, Here), type(one) is Here], There)
    result = make_app(lambda held: held, Here)()
    return [app(Here(), There()), type(result) is Here]


@sequence()
def class_is_the_same_in_calls(make_app):
    remember = make_app(lambda held, value: REMEMBERED.setdefault("class", type(value)) is type(value), Note, 1)
    return [remember(Note(1)), remember(Note(2)), make_app(seen_before)(Note(1))]


REMEMBERED = {}


def seen_before(held, value):
    return REMEMBERED.get("class", type(value)) is type(value) is Note


# %% run
if __name__ == "__main__":
    sys.faithful_guard = True
    main()
