"""The future of a context app's call. Parsl's cannot be cancelled: the DataFlowKernel does not know how.

A call that waits for others is ended in the DataFlowKernel, which launches nothing that is not pending. One that was
launched is withdrawn by its executor; that it must not be tried again is written down right before the DataFlowKernel
hears of it.
"""

from __future__ import annotations

import concurrent.futures
import math
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Future
from typing import Any, Protocol, runtime_checkable

from parsl.dataflow.dflow import DataFlowKernel
from parsl.dataflow.futures import AppFuture
from parsl.dataflow.states import FINAL_STATES, States

from parsl_context.retain.drift import add_note

TIMEOUTS = (TimeoutError, concurrent.futures.TimeoutError)  # one and the same from Python 3.11 on


@runtime_checkable
class CancellableCall(Protocol):
    """The future of a call on an executor of ours."""

    on_cancel: Callable[[], None] | None  # called right before it is cancelled

    def cancel(self) -> bool:
        """Withdraw it."""


@runtime_checkable
class _KnowsWhy(Protocol):
    """An executor of ours."""

    def why_waiting(self) -> str | None:
        """Why calls wait."""


class ContextFuture(AppFuture):
    """The future of a call of a context app; an `AppFuture` that can be cancelled."""

    kernel: DataFlowKernel

    @classmethod
    def of(cls, future: AppFuture, kernel: DataFlowKernel) -> ContextFuture:
        """Make a future of Parsl's one of ours."""
        future.__class__ = cls  # the DataFlowKernel makes it, and has no place to say of which class
        assert isinstance(future, ContextFuture)
        future.kernel = kernel
        return future

    def result(self, timeout: float | None = None) -> Any:
        """As of any future; a `TimeoutError` has a note if its executor has no worker, and knows why."""
        try:
            return super().result(timeout)
        except TIMEOUTS as error:
            note_why(error, self, self._why_waiting)
            raise

    def _why_waiting(self) -> str | None:
        executor: Any = self.kernel.executors.get(self.task_record["executor"])
        if not isinstance(executor, _KnowsWhy) or self.task_record["status"] in (States.pending, *FINAL_STATES):
            return None
        return executor.why_waiting()

    def cancel(self) -> bool:
        """Cancel the call if it has not started, or runs in a process of its own (``isolation="call"``).

        Returns
        -------
        bool
            Whether it is cancelled: no body runs for it any more, and `result` raises `CancelledError`. False if it has
            started otherwise, or its executor does not know how.
        """
        if self.done():
            return self.cancelled()
        launched = self._end_unlaunched()
        if launched is None:
            return self.cancelled()
        if isinstance(launched, CancellableCall):
            return launched.cancel() and self.cancelled()
        before = {name: self.task_record[name] for name in ("fail_cost", "memoize")}
        self._end_for_good()
        if _cancel(launched):
            return self.cancelled()
        self.task_record.update(before)  # type: ignore[typeddict-item]
        return False

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self.done() and isinstance(self.exception(), CancelledError)

    def _end_unlaunched(self) -> Future[Any] | None:
        """End the call if it was not launched; else give the future of its executor."""
        record = self.task_record
        with record["task_launch_lock"]:
            if record["status"] is States.pending:
                record["memoize"] = False  # or the next call like it would be cancelled, too
                self.kernel._complete_task_exception(record, States.failed, CancelledError())
                return None
            launched: Any = None if record["status"] in FINAL_STATES else record.get("exec_fu")
            if isinstance(launched, CancellableCall):
                launched.on_cancel = self._end_for_good
            return launched  # type: ignore[no-any-return]

    def _end_for_good(self) -> None:
        """Have the DataFlowKernel neither try it again nor remember its outcome."""
        self.task_record["fail_cost"] = math.inf
        self.task_record["memoize"] = False


def note_why(error: BaseException, future: Future[Any], why_waiting: Callable[[], str | None] | None) -> None:
    """Note with the error of somebody who has waited long enough for a future why it takes long, if that is known."""
    if not future.done() and why_waiting is not None and (why := why_waiting()) is not None:
        add_note(error, why)


def withdraw(futures: Iterable[Future[Any]]) -> None:
    """Cancel calls that have not started, without waiting for what becomes of each."""
    by_executor: dict[Any, list[Future[Any]]] = {}
    for future in futures:
        if not isinstance(future, ContextFuture):
            _cancel(future)
        elif not future.done() and (launched := future._end_unlaunched()) is not None:
            executor = future.kernel.executors.get(future.task_record["executor"])
            if isinstance(launched, CancellableCall) and hasattr(executor, "withdraw"):
                by_executor.setdefault(executor, []).append(launched)
            else:
                future.cancel()
    for executor, calls in by_executor.items():
        executor.withdraw(calls)


def _cancel(future: Future[Any]) -> bool:
    try:
        return future.cancel()
    except NotImplementedError:  # of futures of Parsl's
        return False
