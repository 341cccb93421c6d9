"""What user code raises reaches the user as it was, from wherever it runs; on real processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import parsl
import pytest
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider

from parsl_context import ContextBuildError, ContextExecutor, RemoteError, context, context_app

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]


class QuotaError(Exception):
    """Its constructor takes what its `args` do not hold."""

    def __init__(self, site: str, *, left: int) -> None:
        super().__init__(f"{left} GB are left at {site}")
        self.left = left


class Handle:
    def __reduce__(self) -> Any:
        raise SystemExit("of that machine")


class LocalError(Exception):
    """Cannot be pickled."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.handle = Handle()


class NoTextError(Exception):
    def __str__(self) -> str:
        raise SystemExit("no text")

    __repr__ = __str__


def fail(how: str) -> None:
    if how == "quota":
        raise QuotaError("home", left=3)
    if how == "local":
        raise LocalError("the text")
    if how == "no text":
        raise NoTextError("x")
    try:
        raise QuotaError("scratch", left=0)
    except QuotaError as error:
        raise KeyError("k") from error


def check(future: Any, how: str) -> None:
    error = future.exception(timeout=60)
    error = error.__cause__ if isinstance(error, ContextBuildError) else error
    names = []
    trace = error.__traceback__
    while trace is not None:
        names.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    assert "fail" in names, "the remote traceback is kept"
    if how == "quota":
        assert type(error) is QuotaError
        assert (str(error), error.left) == ("3 GB are left at home", 3)
    elif how == "local":
        assert isinstance(error, RemoteError)
        assert (error.type_name.rpartition(".")[2], error.text) == ("LocalError", "the text")
    elif how == "no text":
        assert isinstance(error, NoTextError)
        assert "it has no text" in str(error)
    else:
        assert type(error) is KeyError
        assert (type(error.__cause__), str(error.__cause__)) == (QuotaError, "0 GB are left at scratch")


HOW = ["quota", "local", "no text", "cause"]


def test_what_a_body_or_an_app_or_a_context_function_raises_arrives(load: Load) -> None:
    executor = load(max_workers_per_node=1)
    kept, isolated = context(lambda: 1)(), context(lambda: 1, isolation="call")()
    body = context_app(context=kept)(lambda held, how: fail(how))
    forked = context_app(context=isolated)(lambda held, how: fail(how))
    app = parsl.python_app(lambda how, fail: fail(how))
    for how in HOW:
        built = context_app(context=context(fail)(how))(lambda held: held)
        calls = [body(how), forked(how), app(how, fail), built(), executor.submit(body.func, {}, how)]
        for call in calls:
            check(call, how)
    assert sum(row.loads for row in executor.contexts() if row.calls) == 2, "the contexts stayed"


def test_on_stock_htex_what_would_be_lost_says_what_it_was(run_dir: Path) -> None:
    executor = HighThroughputExecutor(
        address="127.0.0.1",
        max_workers_per_node=1,
        cores_per_worker=0.1,
        provider=LocalProvider(init_blocks=1, max_blocks=1),
    )
    config = parsl.Config(executors=[executor], run_dir=str(run_dir), strategy="none", usage_tracking=0)
    with parsl.load(config):
        app = context_app(context=context(lambda: 1)())(lambda held, how: fail(how))
        for how, text in {"quota": "3 GB are left at home", "no text": "<it has no text: SystemExit"}.items():
            error = app(how).exception(timeout=60)
            assert type(error).__name__ == "RemoteError"
            assert text in str(error)
