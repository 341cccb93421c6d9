"""Functions as people write them: what of them moves to a context that is found, or why nothing does."""
# ruff: noqa

import array
import collections
import copy
import csv
import datetime
import functools
import itertools
import json
import math
import os
import random
import re
import statistics
import string
import sys
import time
from pathlib import Path

import numpy as np

SAMPLES = []  # function, names that flow, what the reason of a refusal says, calls

WORDS = ("a", "b")
LIMIT = 3
CACHE = {}
RATES = {"a": 1.0}
CHOSEN = [1, 3, 5]
TABLE_OF_LISTS = [[1], [2]]


def moves(*names, calls=((1,),)):
    def note(function):
        SAMPLES.append((function, names, None, calls))
        return function

    return note


def refused(says):
    def note(function):
        SAMPLES.append((function, (), says, ()))
        return function

    return note


class InPlace:
    """As an estimator of scikit-learn: its arguments are its attributes."""

    def __init__(self, copy):
        self.copy = copy


IN_PLACE = InPlace(copy=False)
IN_PLACE.fit_transform = np.asarray


class Attenuation:
    def __init__(self, rows):
        self.log_energy = [float(row) for row in rows]

    def at(self, x):
        return max(self.log_energy) * x


class Recording:
    def __init__(self, rows):
        self.rows = list(rows)

    def log_energy(self, x):
        self.rows.append(x)
        return len(self.rows)

    def at(self, x):
        return list(map(self.log_energy, [x]))


class Strange:
    def process(self, rows, x):
        rows.append(x)


class Reads(Strange):
    def __init__(self, rows):
        self.n = len(rows)


class Keeps(Strange):
    def __init__(self, rows):
        self.rows = rows


def corners(n):
    rows = [0] * n
    rows[0] = rows[-1] = 1
    rows[1], last = 2, rows[-1]
    return rows + [last]


def corner_of_a_global(n):
    rows = [0] * n
    rows[0], RATES["b"] = 1, 2
    return rows


def made_of_a_reader():
    return functools.partial(helper)


def made_of_a_changer():
    return functools.partial(changing_helper)


def first_of(rows):
    return rows[0]


def same_as(rows):
    return rows


def keeping_a_part(rows, key):
    CACHE[key] = rows[0]
    return key


def helper(table, key):
    return table.get(key, 0) + 1


def changing_helper(table, key):
    table[key] = 1
    return len(table)


def keeping_helper(table, key):
    CACHE["last"] = table
    return key


def returning_helper(table):
    return table


def build(size=3):
    rows = []
    for i in range(size):
        rows.append(i * i)
    return rows


def build_from_the_clock():
    return time.time()


def build_with_state():
    global LIMIT
    LIMIT += 1
    return LIMIT


def total(rows, n):
    return 0 if n < 0 else rows[n] + total(rows, n - 1)


def factorial(n):
    return 1 if n < 2 else n * factorial(n - 1)


class Counter_:
    def __init__(self):
        self.n = 0

    def next_one(self):
        self.n += 1
        return self.n


# --- what moves


@moves("pattern", calls=((" a@b ",), ("none",)))
def a_pattern(text):
    pattern = re.compile(r"(\w+)@(\w+)")
    return pattern.findall(text)


@moves("table", calls=(("a",), ("z",)))
def a_table(word):
    table = {w: i for i, w in enumerate("abc")}
    return table.get(word)


@moves("table")
def an_import_within(x):
    import decimal

    table = [decimal.Decimal(i) for i in range(3)]
    return str(table[x])


@moves("root")
def a_from_import(x):
    from math import sqrt as root_of

    root = root_of(16)
    return root * x


@moves("w")
def an_array(x):
    w = np.arange(6).reshape(2, 3)
    return (w @ np.ones(3) * x).tolist()


@moves("w")
def an_array_that_is_computed_with(x):
    w = np.ones((2, 2))
    y = w @ w
    y += x
    return y.tolist()


