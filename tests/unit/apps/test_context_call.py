"""How the calls of a context app differ and travel: walltimes, chunks, futures in contexts, memoization, pickles."""

import pickle
from concurrent.futures import Future

import cloudpickle
import dill
import pytest
from parsl import python_app
from parsl.app.errors import AppTimeout
from parsl.dataflow.errors import DependencyError
from parsl.dataflow.memoization import id_for_memo

from parsl_context.apps.app import context_app
from parsl_context.apps.portable import process_contexts
from parsl_context.errors import ConfigurationError
from parsl_context.retain.calls import BodyCall, ChunkCall
from tests.unit.apps.test_app import busy, model, words


@pytest.mark.parametrize("app", [context_app(busy, context=words), context_app(busy, context={"_": words})])
def test_a_call_that_takes_longer_than_its_walltime_is_ended(kernel, app):
    arguments = {"seconds": 10}
    with pytest.raises(AppTimeout):
        app(**arguments, walltime=0.05).result()
    assert app(seconds=0, walltime=10).result() == 0


def test_the_default_of_a_body_limits_its_walltime(kernel):
    app = context_app(lambda _, seconds, walltime=0.05: busy(_, seconds), context=words)
    with pytest.raises(AppTimeout):
        app(10).result()


def test_variants_of_a_call_are_made_once():
    func = context_app(busy, context=words).func
    assert func.limited(2.5) is func.limited(2.5) is not func.limited(3.5)
    assert func.as_chunk() is func.as_chunk()
    assert (func.limited(2.5).walltime_s, func.limited(2.5).chunked) == (2.5, False)
    assert (func.limited(2.5).as_chunk().walltime_s, func.as_chunk().walltime_s) == (2.5, None)
    assert type(func.for_worker()) is BodyCall
    assert type(func.as_chunk().for_worker()) is ChunkCall
    assert func.as_chunk()([(0,), (0.0,)]) == [0, 0.0]


def memo_id(app, chunked=False):
    return id_for_memo(app.func.as_chunk() if chunked else app.func)


def test_memoization_tells_calls_apart_by_body_and_by_the_content_of_contexts():
    def app(given, name="f", module="m"):
        def body(*args, **kwargs):
            return None

        body.__name__, body.__module__ = name, module
        return context_app(body, context=given)

    same = memo_id(app(model("a")))
    assert memo_id(app(model("a"))) == same
    others = [app(model("b")), app(model("a"), name="g"), app(model("a"), module="n"), app({"model": model("a")})]
    assert len({same, memo_id(app(model("a")), chunked=True), *map(memo_id, others)}) == 6


def test_a_result_is_remembered_for_one_context_only(kernel):
    calls = []

    def body(model, x):
        calls.append(model)
        return model, x

    for path in ("a", "b", "a"):
        assert context_app(body, context=model(path), cache=True)(1).result() == (f"model {path}", 1)
    assert calls == ["model a", "model b"]


def test_contexts_wait_for_futures_among_their_arguments(kernel):
    weights = python_app(lambda: "trained.pt")()
    app = context_app(lambda model, x: (model, x), context=model(weights))
    assert [app(x).result() for x in range(3)] == [("model trained.pt", x) for x in range(3)]
    assert list(app.map(range(2))) == [("model trained.pt", 0), ("model trained.pt", 1)]
    assert len(process_contexts) == 1


def test_a_future_that_fails_fails_the_calls_that_wait_for_its_context(kernel):
    app = context_app(lambda model: model, context=model(python_app(lambda: 1 / 0)()))
    with pytest.raises(DependencyError):
        app().result()


def test_a_context_that_waits_needs_the_kernel():
    app = context_app(lambda model: model, context=model(Future()))
    with pytest.raises(ConfigurationError, match="futures"):
        app.func()


@pytest.mark.parametrize("pickler", [dill, cloudpickle], ids=lambda pickler: pickler.__name__)
@pytest.mark.parametrize("change", [lambda f: f, lambda f: f.as_chunk(), lambda f: f.limited(2.0)], ids="abc")
def test_a_call_travels_to_the_workers_of_other_executors(pickler, change):
    offset = 5
    func = change(context_app(lambda words, x: (words, x + offset), context=words).func)
    packed = pickler.dumps(func)
    arrived = pickle.loads(packed)
    assert (arrived.chunked, arrived.walltime_s, arrived.late) == (func.chunked, func.walltime_s, func.late)
    assert [context.digest for context in arrived.contexts] == [context.digest for context in func.contexts]
    assert arrived(*([[(1,)]] if func.chunked else [1])) == func(*([[(1,)]] if func.chunked else [1]))
    assert pickle.loads(packed) is arrived  # digested once in a process
