"""What became of calls, packed as messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from parsl.app.errors import RemoteExceptionWrapper

from parsl_context.content.serialization import pack_value
from parsl_context.retain.calls import ChunkResults, cannot_send
from parsl_context.retain.loader import pack_error
from parsl_context.wire import messages as m
from parsl_context.wire.codec import Buffer, Frames, encode, make_payload

Calls: TypeAlias = list[tuple[m.Task, Sequence[Buffer]]]  # that run together, each with its frames


def fail(calls: Calls, error: bytes, run_s: float) -> Frames:
    """The message that says how calls ended that have no outcome of their own."""
    payload, out = make_payload(error)
    results = [m.Result(task.id, False, payload, run_s) for task, _ in reversed(calls)]
    if len(results) == 1:
        return encode(m.TaskDone(result=results[0]), out)
    return encode(m.BatchDone(results=results), [*out] * len(results))


def pack_result(value: object) -> tuple[bytes, Sequence[Buffer]]:
    """The result of a call, packed.

    Raises
    ------
    ContextSerializationError
        If it cannot be.
    """
    if type(value) is RemoteExceptionWrapper:  # what an ordinary app gives whose function raised
        return pack_error(value.get_exception() if value.e_value.__traceback__ is None else value.e_value), ()
    try:
        return pack_value(value)
    except Exception as error:
        if isinstance(value, ChunkResults):
            return pack_value(value.sendable())
        raise cannot_send(value, error) from error
