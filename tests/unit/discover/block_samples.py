"""Functions with a block, as people write them: how they are split, or why they are not."""
# ruff: noqa

import collections
import contextlib
import functools
import itertools
import math as mathematics
from dataclasses import dataclass

import parsl_context
import parsl_context as pc
from parsl_context import context
from parsl_context import context as setting_up

SPLIT = []  # function, keys, names, calls: each a tuple of positional arguments and a dictionary of others
REFUSED = []  # function, what the reason says, the line of what is in the way, relative to the decorator of this module

TABLE = {"mini": 1, "large": 2}
BASE = 10
COUNTS = collections.Counter()


def splits(*calls, keys=(), names=()):
    """The function below is split so; calls of both forms do the same."""

    def note(function):
        SPLIT.append((function, keys, names, calls))
        return function

    return note


def refused(says, line=None):
    def note(function):
        REFUSED.append((function, says, line))
        return function

    return note


def call(*args, **kwargs):
    return args, kwargs


# --- what flows


@splits(call(1), call(x=2), names=("table",))
def one_name(x):
    with context:
        table = dict(TABLE)
    return table["mini"] + x


@splits(call(1))
def nothing_flows(x):
    with context:
        COUNTS["built"] += 0
    return x


@splits(call())
def nothing_is_left():
    with context:
        unused = 3


@splits(call(1), names=("a", "b"))
def several(x):
    """With a docstring."""
    with context:
        a = 1
        b = a + 1
        c = b + 1
    return a + b + x


@splits(call(2), names=("first", "rest"))
def star_unpacking(n):
    with context:
        first, *rest = [1, 2, 3, 4]
    return first, rest[:n]


@splits(call(2), names=("a", "b", "c"))
def nested_targets(n):
    with context:
        (a, [b, c]), d = (1, [2, 3]), 4
    return a, b, c, n


@splits(call(2), names=("data", "size"))
def walrus(n):
    with context:
        data = list(range(size := 7))
    return size, data[n]


@splits(call(2), names=("last",))
def walrus_in_a_comprehension(n):
    with context:
        _ = [last := i for i in range(5)]
    return last + n


@splits(call(1), names=("i", "total"))
def a_loop(n):
    with context:
        total = 0
        for i in range(4):
            if i == 2:
                continue
            total += i
    return total, i, n


@splits(call(1), names=("mathematics",))
def an_import(x):
    with context:
        import math as mathematics
    return mathematics.sqrt(x)


@splits(call(1), names=("os",))
def a_dotted_import(x):
    with context:
        import os.path
    return os.path.join("a", str(x))


@splits(call(4.0), names=("floor", "root"))
def from_imports(x):
    with context:
        from math import floor, sqrt as root
    return floor(root(x))


@splits(call(3), names=("double",))
def a_nested_function(x):
    with context:
        factor = 2

        def double(y):
            return factor * y

    return double(x)


@splits(call(3), names=("fib",))
def a_recursive_nested_function(x):
    with context:

        def fib(n):
            return n if n < 2 else fib(n - 1) + fib(n - 2)

    return fib(x)


@splits(call(3), names=("even", "odd"))
def functions_that_call_each_other(x):
    with context:

        def even(n):
            return n == 0 or odd(n - 1)

        def odd(n):
            return n != 0 and even(n - 1)

    return even(x), odd(x)


@splits(call(3), names=("Model",))
def a_nested_class(x):
    with context:
        scale = 3

        class Model:
            size = scale

            def __call__(self, y):
                return scale * y

        class Unused:
            pass

    return Model()(x), Model.size


@splits(call(3), names=("Point",))
def a_dataclass(x):
    with context:

        @dataclass
        class Point:
            x: int
            y: int = 0

    return Point(x).x + Point(x).y


@splits(call(3), names=("scale",))
def a_lambda(x):
    with context:
        scale = lambda y: 2 * y
    return scale(x)


