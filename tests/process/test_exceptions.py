"""What user code raises reaches the user as it was, from wherever it runs; on real processes."""

from __future__ import annotations

import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import parsl
import pytest
from parsl.executors import HighThroughputExecutor
from parsl.executors.errors import BadStateException
from parsl.providers import LocalProvider

from parsl_context import ContextBuildError, ContextExecutor, RemoteError, context, context_app
from parsl_context.content import modules
from tests.process.conftest import wait_for

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]


@pytest.fixture(autouse=True)
def importable() -> Iterator[None]:
    """Workers find this module, to which arguments of ordinary apps refer; what is known of PYTHONPATH goes with it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        forget_homes()
        yield
    forget_homes()


def forget_homes() -> None:
    modules._homes.clear()
    for known in vars(modules).values():
        if hasattr(known, "cache_clear"):
            known.cache_clear()


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


@pytest.mark.parametrize("kind", [QuotaError, NoTextError])
def test_calls_of_an_executor_that_cannot_go_on_get_an_exception_each(load: Load, kind: type[Exception]) -> None:
    executor = load(provider=LocalProvider(init_blocks=0, max_blocks=1))
    app = context_app(context=context(lambda: 1)())(lambda held: held)
    before = [app() for _ in range(20)]
    wait_for(lambda: len(executor.tasks) == 20)
    executor.set_bad_state_and_fail_all(QuotaError("home", left=0) if kind is QuotaError else NoTextError("x"))
    after = [app() for _ in range(20)]
    errors = [future.exception(timeout=30) for future in before + after]
    assert {type(error) for error in errors[:20]} == {BadStateException}
    assert all(isinstance(error, kind) for error in errors[20:])
    assert len({id(error) for error in errors}) == 40
    depths = [len(traceback.extract_tb(error.__traceback__)) for error in errors]
    assert depths[39] == depths[20], "each has been raised for its own call alone"
    assert depths[19] == depths[0]


INTERRUPTED = """
import signal
import time
import parsl
from parsl.providers import LocalProvider
from parsl_context import ContextExecutor, context, context_app
provider = LocalProvider(init_blocks=1, max_blocks=1)
executor = ContextExecutor(address="127.0.0.1", max_workers_per_node=1, cores_per_worker=0.1, provider=provider)
app = context_app(context=context(lambda: 1)())(lambda held, seconds: time.sleep(seconds))
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, by inheritance, where a shell runs tests behind
with parsl.load(parsl.Config(executors=[executor], run_dir=".", strategy="none", usage_tracking=0)):
    app(0).result()
    futures = [app(600) for _ in range(2000)]
    print("ready", flush=True)
    time.sleep(600)
"""


def test_a_script_with_many_calls_waiting_ends_when_it_is_interrupted(run_dir: Path) -> None:
    script = subprocess.Popen([sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert script.stdout is not None
    assert script.stdout.readline() == b"ready\n"
    script.send_signal(signal.SIGINT)
    _, errors = script.communicate(timeout=60)
    assert b"KeyboardInterrupt" in errors
    logged = sum(path.stat().st_size for path in run_dir.glob("000/**/*.log"))
    assert logged < 2000 * 20_000, "what is logged of a call does not grow with their number. [bytes]"


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
