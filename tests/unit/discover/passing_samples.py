"""Functions whose leading work comes after statements that stay: which of these may be stepped over."""
# ruff: noqa

import logging
import os
import random
import shutil
import sys
import time
from pathlib import Path

import numpy as np

from tests.unit.discover.automatic_samples import CACHE, RATES, build, keeping_helper, moves, refused

FILE = __file__
logger = logging.getLogger(__name__)
NESTED = {"a": [1, 2]}


def stages(x):
    Path("/tmp/parsl-context-never").write_text(str(x))
    return x


def halves(x):
    return x / 2


def applies(f, x):
    return f(x)


class Staged:
    def __init__(self, x):
        self.x = x

    def update(self):
        os.chdir("/")
        return self.x


class Scaled:
    def __init__(self, x):
        self.x = x

    def update(self):
        return self.x * 2


# --- what is made of arguments


@moves("rows")
def after_an_argument_is_converted(x):
    x = np.asarray(x, dtype=float)
    rows = build()
    return float(x) + rows[1]


@moves("rows")
def after_a_function_that_computes(x):
    y = halves(x)
    rows = build()
    return y + rows[1]


@refused("comes after line")
def after_a_function_that_writes(x):
    y = stages(x)
    rows = build()
    return y + rows[1]


@refused("comes after line")
def after_a_function_that_keeps(x):
    y = keeping_helper({}, x)
    rows = build()
    return y, rows[1]


@refused("comes after line")
def after_a_function_is_given_one_that_writes(x):
    y = applies(stages, x)
    rows = build()
    return y + rows[1]


@refused("comes after line")
def after_an_argument_is_called(x):
    y = x()
    rows = build()
    return y + rows[1]


@refused("comes after line")
def after_what_is_in_an_argument_is_called(x):
    y = x["f"](1)
    rows = build()
    return y + rows[1]


@moves("rows", calls=(("A b",),))
def after_a_method_that_is_known(x):
    y = x.lower().split()
    rows = build()
    return y, rows[1]


@refused("comes after line")
def after_a_method_that_is_not_known(x):
    y = x.prepare()
    rows = build()
    return y, rows[1]


@moves("rows")
def after_an_object_is_asked(x):
    y = Scaled(x)
    z = y.update()
    rows = build()
    return z + rows[1]


@refused("comes after line")
def after_an_object_is_asked_that_does_more(x):
    y = Staged(x)
    z = y.update()
    rows = build()
    return z + rows[1]


@moves("rows", calls=((None,), (2,)))
def after_a_default_is_put_in(x):
    if x is None:
        x = 1
    rows = build()
    return x + rows[1]


@refused("comes after line")
def after_a_default_is_put_in_by_what_writes(x):
    if x is None:
        x = stages(1)
    rows = build()
    return x + rows[1]


@moves("rows")
def after_a_loop(x):
    total = 0
    for i in range(x):
        total += i
    while total > 3:
        total -= 1
    rows = build()
    return total + rows[1]


@refused("comes after line")
def after_a_loop_that_writes(x):
    for i in range(x):
        shutil.copy("a", "b")
    rows = build()
    return rows[1]


@moves("rows", calls=((1,), ("a",)))
def after_errors_are_caught(x):
    try:
        y = float(x)
    except ValueError:
        return None
    rows = build()
    return y + rows[1]


@refused("comes after line")
def after_errors_are_caught_and_written(x):
    try:
        y = float(x)
    except ValueError:
        Path("/tmp/parsl-context-never").write_text("error")
        y = 1
    rows = build()
    return y + rows[1]


@moves("rows")
def after_another_file_is_read(x):
    with open(FILE) as handle:
        y = handle.read() * x
    rows = build()
    return len(y), rows[1]


@refused("comes after line")
def after_a_file_is_written(x):
    with open("/dev/null", "w") as handle:
        handle.write(str(x))
    rows = Path("/dev/null").read_text()
    return x, rows[:1]


