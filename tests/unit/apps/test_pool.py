"""`app.pool()` is an executor as of `concurrent.futures`; what it runs may call the app, which runs there."""

import functools
import inspect
import threading
from concurrent.futures import Executor, Future

import pytest
from parsl import python_app

from parsl_context.apps.app import context_app
from parsl_context.apps.decorator import context
from parsl_context.errors import ConfigurationError

builds = []


@context
def base(value=10):
    builds.append(value)
    return value


@context_app(context=base())
def add(value, x):
    return value + x


@context_app(context=base.by("value"))
def add_to(made, x):
    return made + x


@context_app
def split_up(x, value=1):
    with context:
        made = 100 * value
    return made + x


@pytest.fixture(autouse=True)
def no_builds():
    builds.clear()


class Kernel:
    """Keeps what is submitted; nothing ends until it is told to."""

    def __init__(self):
        self.executors = {}
        self.tasks = []

    def submit(self, func, *, app_args, app_kwargs, **options):
        future = Future()
        self.tasks.append((func, app_args, app_kwargs, future))
        return future


@pytest.fixture
def waiting():
    """An app whose calls wait for ever."""
    app = context_app(lambda value, x: value + x, context=base())
    app.data_flow_kernel = Kernel()
    return app


def calls_the_app(x):
    return add(x) * 2


def test_functions_run_with_their_own_arguments_and_may_call_the_app(kernel):
    with add.pool() as pool:
        assert isinstance(pool, Executor)
        assert list(pool.map(calls_the_app, range(3))) == [20, 22, 24]
        assert list(pool.map(max, [1, 5], [3, 4], chunksize=2)) == [3, 5]
        assert pool.submit(sorted, [2, 1], reverse=False).result() == [1, 2]
    assert builds == [10], "built once, although the functions do not mention it"


@pytest.mark.parametrize("function", [add, add.func, add.body])
@pytest.mark.parametrize("chunksize", [1, 2])
def test_the_app_and_its_body_stand_for_calls_of_the_app(kernel, function, chunksize):
    with add.pool() as pool:
        assert list(pool.map(function, range(3), chunksize=chunksize)) == [10, 11, 12]
        assert pool.submit(function, x=1).result() == 11


def test_the_undivided_function_stands_for_its_app(kernel):
    with split_up.pool(value=2) as pool:
        assert list(pool.map(split_up.__wrapped__, range(2), chunksize=2)) == [200, 201]
        assert pool.submit(lambda: split_up(1, value=2)).result() == 201


def test_another_context_app_is_called_as_itself(kernel):
    with add.pool() as pool:
        assert list(pool.map(split_up, range(2), chunksize=5)) == [100, 101]
    assert builds == []


def test_the_pool_gives_the_keys(kernel):
    with add_to.pool(value=3) as pool:
        assert list(pool.map(add_to, range(2))) == [3, 4]
        assert list(pool.map(lambda x: add_to(x, value=3), range(2))) == [3, 4]
        assert pool.submit(add_to, 1, value=5).result() == 6
    assert builds == [3, 5]
    with pytest.raises(TypeError, match="wrong, and its keys are value"):
        add_to.pool(wrong=3)


def test_an_app_within_a_call_runs_there_on_threads_too(kernel):
    seen = []

    @context_app(context=base(7))
    def outer(value, x):
        seen.append(threading.current_thread())
        return inner(x) + value

    @context_app(context=base(1))
    def inner(value, x):
        seen.append(threading.current_thread())
        return value + x

    assert outer(1).result() == 9
    assert seen[0] is seen[1]


def test_contexts_that_wait_for_futures_are_there_for_functions_of_the_pool(kernel):
    late = context_app(lambda value, x: value + x, context=base(python_app(lambda: 30)()))
    with late.pool() as pool:
        assert list(pool.map(late, range(2))) == [30, 31]
        assert list(pool.map(lambda x: late(x) * 2, range(2), chunksize=2)) == [60, 62]


