"""The exception that a user gets, from what the interchange or a worker says of a call that failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from parsl.app.errors import RemoteExceptionWrapper
from parsl.serialize.errors import DeserializationError

from parsl_context.content.exceptions import Raised, with_text
from parsl_context.content.serialization import unpack_value
from parsl_context.errors import ContextBuildError, ManagerLost, UnservableTaskError, WorkerLost
from parsl_context.wire import messages as m
from parsl_context.wire.codec import Buffer, open_payload


def remote_exception(value: Any) -> BaseException:
    """What a body or a context function raised, from the value that a worker sent for it."""
    if isinstance(value, Raised | RemoteExceptionWrapper):
        try:
            value = value.exception() if isinstance(value, Raised) else value.get_exception()
        except BaseException as error:  # `with_traceback` and the like are the user's to write
            failure = DeserializationError(f"Received an exception that cannot be used here: {_text(error)}")
            failure.__cause__ = error
            return failure
    if isinstance(value, BaseException):
        return with_text(value)
    return DeserializationError(f"Received {_text(value)} in place of an exception")


def as_result(error: BaseException) -> RemoteExceptionWrapper:
    """An exception as the result of an ordinary app, which is how Parsl hands it to the DataFlowKernel."""
    wrapper = RemoteExceptionWrapper.__new__(RemoteExceptionWrapper)
    wrapper.e_type, wrapper.e_value = type(error), error
    wrapper.e_traceback = wrapper.cause = None  # the exception has them already
    return wrapper


def cannot_unpickle(what: str, error: BaseException) -> DeserializationError:
    """The exception for what a worker sent and what cannot be made here, whatever that raises."""
    failure = DeserializationError(f"Received {what} that cannot be unpickled here: {_text(error)}")
    failure.__cause__ = error
    return failure


def _text(value: object) -> str:
    try:
        return repr(value)
    except Exception:
        return f"an object of type {type(value).__qualname__} that cannot be shown"


def exception_of(cause: m.Cause, frames: Sequence[Buffer]) -> Exception:
    """A new exception for a call that ended without an outcome of its own.

    Parameters
    ----------
    frames
        Those of the message with the cause: what a context function raised.
    """
    match cause:
        case m.WorkerDied():
            return _worker_lost(cause)
        case m.ManagerGone():
            return ManagerLost(
                manager_id=cause.manager.encode(),
                hostname=cause.host,
                block=cause.block,
                reason=cause.reason,
            )
        case m.BuildFailed():
            return ContextBuildError(
                context=cause.name,
                digest=cause.context,
                manager=cause.manager,
                host=cause.host,
                block=cause.block,
                attempts=cause.attempts,
                cause=_build_cause(cause, frames),
            )
        case m.Unservable():
            return UnservableTaskError(cause.reason)


def _build_cause(cause: m.BuildFailed, frames: Sequence[Buffer]) -> BaseException | None:
    if cause.overdue is not None:
        what = "it" if cause.overdue.name == cause.name else f"{cause.overdue.name}, which is built with it,"
        return TimeoutError(
            f"{what} had not ended after {cause.overdue.timeout_s:g} s, the time that it may take (build_timeout_s)"
        )
    if cause.died is not None:
        return _worker_lost(cause.died)
    if cause.error is None:
        return None
    try:
        return remote_exception(unpack_value(open_payload(cause.error, frames)))
    except BaseException as error:  # unpickling runs code of the user's, which may raise anything
        return cannot_unpickle("an exception of the context function", error)


def _worker_lost(died: m.WorkerDied) -> WorkerLost:
    return WorkerLost(
        worker_id=died.worker,
        hostname=died.host,
        manager=died.manager,
        block=died.block,
        pid=died.pid,
        exit_code=died.exit_code,
        signal=died.signal,
    )
