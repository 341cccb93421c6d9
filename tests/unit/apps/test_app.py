"""A context app is a Parsl app whose body gets contexts."""

import functools
import inspect
import time
from concurrent.futures import Future
from types import SimpleNamespace

import pytest
from parsl.dataflow.futures import AppFuture

from parsl_context.apps.app import context_app
from parsl_context.apps.context import context
from parsl_context.errors import ConfigurationError
from tests.unit.builders import Shared


@context
def model(path):
    return f"model {path}"


def words():
    return ["some", "words"]


@context_app(context=model("a.pt"))
def classify(model, image, *, size=1):
    """Says what is on an image."""
    return model, image, size


@context_app(context={"model": model("a.pt"), "words": words})
def caption(image, *, model, words):
    return image, model, words


def busy(_, seconds, walltime=None):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return seconds


def test_a_call_gives_a_future_of_what_the_body_returns(kernel):
    future = classify("cat", size=2)
    assert isinstance(future, AppFuture)
    assert future.result() == ("model a.pt", "cat", 2)


def test_several_contexts_go_to_the_parameters_of_their_names(kernel):
    assert caption("cat").result() == ("cat", "model a.pt", ["some", "words"])


def test_contexts_by_name_may_stand_before_the_arguments_of_the_call(kernel):
    app = context_app(lambda model, words, image: (model, words, image), context={"words": words, "model": model("b")})
    assert app("cat").result() == ("model b", ["some", "words"], "cat")


def test_the_func_and_the_body_can_be_called_without_parsl():
    assert classify.func("cat") == ("model a.pt", "cat", 1)
    assert caption.func(image="cat") == ("cat", "model a.pt", ["some", "words"])
    assert classify.body("a model", "cat", size=3) == ("a model", "cat", 3)


def test_a_context_is_built_once_for_many_calls(kernel):
    shared = Shared(builds=0)

    def counting():
        shared.builds += 1
        return shared.builds

    app = context_app(lambda number, i: (number, i), context=counting)
    assert [future.result() for future in [app(i) for i in range(20)]] == [(1, i) for i in range(20)]


def test_an_app_looks_like_its_body():
    assert (classify.__name__, classify.__doc__) == ("classify", "Says what is on an image.")
    assert repr(classify.func) == "<ContextCall classify>"
    assert str(inspect.signature(classify.func)) == "(image, *, size=1)"
    assert str(inspect.signature(caption.func)) == "(image)"
    assert classify.contexts == (model("a.pt"),)


def test_what_a_body_or_a_context_function_raises_reaches_the_caller(kernel):
    with pytest.raises(ZeroDivisionError):
        context_app(lambda _, x: 1 / x, context=words)(0).result()
    with pytest.raises(TypeError, match="unsupported operand"):
        context_app(lambda _: None, context=context(lambda: 1 + "1")())().result()


@pytest.mark.parametrize(
    ("body", "given", "says"),
    [
        (lambda: None, words, "no first positional parameter"),
        (lambda *, model: None, words, "no first positional parameter"),
        (lambda model: None, {"models": words}, "no parameter 'models'"),
        (lambda x, model, /: None, {"model": words}, "no parameter 'model'"),
        (functools.partial(max, 3), words, "does not tell its parameters"),
        (lambda model: None, {}, "empty mapping"),
        (lambda model: None, None, r"needs a context: @context_app\(context=\.\.\.\)"),
        (lambda model: None, "a.pt", "neither a context nor a function"),
        (lambda model: None, model, r"'path'.*context=model\(\.\.\.\)"),
    ],
)
def test_an_app_that_cannot_work_is_refused_where_it_is_written(body, given, says):
    with pytest.raises(ConfigurationError, match=says):
        context_app(body, context=given)


def test_a_body_may_take_its_contexts_in_any_way():
    for body in (lambda *args: args, lambda *args, **kwargs: (args, kwargs), functools.partial(pow, 2)):
        assert [made.name for made in context_app(body, context=words).contexts] == ["words()"]
    for body in (lambda **named: named, lambda words, /: words, lambda x, words: words, lambda x, *, words: words):
        assert [made.name for made in context_app(body, context={"words": words}).contexts] == ["words()"]


def test_warm_builds_ahead_on_each_executor_of_the_app_that_can():
    wanted = []
    ours = SimpleNamespace(preload=wanted.append, reuse="memory")
    executors = {"ours": ours, "fresh": SimpleNamespace(preload=wanted.append, reuse="none"), "threads": object()}
    everywhere = context_app(lambda a, b: a, context={"a": model("a"), "b": context(model, reuse="none")("b")})
    elsewhere = context_app(lambda a: a, context=model("c"), executors=["threads", "missing"])
    waiting = context_app(lambda a: a, context=model(Future()))
    for app in (everywhere, elsewhere, waiting):
        app.data_flow_kernel = SimpleNamespace(executors=executors)
        app.warm()
    assert wanted == [model("a")]