@moves("mean", "spread")
def two_of_one(x):
    values = [1.0, 2.0, 4.0]
    mean, spread = statistics.mean(values), statistics.stdev(values)
    return (x - mean) / spread


@moves("model", calls=((0.5,), (3.0,)))
def a_fit(x):
    points = [(0.0, 1.0), (1.0, 3.0)]
    model = np.polynomial.Polynomial.fit([p[0] for p in points], [p[1] for p in points], 1)
    return round(float(model(x)), 6)


@moves("words", calls=((1,), ("x",)))
def after_a_guard(x):
    """With a docstring."""
    if not isinstance(x, int):
        raise TypeError(f"no number: {x}")
    words = "a b c".split()
    return words[x]


@moves("words", calls=((1,), (7,)))
def after_a_guard_that_returns(x):
    if x > 5:
        return None
    words = "a b c".split()
    return words[x]


@moves("words")
def after_an_assertion(x):
    assert x != 3, "three"
    words = "a b c".split()
    return words[x]


@moves("table")
def of_constants(x):
    size = 4
    step = 2
    table = list(range(0, size, step))
    return table[x]


@moves("table")
def of_a_global_number(x):
    table = [0] * LIMIT
    return len(table) + x


@moves("table")
def of_a_global_tuple(x):
    table = {w: len(w) for w in WORDS}
    return table["a"] + x


@moves("rows")
def by_a_function_of_the_module(x):
    rows = build(4)
    return rows[x]


@moves("table")
def given_to_a_function_that_reads(x):
    table = dict(a=1)
    return helper(table, x)


@moves("rows")
def given_to_a_library(x):
    rows = [3, 1, 2]
    return json.dumps(rows) + str(math.prod(rows) + x)


@moves("rows")
def iterated_over_a_list(x):
    rows = [3, 1, 2]
    return [r * x for r in rows]


@moves("rows")
def summed(x):
    rows = [i for i in range(10) if i % 2]
    return sum(rows) + max(rows) + x


@moves("names")
def asked_for_membership(x):
    names = {"a", "b"}
    return str(x) in names


@moves("table")
def an_item_is_returned(x):
    table = {1: "one", 2: "two"}
    return table[x]


@moves("table")
def an_attribute_is_read(x):
    table = datetime.timedelta(hours=2)
    return table.seconds * x


@moves("power")
def a_partial(x):
    power = functools.partial(pow, 2)
    return power(x)


@moves("first")
def a_getter(x):
    import operator

    first = operator.itemgetter(0)
    return first([x, 2])


@moves("template")
def a_template(x):
    template = string.Template("hello $name")
    return template.substitute(name=x)


@moves("key")
def used_in_a_lambda_that_is_given(x):
    key = {3: 0, 1: 1, 2: 2}
    return sorted([1, 2, 3], key=lambda v: key[v])[:x]


@moves("names")
def copied_and_changed(x):
    names = ["a", "b"]
    mine = list(names)
    mine.append(x)
    return mine


@moves("names")
def added_to(x):
    names = ["a", "b"]
    mine = names + [x]
    mine.append(3)
    return mine


@moves("text")
def upper_case(x):
    text = " ".join(["a", "b"])
    return text.upper() * x


@moves("codes")
def changed_before_the_body(x):
    codes = {"a": 1}
    codes.update(b=2)
    return codes["b"] + x


@moves("order")
def sorted_in_place_before_the_body(x):
    order = [3, 1, 2]
    order.sort()
    return order[x]


@moves("words")
def a_chain_of_calls(x):
    words = "B a".lower().replace("a", "c").split()
    return words[x]


@moves("lookup")
def of_what_moves(x):
    words = "a b c".split()
    lookup = {w: i for i, w in enumerate(words)}
    return lookup.get("b") + x


@moves("words", "lookup")
def both_are_used(x):
    words = "a b c".split()
    lookup = {w: i for i, w in enumerate(words)}
    return lookup[words[x]]


