"""Twins: what a rule lets move, and what is like it and must stay."""
# ruff: noqa

import collections
import csv
import datetime
import heapq
import math
import re

import numpy as np

from tests.unit.discover.automatic_samples import CHOSEN, RATES, WORDS, Strange, build, moves, refused

PATTERNS = [["a", 1], ["b", 2]]
LISTED = ["b", "a"]


def sums(*numbers):
    return sum(numbers)


class Keeping:
    def __init__(self):
        self.kept = []

    def split(self, value):
        self.kept.append(value)
        return self.kept

    def dot(self, value):
        value.append(1)
        return value


# --- keys are given out


@moves("codes")
def keys_out_of_items(x):
    codes = {("a", 1): [1], ("b", 2): [2]}
    return [name for name, numbers in codes.items() if x in numbers]


@moves("codes", calls=())
def values_out_of_items(x):
    codes = {"a": [1], "b": [2]}
    return [numbers for name, numbers in codes.items() if name != x]


@refused("numbers is changed|codes is changed by .append")
def values_out_of_items_are_changed(x):
    codes = {"a": [1], "b": [2]}
    for name, numbers in codes.items():
        numbers.append(x)
    return len(codes["a"])


# --- functions of modules, by their names


@moves("value")
def by_the_name_of_a_function(x):
    name = "sqrt"
    value = math.sqrt(16.0)
    return getattr(math, name)(value) * x


@refused("given to getattr")
def by_the_name_of_a_method(x):
    rows = build()
    getattr(rows, "append")(x)
    return len(rows)


# --- methods that are of text, sets and arrays whoever has made these


@moves("table", calls=(("ab",), ("c",)))
def given_to_a_method_of_a_text(x):
    table = str.maketrans("ab", "ba")
    return x.translate(table)


@refused("which is not known|is given to made.dot")
def given_to_a_method_of_that_name_of_the_users(x):
    rows = build()
    made = Keeping()
    made.dot(rows)
    return len(rows)


@refused("which is not known")
def given_to_another_method_of_an_argument(x):
    rows = build()
    x.process(rows, 1)
    return len(rows)


# --- matches: each is new


@moves("pattern", calls=(("a1b2",), ("",)))
def matches_are_given_out(x):
    pattern = re.compile("[a-z]")
    found = [match.group() for match in pattern.finditer(x)]
    whole = pattern.fullmatch(x)
    found.append(whole is None)
    return found


@refused("is used up by reading it|is given to next|made anew")
def matches_of_what_is_the_same_each_time(x):
    matches = re.compile("[a-z]").finditer("a1b2")
    return next(matches).group() * x


# --- tables that are globals, given to methods that read them


@moves("frame")
def given_to_a_method_that_reads_tables(x):
    frame = frozenset("abc").intersection(LISTED)
    return sorted(frame)[x - 1]


@refused("the global LISTED may be changed|kept is changed")
def given_to_a_method_that_keeps_tables(x):
    kept = collections.deque([[0]])
    kept.append(LISTED)
    return len(kept[1])


@refused("the global PATTERNS may be changed|may be changed")
def given_a_table_of_lists(x):
    frame = frozenset("abc").intersection(PATTERNS)
    return sorted(frame)[0]


# --- lists that are made for a function


@moves("rows")
def put_into_a_list_for_a_function_that_computes(x):
    rows = np.arange(3.0)
    return np.vstack([rows, [x, x, x]]).sum()


@refused("returned, stored, or given another name")
def put_into_a_list_for_another(x):
    rows = build()
    return collections.deque([rows, x])


@refused("is given out, as a view")
def a_part_of_an_array_is_given_out(x):
    rows = np.arange(6.0)
    part = rows[:3]
    return {"part": part, "x": x}


@moves("rows")
def what_is_computed_from_a_part_is_given_out(x):
    rows = np.arange(6.0)
    part = rows[:3] * x
    return part.tolist()


@refused("rows is changed in place")
def a_part_of_an_array_is_changed(x):
    rows = np.arange(6.0)
    part = rows[:3]
    part += x
    return float(part[0])


# --- functions that change their first argument


@moves("heap")
def a_heap_that_is_made_above(x):
    heap = [3, 1, 2]
    heapq.heapify(heap)
    heapq.heappush(heap, 0)
    while len(heap) > 2:
        heapq.heappop(heap)
    return heap[0] + x


@refused("rows is given to heappop")
def a_heap_that_is_made_above_and_one_that_is_made_later(x):
    rows = [3, 1, 2, 5]
    first = rows[x]
    while len(rows) > 2:
        last = heapq.heappop(rows)
    return first, last, len(rows)


@refused("heap is given to heappop")
def a_heap_that_calls_take_from(x):
    heap = [3, 1, 2]
    heapq.heapify(heap)
    return heapq.heappop(heap) + x


@refused("rows is given to heapify|there for its effect")
def a_heap_that_is_made_once_a_call_has_read_it(x):
    rows = [3, 1, 2]
    first = rows[x]
    heapq.heapify(rows)
    return first, rows[0]


@refused("is given to heapify|it depends on x")
def a_heap_of_an_argument(x):
    rows = list(x)
    heapq.heapify(rows)
    return rows[0]


# --- the clock, by what is written in a text


@moves("when")
def a_moment(x):
    when = np.datetime64("2020-01-01")
    return str(when + x)


@refused("looks at the clock")
def this_moment(x):
    when = np.datetime64("now")
    return str(when + x)


@moves("when")
def a_moment_of_the_library(x):
    when = datetime.datetime.fromisoformat("2020-01-01")
    return when.year + x


# --- what is bound anew


@refused("total is returned|total is bound anew")
def bound_anew_to_what_is_changed(x):
    rows = build()
    total = build(2)
    total = same = rows
    same.append(x)
    return len(total)


@moves("rows")
def bound_anew_to_what_is_computed(x):
    rows = build()
    first = len(rows) * 2.0
    first = first + rows[x]
    return first
