"""What `explain` says of calls of real runs that have ended, that wait for others, and that join others."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import parsl
import pytest
from parsl import join_app, python_app
from parsl.executors import ThreadPoolExecutor

from parsl_context import ContextExecutor, context, context_app
from tests.process.conftest import wait_for

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]


@context
def held() -> str:
    return "held"


@context_app(context=held())
def wait(value: str, seconds: Any, *others: Any) -> float:
    time.sleep(seconds)
    return float(seconds)


@context_app(context=held())
def divide(value: str, by: int) -> float:
    return 1 / by


@join_app
def fan(count: int, seconds: float) -> list[Future[Any]]:
    time.sleep(seconds)
    return [wait(1.5) for _ in range(count)]


def until(executor: ContextExecutor, future: Future[Any], words: str) -> str:
    """What is said of a call, as soon as these words are."""
    return str(wait_for(lambda: said if words in (said := executor.explain(future)) else None))


def given(executor: ContextExecutor, future: Future[Any]) -> str:
    """What is said of a call once Parsl has given it to its executor."""
    return str(wait_for(lambda: None if "is about to be" in (said := executor.explain(future)) else said))


def command(run_dir: Path, number: int) -> str:
    asked = [sys.executable, "-m", "parsl_context", "explain", str(number), "--run-dir", str(run_dir)]
    return subprocess.run(asked, capture_output=True, text=True, timeout=50, check=True).stdout.splitlines()[-1]


def test_calls_that_have_ended(load: Load, run_dir: Path) -> None:
    executor = load(max_workers_per_node=1)
    done, failed = wait(0.0), divide(0)
    assert done.result() == 0.0
    with pytest.raises(ZeroDivisionError):
        failed.result()
    running, cancelled = wait(0.5), wait(0.1)
    given(executor, cancelled)
    assert cancelled.cancel()
    running.result()
    numbers = [int(executor.explain(future).split()[1]) for future in (done, failed, cancelled)]
    assert [executor.explain(future) for future in (done, failed, cancelled)] == [
        f"Call {numbers[0]} of wait has ended with a result.",
        f"Call {numbers[1]} of divide has ended with an error: ZeroDivisionError: division by zero",
        f"Call {numbers[2]} of wait was cancelled before it ran.",
    ]
    parsl.dfk().cleanup()
    said = [command(run_dir, number) for number in numbers]
    assert said[0].endswith(" has ended.")
    assert said[1].endswith(" has ended with an error.")
    assert said[2].endswith(" was cancelled before it ran.")
    assert all(text.startswith(f"Call {number}") for text, number in zip(said, numbers, strict=True))


def test_calls_that_wait_for_other_calls(load: Load) -> None:
    executor = load()
    first = wait(2.0)
    ready = wait(0.0)
    ready.result()
    follows = wait(0.0, first, ready)
    last = wait(follows)
    said = until(executor, first, "runs on")
    assert said.startswith("Call 1 of wait runs on")
    said = executor.explain(last)
    assert said.startswith(f"The call of wait (task {last.tid} of Parsl) waits for the future among its arguments")
    assert f"The call of wait (task {follows.tid} of Parsl) waits for 1 of the 2 futures among its arguments" in said
    assert "Call 1 of wait runs on" in said
    last.result()
    assert executor.explain(last).endswith("of wait has ended with a result.")
    fails = divide(0)
    after = wait(0.0, fails)
    after.exception()
    assert executor.explain(after).startswith(
        f"The call of wait (task {after.tid} of Parsl) was not run, since a future among its arguments failed: "
    )


def test_calls_of_join_apps(load: Load) -> None:
    executor = load()
    joined = fan(3, 0.7)
    who = f"The call of fan (task {joined.tid} of Parsl)"
    assert given(executor, joined) == f"{who} runs in the script's own process, as functions of join apps do."
    said = until(executor, joined, "runs on")
    assert said.startswith(f"{who} has run, and waits for 3 of the 3 futures that it gave back. Call ")
    assert until(executor, joined, "1 of the 3 futures").startswith(who)
    joined.result()
    assert executor.explain(joined) == f"{who} has ended with a result."


def test_calls_that_are_with_another_executor(load: Load) -> None:
    executor = load()
    parsl.dfk().add_executors([ThreadPoolExecutor(label="threads")])

    @python_app(executors=["threads"])
    def nap() -> None:
        time.sleep(0.5)

    future = nap()
    expected = f"The call of nap (task {future.tid} of Parsl) was given to executor threads, not to {executor.label}"
    assert given(executor, future) == f"{expected}: ask that one."
    future.result()