@moves("scale")
def kept_by_an_object_of_the_body(x):
    scale = np.float64(3)
    out = {}
    out["y"] = scale * x
    return out


@moves("threshold")
def compared(x):
    threshold = math.log(10)
    return x > threshold


@moves("path")
def a_path(x):
    path = os.path.join("data", "table.csv")
    return path + str(x)


@moves("schema")
def json_text(x):
    schema = json.loads('{"a": [1, 2]}')
    return schema["a"][x]


@moves("when")
def a_date(x):
    when = datetime.date(2020, 1, 2)
    return when.year + x


@moves("found")
def a_loop_over_what_is_in_it(x):
    rows = [("a", 1), ("b", 2)]
    found = []
    for name, number in rows:
        found.append(name * number)
    return found[x]


@moves("vowels", calls=(("abc",),))
def counted(text):
    vowels = frozenset("aeiou")
    return sum(1 for c in text if c in "aeiou") + len(vowels)


@moves("table", calls=((1,), (0,)))
def errors_are_those_of_the_whole(x):
    table = {1: 2}
    return table[1] / x


@moves("kept")
def one_stays_and_one_moves(x):
    seen = []
    kept = "a b".split()
    seen.append(x)
    return seen, kept[0]


@moves("basis")
def set_up_in_place(x):
    size = 4
    basis = np.outer(np.arange(size), np.ones(size))
    basis[0] /= 2.0
    basis *= 3.0
    return (basis @ np.full(size, x)).tolist()


@moves("rows")
def bound_again_and_again(x):
    rows = [3, 1, 2]
    rows = sorted(rows)
    rows = rows + [4]
    return rows[x]


@refused("rows is changed by .append")
def changed_after_what_stays_has_read_it(x):
    rows = [3, 1, 2]
    first = rows + [0]
    rows.append(9)
    first.append(x)
    return first, len(rows)


@moves("rows")
def given_to_a_function_that_calls_itself(x):
    rows = [3, 1, 2]
    return total(rows, x)


@moves("names")
def a_constant_tuple_is_no_misuse(x):
    lanes = ("a", "b")
    names = [lane.upper() for lane in lanes]
    return names[x] + next(iter(lanes))


# --- mutation


@refused("changed by .append")
def appended_to(x):
    rows = build()
    rows.append(x)
    return rows[0]


@refused("changed")
def stored_into(x):
    table = dict(a=1)
    table[x] = 1
    return len(table)


@refused("changed in place")
def added_in_place(x):
    rows = build()
    rows += [x]
    return len(rows)


@refused("is deleted")
def an_item_is_deleted(x):
    rows = build()
    del rows[0]
    return len(rows)


@refused("changed")
def an_attribute_is_set(x):
    rows = np.ones(3)
    rows.shape = (x, 1)
    return x


@refused("changed by .pop")
def popped(x):
    rows = build()
    return rows.pop()


@refused("changed by .append")
def an_alias_is_changed(x):
    rows = build()
    mine = rows
    mine.append(x)
    return len(mine)


@refused("changed by .append")
def an_item_is_changed(x):
    table = {1: []}
    table[1].append(x)
    return len(table[1])


@refused("changed by .append")
def what_a_method_gives_is_changed(x):
    table = {1: []}
    row = table.get(1)
    row.append(x)
    return len(row)


@refused("changed by .append")
def a_loop_changes_items(x):
    rows = [[1], [2]]
    for row in rows:
        row.append(x)
    return sum(map(len, rows))


@refused("changed by .append")
def a_copy_shares_its_items(x):
    rows = [[1], [2]]
    mine = list(rows)
    mine[0].append(x)
    return mine[0]


@refused("changed by .setdefault")
def a_default_is_set(x):
    table = dict(a=1)
    return table.setdefault(x, 2)


@refused("given to changing_helper")
def given_to_a_function_that_changes(x):
    table = dict(a=1)
    return changing_helper(table, x)


@refused("given to keeping_helper")
def given_to_a_function_that_keeps(x):
    table = dict(a=1)
    return keeping_helper(table, x)


