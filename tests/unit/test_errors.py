"""Every exception a user may meet says what, where and what next, and survives travelling."""

import copy
import pickle
import signal

import dill
import pytest
from parsl.errors import ParslError
from parsl.executors.high_throughput.errors import ManagerLost as HTEXManagerLost
from parsl.executors.high_throughput.errors import WorkerLost as HTEXWorkerLost
from parsl.serialize.errors import SerializationError

import parsl_context
from parsl_context import errors as e


def worker_lost(**changes):
    known = {"worker_id": 3, "hostname": "node7", "manager": "m-07", "block": "2", "pid": 4711}
    return e.WorkerLost(**{**known, "exit_code": None, "signal": signal.SIGSEGV, **changes})


def body_exit(cause):
    known = {"worker_id": 3, "hostname": "node7", "manager": "m-07", "block": "2", "pid": 4711}
    return e.BodyExitError(**known, exit_code=2, cause=cause)


def build_error(cause=None, **changes):
    known = {"context": "classifier('a.pt')", "digest": "c0ffee", "manager": "m-07", "host": "node7", "block": "2"}
    return e.ContextBuildError(**{**known, "attempts": 3, "cause": cause, **changes})


SAMPLES = {
    e.ParslContextError: e.ParslContextError("Something is wrong with context c.", 17),
    e.SplitError: e.SplitError("embed", "job.py", 12, "its block uses late."),
    e.ConfigurationError: e.ConfigurationError("reuse='always' is no level of reuse."),
    e.ContextSerializationError: e.ContextSerializationError("Argument 'db' of context c", TypeError("a lock")),
    e.CarriedCodeError: e.CarriedCodeError("Module m was changed after it was imported."),
    e.ContextBuildError: build_error(FileNotFoundError(2, "No such file", "a.pt")),
    e.FileFetchError: e.FileFetchError(url="http://origin/a.pt", reason="its server answers 404 Not Found"),
    e.EnvironmentUnusableError: e.EnvironmentUnusableError(environment="/e.tar.zst", reason="it is for Python 3.12"),
    e.ContextIsolationError: e.ContextIsolationError(context="model('a.pt')", reason="it runs 1 threads of its own"),
    e.BatchResultError: e.BatchResultError("classify", "31 results", 32),
    e.WorkerLost: worker_lost(),
    e.BodyExitError: body_exit(SystemExit(2)),
    e.ManagerLost: e.ManagerLost(manager_id=b"m-07", hostname="node7", block="2", reason="no heartbeat for 120 s"),
    e.BlockStartError: e.BlockStartError(
        executor="htex", block="0", job="17", said="no such module", log="/run/0.stderr", advice="Install it."
    ),
    e.VersionsDifferError: e.VersionsDifferError(
        interchange="py.v=3.11 parsl.v=2026.7.1", manager="py.v=3.12 parsl.v=2026.7.1", host="node7", block="2"
    ),
    e.InterchangeLost: e.InterchangeLost(executor="htex", exit_code=-9, log="/logs/interchange.log"),
    e.ExecutorClosedError: e.ExecutorClosedError(executor="htex"),
    e.RemoteError: e.RemoteError(type_name="app.Odd", text="no", why="TypeError: an argument is missing"),
    e.PayloadLostError: e.PayloadLostError("17-3f2a-0", "No such file or directory"),
    e.EventLogError: e.EventLogError(folder="runinfo/000", problem="it is empty"),
    e.UnservableTaskError: e.UnservableTaskError("The call wants 3 nodes; a block has 2."),
    e.MessageError: e.MessageError("A malformed message of 2 frames arrived."),
}


class Textless(Exception):
    """As code of the user's may raise it."""

    def __str__(self) -> str:
        raise RuntimeError


WAYS_TO_TRAVEL = {
    **{f"pickle {n}": lambda error, n=n: pickle.loads(pickle.dumps(error, n)) for n in range(3, 6)},
    "as pickled": lambda error: error.__reduce__()[0](*error.__reduce__()[1]),  # whoever else may hook into pickle
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "dill": lambda error: dill.loads(dill.dumps(error)),
}


def all_errors(base=e.ParslContextError):
    return {base}.union(*(all_errors(kind) for kind in base.__subclasses__()))


def test_every_exception_has_a_sample():
    """A new exception class fails here until a sample of it stands above, so that the tests below cover it."""
    assert {kind.__name__ for kind in all_errors()} == {kind.__name__ for kind in SAMPLES}


def test_every_public_exception_is_exported():
    public = all_errors() - {e.MessageError}  # logged and counted, never raised to a user
    assert {kind.__name__ for kind in public} <= set(parsl_context.__all__)


@pytest.mark.parametrize("travel", WAYS_TO_TRAVEL.values(), ids=WAYS_TO_TRAVEL.keys())
@pytest.mark.parametrize("original", SAMPLES.values(), ids=[kind.__name__ for kind in SAMPLES])
def test_an_exception_travels_with_its_attributes_its_text_and_its_cause(original, travel):
    arrived = travel(original)
    assert type(arrived) is type(original)
    assert (str(arrived), arrived.args) == (str(original), original.args)
    assert vars(arrived) == vars(original)
    assert repr(arrived.__cause__) == repr(original.__cause__)
    assert arrived.transient == original.transient


