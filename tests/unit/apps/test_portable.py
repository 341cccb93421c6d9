"""On executors that are not ours, and in plain calls, each process keeps its contexts: once built, bounded, cleaned."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from parsl_context.apps.decorator import context
from parsl_context.apps.portable import ProcessContexts, context_dirty
from parsl_context.errors import ConfigurationError
from tests.unit.builders import Shared


@pytest.fixture
def shared():
    return Shared(log=[])


@pytest.fixture
def log(shared):
    return shared.log


@pytest.fixture
def make(shared):
    """Makes contexts that write down their life; the value is the name with the values of what it requires."""

    def function(name, *values):
        shared.log.append(f"build {name}")
        yield (name, *values)
        shared.log.append(f"clean {name}")

    return context(function)


@pytest.fixture
def kept():
    made = ProcessContexts(max_contexts=2)
    yield made
    made.close()


def use(kept, *contexts):
    with kept.using(contexts) as values:
        return values


def test_a_context_is_built_once_in_a_process(kept, make, log):
    assert use(kept, make("a")) == use(kept, make("a")) == [("a",)]
    assert log == ["build a"]
    assert len(kept) == 1


def test_required_contexts_are_built_first_and_cleaned_up_last(kept, make, log):
    assert use(kept, make("top", make("base"))) == [("top", ("base",))]
    kept.close()
    assert log == ["build base", "build top", "clean top", "clean base"]


def test_closed_contexts_are_built_anew(kept, make, log):
    use(kept, make("a"))
    kept.close()
    kept.close()
    use(kept, make("a"))
    assert log == ["build a", "clean a", "build a"]


def test_the_least_recently_used_goes_first(kept, make, log):
    for name in "abac":
        use(kept, make(name))
    assert log == ["build a", "build b", "build c", "clean b"]
    assert len(kept) == 2


def test_a_context_in_use_is_kept_beyond_the_bound(kept, make, log):
    with kept.using([make("a"), make("b")]):
        with kept.using([make("c")]):
            use(kept, make("d"))
            assert len(kept) == 3
        assert [line for line in log if line in ("clean a", "clean b")] == []
    assert len(kept) == 2


def test_what_a_context_in_use_requires_is_kept_with_it(kept, make, log):
    top = make("top", make("base"))
    use(kept, top)
    with kept.using([top]):
        use(kept, make("a"))
        use(kept, make("b"))
        assert [line for line in log if line in ("clean top", "clean base")] == []


def test_a_context_goes_before_the_one_it_requires(kept, make, log):
    for _ in range(2):
        use(kept, make("top", make("base")))
    use(kept, make("other"))
    assert log[2:] == ["build other", "clean top"]


def test_a_failed_build_is_raised_and_tried_again(kept, make, shared):
    shared.attempts = 0

    def fails_first():
        shared.attempts += 1
        if shared.attempts == 1:
            raise OSError("not there yet")
        return "there"

    flaky = context(fails_first)()
    with pytest.raises(OSError, match="not there yet"):
        use(kept, make("a"), flaky)
    assert use(kept, flaky) == ["there"]
    use(kept, make("b"))
    assert len(kept) == 2


def test_what_the_caller_raises_passes_and_the_context_stays(kept, make, log):
    with pytest.raises(KeyError), kept.using([make("a")]):
        raise KeyError("user")
    use(kept, make("a"))
    assert log == ["build a"]


def test_a_clean_up_that_fails_is_logged(kept, caplog):
    def fails():
        yield 1
        raise OSError("gone")

    use(kept, context(fails)())
    kept.close()
    assert "Clean-up of context fails() failed" in caplog.text


def test_threads_that_want_one_context_build_it_once(kept, make, log):
    start = threading.Barrier(8)

    def call(_):
        start.wait(timeout=10)
        return use(kept, make("a", make("base")))

    with ThreadPoolExecutor(8) as threads:
        values = list(threads.map(call, range(8)))
    assert log == ["build base", "build a"]
    assert all(value[0] is values[0][0] for value in values)


def test_threads_build_different_contexts_at_the_same_time(kept, shared):
    shared.both = threading.Barrier(2)

    def meets(_name):
        shared.both.wait(timeout=10)
        return "met"

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(lambda name: use(kept, context(meets)(name)), "ab")) == [["met"], ["met"]]


def test_a_context_function_may_use_contexts(kept, make, shared):
    shared.kept, shared.inner = kept, make("inner")
    assert use(kept, context(lambda: use(shared.kept, shared.inner)[0])()) == [("inner",)]


@pytest.mark.process
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
class TestForkedChild:
    """What a process inherits by fork belongs to its parent."""

    @staticmethod
    def in_child(check):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                status = 0 if check() else 2
            finally:
                os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def test_it_starts_empty_and_builds_its_own(self, kept, make, log):
        use(kept, make("a"))

        def check():
            was_empty = len(kept) == 0
            use(kept, make("a"))
            return was_empty and log == ["build a", "build a"] and len(kept) == 1

        assert self.in_child(check) == 0
        assert log == ["build a"]

    def test_it_cleans_up_nothing_of_its_parent(self, kept, make, log, shared, tmp_path):
        shared.folder = tmp_path / "scratch"

        def scratch():
            shared.folder.mkdir()
            try:
                yield shared.folder
            finally:
                shared.folder.rmdir()

        use(kept, context(scratch)())

        def check():
            use(kept, make("a"))
            kept.close()
            return log[-1] == "clean a"

        assert self.in_child(check) == 0
        assert shared.folder.exists()
        kept.close()
        assert not shared.folder.exists()

    def test_it_does_not_wait_for_a_build_of_another_thread_of_its_parent(self, kept, make, shared):
        shared.building, shared.done = threading.Event(), threading.Event()

        def slow():
            shared.building.set()
            shared.done.wait(timeout=10)

        thread = threading.Thread(target=use, args=(kept, context(slow)()))
        thread.start()
        shared.building.wait(timeout=10)
        assert self.in_child(lambda: use(kept, make("a")) == [("a",)]) == 0
        shared.done.set()
        thread.join()


# --- contexts that are built anew


def test_a_spoilt_context_is_built_anew_with_what_it_requires(kept, make, log):
    top = make("top", make("base"))
    with kept.using([top, make("other")]):
        context_dirty()
    assert sorted(log[3:]) == ["clean base", "clean other", "clean top"]
    assert log.index("clean top") < log.index("clean base")
    use(kept, top)
    assert log[6:] == ["build base", "build top"]


def test_a_spoilt_context_lives_until_the_last_call_that_uses_it_ends(kept, make, log):
    a = make("a")
    with kept.using([a]):
        with kept.using([a]):
            context_dirty()
        assert log == ["build a"]
        use(kept, a)
        assert log == ["build a", "build a"], "the next call gets another"
    assert log == ["build a", "build a", "clean a"]
    assert len(kept) == 1


def test_the_innermost_call_is_the_one_that_is_spoilt(kept, make, log):
    with kept.using([make("outer")]), kept.using([make("inner")]):
        context_dirty()
    assert log[2:] == ["clean inner"]


def test_outside_of_a_call_nothing_can_be_spoilt():
    with pytest.raises(ConfigurationError, match=r"context_dirty\(\) is for bodies"):
        context_dirty()


def test_a_context_serves_as_many_calls_as_it_may(kept, make, log):
    twice = context(make, max_uses=2)("a")
    for _ in range(5):
        use(kept, twice)
    assert log == ["build a", "clean a", "build a", "clean a", "build a"]


def test_calls_side_by_side_share_no_more_than_their_number(kept, make, log):
    twice = context(make, max_uses=2)("a")
    with kept.using([twice]), kept.using([twice]), kept.using([twice]):
        assert log == ["build a", "build a"]


def test_a_context_that_is_too_old_is_built_anew(kept, make, log, monkeypatch):
    old = context(make, max_age_s=100)("a")
    use(kept, old)
    now = time.monotonic()
    use(kept, old)
    assert log == ["build a"]
    monkeypatch.setattr("time.monotonic", lambda: now + 100)
    use(kept, old)
    assert log == ["build a", "clean a", "build a"]


def test_an_isolated_context_is_built_for_each_call_with_what_it_requires(kept, make, log):
    top = context(make, isolation="call")("top", make("base"))
    use(kept, make("base"))
    for _ in range(2):
        assert use(kept, top) == [("top", ("base",))]
    assert log == ["build base", *["build base", "build top", "clean top", "clean base"] * 2]
    assert len(kept) == 1


def test_what_requires_an_isolated_context_is_isolated_too(kept, make, log):
    top = make("top", context(make, isolation="call")("base"))
    assert top.is_isolated
    use(kept, top)
    assert log == ["build base", "build top", "clean top", "clean base"]