@refused("given another name")
def what_a_function_returns_is_changed(x):
    table = dict(a=1)
    same = helper(table, x) and table
    same.update(b=2)
    return len(same)


@refused("may change it")
def given_to_a_function_that_shuffles(x):
    rows = build()
    random.shuffle(rows)
    return rows[0]


@refused("written to")
def written_by_out(x):
    rows = np.ones(3)
    np.add(rows, x, out=rows)
    return rows.tolist()


@refused("is written to by add")
def written_by_position(x):
    rows = np.ones(3)
    np.add(rows, x, rows)
    return rows.tolist()


@refused("may change it")
def changed_by_a_method_of_a_ufunc(x):
    rows = np.ones(3)
    np.add.at(rows, [0], x)
    return rows.tolist()


@refused("overwrite_a=")
def overwritten(x):
    import scipy.linalg

    rows = np.eye(3)
    return scipy.linalg.inv(rows, overwrite_a=True) * x


@moves("grid", "table")
def interpolated(x):
    grid = np.linspace(0.0, 3.0, 7)
    table = grid**2
    return float(np.interp(x, grid, table))


@moves("numbers")
def changed_once_by_a_method_whose_name_tells_nothing(x):
    numbers = array.array("H", [1, 2, 3])
    numbers.byteswap()
    return numbers[0] + x


@refused("is changed by .byteswap")
def changed_by_such_a_method_in_calls(x):
    numbers = array.array("H", [1, 2, 3])
    if x:
        numbers.byteswap()
    return numbers[0]


@moves("numbers")
def read_by_a_method_that_gives_something(x):
    numbers = array.array("H", [1, 2, 3])
    return numbers.index(2) + x


@refused("changed in place")
def changed_by_inplace(x):
    frame = json.loads("{}")
    frame.drop(x, inplace=True)
    return len(frame)


@refused("rows is changed by .append")
def changed_by_a_nested_function(x):
    rows = build()

    def add():
        rows.append(x)

    add()
    return len(rows)


@refused("build_with_state")
def state_in_a_function_of_another_module(x):
    from tests.unit.discover.automatic_samples import build_with_state as number_of

    number = number_of()
    return number


@refused("build_from_the_clock")
def the_clock_in_a_function_of_another_module(x):
    import tests.unit.discover.automatic_samples as others

    now = others.build_from_the_clock()
    return now


@refused("given to changing_helper")
def given_to_a_function_of_another_module_that_changes(x):
    from tests.unit.discover import automatic_samples as others

    table = dict(a=1)
    return others.changing_helper(table, x)


@moves("rows")
def by_a_function_of_another_module(x):
    from tests.unit.discover.automatic_samples import build as make

    rows = make(4)
    return rows[x]


@refused("which is not known")
def given_to_what_an_item_is(x):
    rows = build()
    return [len][0](rows)


@refused("may be called later")
def a_method_is_taken(x):
    rows = [3, 1, 2]
    add = rows.append
    add(x)
    return len(rows)


@refused("is given to changing_helper|may be called later")
def a_function_is_given_on(x):
    table = dict(a=1)
    put = functools.partial(changing_helper, table)
    put(x)
    return len(table)


@refused("lambda")
def a_lambda_is_given_on(x):
    rows = build()
    put = functools.partial(lambda a, b: a.append(b), rows)
    put(x)
    return len(rows)


@refused("returned, stored, or given another name")
def a_changing_function_is_given_on(x):
    rows = build()
    list(map(list.append, [rows], [x]))
    return len(rows)


@refused("given to getattr")
def a_method_by_its_name(x):
    rows = build()
    getattr(rows, "append")(x)
    return len(rows)


@moves("table")
def a_variable_of_a_comprehension_is_another(x):
    table = [i * i for i in range(3)]
    total = 0
    for i in range(x):
        total += table[i]
    return total


@refused("changed by .add_")
def changed_as_torch_does(x):
    rows = np.ones(3)
    rows.add_(x)
    return rows