@splits(call(3), names=("known", "pairs", "squares"))
def comprehensions(x):
    with context:
        squares = [i * i for i in range(5)]
        pairs = {i: j for i in range(3) for j in range(i) if i != j}
        known = {s for s in squares}
    return squares[x], pairs, x in known


@splits(call(3), names=("data",))
def used_in_a_comprehension_only(x):
    with context:
        data = [1, 2, 3]
    return [d * x for d in data]


@splits(call(3), names=("data",))
def used_in_a_lambda_only(x):
    with context:
        data = [1, 2, 3]
    return sorted([2, 0, 1], key=lambda i: -data[i])


@splits(call(3), names=("data",))
def used_in_a_nested_function_only(x):
    with context:
        data = [1, 2, 3]

    def pick(i):
        return data[i]

    return [pick(i) for i in range(x)]


@splits(call(3), names=("data",))
def used_in_an_f_string_only(x):
    with context:
        data = [1, 2, 3]
    return f"{data!r:>20}{x}"


@splits(call(3), names=("count",))
def counted_on_in_the_body(x):
    with context:
        count = 5
    count += x
    return count


@splits(call(3), names=("value",))
def deleted_in_the_body(x):
    with context:
        value = 5
    del value
    return x


@splits(call(True), call(False), call(True), names=("value",))
def bound_anew_in_the_body_at_times(flag):
    with context:
        value = 5
    if flag:
        value = 6
    return value


@splits(call(1), names=("value",))
def bound_anew_in_the_body_always(x):
    with context:
        value = 5
    value = x
    return value


@splits(call(), names=("value",))
def bound_at_times():
    with context:
        if BASE > 5:
            value = 1
    return value


@splits(call(), names=("value",))
def bound_never():
    with context:
        if BASE < 5:
            value = 1
    return value


@splits(call(), names=("kept", "temporary"))
def unbound_in_the_block():
    with context:
        temporary = 1
        kept = temporary + 1
        del temporary
    try:
        temporary
    except UnboundLocalError:
        return kept
    return None


@splits(call(), names=("error", "value"))
def an_exception_handler():
    with context:
        try:
            value = 1 // 0
        except ZeroDivisionError as error:
            value = str(error)
    try:
        error
    except UnboundLocalError:
        return value
    return None


@splits(call(), names=("kind", "rest"))
def a_match():
    with context:
        match {"kind": "svm", "c": 1}:
            case {"kind": kind, **rest}:
                pass
    return kind, rest


@splits(call(), names=("text",))
def a_with_in_the_block():
    with context:
        with contextlib.nullcontext("inside") as text:
            other = text
    return text


@splits(call(1), names=("annotated", "only"))
def annotations(x: int) -> int:
    with context:
        annotated: int = 3
        only: str
    try:
        return annotated + x, only
    except UnboundLocalError:
        return annotated + x


# --- keys


@splits(call(1), call(1, "large"), call(1, name="mini"), call(x=1, name="large"), keys=("name",), names=("model",))
def a_key(x, name="mini"):
    with context:
        model = TABLE[name]
    return model + x


@splits(call("mini", 1), call(x=1, name="mini"), call("other", 1), keys=("name",), names=("model",))
def a_key_first(name, x):
    with context:
        model = TABLE[name]
    return model + x


@splits(call("mini", 1), call("large", x=1), keys=("name",), names=("model",))
def a_key_that_the_body_reads(name, x):
    with context:
        model = TABLE[name]
    return name, model + x


@splits(call("MINI", 1), keys=("name",), names=("model", "name"))
def a_key_bound_anew_in_the_block(name, x):
    with context:
        name = name.lower()
        model = TABLE[name]
    return name, model + x


@splits(call("mini", 1), keys=("name",), names=("model",))
def a_key_bound_anew_in_the_body(name, x):
    with context:
        model = TABLE[name]
    name = x
    return name, model


