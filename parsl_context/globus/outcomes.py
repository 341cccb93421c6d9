"""What comes back from an endpoint: values and exceptions in which the script's own classes are named."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from parsl_context.content.exceptions import Raised
from parsl_context.standalone.function import TOLD


class RemoteTraceback(Exception):
    """The cause of an exception that was raised on an endpoint: its traceback there."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class GlobusFuture(Future[Any]):
    """Future of a call, whose outcome is unsealed as it arrives.

    Parameters
    ----------
    compute_future
        What `globus_compute_sdk.Executor.submit` gave.
    definitions
        Functions and classes of the script, by the digests that the outcome names.

    Attributes
    ----------
    compute_future : ComputeFuture
        That future, with the task's id.
    """

    def __init__(self, compute_future: Future[Any], definitions: Mapping[str, Any]) -> None:
        super().__init__()
        self.compute_future = compute_future
        self._definitions = definitions
        compute_future.add_done_callback(self._settle)

    @property
    def task_id(self) -> str | None:
        """The task's id, once the web service has it."""
        return getattr(self.compute_future, "task_id", None)

    def cancel(self) -> bool:
        """Withdraw the call, if it has not left for the web service yet."""
        return self.compute_future.cancel() and super().cancel()

    def _settle(self, done: Future[Any]) -> None:
        if done.cancelled():
            if super().cancel():
                self.set_running_or_notify_cancel()
            return
        try:
            value = unsealed(done.result(), self._definitions)
        except BaseException as error:
            self.set_exception(error)
        else:
            self.set_result(value)


def unsealed(outcome: Any, definitions: Mapping[str, Any]) -> Any:
    """The value of a call.

    Raises
    ------
    BaseException
        What the call raised, with its remote traceback as the cause.
    """
    if not (isinstance(outcome, tuple) and len(outcome) == 3 and outcome[0] == TOLD):
        return outcome  # it could not be sealed
    _, kind, packed = outcome
    found = _Unpickler(packed, definitions).load()
    if kind == "error":
        error, told = found
        raise _as_there(error, told)
    return [Raised(each[1]) if _is_raised(each) else each for each in found] if kind == "chunk" else found


def _is_raised(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and value[0] == TOLD


def _as_there(error: BaseException, told: Mapping[str, Any]) -> BaseException:
    error.__cause__ = RemoteTraceback(told["text"])
    if told["notes"]:
        error.__dict__["__notes__"] = told["notes"]
    return error


class _Unpickler(pickle.Unpickler):
    def __init__(self, packed: bytes, definitions: Mapping[str, Any]) -> None:
        super().__init__(io.BytesIO(packed))
        self._definitions = definitions

    def persistent_load(self, pid: Any) -> Any:
        return self._definitions[pid[1]]