@refused("rows is changed by .append")
def changed_if_it_is_no_copy(x):
    rows = [[1], [2]]
    if x:
        mine = rows[0]
    else:
        mine = list(rows)
    mine.append(x)
    return len(mine)


@refused("rows is changed by .append")
def changed_unless_a_copy_was_made(x):
    rows = [[1], [2]]
    mine = rows[0]
    try:
        mine = list(rows[x])
    except IndexError:
        pass
    mine.append(x)
    return len(mine)


@refused("rows is changed by .append")
def changed_in_the_next_turn(x):
    rows = [[1], [2]]
    mine = rows[0]
    mine = list(rows)
    for i in range(2):
        mine.append(x)
        mine = rows[i]
    return len(mine)


@refused("rows is changed by .append")
def changed_after_a_turn_that_was_left(x):
    rows = [[1], [2]]
    mine = []
    for i in range(2):
        mine = rows[i]
        if i == x:
            break
        mine = list(rows)
    mine.append(x)
    return len(mine)


@refused("rows is changed by .append")
def changed_by_a_function_that_is_called_again(x):
    rows = [[1], [2]]
    mine = list(rows[:x])

    def put():
        mine.append(x)

    put()
    mine = rows[0]
    put()
    return len(mine)


@refused("rows is changed by .append")
def changed_by_what_is_mapped_later(x):
    rows = [[1], [2]]
    mine = list(rows[:x])
    later = map(lambda v: mine.append(v), [x])
    mine = rows[0]
    return len(list(later)), len(mine)


@moves("rows")
def each_branch_has_its_own_copy(x):
    rows = [[1], [2]]
    if x:
        mine = list(rows)
    else:
        mine = rows + [[3]]
    mine.append(x)
    return len(mine)


@moves("rows")
def a_function_has_variables_of_its_own(x):
    rows = [3, 1, 2]

    def scaled(v):
        part = rows[v]
        v = part * x
        return v

    part = [x]
    part.append(scaled(1))
    return part


@refused("rows is changed by .append")
def a_function_changes_by_a_variable_of_its_own(x):
    rows = [[3], [1]]

    def put(v):
        part = rows[0]
        part.append(v)
        return len(part)

    return put(x)


@moves("table")
def an_attribute_that_sounds_like_a_method(x):
    table = Attenuation([1, 2])
    return table.at(x)


@refused("is changed in log_energy")
def a_method_is_given_on_by_another(x):
    table = Recording([1, 2])
    return table.at(x)


@moves("table")
def computed_with_what_sounds_like_a_method(x):
    table = Attenuation([1, 2])
    return table.log_energy[0] * x + np.sum(table.log_energy)


@refused("may be changed by .log_energy")
def a_method_is_given_on(x):
    table = Attenuation([1, 2])
    return list(map(table.log_energy, [x]))


@moves("rows")
def filled_at_its_corners(x):
    rows = corners(4)
    return rows[x]


@refused("corner_of_a_global")
def a_global_is_filled(x):
    rows = corner_of_a_global(4)
    return rows[x]


@moves("look", "table")
def made_of_what_a_function_gives(x):
    look = made_of_a_reader()
    table = dict(a=1)
    return look(table, x)


@moves("put")
def made_of_a_function_that_changes(x):
    put = made_of_a_changer()
    table = dict(a=1)
    return put(table, x), len(table)


@moves("rows")
def submodules_are_imported(x):
    import collections.abc
    import collections

    rows = [collections.Counter("aab"), collections.OrderedDict(a=1)]
    rows = [len(row) for row in rows]
    return rows[x]


@refused("os is bound more than once")
def two_modules_of_one_name(x):
    import os.path
    import json as os

    rows = [os.__name__]
    return rows[0]


@moves("codes")
def keys_are_given_out(x):
    codes = {"a": [1], "b": [2]}
    return [name for name, numbers in codes.items() if x in numbers]


@moves("columns")
def columns_are_chosen_by_a_global(x):
    columns = np.arange(8.0)[CHOSEN]
    return float(columns[x])