@splits(call(1, 2), names=("x",))
def a_parameter_bound_in_the_block(x, y):
    with context:
        x = 5
    return x + y


@splits(call(1, 2), names=("x",))
def a_parameter_bound_at_times(x, y):
    with context:
        if BASE < 5:
            x = 5
    return x + y


@splits(call(1, "a", "b", c=3), keys=("args", "kwargs"), names=("known",))
def all_arguments(x, *args, **kwargs):
    with context:
        known = args, sorted(kwargs)
    return x, known


@splits(call(1, 2, 3, flag=True), call(1, 2, 3), keys=("args",), names=("total",))
def all_positional_arguments(x, *args, flag=False):
    with context:
        total = sum(args)
    return x, total, args, flag


@splits(call(1, 2, c=3), call(1, c=3, b=2), keys=("c",), names=("value",))
def kinds_of_parameters(a, /, b=5, *, c, d=4):
    with context:
        value = c * 2
    return a, b, d, value


@splits(call(1, 2), call(1, b=3), keys=("a",), names=("value",))
def a_positional_only_key(a, /, b):
    with context:
        value = a * 2
    return b, value


@splits(call("mini", 2), keys=("name",), names=("load",))
def a_key_in_a_nested_function(name, x):
    with context:

        def load():
            return TABLE[name]

    return load() + x


@splits(call([1, 2], 2), keys=("weights",), names=("total",))
def a_key_in_a_comprehension(weights, x):
    with context:
        total = sum([w * w for w in weights])
    return total * x


@splits(call(("a", 1), 2), keys=("shape",), names=("name",))
def a_key_by_default(shape, x, *, extra=(1, 2)):
    with context:
        name, *_ = shape
    return name * x, extra


# --- how the block is written


@splits(call(1), names=("a",))
def with_options(x):
    with context(share="worker", memory_gb=0.5):
        a = 1
    return a + x


@splits(call(1), names=("a",))
def under_another_name(x):
    with setting_up:
        a = 1
    return a + x


@splits(call(1), names=("a",))
def by_its_module(x):
    with parsl_context.context:
        a = 1
    return a + x


@splits(call(1), names=("a",))
def by_a_module_under_another_name(x):
    with pc.context(memory_gb=BASE):
        a = 1
    return a + x


@splits(call(1), names=("a",))
def with_a_clean_up(x):
    with context:
        a = []
        context.cleanup(a.clear)
    return [*a, x]


@splits(call(1), names=("a",))
def texts_of_several_lines(x):
    with context:
        a = """not
indented
    here"""
    return a + str(x)


@splits(call(1), names=("counter",))
def a_global_that_the_block_binds(x):
    with context:
        global COUNTS
        COUNTS = collections.Counter("abc")
        counter = COUNTS
    return COUNTS["a"] + x + len(counter)


@splits(call(1), names=("a",))
def other_blocks(x):
    with context:
        a = 1
    with contextlib.suppress(ValueError):
        raise ValueError
    return a + x


@splits(call(1), call(0), names=("a",))
def errors_of_the_body(x):
    with context:
        a = 1
    return a / x


@splits(call(1), names=("a",))
def variables_seen_by_name(x):
    with context:
        a = 1
        b = 2
    return eval("a + x")


SPLIT[-1] = (*SPLIT[-1][:2], ("a", "b"), SPLIT[-1][3])


@splits(call(1), names=("value",))
@functools.cache
def _cached(x):
    with context:
        value = 1
    return value


SPLIT.pop()


def around(scale):
    offset = 5

    @splits(call(1), names=("total",))
    def inner(x):
        with context:
            total = scale + offset
        return total + x + offset

    def unused():
        return offset

    return inner


around(3)


class Holder:
    """Functions in a class."""

    __secret = 7

    @splits(call(1), names=("a",))
    @staticmethod
    def _static(x):
        with context:
            a = 1
        return a + x

    SPLIT[-1] = (SPLIT[-1][0].__func__, *SPLIT[-1][1:])

    def _private(self):
        pass


