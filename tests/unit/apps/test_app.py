"""A context app is a Parsl app whose body gets contexts."""

import contextlib
import functools
import inspect
import time
from concurrent.futures import Future
from types import SimpleNamespace

import pytest
from parsl import python_app
from parsl.dataflow.futures import AppFuture

from parsl_context.apps.app import context_app
from parsl_context.apps.decorator import context
from parsl_context.apps.portable import process_contexts
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


def one_by_one(model, x):
    yield x


class OneByOne:
    def __call__(self, model, x):
        yield x


async def some_day(model, x=1):
    return x


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
        (python_app(lambda model: None), words, "is a Parsl app"),
        (lambda model: None, python_app(lambda: None), "is a Parsl app"),
        (one_by_one, words, "is a generator function"),
        (OneByOne(), words, "is a generator function"),
        (some_day, words, "is asynchronous"),
        (functools.partial(some_day, None), words, "is asynchronous"),
        (lambda model: None, None, r"has no room for a block.*context_app\(context=\.\.\.\)"),
        (lambda model: None, "a.pt", "neither a context nor a function"),
        (lambda model: None, model, r"'path'.*context=model\(\.\.\.\)"),
    ],
)
def test_an_app_that_cannot_work_is_refused_where_it_is_written(body, given, says):
    with pytest.raises(ConfigurationError, match=says):
        context_app(body, context=given)


@pytest.mark.parametrize(
    ("body", "given", "args", "kwargs", "says"),
    [
        (lambda model, x: None, words, (1, 2), {}, r"<lambda>\(\) takes 1 positional argument but 2 were given"),
        (lambda model, x: None, words, (), {}, r"missing 1 required positional argument: 'x'"),
        (lambda model, *, x: None, words, (), {"y": 1}, r"unexpected keyword argument 'y'"),
        (lambda model, x=1, *xs, y=2: None, words, (1, 2, 3), {"z": 3}, r"unexpected keyword argument 'z'"),
        (lambda x, model, y=1: None, {"model": words}, (1, 2), {}, r"takes 1 positional argument but 2 were given"),
        (lambda x, model: None, {"model": words}, (1,), {"model": 2}, r"unexpected keyword argument 'model'"),
    ],
)
def test_arguments_that_a_body_does_not_take_are_refused_at_the_call_in_pythons_words(body, given, args, kwargs, says):
    with pytest.raises(TypeError, match=says):
        context_app(body, context=given)(*args, **kwargs)


def test_a_decorated_generator_that_returns_a_list_is_a_body(kernel):
    @functools.wraps(one_by_one)
    def collected(model, x):
        return list(one_by_one(model, x))

    assert context_app(collected, context=words)(3).result() == [3]


def test_what_contextmanager_makes_of_a_generator_is_a_context(kernel):
    log = []

    @contextlib.contextmanager
    def opened():
        yield "open"
        log.append("closed")

    assert context_app(lambda value: value, context=opened)().result() == "open"
    process_contexts.close()
    assert log == ["closed"]


@pytest.mark.parametrize(
    ("function", "says"),
    [(lambda: (i for i in range(3)), "generator expression.*Return a list"), (lambda: some_day(1), "asynchronous")],
)
@pytest.mark.filterwarnings("ignore:coroutine")
def test_what_a_context_function_returns_by_mistake_is_said(kernel, function, says):
    with pytest.raises(ConfigurationError, match=says):
        context_app(lambda value: value, context=function)().result()


def test_a_context_may_be_none(kernel):
    assert context_app(lambda value: value, context=lambda: None)().result() is None


def test_a_body_may_take_its_contexts_in_any_way():
    for body in (lambda *args: args, lambda *args, **kwargs: (args, kwargs), functools.partial(pow, 2)):
        assert [made.name for made in context_app(body, context=words).contexts] == ["words()"]
    for body in (lambda **named: named, lambda words, /: words, lambda x, words: words, lambda x, *, words: words):
        assert [made.name for made in context_app(body, context={"words": words}).contexts] == ["words()"]


def executors_of_three_kinds(wanted):
    ours = SimpleNamespace(label="ours", preload=wanted.append, reuse="memory")
    fresh = SimpleNamespace(label="fresh", preload=wanted.append, reuse="none")
    return {"ours": ours, "fresh": fresh, "threads": object(), "_parsl_internal": object()}


def test_warm_builds_ahead_on_each_executor_of_the_app_that_can_and_says_so():
    wanted = []
    executors = executors_of_three_kinds(wanted)
    everywhere = context_app(lambda a, b: a, context={"a": model("a"), "b": context(model, reuse="none")("b")})
    elsewhere = context_app(lambda a: a, context=model("c"), executors=["threads"])
    waiting = context_app(lambda a: a, context=model(Future()))
    said = []
    for app in (everywhere, elsewhere, waiting):
        app.data_flow_kernel = SimpleNamespace(executors=executors)
        said.append(app.warm())
    assert wanted == [model("a")]
    assert said[0].builds == (("ours", "model('a')"),)
    assert [bool(each) for each in said] == [True, False, False]
    assert repr(said[0]).startswith("<warming model('a') on ours; model('b') on ours is built for each call (reuse=")
    assert repr(said[1]) == "<warming nothing; no executor among threads builds contexts ahead of calls>"
    assert "wait for futures" in repr(said[2])


def test_an_app_that_names_an_executor_which_the_run_does_not_have_says_so_at_once():
    app = context_app(lambda a: a, context=model("c"), executors=["ours", "gpu"])
    app.data_flow_kernel = SimpleNamespace(executors=executors_of_three_kinds([]), submit=None)
    for use in (app, app.warm):
        with pytest.raises(ConfigurationError, match=r"no executor 'gpu'.* are 'ours', 'fresh', 'threads'\. Give"):
            use()


def test_an_app_says_what_it_is():
    keyed = context_app(lambda m, x: x, context=model.by("path"), executors=["a", "b"])
    assert repr(classify) == "<ContextApp classify: contexts model('a.pt')>"
    assert repr(caption) == "<ContextApp caption: contexts model('a.pt'), words()>"
    assert repr(keyed) == "<ContextApp <lambda>: contexts model(path=…); keys path; executors a, b>"
    assert keyed._repr_html_() == (
        "<table><tbody><tr><td>app</td><td>&lt;lambda&gt;</td></tr><tr><td>contexts</td><td>model(path=…)</td></tr>"
        "<tr><td>keys</td><td>path</td></tr><tr><td>executors</td><td>a, b</td></tr></tbody></table>"
    )


@context_app
def halves(x, scale=2):
    with context:
        made = scale
    return made * x


@context_app(discover=True)
def found_with_a_file(x):
    path = "/etc/hostname"
    size = len(path)
    return x + size


def test_an_app_that_was_split_says_so_and_shows_no_keys_that_are_not_the_users():
    assert repr(halves) == "<ContextApp halves: contexts halves(scale=…); keys scale; split from one function>"
    assert (
        repr(found_with_a_file)
        == "<ContextApp found_with_a_file: contexts found_with_a_file(); split from one function>"
    )
