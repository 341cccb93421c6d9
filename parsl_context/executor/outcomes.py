"""What becomes of calls: results and failures that the interchange reports are given to the futures that wait for them.

`ContextExecutor` sends calls and keeps their futures; the client's thread calls `Outcomes` with what comes back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, MutableMapping, Sequence
from concurrent.futures import Future
from typing import Any

from parsl.executors.high_throughput.executor import HTEXFuture

from parsl_context.apps.futures import TIMEOUTS, note_why
from parsl_context.content.exceptions import Raised, another
from parsl_context.content.serialization import unpack_value
from parsl_context.errors import PayloadLostError
from parsl_context.executor.arguments import Arguments
from parsl_context.executor.failures import as_result, cannot_unpickle, exception_of, remote_exception
from parsl_context.wire import messages as m
from parsl_context.wire.codec import Buffer
from parsl_context.wire.messages import Digest, TaskId
from parsl_context.wire.segments import Segments

logger = logging.getLogger(f"parsl.{__name__}")


class CallFuture(HTEXFuture):
    """Future of a call; knows what the call names and where its arguments are, for as long as it may need them.

    Whatever a callback raises is logged: the thread that settles futures has others to settle.
    """

    def __init__(self, task_id: TaskId, names: tuple[Digest, ...], arguments: m.Payload | None) -> None:
        super().__init__(task_id)
        self.names = names
        self.arguments = arguments  # if they are in a segment
        self.withdraw: Callable[[CallFuture], None] | None = None  # asks for it, and waits for the answer
        self.on_cancel: Callable[[], None] | None = None  # called right before it is cancelled
        self.run_s: float | None = None  # time that it took on its worker, once it has ended. [s]
        self.why_waiting: Callable[[], str | None] | None = None  # asks why there is no worker

    def result(self, timeout: float | None = None) -> Any:
        """As of any future; a `TimeoutError` has a note if there is no worker."""
        try:
            return super().result(timeout)
        except TIMEOUTS as error:
            note_why(error, self, self.why_waiting)
            raise

    def cancel(self) -> bool:
        """Withdraw the call if no worker has started it, or end it where it runs in a process of its own.

        Waits for the answer, unless a callback of a future calls it.

        Returns
        -------
        bool
            Whether it is cancelled. False where the answer is not there yet: the future is cancelled when it comes.
        """
        if not self.done() and self.withdraw is not None:
            self.withdraw(self)
        return self.cancelled()

    def end_cancelled(self) -> None:
        """It was withdrawn."""
        if self.done():
            return
        if self.on_cancel is not None:
            self.on_cancel()
        if Future.cancel(self):
            self.set_running_or_notify_cancel()

    def _invoke_callbacks(self) -> None:
        # concurrent.futures goes on after an Exception alone, and would skip the callbacks that follow.
        for callback in self._done_callbacks:  # type: ignore[attr-defined]
            try:
                callback(self)
            except BaseException:
                logger.exception("A callback of call %s failed", self.parsl_executor_task_id)


class Outcomes:
    """Ends calls: a future gets its outcome and the segments of the call go. From any thread.

    Parameters
    ----------
    calls
        Futures of the calls whose outcome is open; one that gets its outcome is taken out.
    segments
        Where large results are.
    arguments
        Of the calls.
    """

    def __init__(self, calls: MutableMapping[Any, Future[Any]], segments: Segments, arguments: Arguments) -> None:
        self._calls = calls
        self._segments = segments
        self._arguments = arguments

    def result(self, result: m.Result, frames: Sequence[Buffer]) -> None:
        """A call ran."""
        future = self._calls.pop(result.id, None)
        if future is None:
            self._segments.drop(result.payload)
            return
        self.drop_arguments(future)
        if isinstance(future, CallFuture):
            future.run_s = result.run_s
        try:
            value = unpack_value(self._segments.take_payload(result.payload, frames))
            if result.ok and type(value) is Raised:
                value = as_result(remote_exception(value))
        except PayloadLostError as error:
            _settle(future, error=error)
            return
        except BaseException as error:  # unpickling runs code of the user's, which may raise anything
            _settle(future, error=cannot_unpickle("a result" if result.ok else "an exception", error))
            return
        if result.ok:
            _settle(future, value)
        else:
            _settle(future, error=remote_exception(value))

    def failed(self, message: m.TasksFailed, frames: Sequence[Buffer]) -> None:
        """Calls ended without an outcome of their own."""
        for task in message.tasks:
            future = self._calls.pop(task, None)
            if future is not None:
                self.drop_arguments(future)
                # One exception for each future: raising one adds to its traceback.
                _settle(future, error=exception_of(message.cause, frames))
        self._segments.drop_results(set(message.tasks))  # of those whose worker or manager died as they ended

    def fail_all(self, error: Exception) -> None:
        """Nobody will report anything any more."""
        while self._calls:
            _, future = self._calls.popitem()
            self.drop_arguments(future)
            _settle(future, error=another(error))

    def drop_arguments(self, future: Future[Any]) -> None:
        """The call has ended; whoever reads its arguments now has them already."""
        if isinstance(future, CallFuture) and future.arguments is not None:
            self._arguments.drop(future.parsl_executor_task_id, future.arguments)


def _settle(future: Future[Any], value: Any = None, *, error: BaseException | None = None) -> None:
    """Give a future its outcome, unless somebody cancelled it."""
    if future.done() or not future.set_running_or_notify_cancel():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(value)