# --- what is refused


@refused("no `with context:` block")
def no_block(x):
    return x


@refused("first statement", 3)
def not_at_the_beginning(x):
    y = x + 1
    with context:
        a = 1
    return a + y


@refused("first statement", 3)
def inside_another_statement(x):
    if x:
        with context:
            a = 1
        return a
    return x


@refused("more than one", 4)
def two_blocks(x):
    with context:
        a = 1
    with context:
        b = 1
    return a + b + x


@refused("alone", 2)
def two_in_one(x):
    with context, contextlib.nullcontext():
        a = 1
    return a + x


@refused("alone", 2)
def given_a_name(x):
    with context as c:
        a = 1
    return a + x


@refused("`return` in its block", 4)
def a_return(x):
    with context:
        a = 1
        return a


@refused("`yield` in its block", 3)
def a_yield(x):
    with context:
        yield 1
    return x


@refused("generator function", 4)
def a_generator(x):
    with context:
        a = 1
    yield a


@refused("asynchronous")
async def asynchronous(x):
    with context:
        a = 1
    return a


@refused("locals", 3)
def reads_all_variables(x):
    with context:
        a = locals()
    return a


@refused("eval", 3)
def evaluates(x):
    with context:
        a = eval("x + 1")
    return a


@refused("uses late", 2)
def uses_what_the_body_binds(x):
    with context:
        a = [late for _ in range(0)]
    late = 1
    return a


@refused("uses late", 2)
def uses_what_the_body_binds_in_a_function(x):
    with context:

        def a():
            return late

    late = x
    return a()


@refused("binds anew", 2)
def a_function_uses_what_is_bound_anew(x):
    with context:
        factor = 2

        def scale(y):
            return factor * y

    factor = 3
    return scale(x)


@refused("binds anew", 2)
def a_function_uses_a_key_that_is_bound_anew(x, factor):
    with context:

        def scale(y):
            return factor * y

    factor += 1
    return scale(x)


@refused("binds anew", 2)
def a_generator_uses_what_is_bound_anew(x):
    with context:
        factor = 2
        values = (factor * i for i in range(3))
    factor = 3
    return list(values)


@refused("binds count", 2)
def a_function_binds_what_the_body_reads(x):
    with context:
        count = 0

        def add():
            nonlocal count
            count += 1

    add()
    return count


@refused("deletes the parameter", 2)
def deletes_a_parameter(x, y):
    with context:
        del y
    return x


@refused("cannot use its parameters", 2)
def options_from_parameters(x, size):
    with context(memory_gb=size):
        a = 1
    return a + x


@refused("memory_gb", 2)
def options_that_are_none(x):
    with context(memory_gb=-1):
        a = 1
    return a + x


def _around():
    count = 0

    @refused("function around it", 3)
    def binds_outside(x):
        with context:
            nonlocal count
            count = 1
        return count + x

    return count


_around()


class Methods:
    @refused("method of Methods")
    def method(self, x):
        with context:
            a = 1
        return a + x

    @refused("private name", 2)
    @staticmethod
    def private(x):
        with context:
            __a = 1
        return __a + x

    REFUSED[-1] = (REFUSED[-1][0].__func__, *REFUSED[-1][1:])


REFUSED.append((lambda x: x, "lambda", None))
REFUSED.append((len, "no function of Python code", None))
REFUSED.append((functools.partial(one_name, 1), "no function of Python code", None))
REFUSED.append((functools.lru_cache(one_name), "no function of Python code", None))


@refused("another decorator has wrapped it")
@functools.wraps(one_name)
def wrapped(*args):
    return one_name(*args)


_names = {"context": context}
exec("def without_source(x):\n    with context:\n        a = 1\n    return a + x", _names)
REFUSED.append((_names["without_source"], "source cannot be read", None))
