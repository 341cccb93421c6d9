"""Calls that nobody waits for any more: what `cancel()` of a future asks of the interchange, and the answers.

A call can be withdrawn until a worker starts it, wherever it is. Only the process that holds it knows, so `cancel`
waits for the answer, which takes a round trip.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, MutableMapping, Sequence
from concurrent.futures import Future
from typing import Any

from parsl_context.executor.outcomes import CallFuture
from parsl_context.wire import messages as m
from parsl_context.wire.messages import TaskId

ANSWER_TIMEOUT_S = 10.0  # the manager of a call may be out of reach; whether it will be cancelled is not known then


class Cancels:
    """Asks for calls to be withdrawn.

    Parameters
    ----------
    calls
        Futures of the calls whose outcome is open; one that is cancelled is taken out.
    send
        Sends a message to the interchange, from any thread.
    drop
        Releases what a call has in shared memory.
    """

    def __init__(
        self,
        calls: MutableMapping[Any, Future[Any]],
        send: Callable[[m.CancelTasks], None],
        drop: Callable[[Future[Any]], None],
    ) -> None:
        self._calls = calls
        self._send = send
        self._drop = drop
        self._asked: dict[TaskId, threading.Event] = {}
        self._thread: threading.Thread | None = None  # that gets the answers, and must not wait for them

    def withdraw(self, futures: Sequence[CallFuture], *, waits: bool) -> None:
        """Withdraw calls that have not started.

        Parameters
        ----------
        waits
            Until it is known for each whether it was, but no longer than `ANSWER_TIMEOUT_S`.
        """
        open_ones = [future for future in futures if not future.done()]
        if not open_ones:
            return
        tasks = [TaskId(future.parsl_executor_task_id) for future in open_ones]
        events = [self._asked.setdefault(task, threading.Event()) for task in tasks]
        for future, event in zip(open_ones, events, strict=True):
            future.add_done_callback(lambda _, event=event: event.set())  # type: ignore[misc]
        self._send(m.CancelTasks(tasks=tasks))
        if waits and threading.current_thread() is not self._thread:
            for event in events:
                if not event.wait(ANSWER_TIMEOUT_S):
                    break
        for task in tasks if waits else ():
            self._asked.pop(task, None)

    def answered(self, tasks: Sequence[TaskId], is_cancelled: bool) -> None:
        """What became of calls that were to be withdrawn. In the thread of the client."""
        self._thread = threading.current_thread()
        for task in tasks:
            future = self._calls.pop(task, None) if is_cancelled else None
            if isinstance(future, CallFuture):
                self._drop(future)
                future.end_cancelled()
            event = self._asked.pop(task, None)
            if event is not None:
                event.set()
