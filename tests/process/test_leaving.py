"""What leaves user code by an exception that is no `Exception` ends that call or build, not the process."""

from __future__ import annotations

import _thread
import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import parsl
import psutil
import pytest
from parsl.executors.high_throughput.errors import WorkerLost as HTEXWorkerLost

from parsl_context import BodyExitError, ContextBuildError, ContextExecutor, context, context_app
from tests.process.conftest import wait_for

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]


def leave(way: str) -> Any:
    match way:
        case "SystemExit: 7":
            sys.exit(7)
        case "SystemExit: no such model":
            sys.exit("no such model")
        case "KeyboardInterrupt":
            signal.raise_signal(signal.SIGINT)
        case "GeneratorExit: odd":
            raise GeneratorExit("odd")
        case "CancelledError: too late":
            raise asyncio.CancelledError("too late")
        case "Own: words":

            class Own(BaseException):
                pass

            raise Own("words")


WAYS = [
    "SystemExit: 7",
    "SystemExit: no such model",
    "KeyboardInterrupt",
    "GeneratorExit: odd",
    "CancelledError: too late",
    "Own: words",
]


@context
def process_id() -> int:
    return os.getpid()


@parsl.python_app
def ordinary(way: str) -> Any:
    return leave(way) or os.getpid()


@context_app(context=process_id())
def body(pid: int, way: str) -> Any:
    return leave(way) or pid


def test_a_body_that_leaves_ends_its_call_and_nothing_else(load: Load) -> None:
    executor = load(max_workers_per_node=1)
    before = body("").result(timeout=20)
    for app in (body, ordinary):
        for way in WAYS:
            with pytest.raises(HTEXWorkerLost, match=way) as caught:
                app(way).result(timeout=20)
            assert isinstance(caught.value, BodyExitError)
            assert caught.value.pid == before
            kind = way.partition(":")[0]
            assert type(caught.value.__cause__).__name__ == kind
    assert [app("").result(timeout=20) for app in (body, ordinary)] == [before, before]
    (row,) = executor.contexts()
    assert (row.loads, row.workers) == (1, 1)


class Rude:
    """Ends whatever process pickles it."""

    def __reduce__(self) -> Any:
        sys.exit("not to be pickled")


@pytest.mark.parametrize("reuse", ["memory", "none", "isolated"])
def test_a_result_that_leaves_when_it_is_pickled_ends_its_call_at_any_level(load: Load, reuse: str) -> None:
    load(max_workers_per_node=1, reuse="none" if reuse == "none" else "memory")
    held = context(isolation="call" if reuse == "isolated" else None)(process_id.function)()
    rude = context_app(context=held)(lambda pid: Rude())
    with pytest.raises(BodyExitError, match="SystemExit: not to be pickled"):
        rude().result(timeout=20)
    leaves = context_app(context=held)(lambda pid: leave("SystemExit: 7"))
    with pytest.raises(BodyExitError, match="SystemExit: 7") as caught:
        leaves().result(timeout=20)
    assert caught.value.exit_code == 7


@pytest.mark.parametrize("reuse", ["memory", "node", "none"])
def test_a_context_function_that_leaves_is_a_build_that_failed_at_once(load: Load, reuse: str) -> None:
    load(max_workers_per_node=1, reuse=reuse)
    for way in WAYS:
        app = context_app(context=context(leave)(way))(lambda held: held)
        with pytest.raises(ContextBuildError, match=f"after 1 attempt, .*{way}") as caught:
            app().result(timeout=20)
        assert type(caught.value.__cause__).__name__ == way.partition(":")[0]


@pytest.mark.parametrize("kind", [SystemExit, KeyError])
def test_a_hook_that_leaves_before_an_isolated_call_is_the_error_of_that_call(load: Load, kind: Any) -> None:
    load(max_workers_per_node=1)

    def hook(pid: int) -> None:
        raise kind("no device")

    app = context_app(context=context(isolation="call", after_fork=hook)(process_id.function)())(lambda pid: pid)
    with pytest.raises(BodyExitError if kind is SystemExit else KeyError, match="no device"):
        app().result(timeout=20)


def test_a_context_function_that_leaves_takes_no_other_context_with_it(load: Load) -> None:
    executor = load(max_workers_per_node=1)
    before = body("").result(timeout=20)
    with pytest.raises(ContextBuildError, match="SystemExit: 7"):
        context_app(context=context(leave)("SystemExit: 7"))(lambda held: held)().result(timeout=20)
    assert body("").result(timeout=20) == before
    assert [row.loads for row in executor.contexts() if row.name == "process_id()"] == [1]


def test_a_clean_up_that_leaves_is_logged(load: Load) -> None:
    executor = load(max_workers_per_node=1)

    @context
    def untidy(way: str) -> Any:
        yield os.getpid()
        leave(way)

    kept = body("").result(timeout=20)
    for way in WAYS:
        assert context_app(context=untidy(way))(lambda pid: pid)().result(timeout=20) == kept
        executor.evict(untidy(way))
    untidy_rows = lambda: [row for row in executor.contexts() if "untidy" in row.name]  # noqa: E731
    wait_for(lambda: {row.state for row in untidy_rows()} == {"cold"})
    assert body("").result(timeout=20) == kept
    log = "".join(path.read_text() for path in Path(executor.run_dir).glob("contexts/block-0/*/worker_0.log"))
    assert log.count("Clean-up of context untidy(") == len(WAYS)
    assert all(way in log for way in WAYS)


def test_an_interrupt_that_comes_late_does_not_end_an_idle_worker(load: Load) -> None:
    load(max_workers_per_node=1)

    @context_app(context=process_id())
    def interrupt_later(pid: int) -> int:
        threading.Timer(0.1, _thread.interrupt_main).start()
        return pid

    before = interrupt_later().result(timeout=20)
    worker = psutil.Process(before)
    wait_for(lambda: worker.num_threads() == 1)
    worker.send_signal(signal.SIGINT)
    assert body("").result(timeout=20) == before


def test_bodies_have_their_interrupts(load: Load) -> None:
    load(max_workers_per_node=1)

    @context_app(context=process_id())
    def interrupted(pid: int) -> str:
        threading.Timer(0.1, _thread.interrupt_main).start()
        deadline = time.monotonic() + 60
        try:
            while time.monotonic() < deadline:
                time.sleep(0.01)
        except KeyboardInterrupt:
            return "interrupted"
        return "slept"

    assert interrupted().result(timeout=20) == "interrupted"


def test_only_errors_that_may_pass_are_tried_again(load: Load) -> None:
    load(max_workers_per_node=1)

    @context
    def fails(error: str) -> None:
        raise eval(error)

    for error, attempts in (("OSError()", 3), ("MemoryError()", 3), ("ValueError('x')", 1), ("TypeError()", 1)):
        with pytest.raises(ContextBuildError) as caught:
            context_app(context=fails(error))(lambda held: held)().result(timeout=20)
        assert caught.value.attempts == attempts, error
