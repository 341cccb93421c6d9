"""Each way in which a call can fail gives an exception that says what happened."""

from parsl.app.errors import RemoteExceptionWrapper
from parsl.serialize.errors import DeserializationError

from parsl_context.errors import ContextBuildError, ManagerLost, UnservableTaskError, WorkerLost
from parsl_context.executor.failures import exception_of, remote_exception
from parsl_context.retain.loader import pack_error
from parsl_context.wire import messages as m

DIED = m.WorkerDied(manager="m1", host="n1", block="3", worker=2, pid=77, exit_code=None, signal=9)


def build_failed(**changes):
    fields = {"context": "c0", "name": "net()", "manager": "m1", "host": "n1", "block": "3", "attempts": 2}
    return m.BuildFailed(**{**fields, "died": None, "error": None, **changes})


def test_a_dead_worker_is_named_with_its_place_and_its_signal():
    error = exception_of(DIED, ())
    assert isinstance(error, WorkerLost)
    assert (error.worker_id, error.pid, error.signal, error.block) == (2, 77, 9, "3")


def test_a_lost_manager_is_named_with_the_reason():
    error = exception_of(m.ManagerGone(manager="m1", host="n1", block="3", reason="its connection broke"), ())
    assert isinstance(error, ManagerLost)
    assert "its connection broke" in str(error)


def test_a_call_that_nobody_can_serve_says_why():
    error = exception_of(m.Unservable(reason="it asks for 5 nodes"), ())
    assert isinstance(error, UnservableTaskError)
    assert "it asks for 5 nodes" in str(error)


def test_a_failed_build_carries_what_the_context_function_raised():
    payload = m.Payload(b"", 1)
    error = exception_of(build_failed(error=payload), [pack_error(KeyError("weights"))])
    assert isinstance(error, ContextBuildError)
    assert error.attempts == 2
    assert isinstance(error.__cause__, KeyError)


def test_a_failed_build_carries_the_death_of_its_worker():
    error = exception_of(build_failed(died=DIED), ())
    assert isinstance(error.__cause__, WorkerLost)
    assert exception_of(build_failed(), ()).__cause__ is None


def test_an_exception_that_cannot_be_unpickled_here_is_said_to_be_one():
    error = exception_of(build_failed(error=m.Payload(b"\x80no pickle", 0)), ())
    assert isinstance(error.__cause__, DeserializationError)


def test_what_a_body_raised_is_taken_out_of_its_wrapper():
    raised = ValueError("no")
    assert remote_exception(raised) is raised
    assert isinstance(remote_exception(RemoteExceptionWrapper(ValueError, raised, None)), ValueError)
    assert isinstance(remote_exception(42), DeserializationError)
