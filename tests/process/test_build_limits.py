"""Builds, and what runs in forks of what was built, have a time limit if the user gives one; on real processes."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from parsl import python_app

from parsl_context import ContextBuildError, ContextExecutor, context, context_app
from tests.process.conftest import wait_for

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]
LIMIT_S = 1.5  # what works ends sooner on a busy machine, too


@python_app
def os_getpid() -> int:
    import os

    return os.getpid()


@pytest.mark.parametrize("reuse", ["memory", "node", "none"])
def test_a_build_that_hangs_is_ended_and_its_calls_learn_why(load: Load, reuse: str) -> None:
    executor = load(max_workers_per_node=1, reuse=reuse)

    @context(build_timeout_s=LIMIT_S)
    def hangs() -> None:
        time.sleep(60)

    futures = [context_app(context=hangs())(lambda held: held)() for _ in range(3)]
    for future in futures:
        with pytest.raises(ContextBuildError, match=r"hangs\(\).*3 attempts.*TimeoutError.*1\.5 s.*build_timeout_s"):
            future.result(timeout=40)
    assert os_getpid().result(timeout=40) > 0, "others go on"
    assert "failed" in {row.state for row in executor.contexts()}


def test_the_executor_has_a_limit_for_contexts_that_have_none_of_their_own(load: Load) -> None:
    load(max_workers_per_node=1, context_build_timeout=LIMIT_S)

    @context
    def slow(seconds: float, *others: Any) -> float:
        time.sleep(seconds)
        return seconds

    patient = context(build_timeout_s=30)(slow.function)
    assert context_app(context=patient(2.0))(lambda held: held)().result(timeout=40) == 2.0
    assert context_app(context=slow(0.0))(lambda held: held)().result(timeout=40) == 0.0
    with pytest.raises(ContextBuildError, match=r"slow\(0\.1, .*1\.5 s"):
        context_app(context=slow(0.1, slow(60.0)))(lambda held: held)().result(timeout=40)


def test_a_build_that_takes_much_longer_than_it_used_to_is_named_in_the_log(
    load: Load, run_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    executor = load(max_workers_per_node=1)
    quick = run_dir / "quick"
    quick.touch()

    @context
    def sometimes_slow(quick: str) -> int:
        time.sleep(0 if os.path.exists(quick) else 6.0)
        return 1

    made = sometimes_slow(str(quick))
    app = context_app(context=made)(lambda held: held)
    assert app().result(timeout=40) == 1
    assert not [record for record in caplog.records if "has been building" in record.getMessage()]
    quick.unlink()
    executor.evict(made)
    wait_for(lambda: executor.contexts()[0].state == "cold")
    assert app().result(timeout=40) == 1
    (told,) = {record.getMessage() for record in caplog.records if "has been building" in record.getMessage()}
    assert "sometimes_slow(" in told
    assert "used to take" in told


@pytest.mark.parametrize("reuse", ["memory", "node"])
def test_what_a_context_requires_has_a_limit_of_its_own(load: Load, reuse: str) -> None:
    executor = load(max_workers_per_node=1, reuse=reuse)

    @context(build_timeout_s=LIMIT_S)
    def inner(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    @context
    def outer(held: float) -> float:
        return held

    assert context_app(context=outer(inner(0.0)))(lambda held: held)().result(timeout=40) == 0.0
    with pytest.raises(ContextBuildError, match=r"outer\(.*inner\(60\.0\), which is built with it, .*1\.5 s"):
        context_app(context=outer(inner(60.0)))(lambda held: held)().result(timeout=40)
    assert os_getpid().result(timeout=40) > 0, "others go on"
    assert {row.state for row in executor.contexts() if "60.0" in row.name} <= {"failed", "cold"}


def test_each_context_function_has_the_time_that_it_may_take_for_itself(load: Load) -> None:
    load(max_workers_per_node=1)

    @context(build_timeout_s=2.0)
    def slow(*others: Any) -> int:
        time.sleep(0.8)
        return 1 + sum(others)

    assert context_app(context=slow(slow(slow())))(lambda held: held)().result(timeout=40) == 3


def hook(what: str) -> None:
    match what:
        case "hangs":
            time.sleep(60)
        case "raises":
            raise KeyError("no such device")
        case "exits":
            sys.exit(7)
        case "dies":
            os.kill(os.getpid(), signal.SIGSEGV)


@pytest.mark.parametrize(
    ("what", "why"),
    [("hangs", r"1\.5 s"), ("raises", "no such device"), ("exits", "SystemExit: 7"), ("dies", "SIGSEGV")],
)
def test_a_hook_that_fails_in_forks_is_a_build_that_failed(load: Load, what: str, why: str) -> None:
    load(max_workers_per_node=2)
    hooked = context(share="node", after_fork=hook, build_timeout_s=LIMIT_S)(lambda what: what)
    assert context_app(context=hooked("works"))(lambda held: held)().result(timeout=40) == "works"
    failing = context_app(context=hooked(what))(lambda held: held)
    for future in [failing() for _ in range(3)]:
        with pytest.raises(ContextBuildError, match=f"3 attempts.*{why}"):
            future.result(timeout=40)
    assert os_getpid().result(timeout=40) > 0, "others go on"
