"""`map` sends many short calls as few tasks, in order, reading its input lazily."""

import itertools
from collections import deque
from concurrent.futures import Future
from types import SimpleNamespace

import pytest
from parsl.app.errors import AppTimeout
from rich import get_console

from parsl_context.apps import chunks
from parsl_context.apps.app import context_app
from parsl_context.errors import ConfigurationError
from tests.unit.apps.test_app import busy, words


class FakeKernel:
    """Runs a task when its result is asked for; each call in it takes `call_s` seconds of the fake clock."""

    def __init__(self, call_s=0.0):
        self.now = 100.0
        self.executors = {"a": object()}
        self.call_s = call_s
        self.chunks = []
        self.submitted = []

    def submit(self, func, *, app_args, app_kwargs, **options):
        (chunk,) = app_args
        self.chunks.append(len(chunk))
        self.submitted.append((func, app_kwargs, options))
        return _LazyFuture(self, func, chunk)


class _LazyFuture(Future):
    def __init__(self, kernel, func, chunk):
        super().__init__()
        self._kernel, self._func, self._chunk = kernel, func, chunk

    def result(self, timeout=None):
        self._kernel.now += self._kernel.call_s * len(self._chunk)
        try:
            self.set_result(self._func(self._chunk))
        except Exception as error:
            self.set_exception(error)
        return super().result()

    def cancel(self):
        raise NotImplementedError("as of Parsl's AppFuture")


@pytest.fixture
def fake(monkeypatch):
    kernel = FakeKernel()
    monkeypatch.setattr(chunks, "time", SimpleNamespace(monotonic=lambda: kernel.now))
    return kernel


def app_on(kernel, body=lambda words, *args: args, **options):
    made = context_app(body, context=words, **options)
    made.data_flow_kernel = kernel
    return made


def test_results_come_in_the_order_of_the_input(fake):
    assert list(app_on(fake).map("abcdefg", chunksize=3)) == [(letter,) for letter in "abcdefg"]
    assert fake.chunks == [3, 3, 1]


def test_several_inputs_go_side_by_side_to_the_end_of_the_shortest(fake):
    assert list(app_on(fake).map("abc", itertools.count())) == [("a", 0), ("b", 1), ("c", 2)]


def test_a_map_of_nothing_sends_nothing(fake):
    assert list(app_on(fake).map([])) == []
    assert fake.chunks == []


def test_input_is_read_as_results_are_taken(fake):
    read = []
    results = app_on(fake).map((read.append(i) or i for i in itertools.count()), chunksize=5, max_pending=2)
    assert read == []
    assert next(results) == (0,)
    assert len(read) == 10
    assert [next(results) for _ in range(5)][-1] == (5,)
    assert len(read) == 15


def test_a_map_may_be_left_early(fake):
    results = app_on(fake).map(range(100), chunksize=2)
    assert next(results) == (0,)
    results.close()


@pytest.mark.parametrize(
    ("call_s", "sizes"),
    [
        (1.0, [1] * 8),
        (0.0099, [1, 2, 4, 5, 5, 5, 5, 5]),
        (0.0, [1, 2, 4, 8, 16, 32, 64, 128]),
    ],
)
def test_tasks_grow_until_their_own_cost_does_not_count(fake, call_s, sizes):
    fake.call_s = call_s
    results = app_on(fake).map(itertools.count(), max_pending=1)
    while len(fake.chunks) < 8:
        next(results)
    assert fake.chunks == sizes


def test_a_task_holds_a_bounded_number_of_calls(fake):
    deque(app_on(fake).map(range(20_000), max_pending=1), maxlen=0)
    assert max(fake.chunks) == 4096


def test_tasks_shrink_when_calls_get_slower(fake):
    fake.call_s = 0.001
    results = app_on(fake).map(itertools.count(), max_pending=1)
    while fake.chunks[-1:] != [32]:
        next(results)
    fake.call_s = 0.1
    while fake.chunks[-1] >= 32:
        next(results)
    assert fake.chunks[-1] == 1


def test_what_a_call_raises_is_raised_when_its_turn_comes(fake):
    results = app_on(fake, lambda _, x: 6 // x).map([1, 2, 3, 0, 6], chunksize=3)
    assert [next(results) for _ in range(3)] == [6, 3, 2]
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize("limits", [{"chunksize": 0}, {"chunksize": -1}, {"max_pending": 0}])
def test_limits_that_cannot_work_are_refused_at_once(fake, limits):
    ((name, value),) = limits.items()
    with pytest.raises(ConfigurationError, match=rf"map\({name}={value}\)"):
        app_on(fake).map([1], **limits)


def test_a_map_has_the_options_of_its_app(fake):
    app = app_on(fake, executors=["a"], cache=True, ignore_for_cache=["b"])
    assert list(app.map([1])) == [(1,)]
    assert fake.submitted[0][2] == {"executors": ["a"], "cache": True, "ignore_for_cache": ["b"]}


@pytest.mark.parametrize("inputs", [[range(5)], [iter(range(5))], [range(5), itertools.count()]])
def test_a_progress_bar_changes_no_results(fake, inputs, capsys, monkeypatch):
    monkeypatch.setattr(get_console(), "_force_terminal", True)
    assert list(app_on(fake, lambda _, x, *rest: x).map(*inputs, progress=True)) == [0, 1, 2, 3, 4]
    assert "<lambda>" in "".join(capsys.readouterr())


def test_where_nobody_looks_no_progress_is_shown(fake, capsys):
    assert list(app_on(fake, lambda _, x: x).map(range(3), progress=True)) == [0, 1, 2]
    assert "".join(capsys.readouterr()) == ""


def test_a_map_limits_the_walltime_of_each_call(kernel):
    """Each call of a task has the time that the body's default gives it."""
    app = context_app(lambda _, seconds, walltime=0.1: busy(_, seconds), context=words)
    results = app.map([0, 0, 10], chunksize=1)
    assert [next(results), next(results)] == [0, 0]
    with pytest.raises(AppTimeout):
        next(results)


def test_a_map_runs_on_any_executor(kernel):
    app = context_app(lambda words, x: (len(words), x), context=words)
    assert list(app.map(range(1000))) == [(2, x) for x in range(1000)]
