"""The exception that a user gets, from what the interchange or a worker says of a call that failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from parsl.app.errors import RemoteExceptionWrapper
from parsl.serialize.errors import DeserializationError

from parsl_context.content.serialization import unpack_value
from parsl_context.errors import ContextBuildError, ManagerLost, UnservableTaskError, WorkerLost
from parsl_context.wire import messages as m
from parsl_context.wire.codec import Buffer, open_payload


def remote_exception(value: Any) -> BaseException:
    """What a body or a context function raised, from the value that a worker sent for it."""
    if isinstance(value, RemoteExceptionWrapper):
        return value.get_exception()
    if isinstance(value, BaseException):
        return value
    return DeserializationError(f"Received {value!r} in place of an exception")


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
    if cause.died is not None:
        return _worker_lost(cause.died)
    if cause.error is None:
        return None
    try:
        return remote_exception(unpack_value(open_payload(cause.error, frames)))
    except Exception as error:
        return DeserializationError(f"The exception of the context function cannot be unpickled here: {error!r}")


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
