"""Keyed contexts: an argument of a call says which context it wants."""

import dataclasses
import enum
import random
import warnings
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from parsl.data_provider.files import File
from parsl.dataflow.memoization import id_for_memo

from parsl_context import ConfigurationError, ExecutorClosedError, SplitError, context, context_app
from parsl_context.apps.chunk_sizes import ChunkSizes
from parsl_context.apps.chunks import Groups
from parsl_context.apps.context import as_context
from parsl_context.apps.delivery import raise_it
from parsl_context.apps.keys import KeyFile, cache_key


@context
def model(weights, device="cpu"):
    return f"{weights}@{device}"


class Color(enum.Enum):
    RED = 1


@dataclasses.dataclass(frozen=True)
class Config:
    size: int


class Plain:
    def __init__(self, size):
        self.size = size


def test_each_value_of_a_key_has_a_context_of_its_own():
    @context_app(context=model.by("weights"))
    def score(model, x):
        return model, x

    assert score.func(1, weights="a.pt") == ("a.pt@cpu", 1)
    assert score.func(2, weights="b.pt") == ("b.pt@cpu", 2)


def test_other_arguments_are_given_where_the_app_is_made():
    @context_app(context=model.by("weights", device="gpu"))
    def score(model, x):
        return model

    assert score.func(1, weights="a.pt") == "a.pt@gpu"


def test_a_default_of_the_context_function_holds():
    @context_app(context=model.by("weights", "device"))
    def score(model, x):
        return model

    assert score.func(1, weights="a") == "a@cpu"
    call, *_ = score.func.settled((1,), {"weights": "a"})
    same, *_ = score.func.settled((1,), {"weights": "a", "device": "cpu"})
    assert call.known[0].digest == same.known[0].digest


def test_the_body_gets_a_key_only_if_it_names_it():
    @context_app(context=model.by("weights"))
    def score(model, x, weights):
        return model, x, weights

    @context_app(context=model.by("weights"))
    def anything(model, **others):
        return model, others

    assert score.func(1, "a") == ("a@cpu", 1, "a")
    assert score.func(1, weights="b") == ("b@cpu", 1, "b")
    assert anything.func(weights="a", y=2) == ("a@cpu", {"y": 2})


def test_contexts_by_name_may_share_a_key():
    @context_app(context={"first": model.by("weights"), "second": model.by("weights", device="gpu"), "c": model("c")})
    def score(x, *, first, second, c):
        return first, second, c, x

    assert score.func(1, weights="a") == ("a@cpu", "a@gpu", "c@cpu", 1)


@pytest.mark.parametrize(
    ("make", "kind", "says"),
    [
        (lambda: model.by(), ConfigurationError, "at least one"),
        (lambda: model.by(3), ConfigurationError, "no name of a parameter"),
        (lambda: model.by("weights", weights=1), ConfigurationError, "given as an argument, too"),
        (lambda: model.by("wights"), TypeError, "context function model: missing a required argument: 'weights'"),
        (lambda: model.by("weights", "size"), TypeError, "unexpected keyword argument 'size'"),
        (lambda: context(lambda walltime: 1).by("walltime"), ConfigurationError, "Parsl takes 'walltime'"),
        (lambda: context(lambda inputs: 1).by("inputs"), ConfigurationError, "Parsl takes 'inputs'"),
        (lambda: context_app(lambda weights: 1, context=model.by("weights")), ConfigurationError, "which is a key"),
    ],
)
def test_what_cannot_work_is_refused_where_it_is_written(make, kind, says):
    with pytest.raises(kind, match=says):
        make()


def test_a_block_may_not_use_what_parsl_takes():
    def app(x, walltime=3):
        with context:
            limit = walltime
        return limit, x

    with pytest.raises(SplitError, match="uses walltime"):
        context_app(app)


def test_a_call_without_its_key_is_refused_in_the_words_of_python():
    @context_app(context=model.by("weights"))
    def score(model, x):
        return model

    with pytest.raises(TypeError, match=r"score\(\) missing 1 required keyword-only argument: 'weights'"):
        score(1)
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'wights'"):
        score(1, wights="a")


@pytest.mark.parametrize(
    ("first", "second"),
    [(1, 1.0), (1, True), (0.0, -0.0), ("1", b"1"), ((1,), (1.0,)), (Config(1), Config(1.0)), ([1], (1,)), (1, None)],
)
def test_values_that_are_equal_but_not_the_same_have_contexts_of_their_own(first, second):
    assert cache_key({"x": first}) != cache_key({"x": second})


