"""Calls that nobody waits for any more: what `cancel()` of a future asks of the interchange, and the answers.

A call can be withdrawn until a worker starts it, wherever it is; one that runs in a process of its own can be ended.
Only the process that holds it knows, so `cancel` waits for the answer, which takes a round trip.
"""

from __future__ import annotations

import threading
import time
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
    gets_answers
        Whether this is the thread that gets the answers, and must not wait for them.
    """

    def __init__(
        self,
        calls: MutableMapping[Any, Future[Any]],
        send: Callable[[m.CancelTasks], None],
        drop: Callable[[Future[Any]], None],
        gets_answers: Callable[[], bool],
    ) -> None:
        self._calls = calls
        self._send = send
        self._drop = drop
        self._gets_answers = gets_answers
        self._awaited: dict[TaskId, threading.Event] = {}  # answers that somebody waits for

    def withdraw(self, futures: Sequence[CallFuture], *, waits: bool, only_waiting: bool) -> None:
        """Withdraw calls that have not started.

        Parameters
        ----------
        waits
            Until it is known for each whether it was, but no longer than `ANSWER_TIMEOUT_S`.
        only_waiting
            Let those go on that run in processes of their own, rather than end them.
        """
        tasks = [TaskId(future.parsl_executor_task_id) for future in futures if not future.done()]
        if not tasks:
            return
        message = m.CancelTasks(tasks=tasks, only_waiting=only_waiting)
        if not waits or self._gets_answers():
            self._send(message)
            return
        events = [self._awaited.setdefault(task, threading.Event()) for task in tasks]
        try:
            for future in futures:
                future.add_done_callback(self._ended)
            self._send(message)
            end = time.monotonic() + ANSWER_TIMEOUT_S
            for event in events:
                event.wait(max(0.0, end - time.monotonic()))
        finally:
            for task in tasks:
                self._awaited.pop(task, None)

    def answered(self, tasks: Sequence[TaskId], is_cancelled: bool) -> None:
        """What became of calls that were to be withdrawn. In the thread of the client."""
        for task in tasks:
            future = self._calls.pop(task, None) if is_cancelled else None
            if isinstance(future, CallFuture):
                self._drop(future)
                future.end_cancelled()
            self._answer(task)

    def _ended(self, future: Future[Any]) -> None:
        assert isinstance(future, CallFuture)
        self._answer(TaskId(future.parsl_executor_task_id))

    def _answer(self, task: TaskId) -> None:
        event = self._awaited.get(task)
        if event is not None:
            event.set()
