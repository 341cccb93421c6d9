"""A context is a description: nothing runs when it is made, and equal content makes the same context."""

import contextlib
import functools
import inspect
import pickle
import threading
from collections import OrderedDict, namedtuple
from concurrent.futures import Future

import cloudpickle
import dill
import numpy as np
import pytest
from parsl.data_provider.files import File

from parsl_context.apps.context import Context, ContextFunction
from parsl_context.apps.decorator import context
from parsl_context.content.serialization import unpack_value
from parsl_context.errors import ConfigurationError, ContextSerializationError
from parsl_context.retain.arguments import resolving
from tests.unit.builders import script

Pair = namedtuple("Pair", ["first", "second"])


class Holder:
    def __init__(self, held):
        self.held = held


@context
def model(path, device="cpu"):
    """Loads a model."""
    return f"model {path} on {device}"


@context
def pipeline(*parts, **named):
    return parts, named


def never(*_args, **_kwargs):
    raise AssertionError("a context function ran too early")


def test_nothing_runs_when_a_context_is_made_named_digested_or_packed():
    made = context(never)(1, a=2)
    assert made.name == "never(1, a=2)"
    assert made.digest
    assert made.packed("memory")


def test_a_context_function_looks_like_the_function():
    assert (model.__name__, model.__doc__, model.__module__) == ("model", "Loads a model.", __name__)
    assert model.function("a.pt") == "model a.pt on cpu"
    assert repr(model) == "<context function model>"


def test_equal_contexts_are_one_context():
    assert model("a.pt", device="gpu") == model("a.pt", device="gpu")
    assert len({model("a.pt"), model("a.pt"), model("b.pt")}) == 2
    assert model("a.pt") != "model('a.pt')"


@pytest.mark.parametrize(
    "other",
    [
        model("b.pt"),
        model("a.pt", device="gpu"),
        context(script("def model(path, device='cpu'): return None", "model"))("a.pt"),
        context(model, reuse="none")("a.pt"),
        context(model, isolation="call")("a.pt"),
        context(model, max_uses=3)("a.pt"),
        context(model, max_age_s=60)("a.pt"),
        context(model, pinned=True)("a.pt"),
        pipeline(model("a.pt")),
    ],
    ids=lambda other: other.name,
)
def test_other_content_makes_another_context(other):
    assert other != model("a.pt")


def test_hints_do_not_make_another_context():
    assert context(model, memory_gb=2)("a.pt") == model("a.pt")


@pytest.mark.parametrize("arguments", [(), ("a", "b", "c")])
def test_arguments_are_checked_where_they_are_given(arguments):
    with pytest.raises(TypeError, match=r"context function model: .*argument"):
        model(*arguments)
    with pytest.raises(TypeError, match="colour"):
        model("a.pt", colour="red")


def test_contexts_among_the_arguments_are_required():
    a, b, c = model("a"), model("b"), model("c")
    made = pipeline(a, [b, {"c": c}], again=(a, Pair(1, b)))
    assert made.requires == (a, b, c)
    assert made.futures == ()
    assert pipeline([1]).requires == ()


def test_a_context_is_built_from_the_instances_of_those_it_requires():
    a, b = model("a"), model("b")
    instances = {a.digest: "A", b.digest: "B"}
    made = pipeline(a, [1, {"b": b}], pair=Pair(a, b), ordered=OrderedDict(x=b))
    assert made.build(instances.__getitem__) == (
        ("A", [1, {"b": "B"}]),
        {"pair": Pair("A", "B"), "ordered": OrderedDict(x="B")},
    )


def test_required_contexts_stand_in_a_packed_one_by_their_digests():
    a = model("a", device="a device of its own")
    stream, _ = pipeline(a, [a], Holder(a)).packed("memory")
    with resolving({a.digest: "the instance"}.__getitem__):
        function, args, *_ = unpack_value([stream])
    assert args[:2] == ("the instance", ["the instance"])
    assert args[2].held == "the instance"
    assert function(1) == ((1,), {})
    assert b"device of its own" not in stream


