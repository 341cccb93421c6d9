"""Functions that use up what they have opened or made: files, iterators, generators of random numbers."""
# ruff: noqa

import collections
import csv
import itertools
import random

import numpy as np

from tests.unit.discover.automatic_samples import build, moves, refused

FILE = __file__


def reads_rows(path):
    groups = collections.defaultdict(list)
    with open(path) as handle:
        for line in handle:
            groups[line[:1]].append(len(line))
    return {key: max(found) for key, found in groups.items()}


def gives_what_makes_entries():
    groups = collections.defaultdict(list)
    groups["a"].append(1)
    return groups


def gives_what_is_used_up():
    rows = iter([1, 2, 3])
    return rows


def draws_once():
    rng = random.Random(3)
    return [rng.random() for _ in range(3)]


# --- iterators and files


@moves("rows")
def an_iterator_that_is_used_up_above(x):
    lines = iter(["a", "b", "c"])
    next(lines)
    rows = list(lines)
    return rows[x]


@refused("is used up by reading it|is given to next")
def an_iterator_that_is_not(x):
    lines = iter(["a", "b", "c"])
    first = next(lines)
    return first, list(lines)


@refused("is used up by reading it")
def an_iterator_of_an_iterator(x):
    lines = iter(["a", "b", "c"])
    pairs = zip(lines, [1, 2, 3])
    return list(pairs)


@refused("is used up by reading it")
def an_iterator_in_a_list(x):
    lines = iter(["a", "b", "c"])
    kept = [lines]
    return list(kept[0])


@refused("holds what is used up|is used up by reading it")
def an_iterator_out_of_a_list(x):
    lines = iter(["a", "b", "c"])
    kept = [lines]
    first = kept[0]
    return list(first)


@refused("is used up by reading it")
def an_iterator_that_is_put_into_a_list(x):
    lines = iter(["a", "b", "c"])
    kept = []
    kept.append(lines)
    return list(kept[0])


@moves("rows")
def an_iterator_that_fills_a_list(x):
    lines = iter(["a", "b", "c"])
    rows = []
    rows.extend(lines)
    return rows[x]


@moves("rows")
def a_file_that_is_read_line_by_line(x):
    handle = open(FILE)
    rows = [line.strip() for line in handle]
    handle.close()
    return rows[x]


@refused("is changed by .readline|is a file that is read")
def a_file_that_is_read_by_calls(x):
    handle = open(FILE)
    head = handle.readline()
    return head, handle.readline()


@moves("table", calls=(("a",), ("z",)))
def a_table_of_rows(x):
    table = {}
    for row in csv.reader(open("/dev/null/not")):
        if row:
            table[row[0][:1]] = len(row)
    return table.get(x)


@moves("table", calls=(("a",), ("z",)))
def a_table_of_rows_in_a_block(x):
    table = {}
    with open(FILE) as handle:
        reader = csv.reader(handle)
        next(reader)
        for row in reader:
            if row:
                table[row[0][:1]] = len(row)
    return table.get(x)


@refused("closed by then|stored")
def a_file_after_its_block(x):
    with open(FILE) as handle:
        head = handle.readline()
    return head, handle.closed


@moves("table", calls=(("a",), ("z",)))
def a_table_if_there_is_a_file(x):
    try:
        with open("/dev/null/not") as handle:
            table = dict(csv.reader(handle))
    except OSError:
        table = {"a": "1"}
    return table.get(x)


@refused("what it catches is not known")
def a_table_unless_something_is_wrong(x):
    try:
        table = dict(csv.reader(open("/dev/null/not")))
    except Exception as error:
        table = {"a": "1"}
    return table.get(x)


@refused("may be written to")
def a_file_that_is_emptied(x):
    rows = [line for line in open("/dev/null", "w+")]
    return len(rows)


@refused("is used up by reading it|it gives on")
def given_by_a_function(x):
    rows = gives_what_is_used_up()
    return list(rows)


# --- loops and their variables


@moves("found")
def two_loops_with_one_variable(x):
    found = []
    for i in range(3):
        found.append(i * i)
    for i in range(x):
        x += found[i]
    return x


@refused("i is bound more than once")
def what_a_loop_leaves_in_its_variable(x):
    found = []
    for i in range(3):
        found.append(i * i)
    last = i + x
    for i in range(x):
        last += i
    return last, found[0]


@refused("i is bound more than once")
def what_a_loop_leaves_if_another_has_no_turns(x):
    found = []
    for i in range(3):
        found.append(i * i)
    for i in range(x - 1):
        pass
    return i, found[0]


# --- dictionaries that make entries


@moves("groups", calls=(("a",), ("z",), ("a",)))
def asked_for_what_is_there(x):
    groups = collections.defaultdict(list)
    for word in ["ab", "ac", "b"]:
        groups[word[0]].append(word)
    return len(groups.get(x, ())), sorted(groups)


@moves("groups", calls=(("a",), ("z",), ("a",)))
def asked_for_items_alone(x):
    groups = collections.defaultdict(int)
    for word in ["ab", "ac", "b"]:
        groups[word[0]] += 1
    return groups[x]


@refused("makes entries when it is asked for them")
def asked_for_items_and_counted(x):
    groups = collections.defaultdict(int)
    for word in ["ab", "ac", "b"]:
        groups[word[0]] += 1
    return groups[x], len(groups)


@refused("makes entries when it is asked for them")
def asked_by_a_library(x):
    groups = collections.defaultdict(int)
    groups["a"] += 1
    return str(groups[x]), np.sum(list(groups)), str(groups)


@refused("is changed by .append")
def an_entry_that_was_made_is_changed(x):
    groups = collections.defaultdict(list)
    groups["a"].append(1)
    found = groups[x]
    found.append(2)
    return len(found)


@moves("groups", calls=(("a",), ("z",)))
def made_into_a_plain_one(x):
    groups = collections.defaultdict(list)
    groups["a"].append(1)
    groups = {key: len(found) for key, found in groups.items()}
    return groups.get(x), len(groups)


@moves("table", calls=(("i",), ("z",)))
def by_a_function_that_makes_entries(x):
    table = reads_rows(FILE)
    return table.get(x, 0) > 0


@refused("in gives_what_makes_entries")
def by_a_function_that_gives_what_makes_entries(x):
    table = gives_what_makes_entries()
    return len(table[x])


# --- random numbers that begin with the same each time


@moves("noise")
def drawn_from_a_seed(x):
    rng = np.random.default_rng(7)
    noise = rng.normal(size=3)
    return float(noise[x])


@refused("rng is changed by .normal|draws other numbers")
def drawn_from_a_seed_and_again(x):
    rng = np.random.default_rng(7)
    noise = rng.normal(size=3)
    return float(noise[x] + rng.normal())


@refused("looks at the outside world")
def drawn_from_no_seed(x):
    rng = np.random.default_rng()
    noise = rng.normal(size=3)
    return float(noise[x])


@refused("looks at the outside world|depends on x")
def drawn_from_the_seed_of_a_call(x):
    rng = np.random.default_rng(x)
    noise = rng.normal(size=3)
    return float(noise[0])


@moves("rows")
def drawn_by_a_function(x):
    rows = draws_once()
    return rows[x]


@moves("cycle")
def repeated_in_its_place(x):
    cycle = list(itertools.islice(itertools.cycle("ab"), 5))
    return cycle[x]