@refused("TABLE_OF_LISTS may be changed")
def a_global_that_holds_lists(x):
    columns = np.arange(8.0)[TABLE_OF_LISTS]
    return float(columns[x])


@refused("which is not known")
def given_to_an_object_out_of_an_argument(x):
    rows = build()
    for each in x:
        each.process(rows, 1)
    return len(rows)


@refused("which is not known")
def given_to_an_object_that_is_made_here(x):
    rows = build()
    made = [Strange()]
    if x:
        made = [Strange(), Strange()]
    each = made[0]
    each.process(rows, x)
    return len(rows)


@refused("which is not known")
def given_to_an_object_that_a_function_makes(x):
    rows = build()

    def make():
        return Strange()

    made = make()
    made.process(rows, x)
    return len(rows)


@refused("changed by .append")
def what_a_function_gives_back_is_changed(x):
    table = {"k": [1]}
    rows = table["k"]
    same_as(rows).append(x)
    return len(table["k"])


@moves("rows")
def a_function_gives_a_part(x):
    rows = [[1], [2]]
    return len(first_of(rows)) + x


@moves("table")
def read_from_a_file_that_is_opened_for_it(x):
    table = json.load(open("/dev/null/not"))
    return table[x]


@refused("may be written to")
def read_from_a_file_that_is_made(x):
    table = json.load(open("/tmp/never", "w+"))
    return table[x]


@refused("open")
def a_file_that_is_left_open(x):
    handle = open("/dev/null")
    return handle.read()


@moves("rows")
def the_first_line_is_skipped(x):
    with open("/dev/null") as handle:
        header = next(handle, "a,b").split(",")
        rows = [dict(zip(header, row)) for row in csv.reader(handle)]
    return len(rows) + x


@refused("more than compute")
def the_next_of_what_is_no_file(x):
    rows = build()
    number = next(rows)
    return number


@moves("sieve")
def set_at_two_places(x):
    sieve = [True] * 10
    sieve[0] = sieve[1] = False
    return sieve[x]


@refused("it stores into an object|is changed")
def set_at_a_place_of_a_global(x):
    sieve = [True] * 10
    sieve[0] = CACHE[1] = x
    return sieve[1]


@moves("head", "rest")
def unpacked_with_a_star(x):
    head, *rest = [3, 1, 2]
    return head + rest[x]


@refused("rest is changed by .append")
def what_a_star_got_is_changed(x):
    head, *rest = [3, 1, 2]
    rest.append(x)
    return len(rest)


# --- escape


@refused("returned")
def returned(x):
    rows = build()
    return rows


@refused("returned")
def returned_in_a_tuple(x):
    rows = build()
    return x, rows


@refused("returned")
def stored_elsewhere(x):
    rows = build()
    CACHE[x] = rows
    return x


@refused("returned, stored")
def put_into_a_list(x):
    rows = build()
    out = [rows, x]
    return len(out)


@moves("out")
def put_into_a_list_that_moves_too(x):
    rows = build()
    out = [rows]
    return len(out) + x


@refused("rows is returned")
def captured(x):
    rows = build()

    def inner():
        return rows

    return inner


@refused("may be called later")
def captured_by_a_lambda(x):
    rows = build()
    inner = lambda: rows
    return inner


@refused("not known")
def given_to_what_is_not_known(callback):
    rows = build()
    return callback(rows)


# --- iterators, generators, files, clock, random numbers, connections


@refused("is given to next|is used up by reading it")
def an_iterator(x):
    rows = iter([1, 2, 3])
    return next(rows)


@refused("is used up by reading it")
def a_generator(x):
    rows = (i for i in range(5))
    return list(rows)


@refused("is used up by reading it")
def zipped(x):
    rows = zip([1], [2])
    return list(rows)


@refused("is given to next|is used up by reading it")
def counting(x):
    numbers = itertools.count()
    return next(numbers)