@pytest.mark.parametrize(
    ("level", "default", "is_kept"), [(None, "none", False), (None, "disk", True), ("memory", "none", True)]
)
def test_files_in_a_packed_context_are_for_the_node_to_fetch(level, default, is_kept):
    staged = File("http://origin/staged")
    staged.local_path = "/here/staged"
    files = [File("http://origin/a.pt"), File("b.pt"), File("globus://endpoint/c.pt"), staged]
    made = context(reuse=level)(model.function)(files, device=files[0])
    _, (packed,), kwargs, *_ = unpack_value([made.packed(default)[0]])
    fetched = [kwargs["device"], *packed[:2]]
    assert [(file.url, file.is_kept) for file in fetched] == [(files[i].url, is_kept) for i in (0, 0, 1)]
    assert [file.url for file in packed[2:]] == [file.url for file in files[2:]]
    assert packed[3].filepath == "/here/staged"


def test_other_required_contexts_make_another_context():
    assert pipeline(model("a")) == pipeline(model("a")) != pipeline(model("b"))


def test_a_context_that_waits_for_a_value_has_no_digest_yet():
    future = Future()
    made = pipeline(model(future), [future])
    assert made.futures == (future, future)
    with pytest.raises(ConfigurationError, match=r"pipeline\(model\(<Future>\), <list>\) has futures.*context app"):
        _ = made.digest
    settled = made.substituted(lambda leaf: "a.pt" if leaf is future else leaf)
    assert settled == pipeline(model("a.pt"), ["a.pt"])
    assert settled.futures == ()


def test_arguments_are_taken_as_they_are_at_the_first_use():
    words = ["a"]
    made = pipeline(words)
    before = made.digest
    words.append("b")
    assert made.digest == before != pipeline(words).digest


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda bad: model("a.pt", bad), r"Argument 1 of context model\('a.pt', <lock>\)"),
        (
            lambda bad: model("a.pt", device=[bad]),
            r"Argument 'device' of context model\('a.pt', device=<list>\), \[0\],",
        ),
        (lambda bad: context(lambda: bad)(), r"The function of context <lambda>\(\), its variable 'bad',"),
        (lambda bad: model(bad, np.arange(3)), r"Argument 0 of context model\(<lock>, <ndarray>\)"),
    ],
)
@pytest.mark.parametrize(
    "use", [lambda made: made.digest, lambda made: made.packed("memory")], ids=["digest", "packed"]
)
def test_the_part_that_cannot_be_sent_is_named(make, part, use):
    made = make(threading.Lock())
    with pytest.raises(ContextSerializationError, match=f"^{part} cannot be serialized: TypeError.*lock") as caught:
        use(made)
    assert isinstance(caught.value.__cause__, TypeError)


class Part:
    def __init__(self, **attributes):
        vars(self).update(attributes)


class Slotted:
    __slots__ = ("empty", "inner")

    def __init__(self, inner):
        self.inner = inner


