"""`map` sends many short calls as few tasks, in order, reading its input lazily."""

import functools
import itertools
from collections import deque
from concurrent.futures import Future
from types import SimpleNamespace

import pytest
from parsl.app.errors import AppTimeout
from rich import get_console

from parsl_context.apps import chunks, mapping
from parsl_context.apps.app import context_app
from parsl_context.apps.chunk_sizes import ChunkSizes
from parsl_context.apps.delivery import raise_it
from parsl_context.errors import ConfigurationError
from tests.unit.apps.test_app import busy, words


class FakeKernel:
    """Runs a task when its result is asked for; each call in it takes `call_s` seconds of the fake clock."""

    def __init__(self, call_s=0.0):
        self.now = 100.0
        self.executors = {"a": object()}
        self.call_s = call_s
        self.run_s = None
        self.chunks = []
        self.submitted = []

    def submit(self, func, *, app_args, app_kwargs, **options):
        (chunk,) = app_args
        self.chunks.append(len(chunk))
        self.submitted.append((func, app_kwargs, options))
        return _LazyFuture(self, functools.partial(func, **app_kwargs), chunk)


class _LazyFuture(Future):
    def __init__(self, kernel, func, chunk):
        super().__init__()
        self._kernel, self._func, self._chunk = kernel, func, chunk
        self.task_record = {"executor": "a", "exec_fu": SimpleNamespace(run_s=kernel.run_s)}

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
    monkeypatch.setattr(mapping, "time", SimpleNamespace(monotonic=lambda: kernel.now))
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
        (0.0099, [1, 5, 5, 5, 5, 5, 5, 5]),
        (0.0002, [1, 8, 64, 250, 250, 250, 250, 250]),
        (0.0, [1, 8, 64, 512, 4096, 4096, 4096, 4096]),
    ],
)
def test_tasks_grow_until_their_own_cost_does_not_count(fake, call_s, sizes):
    fake.call_s = call_s
    results = app_on(fake).map(itertools.count(), max_pending=1)
    while len(fake.chunks) < 8:
        next(results)
    assert fake.chunks == sizes


def test_a_task_holds_a_bounded_number_of_calls(fake):
    deque(app_on(fake).map(iter(range(20_000)), max_pending=1), maxlen=0)
    assert max(fake.chunks) == 4096


def test_tasks_shrink_when_calls_get_slower(fake):
    fake.call_s = 0.001
    results = app_on(fake).map(itertools.count(), max_pending=1)
    while fake.chunks[-1:] != [50]:
        next(results)
    fake.call_s = 0.1
    while fake.chunks[-1] >= 50:
        next(results)
    assert fake.chunks[-1] == 1


def test_a_later_map_of_an_app_starts_from_what_calls_took(fake):
    app, other = app_on(fake), app_on(fake)
    fake.call_s = 0.001
    deque(app.map(range(500)), maxlen=0)
    del fake.chunks[:]
    next(app.map(itertools.count(), max_pending=1))
    next(other.map(itertools.count(), max_pending=1))
    assert fake.chunks == [32, 1]


def test_what_the_executor_says_of_the_time_counts(fake):
    """Tasks that run side by side end together."""
    app = app_on(fake)
    fake.run_s = 1.0
    deque(app.map(range(3)), maxlen=0)
    assert app.call_times.expected(["a"]) == 1.0


def test_a_task_that_raised_says_nothing_of_how_long_calls_take(fake):
    app = app_on(fake, lambda _, x: 1 // x)
    results = app.map([1, 0, 1, 1], chunksize=2)
    with pytest.raises(ZeroDivisionError):
        list(results)
    assert app.call_times.expected(["a"]) is None


class Workers:
    """Futures that end, the oldest first, whenever the script waits."""

    def __init__(self, monkeypatch):
        self.sent = []
        self.waits = 0
        monkeypatch.setattr(chunks.threading, "Event", lambda: self)

    def submit(self, chunk):
        self.sent.append((chunk, Future()))
        return self.sent[-1][1]

    def open(self):
        return [(chunk, future) for chunk, future in self.sent if not future.done()]

    def wait(self, timeout):
        self.waits += 1
        for chunk, future in self.open()[:1]:
            future.set_result(chunk)
        return True

    def set(self):
        pass

    clear = set


def test_a_map_whose_calls_are_unknown_waits_a_moment_when_workers_have_enough_to_do(monkeypatch):
    workers = Workers(monkeypatch)
    sizes = ChunkSizes(items=2000, workers=2)
    results = chunks.in_order(iter(range(2000)), workers.submit, sizes, 64, raise_it)
    assert next(results) == 0
    assert [len(chunk) for chunk, _ in workers.sent] == [1] * 5  # the last one when one had ended
    assert workers.waits == 1


def test_where_calls_take_longer_than_that_moment_all_are_sent(monkeypatch):
    workers = Workers(monkeypatch)
    workers.wait = lambda timeout: False
    sizes = ChunkSizes(items=2000, workers=2, call_s=1e-6)
    monkeypatch.setattr(chunks.Sent, "results", lambda sent, give: iter(sent.items))
    assert next(chunks.in_order(iter(range(2000)), workers.submit, sizes, 64, raise_it)) == 0
    assert [len(chunk) for chunk, _ in workers.sent] == [32] * 4 + [1] * 60


@pytest.mark.parametrize("ordered", [True, False])
def test_maps_by_key_wait_for_that_moment_too(monkeypatch, ordered):
    workers = Workers(monkeypatch)
    groups = chunks.Groups(
        ((i % 2, i) for i in range(2000)),
        lambda _, chunk: workers.submit(chunk),
        ChunkSizes(items=2000, workers=2),
        64,
    )
    assert next(groups.in_order(raise_it) if ordered else groups.as_they_end(raise_it)) == 0
    assert len(workers.sent) == 5


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


def test_tasks_of_a_map_ask_for_the_resources_that_the_app_asks_for(fake):
    """Calls have them as their default; an item may have others for its call alone."""

    def body(words, x, parsl_resource_specification={"priority": 3}):  # noqa: B006
        return x, parsl_resource_specification

    app = app_on(fake, body)
    assert list(app.map("ab", chunksize=2)) == [("a", {"priority": 3}), ("b", {"priority": 3})]
    assert list(app.map("a", [{}])) == [("a", {})]
    assert [kwargs for _, kwargs, _ in fake.submitted] == [{"parsl_resource_specification": {"priority": 3}}] * 2
