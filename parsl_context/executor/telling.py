"""What a future, and Parsl's record of its task, say of a call by themselves. The rest is in the event log."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from parsl.dataflow.states import States


def number_of(future: Future[Any]) -> int | None:
    """The number that an executor gave a call: of its own future, or of the one that an app's waits for."""
    inner = future if (record := record_of(future)) is None else record.get("exec_fu")
    number = getattr(inner, "parsl_executor_task_id", None)
    return number if isinstance(number, int) else None


def record_of(future: Future[Any]) -> dict[str, Any] | None:
    """What Parsl knows of the task of an app's future; None if it is no such future."""
    record: dict[str, Any] | None = getattr(future, "task_record", None)
    return record


def who(future: Future[Any]) -> str:
    """A call, for people."""
    record = record_of(future)
    number = number_of(future)
    if record is None:
        return "A call that Parsl did not make" if number is None else f"Call {number}"
    name = record["func_name"]
    if number is None or record.get("join"):
        return f"The call of {name} (task {record['id']} of Parsl)"
    return f"Call {number} of {name}"


def tell(future: Future[Any], label: str) -> tuple[str, list[Future[Any]]] | None:
    """What became of a call, or why it is not with the executor; None if it is there.

    Parameters
    ----------
    label
        Of the executor that is asked.

    Returns
    -------
    tuple or None
        A sentence, and the futures for which the call waits.
    """
    record = record_of(future)
    if future.done():
        return _ended(future, record), []
    if record is None:
        return None if number_of(future) is not None else (f"{who(future)} has not ended.", [])
    if record["status"] == States.joining:
        return _joining(future, record)
    if record["status"] == States.pending:
        return _pending(future, record)
    if record.get("join"):
        is_running = (inner := record.get("exec_fu")) is not None and inner.running()
        does = "runs" if is_running else "waits for a thread"
        return f"{who(future)} {does} in the script's own process, as functions of join apps do.", []
    if record["executor"] != label:
        return f"{who(future)} was given to executor {record['executor']}, not to {label}: ask that one.", []
    return None


def _ended(future: Future[Any], record: dict[str, Any] | None) -> str:
    if future.cancelled():
        return f"{who(future)} was cancelled before it ran."
    status = None if record is None else record["status"]
    if (error := future.exception()) is not None:
        text = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        if status == States.dep_fail:
            return f"{who(future)} was not run, since a future among its arguments failed: {text}"
        return f"{who(future)} has ended with an error: {text}"
    if status == States.memo_done:
        return f"{who(future)} was not run: its result is that of an earlier call (memoization)."
    return f"{who(future)} has ended with a result."


def _joining(future: Future[Any], record: dict[str, Any]) -> tuple[str, list[Future[Any]]]:
    given = record.get("joins")
    futures: Sequence[Future[Any]] = given if isinstance(given, list) else [given] if given is not None else []
    left = [each for each in futures if not each.done()]
    return f"{who(future)} has run, and waits for {_some(left, futures)} that it gave back.", left


def _pending(future: Future[Any], record: dict[str, Any]) -> tuple[str, list[Future[Any]]]:
    wanted = record["depends"]
    left = [each for each in wanted if not each.done()]
    if not left:
        return f"{who(future)} is about to be given to its executor.", []
    return f"{who(future)} waits for {_some(left, wanted)} among its arguments, and is with no executor before.", left


def _some(left: Sequence[Future[Any]], of: Sequence[Future[Any]]) -> str:
    return "the future" if len(of) == 1 else f"{len(left)} of the {len(of)} futures"