def test_an_app_whose_context_is_not_known_yet_gives_a_future_within_a_call(kernel):
    never = Future()
    late = context_app(lambda value, x: value + x, context=base(never))
    outer = context_app(lambda value: late(1).done(), context=base())
    assert outer().result() is False
    never.set_result(30)


def test_an_app_of_parsl_is_refused(kernel):
    with add.pool() as pool, pytest.raises(ConfigurationError, match="Give the plain function"):
        pool.submit(python_app(calls_the_app), 1)


def test_a_pool_that_was_shut_down_takes_no_calls(waiting):
    pool = waiting.pool()
    pool.shutdown()
    for use in (pool.submit, pool.map):
        with pytest.raises(RuntimeError, match="was shut down"):
            use(calls_the_app, [1])


def test_shutting_down_waits_for_the_calls_of_the_pool_or_cancels_them(waiting):
    pool = waiting.pool()
    ended, other = [pool.submit(calls_the_app, i) for i in range(2)]
    pool.shutdown(wait=False)
    assert not ended.done()
    threading.Timer(0.05, ended.set_result, [1]).start()
    threading.Timer(0.1, other.set_exception, [ValueError()]).start()
    pool.shutdown()
    assert ended.done()
    assert other.done()
    more = waiting.pool()
    future = more.submit(calls_the_app, 1)
    more.shutdown(cancel_futures=True)
    assert future.cancelled()


def test_a_map_that_takes_too_long_or_is_closed_cancels_the_rest(waiting):
    tasks = waiting.data_flow_kernel.tasks
    pool = waiting.pool()
    with pytest.raises(TimeoutError):
        next(pool.map(calls_the_app, range(2), timeout=0.01))
    assert all(task[-1].cancelled() for task in tasks)
    tasks.clear()
    results = pool.map(calls_the_app, range(3))
    assert len(tasks) == 3, "calls are made before results are asked for"
    tasks[0][-1].set_result("first")
    assert next(results) == "first"
    results.close()
    assert [task[-1].cancelled() for task in tasks] == [False, True, True]


def test_what_a_call_raises_is_raised_in_its_turn_and_cancels_the_rest(waiting):
    tasks = waiting.data_flow_kernel.tasks
    results = waiting.pool().map(calls_the_app, range(3))
    tasks[0][-1].set_result("first")
    tasks[1][-1].set_exception(KeyError("second"))
    assert next(results) == "first"
    with pytest.raises(KeyError, match="second"):
        next(results)
    assert tasks[2][-1].cancelled()


def test_futures_that_cannot_be_cancelled_are_left(waiting, monkeypatch):
    monkeypatch.setattr(Future, "cancel", lambda self: (_ for _ in ()).throw(NotImplementedError()))
    results = waiting.pool().map(calls_the_app, range(3))
    waiting.data_flow_kernel.tasks[0][-1].set_exception(KeyError("it"))
    with pytest.raises(KeyError, match="it"):
        next(results)


def test_a_chunk_has_a_size(waiting):
    with pytest.raises(ValueError, match="chunksize must be >= 1"):
        waiting.pool().map(calls_the_app, [1], chunksize=0)


def test_plain_functions_are_packed_once_and_other_callables_as_they_are(waiting):
    tasks = waiting.data_flow_kernel.tasks
    pool = waiting.pool()
    changing = functools.partial(calls_the_app)
    for function in (calls_the_app, calls_the_app, changing, changing):
        pool.submit(function, 1)
    calls = [task[0] for task in tasks]
    assert calls[0] is calls[1]
    assert calls[2] is not calls[3]
    for _ in range(100):
        pool.submit(lambda: None)
    assert len(pool._calls) == 64


def test_an_app_is_no_body_of_another():
    for app in (add, add.func):
        with pytest.raises(ConfigurationError, match=r"give context_app the plain function \(app\.body\)"):
            context_app(context=base(2))(app)
    assert context_app(context=base(2))(add.body).func(1) == 3


def test_an_app_shows_what_calls_give():
    assert str(inspect.signature(add)) == "(x)"
    assert str(inspect.signature(add_to)) == "(x, *, value=10)"
    assert str(inspect.signature(split_up)) == "(x, value=1)"