def test_a_cause_given_by_raise_from_travels():
    try:
        raise e.ExecutorClosedError(executor="htex") from KeyError("why")
    except e.ExecutorClosedError as error:
        arrived = pickle.loads(pickle.dumps(error))
    assert repr(arrived.__cause__) == "KeyError('why')"


@pytest.mark.parametrize("travel", WAYS_TO_TRAVEL.values(), ids=WAYS_TO_TRAVEL.keys())
def test_the_context_of_an_exception_stays_visible(travel):
    """Only `raise ... from None` may hide what was being handled."""
    assert not travel(e.UnservableTaskError("second")).__suppress_context__


@pytest.mark.parametrize("kind", sorted(all_errors(), key=lambda kind: kind.__name__), ids=lambda kind: kind.__name__)
def test_every_exception_is_one_of_ours_and_of_parsl(kind):
    assert issubclass(kind, e.ParslContextError)
    assert issubclass(kind, ParslError)


@pytest.mark.parametrize(
    ("ours", "known"),
    [
        (e.WorkerLost, HTEXWorkerLost),
        (e.BodyExitError, HTEXWorkerLost),
        (e.ManagerLost, HTEXManagerLost),
        (e.ContextSerializationError, SerializationError),
        (e.ConfigurationError, ValueError),
    ],
)
def test_code_that_catches_what_parsl_raises_goes_on_working(ours, known):
    assert issubclass(ours, known)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (worker_lost(signal=signal.SIGKILL), ["worker 3", "node7", "4711", "m-07", "block 2", "SIGKILL", "memory"]),
        (worker_lost(signal=None, exit_code=7), ["process 4711", "exited with status 7"]),
        (worker_lost(signal=250), ["signal 250"]),
        (
            body_exit(SystemExit("no such model")),
            ["SystemExit: no such model.", "worker 3", "node7", "4711", "lives on"],
        ),
        (body_exit(KeyboardInterrupt()), ["raised KeyboardInterrupt."]),
        (build_error(MemoryError()), ["block 2): MemoryError."]),
        (build_error(Textless()), ["block 2): Textless: <it has no text: RuntimeError was raised for it>."]),
        (e.ContextSerializationError("It", Textless()), ["It cannot be serialized: Textless: <it has no text"]),
        (SAMPLES[e.ManagerLost], ["m-07", "node7", "block 2", "no heartbeat", "retries="]),
        (SAMPLES[e.ContextSerializationError], ["Argument 'db'", "TypeError: a lock", "inside the context function"]),
        (build_error(ValueError("odd")), ["classifier('a.pt')", "3 attempts", "m-07", "node7", "block 2", "odd"]),
        (build_error(attempts=1), ["1 attempt,", "unknown reason"]),
        (build_error(ModuleNotFoundError("No module named 'torch'")), ["torch", "worker_init"]),
        (build_error(FileNotFoundError("a.pt")), ["paths that exist there"]),
        (build_error(worker_lost()), ["SIGSEGV", "ended its process"]),
        (SAMPLES[e.InterchangeLost], ["'htex'", "SIGKILL", "/logs/interchange.log", "anew"]),
        (e.InterchangeLost(executor="htex", exit_code=3, log="log"), ["status 3"]),
        (e.InterchangeLost(executor="htex", exit_code=None, log="log"), ["ended."]),
        (SAMPLES[e.ExecutorClosedError], ["'htex'", "shut down"]),
    ],
)
def test_a_message_says_what_happened_where_and_what_next(error, says):
    assert [word for word in says if word not in str(error)] == []


def test_an_advice_fits_its_signal():
    """Only SIGKILL speaks for too little memory."""
    assert "memory" not in str(worker_lost(signal=signal.SIGSEGV))


def test_only_losses_are_worth_a_retry():
    assert {kind for kind in all_errors() if kind.transient} == {e.WorkerLost, e.ManagerLost, e.PayloadLostError}


@pytest.mark.parametrize(("text", "shown"), [("it ended", "it ended."), ("It ended. ", "It ended."), ("Why?", "Why?")])
def test_what_others_say_ends_with_one_full_stop(text: str, shown: str) -> None:
    assert e.sentence(text) == shown


def test_no_message_has_a_doubled_full_stop() -> None:
    reason = "Somebody's sentence."
    errors = [
        e.ContextSerializationError("An argument", ValueError(reason)),
        build_error(ValueError(reason)),
        e.FileFetchError(url="file:///x", reason=reason),
        e.ContextIsolationError(context="c()", reason=reason),
        e.ManagerLost(manager_id=b"m", hostname="h", block="0", reason=reason),
        e.PayloadLostError("segment", reason),
    ]
    for error in errors:
        assert reason in str(error)
        assert f"{reason}." not in str(error)