@pytest.mark.parametrize(
    ("wrap", "place"),
    [
        (lambda bad: Part(a=1, optimizer=Part(lock=bad)), ".optimizer.lock"),
        (lambda bad: {"a": 1, "paths": [Part(), (2, bad)]}, "['paths'][1][1]"),
        (lambda bad: Slotted(Slotted(bad)), ".inner.inner"),
        (lambda bad: functools.partial(len, Part(x=bad)), ".args[0].x"),
        (lambda bad: Part(run=Part(lock=bad).__init__), ".run.__self__.lock"),
        (lambda bad: Part(run=lambda: bad), ".run its variable 'bad'"),
        (lambda bad: Part(run=lambda x=bad: x), ".run its default [0]"),
        (lambda bad: Part(value=Future()), ".value._condition._lock"),
        (lambda bad: OrderedDict(a=Part(), b=Part(lock=bad)), "['b'].lock"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_place_within_the_argument_is_named(wrap, place):
    made = model("a.pt", device=wrap(threading.Lock()))
    with pytest.raises(ContextSerializationError) as caught:
        _ = made.digest
    assert f"), {place}, cannot be serialized: TypeError: cannot pickle" in str(caught.value)


def test_an_object_that_holds_itself_and_cannot_be_sent_is_named():
    loop = Part(lock=threading.Lock())
    loop.again = Part(first=loop)
    with pytest.raises(ContextSerializationError, match=r"<Part>\), \.lock, cannot"):
        _ = model(loop).digest


def passed_on(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


@contextlib.contextmanager
def managed(path, device="cpu"):
    yield path, device


@functools.lru_cache
def cached(path, device="cpu"):
    return path, device


class Loaded:
    def __init__(self, path, device="cpu"):
        self.path = path

    def method(self, path, device="cpu"):
        return path


@pytest.mark.parametrize(
    "function",
    [
        model,
        context(managed),
        context(cached),
        context(Loaded),
        context(Loaded("a").method),
        context(functools.partial(model.function, device="cpu")),
    ],
    ids=lambda function: function.__name__,
)
def test_how_an_argument_is_given_does_not_count(function):
    ways = [function("a"), function(path="a"), function("a", device="cpu"), function(device="cpu", path="a")]
    assert len({way.digest for way in ways}) == 1
    assert function("a", device="gpu").digest != ways[0].digest


def test_the_order_of_keyword_arguments_counts_where_the_function_sees_it():
    assert pipeline(scale=1, pca=2) != pipeline(pca=2, scale=1)
    assert model(path="a", device="b") == model(device="b", path="a")
    assert pipeline({"scale": 1, "pca": 2}) != pipeline({"pca": 2, "scale": 1})


class Claims:
    __signature__ = inspect.signature(model.function)

    def __call__(self, *args, **kwargs):
        return args, kwargs


@pytest.mark.parametrize("function", [passed_on(model.function), Claims(), functools.partial(Claims())])
def test_a_function_that_may_see_how_an_argument_was_given_is_taken_at_its_word(function):
    """A wrapper may treat an argument that was not given unlike one that has the default of what it wraps."""
    ways = [context(function)("a"), context(function)(path="a"), context(function)("a", "cpu")]
    assert len({way.digest for way in ways}) == 3
    assert context(function)("a") == context(function)("a")


def test_a_function_written_in_c_that_hides_its_signature_keeps_what_it_was_given():
    assert context(dict)(a=1, b=2) == context(dict)(a=1, b=2) != context(dict)(b=2, a=1)


def test_defaults_are_given_to_the_function_by_python():
    """A sentinel that is recognised by `is` would not be, once it was sent as an argument."""
    made = model("a.pt")
    assert made.name == "model('a.pt')"
    assert unpack_value([made.packed("memory")[0]])[1:3] == (("a.pt",), {})


def test_contexts_count_wherever_they_are():
    def holders(inner):
        text = script("class Text(str): pass", "Text")("x")
        text.inner = inner
        return [Part(inner=inner), {inner: 1}, text, {inner}, functools.partial(len, inner), lambda: inner]

    made = [pipeline(holder) for holder in holders(model("a"))]
    again = [pipeline(holder) for holder in holders(model("a"))]
    others = [pipeline(holder) for holder in holders(model("b"))]
    assert [each.digest for each in made] == [each.digest for each in again]
    assert all(one != other for one, other in zip(made, others, strict=True))


def test_a_context_that_code_uses_and_that_waits_for_a_value_is_refused():
    use = script("def use(): return waiting", "use", waiting=model(Future()))
    with pytest.raises(ContextSerializationError, match=r"its global 'waiting'.*has futures as arguments"):
        _ = context(use)().digest


def test_names_are_short_and_say_what_is_needed():
    long = pipeline("x" * 100, np.zeros(3), None, model("a"), File("data/b.csv"), File("https://host/c.csv"), n=1.5)
    assert long.name == (
        f"pipeline('{'x' * 36}..., <ndarray>, None, model('a'), 'data/b.csv', 'https://host/c.csv', n=1.5)"
    )
    assert repr(model("a")) == "<Context model('a')>"


@pytest.mark.parametrize("pickler", [cloudpickle, dill], ids=lambda pickler: pickler.__name__)
@pytest.mark.parametrize(
    "made", [pipeline(model("a"), x=[1]), context(lambda: 3, memory_gb=2)()], ids=["def", "lambda"]
)
def test_contexts_travel_whole(pickler, made):
    arrived = pickle.loads(pickler.dumps(made))
    assert isinstance(arrived, Context)
    assert (arrived.digest, arrived.name, arrived.options) == (made.digest, made.name, made.options)


def test_the_function_of_a_context_that_travelled_makes_equal_contexts():
    arrived = pickle.loads(cloudpickle.dumps(model))
    assert isinstance(arrived, ContextFunction)
    assert arrived("a") == model("a")
