"""Functions that use objects of classes of the user's: data classes, named tuples, enumerations; and functions within."""
# ruff: noqa

import collections
import dataclasses
import enum
import functools
import math
import re
import typing

import numpy as np

from tests.unit.discover.automatic_samples import build, moves, refused

Site = collections.namedtuple("Site", "name height")


class Point(typing.NamedTuple):
    x: float
    y: float

    def far(self):
        return math.hypot(self.x, self.y)


@dataclasses.dataclass
class Rates:
    slow: float = 1.0
    more: list = dataclasses.field(default_factory=list)

    def at(self, t):
        return self.slow * t + len(self.more)


@dataclasses.dataclass(frozen=True)
class Atom:
    symbol: str
    mass: float


@dataclasses.dataclass
class Tally:
    n: int = 0

    def count(self):
        self.n += 1
        return self.n


def ticking(made=[]):
    made.append(1)
    return len(made)


@dataclasses.dataclass
class Numbered:
    n: int = dataclasses.field(default_factory=ticking)


class Phase(enum.Enum):
    SOLID = 1
    LIQUID = 2


class Words:
    pattern = re.compile("[a-z]+")
    known = {"a": 1}

    def __init__(self, text):
        self.words = set(self.pattern.findall(text))

    @classmethod
    def of(cls, *parts):
        return cls(" ".join(parts))

    def has(self, word):
        return word in self.words, self.known.get(word)


class Numbering:
    made = 0

    def __init__(self, number):
        self.number = number

    @classmethod
    def another(cls):
        cls.made += 1
        return cls(cls.made)


class Counted:
    made = {}

    def __init__(self, text):
        self.made[text] = 1
        self.text = text

    def has(self, word):
        return word in self.made


class Copied:
    known = {"a": 1}

    def __init__(self):
        self._prepare()

    def _prepare(self):
        self.table = dict(self.known)

    def has(self, word):
        return word in self.table


class Remembering:
    seen = {}

    def __init__(self, text):
        self.text = text

    def has(self, word):
        self.seen[word] = 1
        return len(self.seen)


@moves("points")
def named_tuples(x):
    points = [Point(1.0, 2.0), Point(3.0, 4.0)]
    return points[x].far()


@moves("sites")
def named_tuples_of_the_library(x):
    sites = [Site("a", 1), Site("b", 2)]
    return sites[x].name


@moves("rates")
def a_data_class(x):
    rates = Rates(2.0)
    return rates.at(x)


@refused("rates is changed")
def a_data_class_that_is_changed(x):
    rates = Rates(2.0)
    rates.slow = x
    return rates.at(x)


@refused("is changed in count")
def a_data_class_that_changes_itself(x):
    tally = Tally()
    return tally.count()


@refused("has fields that a function of yours makes")
def a_data_class_with_fields_that_are_counted(x):
    numbered = Numbered()
    return numbered.n


@moves("atoms")
def a_frozen_one(x):
    atoms = {1: Atom("H", 1.0)}
    return atoms[1].mass * x


@moves("table", calls=((1,),))
def keys_of_an_enumeration(x):
    table = {Phase.SOLID: "ice", Phase.LIQUID: "water"}
    return table[Phase(x)]


@moves("words", calls=(("a",), ("z",)))
def attributes_of_a_class(x):
    words = Words("a b c")
    return words.has(x)


@moves("words", calls=(("a",), ("z",)))
def made_by_a_function_of_its_class(x):
    words = Words.of("a", "b")
    return words.has(x)


@refused("is changed in another")
def made_by_a_function_that_counts(x):
    numbered = Numbering.another()
    return numbered.number + x


@refused("has made, which all its objects share|changed")
def a_class_that_counts_its_objects(x):
    counted = Counted("a")
    return counted.has(x)


@refused("has known, which all its objects share")
def a_class_that_copies_what_all_share(x):
    copied = Copied()
    return copied.has(x)


@refused("is changed in has")
def a_class_whose_objects_change_what_they_share(x):
    remembering = Remembering("a")
    return remembering.has(x)


# --- functions within a function


@moves("stop", "rows", calls=((["a b"],), (["c"],)))
def a_function_that_both_halves_call(x):
    stop = set("ab")

    def parts(text):
        found = []
        for word in text.split():
            if word not in stop:
                found.append(word)
        return found

    rows = [parts(text) for text in ["a x", "b y z"]]
    return [parts(text) for text in x], len(rows)


@refused("rows is changed by .append")
def a_function_that_changes_what_it_captures(x):
    rows = build()

    def put(value):
        rows.append(value)
        return len(rows)

    n = put(1)
    return put(x), n


@moves("limit")
def a_function_that_sees_another_value_later(x):
    limit = 3

    def below(value):
        return value < limit

    flags = [below(v) for v in [1, 5]]
    limit = x
    return flags[0], below(x)


@refused("it is a function|depends on put")
def a_function_that_has_effects(x):
    def put(value):
        print(value)
        return value

    rows = [put(1)]
    return rows[0] + x


@refused("rows is changed|gives")
def a_function_that_gives_what_it_captures(x):
    rows = build()

    def same():
        return rows

    other = same()
    other.append(x)
    return len(rows)


@refused("which is not known")
def a_function_that_is_kept(x):
    def put(table, value):
        table[value] = 1
        return len(table)

    look = functools.partial(put)
    table = dict(a=1)
    return look(table, x)


@refused("rows is changed|rows is given to put")
def a_function_that_changes_what_was_read_above(x):
    rows = build()

    def put(table):
        table.append(9)
        return len(table)

    first = len(rows) + x
    n = put(rows)
    return first, n * 2


@moves("best")
def a_function_that_chooses(x):
    def size(word):
        return len(word)

    best = min(["aa", "b"], key=size)
    return best * x


# --- names that are bound to what nobody can change


@moves("pattern", "path")
def given_out_whole(x):
    import pathlib

    pattern = re.compile("a+")
    path = pathlib.Path("a", "b")
    return pattern, path, x


@refused("returned")
def given_out_whole_though_it_can_be_changed(x):
    counts = collections.Counter("aab")
    return counts, x


@moves("large", "values")
def taken_by_a_condition(x):
    values = np.arange(4.0)
    large = np.isfinite(values)
    part = values[large]
    part += x
    return part.tolist()


@refused("values is changed in place")
def taken_by_what_is_no_condition(x):
    values = np.arange(4.0)
    first = slice(0, x)
    part = values[first]
    part += x
    return part.tolist()


@moves("docs")
def items_of_items_are_given_out(x):
    docs = [{"id": "a"}, {"id": "b"}]
    return [(doc["id"], x) for doc in docs]