@pytest.mark.parametrize(
    "make",
    [
        lambda: 1,
        lambda: float("nan"),
        lambda: "a",
        lambda: (1, ("a",)),
        lambda: Color.RED,
        lambda: Config(3),
        lambda: Plain(3),
        lambda: [1, 2],
        lambda: {"a": 1},
        lambda: File("/data/a.pt"),
        lambda: model("a"),
        lambda: Plain,
    ],
)
def test_values_of_equal_content_have_one_context(make):
    assert cache_key({"x": make()}) == cache_key({"x": make()})


def test_a_value_that_was_changed_in_place_has_another_context():
    plain, values = Plain(1), [1]
    before = cache_key({"x": plain}), cache_key({"x": values})
    plain.size = 2
    values.append(2)
    assert cache_key({"x": plain}) != before[0]
    assert cache_key({"x": values}) != before[1]


def test_the_digest_of_a_hashable_value_is_found_once(monkeypatch):
    from parsl_context.apps import keys

    found = []
    monkeypatch.setattr(keys, "digest_content", lambda value: found.append(value) or "digest")
    config = Config(17)
    for _ in range(5):
        cache_key({"x": config})
    assert found == [config]


class Kernel:
    """Remembers what an app hands over."""

    def __init__(self):
        self.executors = {}
        self.submitted = []

    def submit(self, func, *, app_args, app_kwargs, **options):
        self.submitted.append((func, app_args, app_kwargs))
        future = Future()
        future.set_result(func(*app_args, **app_kwargs))
        return future


def on_kernel(made):
    made.data_flow_kernel = Kernel()
    return made.data_flow_kernel


def test_a_file_that_is_a_key_is_not_staged_by_the_kernel():
    """It is fetched to the node by the context."""
    seen = []

    @context
    def size(data):
        seen.append(data)
        return 1

    @context_app(context=size.by("data"))
    def use(model, x, data):
        return model, data

    kernel = on_kernel(use)
    file = File("https://origin/a.pt")
    assert use(1, file).result() == (1, file)
    assert use(1, data=file).result() == (1, file)
    for _, args, kwargs in kernel.submitted:
        assert not any(isinstance(value, File) for value in (*args, *kwargs.values()))
    assert seen == [file]


def test_memoization_sees_keys_as_any_argument():
    assert id_for_memo(KeyFile(File("/a"))) == id_for_memo(KeyFile(File("/a")))
    assert id_for_memo(KeyFile(File("/a"))) != id_for_memo(KeyFile(File("/b")))
    apps = [
        context_app(lambda model, x: 1, context=each)
        for each in (model.by("weights"), model.by("weights", device="gpu"), model.by("weights", "device"))
    ]
    assert len({id_for_memo(app.func) for app in apps}) == 3


def test_keys_that_never_come_twice_are_warned_about_once():
    @context_app(context=model.by("weights"))
    def score(model, x):
        return x

    on_kernel(score)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for i in range(50):
            score(1, weights=f"{i}.pt")
    (warning,) = caught
    assert "20 calls of score gave as many different values of weights" in str(warning.message)
    assert warning.filename == __file__


def test_keys_that_come_twice_are_not_warned_about():
    @context_app(context=model.by("weights"))
    def score(model, x):
        return x

    on_kernel(score)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for i in range(50):
            score(1, weights=f"{i // 2}.pt")
    assert caught == []


def test_the_warning_says_what_it_costs(monkeypatch):
    @context_app(context=model.by("weights"))
    def score(model, x):
        return x

    kernel = on_kernel(score)

    class Row:
        name, load_s, loads = "model(weights='1')", 2.5, 1

    class Executor:
        preload = None

        def contexts(self):
            return [Row]

    kernel.executors = {"here": Executor()}
    for i in range(20):
        score(1, weights=i)
    with pytest.warns(UserWarning, match=r"which took 2\.5 s each"):
        score(1, weights=20)


def test_warm_builds_the_context_of_a_key():
    built = []

    @context_app(context={"first": model.by("weights"), "other": model("c")})
    def score(x, *, first, other):
        return x

    class Executor:
        label, reuse = "here", "memory"

        def preload(self, context):
            built.append(context.name)

    kernel = on_kernel(score)
    kernel.executors = {"here": Executor()}
    assert score.warm(weights="a").contexts == tuple(built) == ("model(weights='a')", "model('c')")
    with pytest.raises(TypeError, match="wights, and its keys are weights"):
        score.warm(wights="a")
    with pytest.raises(TypeError, match="missing a required argument: 'weights'"):
        score.warm()


def test_the_context_of_one_value_can_be_named():
    keyed = model.by("weights")
    assert keyed(weights="a") == model("a")
    with pytest.raises(TypeError, match="its keys are weights"):
        keyed(wights="a")
    with pytest.raises(ConfigurationError, match=r"app\.contexts\[0\]\(weights=\.\.\.\)"):
        as_context(keyed)


