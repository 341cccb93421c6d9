"""Contexts of one process, as self-contained functions keep them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from parsl_context.standalone.runtime.store import Store, Terms, Use

KEPT = Terms(None, None, True)


class Calls:
    """Calls that use contexts named by letters; what is built and ended is written down."""

    def __init__(self, max_contexts: int = 16) -> None:
        self.store = Store(max_contexts)
        self.log: list[str] = []

    def build(self, key: str) -> Callable[[Use], Any]:
        def make(_: Use) -> Iterator[str]:
            self.log.append(f"build {key}")
            yield key
            self.log.append(f"end {key}")

        return make

    def call(self, key: str, terms: Terms = KEPT, make: Callable[[Use], Any] | None = None) -> Any:
        use = Use()
        try:
            return self.store.take(key, terms, make or self.build(key), use)
        finally:
            self.store.release(use)


def test_the_least_recently_used_goes_first() -> None:
    calls = Calls(max_contexts=2)
    for key in "abac":
        assert calls.call(key) == key
    assert calls.log == ["build a", "build b", "build c", "end b"]
    assert calls.store.keys() == ["a", "c"]


def test_one_that_is_used_is_not_given_up() -> None:
    calls = Calls(max_contexts=1)
    use = Use()
    calls.store.take("a", KEPT, calls.build("a"), use)
    calls.call("b")
    assert "end a" not in calls.log
    assert calls.log[-1] == "end b"
    calls.store.release(use)
    assert calls.store.keys() == ["a"]


def test_what_another_is_made_of_ends_after_it() -> None:
    calls = Calls(max_contexts=1)

    def make(use: Use) -> Iterator[str]:
        inner = calls.store.take("inner", KEPT, calls.build("inner"), use)
        yield f"outer of {inner}"
        calls.log.append("end outer")

    assert calls.call("outer", make=make) == "outer of inner"
    calls.store.unload()
    assert calls.log == ["build inner", "end outer", "end inner"]


def test_a_build_that_fails_is_not_kept_and_cleans_up() -> None:
    calls = Calls()

    def fail(use: Use) -> str:
        calls.store.now.builds[-1].ends.append(lambda: calls.log.append("cleaned"))
        raise ValueError("not yet")

    for _ in range(2):
        with pytest.raises(ValueError, match="not yet"):
            calls.call("a", make=fail)
    assert calls.call("a") == "a"
    assert calls.log == ["cleaned", "cleaned", "build a"]


@pytest.mark.parametrize(
    ("terms", "builds"),
    [(Terms(2, None, True), 3), (Terms(None, None, False), 5), (Terms(None, 1e-9, True), 5), (KEPT, 1)],
)
def test_an_instance_serves_as_long_as_its_terms_say(terms: Terms, builds: int) -> None:
    calls = Calls()
    for _ in range(5):
        calls.call("a", terms)
    assert calls.log.count("build a") == builds
    calls.store.unload()
    assert calls.log.count("end a") == builds


def test_one_that_is_made_of_an_old_one_is_old() -> None:
    calls = Calls()
    inner = Terms(None, 0.05, True)

    def make(use: Use) -> str:
        return str(calls.store.take("inner", inner, calls.build("inner"), use))

    calls.call("outer", make=make)
    time.sleep(0.06)
    calls.call("outer", make=make)
    assert calls.log.count("build inner") == 2


def test_threads_that_want_the_same_wait_for_one_build() -> None:
    calls = Calls()
    begun, go_on = threading.Event(), threading.Event()

    def slowly(_: Use) -> str:
        calls.log.append("build")
        begun.set()
        assert go_on.wait(10)
        return "value"

    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(calls.call("a", make=slowly))) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert begun.wait(10)
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert (found, calls.log) == (["value"] * 4, ["build"])


def test_a_spoilt_one_goes_with_the_call_that_spoilt_it() -> None:
    calls = Calls()
    use = Use()
    calls.store.take("a", KEPT, calls.build("a"), use)
    use.is_dirty = True
    calls.store.release(use)
    assert calls.log == ["build a", "end a"]


def test_all_values_of_a_key_are_given_up_together() -> None:
    calls = Calls()
    for key in ("a 1", "a 2", "ab 1"):
        calls.call(key)
    assert calls.store.unload("a") == 2
    assert calls.store.keys() == ["ab 1"]