@refused("comes after line")
def after_a_file_is_moved(x):
    Path("/tmp/parsl-context-never").replace("/tmp/parsl-context-not")
    rows = Path("/dev/null").read_text()
    return x, rows[:1]


@refused("comes after line")
def after_another_folder_is_entered(x):
    os.chdir(x)
    rows = Path("a").read_text()
    return x, rows[:1]


@refused("comes after line")
def after_what_returns_has_written(x):
    if x:
        return stages(x)
    rows = build()
    return rows[1]


# --- what looks at the outside world


@moves("rows")
def after_the_clock(x):
    begun = time.perf_counter()
    rows = build()
    return rows[x], time.perf_counter() - begun > 100


@moves("rows")
def after_a_message(x):
    logger.info("x is %s", x)
    print(f"x is {x}")
    rows = build()
    return rows[x]


@refused("comes after line")
def after_the_logger_is_set(x):
    logger.setLevel(x)
    rows = build()
    return rows[x]


@moves("rows")
def after_an_item_of_a_global(x):
    y = NESTED["a"][x]
    z = RATES.get(x)
    rows = build()
    return y, z, rows[x]


@refused("comes after line")
def after_a_global_is_changed(x):
    CACHE[x] = 1
    rows = build()
    return rows[x]


@refused("comes after line")
def after_a_global_is_changed_by_a_method(x):
    CACHE.update({x: 1})
    rows = build()
    return rows[x]


@refused("comes after line")
def after_a_global_has_another_name(x):
    rates = RATES
    rates["b"] = x
    rows = sorted(RATES)
    return len(rows)


@refused("comes after line")
def after_a_setting(x):
    sys.setrecursionlimit(2000 + x)
    rows = build()
    return rows[x]


@refused("comes after line")
def after_a_setting_of_a_module(x):
    np.foo = x
    rows = build()
    return rows[x]


@refused("comes after line")
def after_the_environment_is_set(x):
    os.environ["PARSL_CONTEXT_NEVER"] = str(x)
    rows = build()
    return rows[x]


@moves("rows")
def after_a_database_is_asked(x):
    import sqlite3

    db = sqlite3.connect(":memory:")
    found = db.execute("select 1").fetchall()
    db.close()
    rows = build()
    return found, rows[x]


@refused("comes after line")
def after_a_database_is_changed(x):
    import sqlite3

    db = sqlite3.connect(":memory:")
    made = db.execute("create table t (a)")
    rows = build()
    return rows[x]


# --- names, and the order in which they are bound


@refused("bound more than once|is given another name")
def a_name_that_a_line_above_has_bound(x):
    rows = x + 1
    other = rows * 2
    rows = build()
    return other, rows[0]


@moves("rows")
def made_of_what_is_bound_anew_above(x):
    rows = build()
    first = rows[0]
    rows = [x]
    n = len(rows)
    return first, n


@refused("rows is changed by .append")
def changed_between(x):
    rows = build()
    rows.append(x)
    n = len(rows)
    return n


@refused("comes after line")
def after_a_function_within_that_writes_is_called(x):
    def put():
        os.chdir("/")
        return x

    y = put()
    rows = Path("a").read_text()
    return y, rows[:1]


@refused("comes after line")
def after_a_function_within_that_writes_is_given_on(x):
    def put(v):
        os.chdir("/")
        return v

    y = list(map(put, [x]))
    rows = Path("a").read_text()
    return y, rows[:1]


@moves("rows")
def after_a_function_within_that_computes_is_called(x):
    def twice(v):
        return v * x

    y = twice(2)
    rows = build()
    return y, rows[1]


# --- random numbers


@moves("rows")
def after_a_seed(x):
    random.seed(x)
    rows = sorted([3, 1, 2])
    return rows[0], random.random()


@refused("it may draw random numbers")
def what_may_draw_after_a_seed(x):
    random.seed(x)
    rows = build()
    return rows[0], random.random()


@moves("rows")
def after_a_generator_is_made(x):
    rng = np.random.default_rng(x)
    rows = build()
    return rows[1] + float(rng.normal())