@refused("is used up by reading it")
def read_lines(x):
    rows = csv.reader(["a,b"])
    return list(rows)


@refused("open")
def an_open_file(x):
    file = open("/dev/null")
    return file.read()


@moves("rows")
def walked_over_what_is_not_known(x):
    rows = json.loads("[1]")
    return [r for r in rows]


@refused("time.time")
def the_clock(x):
    now = time.time()
    return now


@refused("build_from_the_clock")
def the_clock_in_a_function(x):
    now = build_from_the_clock()
    return now


@refused("build_with_state")
def state_in_a_function(x):
    number = build_with_state()
    return number


@refused("random")
def random_numbers(x):
    number = random.random()
    return number


@refused("rng is changed by .normal|draws other numbers")
def a_seeded_generator(x):
    rng = np.random.default_rng(3)
    return rng.normal()


@refused("environ")
def the_environment(x):
    home = os.environ["HOME"]
    return home


@refused("os.getcwd")
def the_working_directory(x):
    here = os.getcwd()
    return here


@refused("sqlite3.connect")
def a_connection(x):
    import sqlite3

    db = sqlite3.connect(":memory:")
    return db.execute("select 1").fetchall()


@refused("socket")
def a_socket(x):
    import socket

    s = socket.socket()
    return s


@moves("rates")
def a_global_that_may_change(x):
    rates = sorted(RATES)
    return len(rates)


@refused("Counter_ is changed in next_one")
def an_object_of_a_class(x):
    counter = Counter_()
    return counter.next_one()


@refused("random_state")
def a_forest(x):
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier()
    return model.predict(x)


@moves("model", calls=())
def a_forest_with_a_state(x):
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(random_state=0).fit([[0], [1]], [0, 1])
    return model.predict(x)


@refused("changed by .append")
def a_default_dictionary_that_is_filled(x):
    table = collections.defaultdict(list)
    table[x].append(1)
    return len(table[x])


# --- nothing leads


@refused("depends on x")
def all_depends_on_the_call(x):
    y = np.asarray(x)
    return y


@refused("comes after line")
def after_a_line_that_has_effects(x):
    y = keeping_helper({}, x)
    table = "a b".split()
    return table[0], y


@moves("rows")
def bound_twice(x):
    rows = build()
    rows = rows + [x]
    return rows[0]


@refused("bound anew")
def bound_to_what_is_in_another(x):
    rows = build()
    others = [build(), build()]
    if x is None:
        return None
    rows = others[x]
    rows.append(1)
    return rows


@refused("bound more than once")
def bound_in_a_branch(x):
    rows = build()
    if x:
        rows = []
    return len(rows)


@refused("best is bound more than once")
def bound_before_a_loop_and_in_it(x):
    best = None
    for row in build():
        best = row
    return best, x


@refused("told not to copy")
def written_into_by_what_does_not_copy(x):
    from sklearn.preprocessing import StandardScaler

    features = np.arange(12.0).reshape(6, 2)
    scaler = StandardScaler(copy=False)
    window = features[x:4]
    return scaler.fit_transform(window).sum(), features.sum()


@refused("told not to copy")
def written_into_by_a_global_that_does_not_copy(x):
    features = np.arange(12.0).reshape(6, 2)
    return IN_PLACE.fit_transform(features[x:4]).sum()


@moves("features")
def given_to_what_copies(x):
    from sklearn.preprocessing import StandardScaler

    features = np.arange(12.0).reshape(6, 2)
    scaler = StandardScaler(copy=True)
    return float(scaler.fit_transform(features[x:4]).sum())


@refused("nothing of it")
def nothing_but_a_return(x):
    return x + 1


@refused("generator function")
def gives_one_by_one(x):
    rows = build()
    yield rows[0]


@refused("too deep|does more")
def a_function_that_calls_itself(x):
    number = factorial(5)
    return number + x


@refused("it is there for its effect.*comes after line")
def after_an_effect(x):
    sys.setrecursionlimit(10000)
    rows = build()
    return rows[0]