def test_map_sends_calls_of_one_key_together_and_keeps_their_order():
    @context_app
    def embed(x, name="a"):
        with context:
            scale = {"a": 1, "b": 10, "c": 100}[name]
        return scale * x, name

    kernel = on_kernel(embed)
    items = [(i, random.Random(i).choice("abc")) for i in range(500)]
    results = embed.map(*zip(*items, strict=True), chunksize=20, max_pending=4)
    assert list(results) == [({"a": 1, "b": 10, "c": 100}[name] * i, name) for i, name in items]
    chunks = [args[0] for _, args, _ in kernel.submitted]
    assert sum(map(len, chunks)) == 500
    assert all(len({item[-1] for item in chunk}) == 1 for chunk in chunks)
    assert len(chunks) < 60


def test_map_takes_a_key_that_all_calls_share():
    @context_app(context=model.by("weights"))
    def score(model, x):
        return model, x

    kernel = on_kernel(score)
    assert list(score.map([1, 2, 3], weights="a", chunksize=3)) == [("a@cpu", i) for i in (1, 2, 3)]
    assert len(kernel.submitted) == 1
    with pytest.raises(TypeError, match="its keys are weights"):
        score.map([1], wights="a")


def test_a_key_that_all_calls_of_a_map_share_reaches_a_body_that_names_it():
    @context_app(context=model.by("weights"))
    def score(model, x, *, weights, scale=1):
        return model, x * scale, weights

    on_kernel(score)
    assert list(score.map([1, 2, 3], weights="a", chunksize=2)) == [("a@cpu", i, "a") for i in (1, 2, 3)]


def test_a_map_by_key_waits_for_what_its_contexts_wait_for():
    device = Future()
    device.set_result("gpu")

    @context_app(context=model.by("weights", device=device))
    def score(model, x):
        return model, x

    class Waiting(Kernel):
        def submit(self, func, *, app_args, app_kwargs, **options):
            given = {name: v.result() if isinstance(v, Future) else v for name, v in app_kwargs.items()}
            return super().submit(func, app_args=app_args, app_kwargs=given, **options)

    score.data_flow_kernel = Waiting()
    assert list(score.map([1, 2], weights="a")) == [("a@gpu", 1), ("a@gpu", 2)]
    assert score(3, weights="b").result() == ("b@gpu", 3)


def test_keys_that_are_not_given_are_told_from_those_that_are():
    assert cache_key({"a": 1}) != cache_key({"b": 1})


def test_a_warning_of_keys_fails_no_call():
    """Though the executor that is asked what builds have taken has ended."""

    @context_app(context=model.by("weights"))
    def score(model, x):
        return x

    class Ended:
        preload = None

        def contexts(self):
            raise ExecutorClosedError(executor="gone")

    on_kernel(score).executors = {"here": Ended()}
    for i in range(20):
        score(1, weights=i)
    with pytest.warns(UserWarning, match="20 calls of score"):
        assert score(7, weights=20).result() == 7


def test_threads_may_use_many_keys_at_once():
    @context_app(context=model.by("weights"))
    def score(model, x):
        return x

    def use(thread):
        for i in range(1500):
            score.func.settled((1,), {"weights": (thread, i)})

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, range(8)))
    assert len(score.func._memo) <= 1024 + 8


def test_what_is_read_ahead_is_bounded():
    """However rare a group is."""
    read = []

    def items():
        for i in range(10_000):
            read.append(i)
            yield ("often" if i % 100 else i), i

    def submit(group, chunk):
        future = Future()
        future.set_result(chunk)
        return future

    found = Groups(items(), submit, ChunkSizes(5), 8).in_order(raise_it)
    for i in range(200):
        assert next(found) == i
        assert len(read) <= i + 1 + 5 * 8


def test_many_keys_leave_nothing_behind():
    @context_app(context=model.by("weights"))
    def score(model, x):
        return x

    for i in range(3000):
        score.func.settled((1,), {"weights": i})
    assert len(score.func._memo) <= 1024


def test_a_known_key_is_neither_digested_nor_bound_to_a_signature(monkeypatch):
    from parsl_context.apps import keys

    @context_app
    def embed(x, name="a"):
        with context:
            scale = len(name)
        return scale * x

    before = embed.func.settled((1,), {"name": "b"})[0]
    monkeypatch.setattr(keys, "digest_content", None)
    monkeypatch.setattr("inspect.Signature.bind", None)
    assert embed.func.settled((2,), {"name": "b"})[0] is before
    assert embed.func.settled((2, "b"), {})[0] is before
