"""A context app is found within whatever Parsl, a framework or a user has put around it."""

import functools

import pytest
from parsl.app.errors import wrap_error
from parsl.app.python import timeout

from parsl_context.apps.app import context_app
from parsl_context.apps.decorator import context
from parsl_context.executor.wrappers import Layers


def call_in(function):
    return Layers(function).call


@context
def model(weights="a"):
    return weights


app = context_app(lambda model, x: (model, x), context=model())
keyed = context_app(lambda model, x: (model, x), context=model.by("weights"))


class Holder:
    """Calls what it holds."""

    def __init__(self, held):
        self.held = held

    def __call__(self, x):
        return self.held(x)

    def run(self, x):
        return self.held(x)


class Slotted:
    __slots__ = ("held",)

    def __call__(self, x):
        return x


class Proxy:
    """Stands for an object that is loaded when anybody looks at it."""

    def __init__(self, load):
        object.__setattr__(self, "_load", load)

    def __getattribute__(self, name):
        raise AssertionError(f"it was looked at: {name}")

    def __call__(self, x):
        raise AssertionError("it was called")


def closure(held):
    return lambda x: held(x)


@pytest.mark.parametrize(
    "wrap", [lambda held: held, wrap_error, Holder, closure, functools.partial, lambda h: Holder(h).run]
)
@pytest.mark.parametrize("outer", [lambda held: held, lambda held: timeout(wrap_error(held), 5), Holder])
def test_an_app_is_found_in_what_calls_it(wrap, outer):
    assert call_in(outer(wrap(app))).call is app.func
    assert call_in(outer(wrap(app.func))).call is app.func
    assert call_in(outer(wrap(len))) is None


def test_what_is_no_wrapper_is_left_alone():
    around = Holder([app])
    around.itself = around
    for function in (
        print,
        Holder,
        Slotted(),
        around,
        Proxy(None),
        closure(Proxy(None)),
        functools.partial(Proxy(None)),
    ):
        assert call_in(function) is None
        assert Layers(function).modules <= {"builtins", "functools", __name__}


def test_what_holds_very_many_functions_is_looked_at_in_part():
    many = Holder(app)
    vars(many).clear()
    vars(many).update({f"f{i}": closure(i) for i in range(1000)}, held=app)
    assert call_in(many) is None
    assert len(Layers(many).modules) == 1


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "name"),
    [
        (keyed, (1,), {"weights": "b"}, "model(weights='b')"),
        (wrap_error(keyed), (1,), {}, "model(weights='a')"),
        (functools.partial(keyed, weights="b"), (1,), {}, "model(weights='b')"),
        (functools.partial(keyed, weights="b"), (1,), {"weights": "c"}, "model(weights='c')"),
        (wrap_error(functools.partial(functools.partial(keyed, 1), weights="b")), (), {}, "model(weights='b')"),
    ],
)
def test_the_key_is_told_where_arguments_are_passed_on(function, args, kwargs, name):
    [context] = call_in(function).settled(args, kwargs).contexts
    assert context.name == name


@pytest.mark.parametrize("function", [closure(keyed), Holder(keyed), Holder(keyed).run])
def test_the_key_is_not_guessed_where_a_wrapper_makes_the_call(function):
    assert call_in(function).settled((1,), {"weights": "b"}) is None


def test_arguments_in_a_row_of_partials_come_in_their_order():
    found = call_in(functools.partial(wrap_error(functools.partial(app, 1)), 2, x=3))  # one within another is merged
    assert (found.args, found.kwargs, found.is_direct) == ((1, 2), {"x": 3}, False)
